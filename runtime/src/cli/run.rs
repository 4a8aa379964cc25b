use clap::Args;

use super::create::Bundle;
use super::exit_status;
use super::plain::{Given, Known};
use crate::container::{CreateOptions, Runtime};
use crate::error::Result;

/// Make a container, start it, wait for its end and remove it.
#[derive(Args, Debug)]
pub(super) struct Run {
    #[command(flatten)]
    bundle: Bundle,
    /// Do not wait for the end.
    #[arg(short, long)]
    detach: bool,
    /// Do not remove the container when its program ends; `delete` does later.
    #[arg(long)]
    keep: bool,
    /// Do not wait for the container's processes whose parents have ended; whoever started this command gets them.
    #[arg(long)]
    no_subreaper: bool,
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Run {
    /// Beside those of [`Bundle`].
    pub const PLAIN: &[Known] = &[("detach", Some('d'), false), ("keep", None, false)];

    /// See [`plain`](super::plain).
    pub fn plain(given: &mut Given) -> Option<Self> {
        Some(Self {
            bundle: Bundle::plain(given)?,
            detach: given.flag("detach"),
            keep: given.flag("keep"),
            no_subreaper: false,
            id: given.only_word()?,
        })
    }

    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<u8> {
        let options = CreateOptions { keep: self.keep, no_subreaper: self.no_subreaper, ..self.bundle.options()? };
        runtime.run(&self.id, &options, self.detach).map(exit_status)
    }
}
