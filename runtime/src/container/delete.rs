//! `delete`: also of what a killed launcher left half made.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;

use super::Runtime;
use crate::error::{Error, Kind, Result};
use crate::launch::hooks;
use crate::state::{Directory, Identity, Record, Status};
use crate::{log, trace};

/// How long another command may take to give the lock up once the container's processes are dead.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a killed process may take to end: generous, because it may be in the middle of a large core or a slow disk.
const END: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

impl Runtime {
    /// Deletes a container that has stopped or was never started; with `force` any, and whatever there is of it.
    pub fn delete(&self, id: &str, force: bool) -> Result<()> {
        let directory = match self.store.open(id) {
            Err(error) if force && error.kind() == Kind::NotFound => return Ok(()),
            other => other?,
        };
        if !lock(&directory, force)? {
            // Another command was faster.
            return if force { Ok(()) } else { directory.lock_existing() };
        }
        let Some(record) = directory.record()? else {
            if force {
                return directory.remove();
            }
            return directory.existing_record().map(drop);
        };
        let status = directory.status(&record)?;
        if !force && !matches!(status, Status::Stopped | Status::Created) {
            return Err(Error::new(Kind::State, format!("cannot delete container {id} that is not stopped: {status}"))
                .remedy("stop it first, or use --force"));
        }
        remove(&directory, &record)
    }
}

/// With `force`, whoever has the lock is not waited for before the container's processes are ended: it may be waiting for
/// them itself.
fn lock(directory: &Directory, force: bool) -> Result<bool> {
    if !force {
        return directory.lock();
    }
    if let Some(there) = directory.try_lock()? {
        return Ok(there);
    }
    if let Some(record) = directory.record()? {
        end_init(directory)?;
        if let Some(cgroup) = &record.cgroup {
            cgroup.open().kill()?;
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(there) = directory.try_lock()? {
            return Ok(there);
        }
        // There is no event for a lock that can also be given up on.
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Error::new(Kind::State, format!("another command works on container {} and does not end", directory.id()))
        .remedy("is a hook of it hanging? its processes are killed; delete it again when the other command has ended"))
}

/// Ends what runs, and removes everything; safe to repeat.
pub(super) fn remove(directory: &Directory, record: &Record) -> Result<()> {
    end_init(directory)?;
    if let Some(cgroup) = &record.cgroup {
        let cgroup = cgroup.open();
        cgroup.kill()?;
        cgroup.remove()?;
        trace::step("remove the cgroup");
    }
    directory.remove()?;
    trace::step("remove the state");
    let state = record.document.at(Status::Stopped, None);
    for error in hooks::run_all("poststop", &record.hooks.poststop, &state, None) {
        log::warn(error);
    }
    Ok(())
}

fn end_init(directory: &Directory) -> Result<()> {
    let Some(init) = directory.init()? else { return Ok(()) };
    let Some(process) = Identity::open(init)? else { return Ok(()) };
    match rustix::process::pidfd_send_signal(&process, Signal::KILL) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Ok(()),
        Err(errno) => {
            return Err(Error::system(format!("kill process {} of container {}", init.pid, directory.id()), errno));
        }
    }
    if let Some(record) = directory.record()?
        && directory.status(&record)? == Status::Paused
        && let Some(cgroup) = &record.cgroup
    {
        cgroup.open().thaw()?;
    }
    loop {
        let mut waiting = [PollFd::new(&process, PollFlags::IN)];
        match rustix::event::poll(&mut waiting, Some(&END)) {
            Ok(0) => {
                return Err(Error::new(
                    Kind::System,
                    format!("process {} of container {} does not end", init.pid, directory.id()),
                ));
            }
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for the end of the container's process", errno)),
        }
    }
}
