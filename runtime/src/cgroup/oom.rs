//! When the kernel kills for want of memory.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

use super::file;
use super::handle::{Cgroup, is_gone};
use super::record::Seat;
use crate::error::{Context, Result};

/// Tells when a process of the cgroup is killed for want of memory.
pub struct OomEvents {
    /// `memory.events` (version 2) or `memory.oom_control` (version 1), with the count of kills.
    counts: File,
    /// Version 1 signals through an eventfd; version 2's file can be polled itself.
    signal: Option<OwnedFd>,
}

impl OomEvents {
    /// What to poll, and for which events. It also wakes up when the cgroup is removed.
    pub fn poll_on(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.signal {
            Some(signal) => (signal.as_fd(), PollFlags::IN),
            None => (self.counts.as_fd(), PollFlags::PRI),
        }
    }

    /// How many processes have been killed so far; `None` when the cgroup is gone. Makes the next poll wait again.
    ///
    /// # Errors
    /// When the kernel's file can not be read.
    pub fn kills(&self) -> Result<Option<u64>> {
        if let Some(signal) = &self.signal {
            // Not blocking: there may be no signal.
            let _ = rustix::io::read(signal, &mut [0u8; 8]);
        }
        let mut text = [0u8; 512];
        match self.counts.read_at(&mut text, 0) {
            Ok(length) => Ok(file::keyed(&String::from_utf8_lossy(&text[..length]), "oom_kill")),
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(None),
            Err(error) => Err(error).step(|| "read the count of OOM kills"),
        }
    }
}

impl Cgroup {
    /// How many of its processes the kernel has killed for want of memory, cgroups below included on version 2.
    /// `None` without the memory controller.
    ///
    /// # Errors
    /// When the kernel's file can not be read.
    pub fn oom_kills(&self) -> Result<Option<u64>> {
        let Some((seat, name)) = self.memory_counts() else { return Ok(None) };
        let path = seat.directory.join(name);
        match file::read_path(&path) {
            Ok(text) => Ok(file::keyed(&text, "oom_kill")),
            Err(error) if is_gone(error) => Ok(None),
            Err(error) => Err(error).on("read", &path),
        }
    }

    /// Watches for OOM kills; `None` without the memory controller or when the cgroup is gone.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn watch_oom(&self) -> Result<Option<OomEvents>> {
        let Some((seat, name)) = self.memory_counts() else { return Ok(None) };
        let path = seat.directory.join(name);
        let counts = match file::open(CWD, &path, OFlags::RDONLY) {
            Ok(fd) => File::from(fd),
            Err(error) if is_gone(error) => return Ok(None),
            Err(error) => return Err(error).on("open", &path),
        };
        let signal = match name {
            "memory.oom_control" => Some(register(&counts, &seat.directory)?),
            _ => None,
        };
        Ok(Some(OomEvents { counts, signal }))
    }

    fn memory_counts(&self) -> Option<(&Seat, &'static str)> {
        let legacy = self.legacy("memory").map(|seat| (seat, "memory.oom_control"));
        legacy.or_else(|| self.unified().map(|open| (&open.seat, "memory.events")))
    }
}

/// Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control": an eventfd for the file, by way of `cgroup.event_control`.
fn register(counts: &File, directory: &Path) -> Result<OwnedFd> {
    let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).step(|| "make an eventfd")?;
    let control = directory.join("cgroup.event_control");
    let line = format!("{} {}", signal.as_raw_fd(), counts.as_raw_fd());
    file::write_path(&control, &line).on("write", &control)?;
    Ok(signal)
}
