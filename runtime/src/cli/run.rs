use clap::Args;

use super::create::Bundle;
use super::exit_status;
use crate::container::Runtime;
use crate::error::Result;

/// Make a container, start it, wait for its end and remove it.
#[derive(Args, Debug)]
pub(super) struct Run {
    #[command(flatten)]
    bundle: Bundle,
    /// Do not wait for the end.
    #[arg(short, long)]
    detach: bool,
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Run {
    pub fn run(self, runtime: &Runtime) -> Result<u8> {
        runtime.run(&self.id, &self.bundle.into(), self.detach).map(exit_status)
    }
}
