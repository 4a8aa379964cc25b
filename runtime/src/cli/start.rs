use clap::Args;

use super::plain::Given;
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
    /// See [`plain`](super::plain).
    pub fn plain(given: &mut Given) -> Option<Self> {
        Some(Self { id: given.only_word()? })
    }

    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        runtime.start(&self.id, NotifySocket::of_caller()?.as_ref())
    }
}
