//! Taking a cgroup away when its processes are gone.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};
use rustix::io::Errno;

use super::events::{Events, PATIENCE};
use super::file;
use super::handle::Cgroup;
use super::layout::Version;
use super::systemd::Unit;
use crate::error::{Context, Error, Kind, Result};

/// Between two attempts where the kernel has no event for "really empty now" (version 1 alone).
const PAUSE: Duration = Duration::from_millis(2);

impl Cgroup {
    /// Removes its directories with all below them. Waits up to 30 s for processes that are dying; kills none.
    ///
    /// Nothing there is success. Parents stay, as with runc: they belong to the engine.
    ///
    /// # Errors
    /// [`Kind::System`] when processes stay (it says how many and where), or the kernel refuses.
    pub fn remove(&self) -> Result<()> {
        drop(self.stand_in.take());
        let deadline = Instant::now() + PATIENCE;
        for seat in self.seats() {
            let directory = &seat.directory;
            while !remove_tree(directory)? {
                let in_time = match seat.version {
                    Version::V2 => wait_until_empty(directory)?,
                    Version::V1 => self.wait_for_processes()? && pause_before(deadline),
                };
                if !in_time || Instant::now() > deadline {
                    return Err(still_used(directory));
                }
            }
        }
        self.unit.as_ref().map_or(Ok(()), Unit::stop)
    }
}

impl Cgroup {
    /// Removes those of its directories in which there is nobody, at once: whether that were all. For what may be somebody else's.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn remove_if_empty(&self) -> Result<bool> {
        self.seats().try_fold(true, |all, seat| Ok(remove_tree(&seat.directory)? && all))
    }
}

/// Removes the directory and all below; false when something in it is in use.
fn remove_tree(directory: &Path) -> Result<bool> {
    match rustix::fs::rmdir(directory) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::BUSY | Errno::NOTEMPTY) => {}
        Err(error) => return Err(error).on("remove the cgroup", directory),
    }
    let below = match file::children(directory) {
        Ok(below) => below,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(true),
        Err(error) => return Err(error).on("list", directory),
    };
    if below.is_empty() {
        return Ok(false);
    }
    for child in &below {
        if !remove_tree(child)? {
            return Ok(false);
        }
    }
    match rustix::fs::rmdir(directory) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(false),
        Err(error) => Err(error).on("remove the cgroup", directory),
    }
}

/// `populated` speaks of everything below, too.
fn wait_until_empty(directory: &Path) -> Result<bool> {
    let Some(events) = Events::open_path(directory)? else { return Ok(true) };
    match events.get("populated")? {
        Some(0) => Ok(pause_before(Instant::now() + PATIENCE)), // Empty, and yet busy: not for long.
        _ => events.wait("populated", 0),
    }
}

fn pause_before(deadline: Instant) -> bool {
    let pause = Timespec { tv_sec: 0, tv_nsec: PAUSE.subsec_nanos().into() };
    let _ = poll(&mut [], Some(&pause));
    Instant::now() < deadline
}

fn still_used(directory: &Path) -> Error {
    let mut left = Vec::new();
    let _ = super::handle::collect(directory, &mut left);
    let first = left.first().map(|pid| format!(" (process {})", pid.as_raw_nonzero())).unwrap_or_default();
    let text = format!(
        "remove the cgroup {}: still in use by {} processes{first} after {} s",
        directory.display(),
        left.len(),
        PATIENCE.as_secs()
    );
    Error::new(Kind::System, text)
}
