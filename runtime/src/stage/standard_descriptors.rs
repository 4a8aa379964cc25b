//! Standard input, output and error that come from the caller.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Stat, Uid};

use crate::plan::User;
use crate::sys::process as sys;

/// Puts the container's own /dev/null in the place of the host's, which is of a mount that the container does not have
/// (CRIU can not dump such a file), and gives the others to the program's user, as other runtimes do, so that it can
/// reopen /dev/stdout; not the host's devices, and not where that is refused.
pub(super) fn settle(user: &User) {
    let mut own_null = None;
    for number in 0..=2 {
        let Some(file) = sys::standard_descriptor(number) else { continue };
        let Ok(stat) = rustix::fs::fstat(file) else { continue };
        if is_null(&stat) {
            if let Some(null) = own_null.get_or_insert_with(open_null) {
                replace(number, null);
            }
        } else if user.uid != 0 && stat.st_uid != user.uid {
            let _ = rustix::fs::fchown(file.as_fd(), Some(Uid::from_raw(user.uid)), None::<Gid>);
        }
    }
}

/// null(4)
fn is_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// What an image or a program has put there instead is not opened.
fn open_null() -> Option<OwnedFd> {
    let path = "/dev/null";
    let there = rustix::fs::statat(CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = is_null(&there).then(|| rustix::fs::open(path, flags, Mode::empty()).ok()).flatten()?;
    rustix::fs::fstat(&file).is_ok_and(|stat| is_null(&stat)).then_some(file)
}

fn replace(number: i32, file: &OwnedFd) {
    let set = [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr];
    if let Some(set) = usize::try_from(number).ok().and_then(|number| set.get(number)) {
        let _ = set(file);
    }
}
