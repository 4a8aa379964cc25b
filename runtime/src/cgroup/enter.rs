//! How a process gets into a cgroup.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::file;
use super::handle::{Cgroup, is_gone};
use super::layout::Version;
use super::record::Seat;
use crate::error::{Context, Error, Kind, Result};

/// Puts the calling process where the doors lead, without waiting for anything.
///
/// Only for a process with a single thread. The doors carry the permission of the one who opened them, so this also works
/// after the user namespace or the credentials have changed. Async-signal-safe: nothing is allocated unless it fails.
///
/// # Errors
/// What the kernel refused: `ENOSPC` for a cpuset without processors, `EINVAL` for a real-time process without runtime.
pub fn enter_through<D: AsFd>(doors: &[D]) -> Result<()> {
    doors.iter().try_for_each(|door| {
        file::put(door, "0").map_err(|errno| {
            let error = Error::system("enter the container's cgroup (write 0 to tasks)", errno);
            match errno {
                Errno::INVAL => error.remedy(
                    "a real-time process (process.scheduler) needs a share: linux.resources.cpu.realtimeRuntime",
                ),
                Errno::NOSPC => error.remedy("its cpuset has no CPU or no memory node"),
                _ => error,
            }
        })
    })
}

impl Cgroup {
    /// The files through which a process enters by itself with [`enter_through`]: those of every version 1 hierarchy.
    /// Close-on-exec. Version 2 has no such way that is free: there, [`Cgroup::clone_into`].
    ///
    /// # Errors
    /// When one can not be opened.
    pub fn doors(&self) -> Result<Vec<OwnedFd>> {
        let open = |seat: &Seat| {
            let tasks = seat.directory.join("tasks");
            file::open(CWD, &tasks, OFlags::WRONLY).on("open", &tasks)
        };
        let legacy = self.seats.iter().map(|open| &open.seat).filter(|seat| seat.version == Version::V1);
        let mut doors = legacy.map(open).collect::<Result<Vec<OwnedFd>>>()?;
        if let Some(spare) = self.spare_in_use() {
            doors.push(open(spare)?);
        }
        Ok(doors)
    }

    /// Moves `pid`, with all its threads, into every hierarchy that [`Cgroup::clone_into`] does not cover.
    ///
    /// # Errors
    /// What the kernel refused; a process that is gone is `ESRCH`.
    pub fn enter(&self, pid: Pid) -> Result<()> {
        let legacy = self.seats.iter().map(|open| &open.seat).filter(|seat| seat.version == Version::V1);
        legacy.chain(self.spare_in_use()).try_for_each(|seat| {
            let list = seat.directory.join("cgroup.procs");
            file::write_path(&list, &pid.as_raw_nonzero().to_string()).on("write the process's id to", &list)
        })
    }

    /// Moves `pid` into version 2's directory, for a kernel without `CLONE_INTO_CGROUP` (before 5.7).
    ///
    /// # Errors
    /// What the kernel refused; `EBUSY` or `EOPNOTSUPP` when the cgroup has handed its controllers to children.
    pub fn enter_unified(&self, pid: Pid) -> Result<()> {
        let Some((open, handle)) = self.unified().and_then(|open| Some((open, open.handle.as_ref()?))) else {
            return Ok(());
        };
        file::write(handle, "cgroup.procs", &pid.as_raw_nonzero().to_string())
            .on("write the process's id to", open.seat.directory.join("cgroup.procs"))
    }

    /// As [`Cgroup::clone_into`], for a process that joins a running container: where the container's init is.
    ///
    /// An init that divides its cgroup (systemd) moves itself to a child, and version 2 takes no process beside it then
    /// ("no internal processes"). `None` where there is no version 2.
    ///
    /// # Errors
    /// [`Kind::State`] when `init` is gone.
    pub fn clone_beside(&self, init: Pid) -> Result<Option<OwnedFd>> {
        let Some(open) = self.unified() else { return Ok(None) };
        let directory = self.beside(&open.seat, init)?;
        file::open_directory(&directory).on("open", &directory).map(Some)
    }

    /// Whether only systemd can put a process of ours into it. An ordinary user may move processes within what is delegated
    /// to him, but not into it from elsewhere, such as a login's session: for that he would have to be allowed to write to the
    /// list of the cgroup above both (cgroups(7), "Delegation containment").
    ///
    /// # Errors
    /// When the own membership can not be read.
    pub fn is_behind_systemd(&self) -> Result<bool> {
        let (Some(open), true) = (self.unified(), self.unit.as_ref().is_some_and(|unit| unit.user)) else {
            return Ok(false);
        };
        let own = unified_membership(rustix::process::getpid())?;
        let there = &open.seat.membership;
        let shared = own.components().zip(there.components()).take_while(|(a, b)| a == b).count();
        let above = open.seat.directory.ancestors().nth(there.components().count() - shared);
        let list = above.map(|above| above.join("cgroup.procs"));
        let may = |list| rustix::fs::accessat(CWD, list, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
        Ok(!list.is_some_and(may))
    }

    /// Has systemd move `pid` to where `beside` leads, without one to the cgroup itself.
    ///
    /// # Errors
    /// Why systemd refuses.
    pub fn attach_by_systemd(&self, pid: Pid, beside: Option<BorrowedFd<'_>>) -> Result<()> {
        let (Some(unit), Some(open)) = (&self.unit, self.unified()) else { return Ok(()) };
        let place = beside.map(|beside| std::fs::read_link(format!("/proc/self/fd/{}", beside.as_raw_fd())));
        let place = place.transpose().step(|| "look up the container's cgroup")?;
        let below = place.as_deref().and_then(|place| place.strip_prefix(&open.seat.directory).ok());
        unit.attach(pid, below.unwrap_or(Path::new("")))
    }

    /// Moves `pid` to where the container's `init` is, in every hierarchy. It may be in them already.
    ///
    /// # Errors
    /// As [`Cgroup::enter`] and [`Cgroup::clone_beside`].
    pub fn enter_beside(&self, pid: Pid, init: Pid) -> Result<()> {
        if let Some(open) = self.unified() {
            let list = open.seat.directory.join("cgroup.procs");
            match file::write_path(&list, &pid.as_raw_nonzero().to_string()) {
                Ok(()) => {}
                Err(Errno::BUSY | Errno::OPNOTSUPP) => {
                    let list = self.beside(&open.seat, init)?.join("cgroup.procs");
                    file::write_path(&list, &pid.as_raw_nonzero().to_string())
                        .on("write the process's id to", &list)?;
                }
                Err(error) => return Err(error).on("write the process's id to", &list),
            }
        }
        self.enter(pid)
    }

    /// The directory of version 2 in which `init` is: the container's, or one below it.
    fn beside(&self, seat: &Seat, init: Pid) -> Result<PathBuf> {
        Ok(match unified_membership(init)?.strip_prefix(&seat.membership) {
            Ok(below) if !below.as_os_str().is_empty() => seat.directory.join(below),
            _ => seat.directory.clone(),
        })
    }
}

/// A process's cgroup of version 2, as /proc shows it; the root one without version 2.
pub(super) fn unified_membership(pid: Pid) -> Result<PathBuf> {
    let path = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
    let text = match file::read_path(&path) {
        Err(error) if is_gone(error) || error == Errno::SRCH => {
            return Err(Error::new(Kind::State, "container not running: its init is gone"));
        }
        other => other.on("read", &path)?,
    };
    Ok(PathBuf::from(text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/")))
}
