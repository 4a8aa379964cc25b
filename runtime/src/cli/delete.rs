use clap::Args;

use crate::container::Runtime;
use crate::error::Result;

/// Remove a container that has stopped or was never started.
#[derive(Args, Debug)]
pub(super) struct Delete {
    /// Kill it if it runs; remove what there is of it even if it is only half made; none is fine, too.
    #[arg(short, long)]
    force: bool,
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Delete {
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        runtime.delete(&self.id, self.force)
    }
}
