//! Reading and writing the small files of cgroupfs, with as few system calls as possible.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, Result, retry_on_intr};

/// The largest file of cgroupfs or /proc that is read here (`cgroup.procs` of a very full cgroup, mountinfo).
const LIMIT: usize = 16 << 20;

/// The whole file `name`, as text; bytes that are not UTF-8 become U+FFFD.
pub fn read(directory: impl AsFd, name: impl AsRef<Path>) -> Result<String> {
    let file = open(directory, name.as_ref(), OFlags::RDONLY)?;
    let mut text = Vec::with_capacity(8192);
    loop {
        // Always room: an empty read is the end. Most files are far shorter, and need no second page for that.
        if text.capacity() - text.len() < 1024 {
            text.reserve(4096);
        }
        let got = retry_on_intr(|| rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text)))?;
        if got == 0 {
            break;
        }
        if text.len() > LIMIT {
            return Err(Errno::FBIG);
        }
    }
    Ok(String::from_utf8(text).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// The file named by a whole path.
pub fn read_path(path: impl AsRef<Path>) -> Result<String> {
    read(CWD, path)
}

/// One open, one write: cgroupfs takes a value in a single call or not at all.
pub fn write(directory: impl AsFd, name: impl AsRef<Path>, value: &str) -> Result<()> {
    let file = open(directory, name.as_ref(), OFlags::WRONLY)?;
    put(&file, value)
}

/// The file named by a whole path.
pub fn write_path(path: impl AsRef<Path>, value: &str) -> Result<()> {
    write(CWD, path, value)
}

/// Writes to a file that is open already.
pub fn put(file: impl AsFd, value: &str) -> Result<()> {
    let written = retry_on_intr(|| rustix::io::write(&file, value.as_bytes()))?;
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}

/// Opens without following a symbolic link in the last component; close-on-exec.
pub fn open(directory: impl AsFd, name: &Path, flags: OFlags) -> Result<OwnedFd> {
    retry_on_intr(|| rustix::fs::openat(&directory, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()))
}

/// A handle on the directory: for openat, `CLONE_INTO_CGROUP` and bpf(2), which does not take one of O_PATH.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    open(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// The directories inside a cgroup's directory: its sub-cgroups.
pub fn children(directory: &Path) -> Result<Vec<PathBuf>> {
    let handle = open(CWD, directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::new(handle)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() == rustix::fs::FileType::Directory && name != b"." && name != b".." {
            found.push(directory.join(std::ffi::OsStr::from_bytes(name)));
        }
    }
    Ok(found)
}

/// The number after `key` in a file of `key value` lines.
pub fn keyed<T: FromStr>(text: &str, key: &str) -> Option<T> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
