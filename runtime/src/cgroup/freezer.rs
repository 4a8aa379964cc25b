//! Stopping every process of a cgroup where it is, and letting it go on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};
use rustix::io::Errno;

use super::events::{Events, PATIENCE};
use super::file;
use super::handle::Cgroup;
use crate::error::{Context, Error, Kind, Result};

/// How often version 1's freezer is asked, and told again: it has no event, and a process that forks while it is being
/// frozen can leave it half way ("FREEZING") for good.
const FREEZER_V1_PAUSE: Duration = Duration::from_millis(1);

impl Cgroup {
    /// Stops every process in it; returns when all are stopped.
    ///
    /// # Errors
    /// [`Kind::State`] when there is no cgroup to freeze, [`Kind::System`] when the kernel refuses or takes over 30 s.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen(true)
    }

    /// Lets every process go on.
    ///
    /// # Errors
    /// As [`Cgroup::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false)
    }

    /// Whether it is frozen (or told to and about to be). A cgroup that is gone is not.
    ///
    /// # Errors
    /// When the kernel's file can not be read.
    pub fn is_frozen(&self) -> Result<bool> {
        if let Some((open, handle)) = self.unified().and_then(|open| Some((open, open.handle.as_ref()?))) {
            match file::read(handle, "cgroup.freeze") {
                Ok(text) if text.trim() == "1" => return Ok(true),
                Ok(_) | Err(Errno::NOENT | Errno::NODEV) => {}
                Err(error) => return Err(error).on("read", open.seat.directory.join("cgroup.freeze")),
            }
        }
        let Some(seat) = self.legacy("freezer") else { return Ok(false) };
        let state = seat.directory.join("freezer.state");
        match file::read_path(&state) {
            Ok(text) => Ok(text.trim() != "THAWED"),
            Err(Errno::NOENT | Errno::NODEV) => Ok(false),
            Err(error) => Err(error).on("read", &state),
        }
    }

    /// Where another program can stop its processes: version 1's freezer, or version 2's directory.
    pub fn freezer_directory(&self) -> Option<PathBuf> {
        let unified = || self.unified().map(|open| &open.seat);
        self.legacy("freezer").or_else(unified).map(|seat| seat.directory.clone())
    }

    fn set_frozen(&self, freeze: bool) -> Result<()> {
        let verb = if freeze { "freeze" } else { "thaw" };
        if let Some((open, handle)) = self.unified().and_then(|open| Some((open, open.handle.as_ref()?))) {
            let directory = &open.seat.directory;
            match file::write(handle, "cgroup.freeze", if freeze { "1" } else { "0" }) {
                Ok(()) => {
                    let Some(events) = Events::open(handle, directory)? else { return Err(nothing_to(verb)) };
                    return match if freeze { events.wait_until_frozen() } else { events.wait("frozen", 0) }? {
                        true => Ok(()),
                        false => Err(too_slow(verb, directory)),
                    };
                }
                // Before Linux 5.2 version 2 has no freezer.
                Err(Errno::NOENT) if self.legacy("freezer").is_some() => {}
                Err(Errno::NOENT | Errno::NODEV) => return Err(nothing_to(verb)),
                Err(error) => return Err(error).on("write", directory.join("cgroup.freeze")),
            }
        }
        let seat = self.legacy("freezer").ok_or_else(|| nothing_to(verb))?;
        freeze_v1(&seat.directory, freeze)
    }
}

/// Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst
fn freeze_v1(directory: &Path, freeze: bool) -> Result<()> {
    let (wanted, verb) = if freeze { ("FROZEN", "freeze") } else { ("THAWED", "thaw") };
    let state = directory.join("freezer.state");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file::write_path(&state, wanted) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::NODEV) => return Err(nothing_to(verb)),
            Err(error) => return Err(error).on("write", &state),
        }
        if file::read_path(&state).on("read", &state)?.trim() == wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            if freeze {
                // Half frozen is worse than running.
                let _ = file::write_path(&state, "THAWED");
            }
            return Err(too_slow(verb, directory));
        }
        let pause = Timespec { tv_sec: 0, tv_nsec: FREEZER_V1_PAUSE.subsec_nanos().into() };
        let _ = poll(&mut [], Some(&pause));
    }
}

fn nothing_to(verb: &str) -> Error {
    Error::new(Kind::State, format!("{verb}: the container has no cgroup (any more) that can be frozen"))
}

fn too_slow(verb: &str, directory: &Path) -> Error {
    let text = format!("{verb} {}: not done after {} s", directory.display(), PATIENCE.as_secs());
    Error::new(Kind::System, text).remedy("a process in it may wait for a disk or a server without end")
}
