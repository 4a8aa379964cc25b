use clap::Args;

use super::plain::Given;
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
    /// See [`plain`](super::plain).
    pub fn plain(given: &mut Given) -> Option<Self> {
        Some(Self { id: given.only_word()? })
    }

    #[inline(never)]
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
    /// See [`plain`](super::plain).
    pub fn plain(given: &mut Given) -> Option<Self> {
        Some(Self { id: given.only_word()? })
    }

    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        runtime.resume(&self.id)
    }
}
