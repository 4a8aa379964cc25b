use clap::Args;

use super::plain::{Given, Known};
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
    pub const PLAIN: &[Known] = &[("force", Some('f'), false)];

    /// See [`plain`](super::plain).
    pub fn plain(given: &mut Given) -> Option<Self> {
        Some(Self { force: given.flag("force"), id: given.only_word()? })
    }

    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        runtime.delete(&self.id, self.force)
    }
}
