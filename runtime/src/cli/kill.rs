use clap::Args;

use super::plain::{Given, Known};
use crate::container::{Runtime, parse_signal};
use crate::error::Result;

/// Send a signal to a container.
#[derive(Args, Debug)]
pub(super) struct Kill {
    /// To all processes of the container, not just the first.
    #[arg(short, long)]
    all: bool,
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// A name such as TERM or SIGTERM, or a number; 0 just asks whether there is somebody to have it.
    #[arg(default_value = "SIGTERM")]
    signal: String,
}

impl Kill {
    pub const PLAIN: &[Known] = &[("all", Some('a'), false)];

    /// See [`plain`](super::plain).
    pub fn plain(given: &mut Given) -> Option<Self> {
        Some(Self { all: given.flag("all"), id: given.word()?, signal: given.only_word()? })
    }

    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        match self.signal.as_str() {
            "0" => runtime.check_running(&self.id),
            signal => runtime.kill(&self.id, parse_signal(signal)?, self.all),
        }
    }
}
