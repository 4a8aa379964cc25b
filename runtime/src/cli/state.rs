use clap::Args;

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
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        let view = runtime.state(&self.id)?;
        let text = serde_json::to_string_pretty(&view).map_err(std::io::Error::from).step(|| "encode the state")?;
        print(&format!("{text}\n"));
        Ok(())
    }
}
