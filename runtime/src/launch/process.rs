//! A process that this one has made.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::error::{Context, Result};

/// A child; its number is its own until it is waited for.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Child {
    pub(super) fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd }
    }

    /// A child that somebody else cloned for this process (`CLONE_PARENT`).
    pub(crate) fn adopted(pid: Pid) -> Result<Self> {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).step(|| "open the container's process")?;
        Ok(Self { pid, pidfd })
    }

    /// Its number in this process's pid namespace.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// SIGKILL, and waits for the end. For undoing: errors have nowhere to go.
    pub(crate) fn kill(&self) {
        self.send_kill();
        let _ = self.wait();
    }

    /// SIGKILL; whoever is in a frozen cgroup of version 1 ends later.
    pub(super) fn send_kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Reaps whoever else has ended: orphans that this process has got as a subreaper.
    pub(super) fn reap_others(&self) {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        while let Ok(status) = waitid(Id::All, ended | WaitPidFlag::WNOWAIT)
            && let Some(pid) = status.pid()
            && pid.as_raw() != self.pid.as_raw_nonzero().get()
        {
            let _ = waitid(Id::Pid(pid), ended);
        }
    }

    /// Waits for its end: the exit status, or 128 and the signal's number.
    pub fn wait(&self) -> Result<i32> {
        let status = loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => break status,
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno).step(|| "wait for the container's process"),
            }
        };
        let signal = status.terminating_signal().map(|signal| 128 + signal);
        Ok(status.exit_status().or(signal).unwrap_or(255))
    }
}
