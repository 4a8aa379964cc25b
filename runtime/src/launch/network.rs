//! A network namespace made beside the stage.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags};

use super::task::NAMESPACES_REMEDY;
use crate::error::{Context, Error, Result};
use crate::sys::network::bring_loopback_up;

/// Makes a network namespace, with `lo` up, and comes back to the own one.
///
/// It takes as long as all the rest of a clone with new namespaces and more (0.3 ms), during which the stage, born without it,
/// can mount most of its file systems.
///
/// # Errors
/// Also when the way back is barred, as only a security module could bar it: what follows, such as hooks of an undone container,
/// then runs in the new one. Nothing but the descriptor holds that.
pub(super) fn make() -> Result<OwnedFd> {
    let own = open_own()?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| {
        let error = Error::system("make a network namespace", errno);
        match errno {
            Errno::ENOSPC => error.remedy(NAMESPACES_REMEDY),
            _ => error,
        }
    })?;
    let made = bring_loopback_up().step(|| "bring the interface lo up").and_then(|()| open_own());
    nix::sched::setns(own.as_fd(), CloneFlags::CLONE_NEWNET).step(|| "come back to the runtime's network namespace")?;
    made
}

fn open_own() -> Result<OwnedFd> {
    rustix::fs::openat(CWD, "/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .step(|| "open /proc/self/ns/net")
}
