//! The process with which a scope starts.

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, set_parent_process_death_signal, waitid};

use crate::error::{Error, Result};
use crate::sys::process::{CloneOptions, Cloned, clone3, exit_now};

/// A child that does nothing: systemd starts no empty scope, and the container's own process is to be born inside of it.
/// It ends when this is dropped, and with its parent.
#[derive(Debug)]
pub struct StandIn {
    pid: Pid,
    pidfd: OwnedFd,
}

impl StandIn {
    /// # Errors
    /// What the kernel refused.
    pub fn start() -> Result<StandIn> {
        match clone3(&CloneOptions::default()).map_err(|error| Error::system("clone a process for the scope", error))? {
            Cloned::Parent { pid, pidfd } => Ok(StandIn { pid, pidfd }),
            Cloned::Child => {
                if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
                    exit_now(1);
                }
                loop {
                    let _ = rustix::event::poll(&mut [], None);
                }
            }
        }
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // Neither can fail for a child that is ours and has not been waited for.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}
