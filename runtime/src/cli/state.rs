use clap::Args;

use super::plain::Given;
use super::print;
use crate::container::Runtime;
use crate::error::{Context, Result};

/// Print a container's state as JSON.
#[derive(Args, Debug)]
pub(super) struct State {
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl State {
    /// See [`plain`](super::plain).
    pub fn plain(given: &mut Given) -> Option<Self> {
        Some(Self { id: given.only_word()? })
    }

    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        let view = runtime.state(&self.id)?;
        let text = serde_json::to_string_pretty(&view).map_err(std::io::Error::from).step(|| "encode the state")?;
        print(&format!("{text}\n"));
        Ok(())
    }
}
