//! Hands the listener of `SCMP_ACT_NOTIFY` to its agent, before the program begins.

use std::os::fd::BorrowedFd;

use crate::channel::{Channel, Go, Report};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::SeccompAgent;
use crate::seccomp::notify;
use crate::state::Document;

/// Waits for the stage to load its filter, takes the listener out of it, sends it on, and lets the stage go on.
///
/// `state` is the container's; `stage` a pidfd of the process `pid` that the channel leads to.
pub(crate) fn serve(
    agent: &SeccompAgent,
    channel: &Channel,
    stage: BorrowedFd<'_>,
    pid: i32,
    state: &Document,
) -> Result<()> {
    let number = match channel.receive_report()? {
        Some((Report::SeccompListener(number), _)) => number,
        Some((Report::Failed(error), _)) => return Err(error),
        Some((other, _)) => return Err(Error::new(Kind::System, format!("the stage reports {other:?} out of turn"))),
        None => return Err(Error::new(Kind::System, "the stage ended before it loaded the seccomp filter")),
    };
    let listener = notify::fetch_listener(stage, number)?;
    let encode = || "encode the container's state for the seccomp agent";
    let state =
        serde_json::to_value(state).and_then(serde_json::from_value).map_err(std::io::Error::from).step(encode)?;
    let message = notify::process_state(pid, agent.metadata.as_deref(), &state)?;
    notify::send_listener(&agent.path, std::os::fd::AsFd::as_fd(&listener), &message)?;
    channel.send(&Go::Proceed, None)
}
