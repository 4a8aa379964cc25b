//! `tmpcopyup`: a tmpfs starts with a copy of the directory that it covers.
//!
//! The source is part of a hostile image: nothing is followed, everything is opened relative to a handle.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// A directory tree deeper than this is no honest image's.
const DEEPEST: u32 = 128;

/// Copies what is in `source`, an open directory, into `target`; other file systems mounted there are left out.
pub(super) fn copy(source: OwnedFd, target: &impl AsFd) -> Result<()> {
    let device = rustix::fs::fstat(&source).step(|| "stat the directory")?.st_dev;
    copy_directory(source, target, device, DEEPEST)
}

fn copy_directory(source: OwnedFd, target: &impl AsFd, device: u64, depth: u32) -> Result<()> {
    if depth == 0 {
        return Err(Error::system("directories are nested too deeply", Errno::LOOP));
    }
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&source).step(|| "read the directory")? {
        let name = entry.step(|| "read the directory")?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    for name in names {
        let path = name.to_string_lossy();
        let stat = rustix::fs::statat(&source, &name, AtFlags::SYMLINK_NOFOLLOW).on("stat", &*path)?;
        if stat.st_dev != device {
            continue;
        }
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(&source, &name, flags, Mode::empty()).on("open", &*path)?;
                rustix::fs::mkdirat(target, &name, mode).on("make the directory", &*path)?;
                let made = rustix::fs::openat(target, &name, flags, Mode::empty()).on("open", &*path)?;
                copy_directory(inner, &made, device, depth - 1)?;
                own(&made, &stat).on("chown", &*path)?;
                rustix::fs::fchmod(&made, mode).on("chmod", &*path)?;
            }
            FileType::RegularFile => copy_file(&source, target, &name, &stat).on("copy", &*path)?,
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(&source, &name, Vec::new()).on("read the link", &*path)?;
                rustix::fs::symlinkat(&link, target, &name).on("make the link", &*path)?;
                let (uid, gid) = owner(&stat);
                rustix::fs::chownat(target, &name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).on("chown", &*path)?;
            }
            // Sockets, pipes and devices have no content to copy.
            _ => {}
        }
    }
    Ok(())
}

fn copy_file(
    source: &OwnedFd,
    target: &impl AsFd,
    name: &std::ffi::CStr,
    stat: &Stat,
) -> std::result::Result<(), Errno> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from = rustix::fs::openat(source, name, read, Mode::empty())?;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let to = rustix::fs::openat(target, name, write, Mode::from_raw_mode(0o600))?;
    while rustix::fs::sendfile(&to, &from, None, 1 << 20)? > 0 {}
    own(&to, stat)?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))
}

fn own(file: &OwnedFd, stat: &Stat) -> std::result::Result<(), Errno> {
    let (uid, gid) = owner(stat);
    rustix::fs::fchown(file, uid, gid)
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}
