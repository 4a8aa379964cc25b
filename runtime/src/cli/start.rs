use clap::Args;

use crate::container::Runtime;
use crate::error::Result;
use crate::launch::NotifySocket;

/// Start the program of a created container.
#[derive(Args, Debug)]
pub(super) struct Start {
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Start {
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        runtime.start(&self.id, NotifySocket::of_caller()?.as_ref())
    }
}
