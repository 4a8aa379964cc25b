//! `delete`: also of what a killed launcher left half made.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;

use super::Runtime;
use crate::cgroup;
use crate::error::{Error, Kind, Result};
use crate::launch::hooks;
use crate::plan::{self, Hooks, Host, Request};
use crate::state::{Directory, Identity, Record, Status};
use crate::{log, resctrl, trace};

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
        if force {
            return self.remove_whatever_is_there(&directory);
        }
        let record = directory.existing_record()?;
        let status = directory.status(&record)?;
        if !matches!(status, Status::Stopped | Status::Created) {
            return Err(Error::new(Kind::State, format!("cannot delete container {id} that is not stopped: {status}"))
                .remedy("stop it first, or use --force"));
        }
        remove(&directory, &record)
    }

    fn remove_whatever_is_there(&self, directory: &Directory) -> Result<()> {
        let record = directory.record().or_else(|error| tolerate(error).map(|()| None))?;
        if let Some(record) = record {
            return remove(directory, &record);
        }
        let Some(mut guessed) = self.reconstruct(directory) else {
            end_init(directory, None)?;
            return directory.remove();
        };
        if let Some(cgroup) = &guessed.cgroup
            && !runs_in(directory, cgroup)?
        {
            // It may be another container's: the command line can be another than the one that made this one.
            end_init(directory, None)?;
            if !cgroup.open().remove_if_empty()? {
                log::warn(format_args!(
                    "the cgroup of container {} is not known for certain: what is in it, if it was its own, is left",
                    directory.id()
                ));
            }
            guessed.cgroup = None;
        }
        remove(directory, &guessed)
    }

    /// What a record that can not be read has said about the cgroup: made from the configuration again, like the first time.
    /// Hooks do not run: they would be told of a bundle that nobody knows any more. `None`: the container was not even begun.
    fn reconstruct(&self, directory: &Directory) -> Option<Record> {
        let spec = directory.configuration().ok()?.spec;
        let request = Request::new(directory.id(), Path::new("/"), self.cgroups);
        let plan = plan::compile(&request, &spec, &Host::detect().ok()?).ok()?;
        Some(Record { hooks: Hooks::default(), ..Record::of(&plan, &spec) })
    }
}

/// Whether the container's process is there, and in that cgroup.
fn runs_in(directory: &Directory, cgroup: &cgroup::Record) -> Result<bool> {
    let init = directory.init().or_else(|error| tolerate(error).map(|()| None))?;
    let Some(init) = init else { return Ok(false) };
    // While it is open the number is its own.
    let process = Identity::open(init)?;
    Ok(process.is_some() && rustix::process::Pid::from_raw(init.pid).is_some_and(|pid| cgroup.has(pid)))
}

/// Damage is worth a warning where everything is removed anyway.
fn tolerate(error: Error) -> Result<()> {
    if error.kind() != Kind::Damaged {
        return Err(error);
    }
    log::warn(error);
    Ok(())
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
    if let Ok(Some(record)) = directory.record() {
        end_init(directory, Some(&record))?;
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
    end_init(directory, Some(record))?;
    remove_ended(directory, record)
}

/// As [`remove`], of a container whose first process has ended and been waited for.
pub(super) fn remove_ended(directory: &Directory, record: &Record) -> Result<()> {
    if let Some(cgroup) = &record.cgroup {
        let cgroup = cgroup.open();
        // Mostly nobody is left in it, and so there is nobody to kill.
        if !cgroup.remove_if_empty().unwrap_or(false) {
            cgroup.kill()?;
        }
        cgroup.remove()?;
        trace::step("remove the cgroup");
    }
    record.resctrl.as_ref().map(resctrl::Record::remove).transpose()?;
    directory.remove()?;
    trace::step("remove the state");
    let state = record.document.at(Status::Stopped, None);
    for error in hooks::run_all("poststop", &record.hooks.poststop, &state, None) {
        log::warn(error);
    }
    Ok(())
}

fn end_init(directory: &Directory, record: Option<&Record>) -> Result<()> {
    let init = directory.init().or_else(|error| tolerate(error).map(|()| None))?;
    let Some(init) = init else { return Ok(()) };
    let Some(process) = Identity::open(init)? else { return Ok(()) };
    match rustix::process::pidfd_send_signal(&process, Signal::KILL) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Ok(()),
        Err(errno) => {
            return Err(Error::system(format!("kill process {} of container {}", init.pid, directory.id()), errno));
        }
    }
    if let Some(record) = record
        && directory.status(record)? == Status::Paused
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
