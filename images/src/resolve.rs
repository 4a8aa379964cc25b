//! openat2(2), which may have to be asked again.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// Opens `path` below `directory`, in a scope (openat2(2), `RESOLVE_IN_ROOT` or `RESOLVE_BENEATH`).
///
/// # Errors
/// Those of openat2(2). Its `EAGAIN` says that something on the machine, anything, was renamed or mounted while `..` or a link
/// was resolved; that does not go on for ever, and it is asked again.
pub fn open(
    directory: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    const TRIES: usize = 128;
    for _ in 1..TRIES {
        match rustix::fs::openat2(&directory, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            result => return result,
        }
    }
    rustix::fs::openat2(&directory, path, flags, Mode::empty(), resolve)
}
