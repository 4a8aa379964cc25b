use clap::Args;

use crate::container::Runtime;
use crate::error::Result;

/// Freeze all processes of a container.
#[derive(Args, Debug)]
pub(super) struct Pause {
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Pause {
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        runtime.pause(&self.id)
    }
}

/// Let a paused container go on.
#[derive(Args, Debug)]
pub(super) struct Resume {
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Resume {
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        runtime.resume(&self.id)
    }
}
