//! Signals to every process of a cgroup.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::events::{PATIENCE, wait_for_ends};
use super::file;
use super::handle::Cgroup;
use crate::error::{Context, Error, Kind, Result};

impl Cgroup {
    /// Sends a signal to every process in it that was there at the time; `KILL` as [`Cgroup::kill`], which none escapes.
    ///
    /// # Errors
    /// `EPERM` and its like; a process that ends meanwhile is none.
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        if signal == Signal::KILL {
            return self.kill();
        }
        for pid in self.processes()? {
            match kill_process(pid, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error).step(|| format!("kill {pid:?} with {signal:?}")),
            }
        }
        Ok(())
    }

    /// Ends every process in it, also those that fork meanwhile and those that are frozen. They may still be dying when
    /// it returns: [`Cgroup::remove`] waits.
    ///
    /// # Errors
    /// When the kernel refuses, or new processes keep coming for 30 s.
    pub fn kill(&self) -> Result<()> {
        if let Some((open, handle)) = self.unified().and_then(|open| Some((open, open.handle.as_ref()?))) {
            match file::write(handle, "cgroup.kill", "1") {
                // In the hybrid layout a process could have been moved out of the unified cgroup alone; see below.
                Ok(()) | Err(Errno::NODEV) => {}
                // Before Linux 5.14, in a threaded cgroup, or gone.
                Err(Errno::NOENT | Errno::OPNOTSUPP) => self.kill_one_by_one(|| self.processes())?,
                Err(error) => return Err(error).on("write", open.seat.directory.join("cgroup.kill")),
            }
        }
        self.kill_legacy()
    }

    fn kill_legacy(&self) -> Result<()> {
        let Some(seat) = self.legacy("freezer").or_else(|| self.legacy("pids")).or_else(|| self.legacy("devices"))
        else {
            return Ok(());
        };
        let list = || {
            let mut all = Vec::new();
            super::handle::collect(&seat.directory, &mut all).map(|()| all)
        };
        if list()?.is_empty() {
            return Ok(());
        }
        self.kill_one_by_one(list)?;
        // Version 1's freezer holds even the dying.
        match self.legacy("freezer") {
            Some(seat) => match file::write_path(seat.directory.join("freezer.state"), "THAWED") {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
                Err(error) => Err(error).on("thaw", &seat.directory),
            },
            None => Ok(()),
        }
    }

    /// Kills until the list is empty or holds only processes that have been told: a fork bomb is faster than one round.
    fn kill_one_by_one(&self, list: impl Fn() -> Result<Vec<Pid>>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut told: Vec<Pid> = Vec::new();
        loop {
            let fresh: Vec<Pid> = list()?.into_iter().filter(|pid| !told.contains(pid)).collect();
            if fresh.is_empty() {
                return Ok(());
            }
            for pid in fresh {
                match kill_process(pid, Signal::KILL) {
                    Ok(()) | Err(Errno::SRCH) => told.push(pid),
                    Err(error) => return Err(error).step(|| format!("kill {pid:?}")),
                }
            }
            if Instant::now() > deadline {
                let text = "kill all: new processes keep appearing in the cgroup";
                return Err(Error::new(Kind::System, text).remedy("freeze it first (pause)"));
            }
        }
    }

    /// Waits for the end of every process that is in it now; false when that takes longer than 30 s.
    pub(super) fn wait_for_processes(&self) -> Result<bool> {
        let open = |pid: Pid| pidfd_open(pid, PidfdFlags::empty());
        let processes: Vec<OwnedFd> = self.processes()?.into_iter().filter_map(|pid| open(pid).ok()).collect();
        wait_for_ends(&processes)
    }
}
