//! Waiting for a cgroup of version 2: `cgroup.events` can be polled.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

use super::file;
use super::handle::is_gone;
use crate::error::{Context, Result};

/// How long the kernel may take to end, freeze or thaw what it was told to: generous, because a process in an
/// uninterruptible wait (a slow disk, an NFS server) ends late.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// `cgroup.events` of one cgroup, held open.
pub struct Events {
    file: File,
}

impl Events {
    /// `None` when the cgroup is gone.
    pub fn open(directory: impl AsFd, path: &Path) -> Result<Option<Events>> {
        match file::open(directory, Path::new("cgroup.events"), OFlags::RDONLY) {
            Ok(fd) => Ok(Some(Events { file: File::from(fd) })),
            Err(error) if is_gone(error) => Ok(None),
            Err(error) => Err(error).on("open", path.join("cgroup.events")),
        }
    }

    /// As [`Events::open`], for a directory that is not open.
    pub fn open_path(path: &Path) -> Result<Option<Events>> {
        match file::open(CWD, &path.join("cgroup.events"), OFlags::RDONLY) {
            Ok(fd) => Ok(Some(Events { file: File::from(fd) })),
            Err(error) if is_gone(error) => Ok(None),
            Err(error) => Err(error).on("open", path.join("cgroup.events")),
        }
    }

    /// The value of `key` now; `None` when the cgroup is gone.
    pub fn get(&self, key: &str) -> Result<Option<u32>> {
        Ok(self.read()?.and_then(|text| file::keyed(&text, key)))
    }

    /// All of it; `None` when the cgroup is gone.
    fn read(&self) -> Result<Option<String>> {
        let mut text = [0u8; 256];
        match self.file.read_at(&mut text, 0) {
            Ok(length) => Ok(Some(String::from_utf8_lossy(&text[..length]).into_owned())),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error).step(|| "read cgroup.events"),
        }
    }

    /// Waits until `key` is `wanted` or the cgroup is gone; false when that takes longer than [`PATIENCE`].
    pub fn wait(&self, key: &str, wanted: u32) -> Result<bool> {
        self.wait_until(|| Ok(self.get(key)?.is_none_or(|value| value == wanted)))
    }

    /// Waits until every process in it is frozen, and is false as in [`Events::wait`]. Processes that end while they are
    /// being frozen can leave an empty cgroup that the kernel never calls frozen: that counts, too.
    pub fn wait_until_frozen(&self) -> Result<bool> {
        // One read for both: a second one would take the news of a change since the first away from the poll.
        let done = |text: String| {
            let value = |key| file::keyed::<u32>(&text, key);
            value("frozen") != Some(0) || value("populated") == Some(0)
        };
        self.wait_until(|| Ok(self.read()?.is_none_or(done)))
    }

    fn wait_until(&self, done: impl Fn() -> Result<bool>) -> Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        // Read before the poll: the kernel reports every change since the last read.
        while !done()? {
            if !wait_for(self.file.as_fd(), PollFlags::PRI, deadline)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Waits for `events` of one descriptor; false when the deadline has passed.
pub fn wait_for(fd: impl AsFd, events: PollFlags, deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&fd, events)], Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).step(|| "poll"),
        }
    }
}

/// Waits until every process of the list has ended; false when that takes longer than [`PATIENCE`].
pub fn wait_for_ends(processes: &[OwnedFd]) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    for process in processes {
        if !wait_for(process, PollFlags::IN, deadline)? {
            return Ok(false);
        }
    }
    Ok(true)
}
