//! Owners, modes, times and extended attributes of unpacked files; overlay's own attributes.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::{Errno, Result};

use crate::archive::Entry;

/// Under which names overlay keeps its attributes here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Overlay {
    /// `trusted.overlay.*`: the real root.
    Trusted,
    /// `user.overlay.*`: inside a user namespace, mounted with `userxattr`.
    User,
}

impl Overlay {
    fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    /// Marks a directory as hiding those below it.
    ///
    /// # Errors
    /// `fsetxattr(2)`: `EOPNOTSUPP` on a file system without such attributes.
    pub fn set_opaque(self, directory: impl AsFd) -> Result<()> {
        rustix::fs::fsetxattr(directory, self.opaque(), b"y", XattrFlags::empty())
    }

    /// Whether a directory is marked so.
    ///
    /// # Errors
    /// `fgetxattr(2)`.
    pub fn is_opaque(self, directory: OwnedFd) -> Result<bool> {
        let mut value = [0; 4];
        match rustix::fs::fgetxattr(directory, self.opaque(), &mut value[..]) {
            Ok(length) => Ok(value[..length] == *b"y"),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// Whose files the unpacked ones can be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owners {
    /// The ids of the archive.
    FromArchive,
    /// Only one id is mapped: everything belongs to the user.
    OnlyUser,
}

/// What an unpacking is allowed to do here.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Overlay's attribute names.
    pub overlay: Overlay,
    /// Whether owners can be kept.
    pub owners: Owners,
    /// Whether device nodes can be made.
    pub devices: bool,
}

/// What was left out, for one notice to the user.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeftOut {
    /// Device nodes.
    pub devices: u64,
    /// Extended attributes.
    pub xattrs: u64,
}

/// Sets owner, mode and attributes on an open file or directory. The order matters: `chown` clears
/// set-user-id bits and `security.capability`.
///
/// # Errors
/// `fchown(2)`, `fchmod(2)`, `fsetxattr(2)`; `EINVAL` from `fchown` means that the id is not mapped.
pub fn apply(file: impl AsFd, entry: &Entry, policy: Policy, left_out: &mut LeftOut) -> Result<()> {
    if policy.owners == Owners::FromArchive {
        rustix::fs::fchown(&file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in &entry.xattrs {
        if !is_wanted(name) {
            left_out.xattrs += 1;
            continue;
        }
        match rustix::fs::fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::OPNOTSUPP) => left_out.xattrs += 1,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Sets owner, mode and time of what has no contents: a link, pipe or device at `name`.
///
/// # Errors
/// `fchownat(2)`, `fchmodat(2)`, `utimensat(2)`.
pub fn apply_at(directory: impl AsFd, name: &[u8], entry: &Entry, policy: Policy) -> Result<()> {
    if policy.owners == Owners::FromArchive {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(&directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let handle =
        rustix::fs::openat(&directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode) != FileType::Symlink {
        // chmod through the handle: never through a link (CVE-2021-32760).
        rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::from_raw_mode(entry.mode))?;
    }
    rustix::fs::utimensat(&directory, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner and mode of a directory below, for one that the archive does not describe.
///
/// # Errors
/// `fchown(2)`, `fchmod(2)`.
pub fn copy(directory: impl AsFd, below: Option<&Stat>, policy: Policy) -> Result<()> {
    if let (Some(stat), Owners::FromArchive) = (below, policy.owners) {
        rustix::fs::fchown(&directory, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    }
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(below.map_or(0o755, |stat| stat.st_mode & 0o7777)))
}

/// Access and modification time, both the archive's.
pub fn times((seconds, nanoseconds): (u64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds.try_into().unwrap_or(i64::MAX), tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Which attributes an image may set: file capabilities and the user's own. Not overlay's (they would redirect or
/// hide other layers' files), not `trusted.*`, no security labels of the machine where it was built.
fn is_wanted(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}
