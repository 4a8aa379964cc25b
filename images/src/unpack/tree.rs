//! A directory tree made by strangers, touched only through handles: no symbolic link is followed, no mount crossed,
//! nothing above the root reached (CVE-2014-9357, CVE-2021-32760, CVE-2025-47290, RUSTSEC-2026-0067).

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::{Errno, Result};

/// How every path inside a tree is resolved.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV)
    .union(ResolveFlags::NO_MAGICLINKS);

/// The handle on a tree's root directory.
#[derive(Debug)]
pub struct Tree(OwnedFd);

impl Tree {
    /// Opens the directory `path` of ours as a tree.
    ///
    /// # Errors
    /// `openat(2)`; a symbolic link in the last place is `ELOOP` or `ENOTDIR`.
    pub fn open(path: &Path) -> Result<Self> {
        rustix::fs::openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map(Self)
    }

    /// The root.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens the directory at `path`, which is relative and without links; empty is the root itself.
    ///
    /// # Errors
    /// `openat2(2)`: `ELOOP` for a symbolic link anywhere in it.
    pub fn directory(&self, path: &[u8]) -> Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        crate::resolve::open(&self.0, path, flags, RESOLVE)
    }

    /// What is at `path`, not following a link in the last place; `None` when there is nothing.
    ///
    /// # Errors
    /// `openat2(2)`.
    pub fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        let path = if path.is_empty() { b"." } else { path };
        match crate::resolve::open(&self.0, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, RESOLVE) {
            Ok(handle) => rustix::fs::fstat(handle).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            // O_PATH|O_NOFOLLOW opens a link itself, but RESOLVE_NO_SYMLINKS refuses it; its directory has none.
            Err(Errno::LOOP) => {
                let (parent, name) = split(path);
                stat_at(self.directory(parent)?.as_fd(), name)
            }
            Err(errno) => Err(errno),
        }
    }

    /// The target of the symbolic link at `path`.
    ///
    /// # Errors
    /// `openat2(2)`, `readlinkat(2)`.
    pub fn link_target(&self, path: &[u8]) -> Result<Vec<u8>> {
        let (parent, name) = split(path);
        rustix::fs::readlinkat(self.directory(parent)?, name, Vec::new()).map(|target| target.into_bytes())
    }
}

/// A path's directory and last component.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// What is at `name` in `directory`, links not followed; `None` when there is nothing.
///
/// # Errors
/// `fstatat(2)`.
pub fn stat_at(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The kind of file behind a `stat`.
pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether it is overlay's whiteout: a character device 0:0 (Documentation/filesystems/overlayfs.rst).
pub fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Removes `name` and everything below it. However deep the tree is, two handles and no recursion are enough:
/// a directory that is not empty is moved up to the top and emptied later. Nothing there is fine.
///
/// # Errors
/// `unlinkat(2)`, `renameat(2)`, `openat(2)`.
pub fn remove(directory: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    if unlink(directory, name.as_bytes())? {
        return Ok(());
    }
    let top = open_directory(directory, name.as_bytes())?;
    let mut pending: Vec<Vec<u8>> = Vec::new();
    empty(top.as_fd(), |_, child| {
        pending.push(child.to_vec());
        Ok(())
    })?;
    let mut moved = 0_u64;
    while let Some(child) = pending.pop() {
        let child_directory = open_directory(top.as_fd(), &child)?;
        empty(child_directory.as_fd(), |from, grandchild| {
            loop {
                moved += 1;
                let aside = format!(".pipkin-removed-{moved}").into_bytes();
                match rustix::fs::renameat_with(from, grandchild, &top, &aside, RenameFlags::NOREPLACE) {
                    Ok(()) => {
                        pending.push(aside);
                        return Ok(());
                    }
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
            }
        })?;
        rustix::fs::unlinkat(&top, &child, AtFlags::REMOVEDIR)?;
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
}

/// Removes all that can be removed at once from `directory`; directories that are not empty go to `full`.
fn empty(directory: BorrowedFd<'_>, mut full: impl FnMut(BorrowedFd<'_>, &[u8]) -> Result<()>) -> Result<()> {
    // Without CAP_DAC_OVERRIDE a directory without `w` and `x` could not be emptied.
    let _ = rustix::fs::fchmod(directory, Mode::RWXU);
    let mut entries = Dir::read_from(directory)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || unlink(directory, name)? {
            continue;
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => full(directory, name)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Removes anything but a directory; answers whether `name` is gone.
fn unlink(directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn open_directory(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}
