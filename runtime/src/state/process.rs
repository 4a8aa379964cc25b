//! A process by its number and the time it started, which together never mean another one.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};

/// Kept in the file `init`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Identity {
    /// In the pid namespace of the commands.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat (proc_pid_stat(5)), in clock ticks since boot.
    pub start_time: u64,
}

/// What a look at /proc/PID/stat tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProcessState {
    /// `comm`
    pub name: String,
    /// Whether it is a zombie or gone.
    pub dead: bool,
    /// Field 22.
    pub start_time: u64,
}

impl Identity {
    /// Of a process that can not go away meanwhile, such as a child that is not waited for.
    pub fn of(pid: Pid) -> Result<Self> {
        let pid = pid.as_raw_nonzero().get();
        let state = ProcessState::read(pid)?
            .ok_or_else(|| Error::new(Kind::System, format!("process {pid} is gone before it was noted")))?;
        Ok(Self { pid, start_time: state.start_time })
    }

    /// How it is; `None` when it is no more.
    pub fn state(self) -> Result<Option<ProcessState>> {
        Ok(ProcessState::read(self.pid)?.filter(|state| state.start_time == self.start_time && !state.dead))
    }

    /// A descriptor of it, if it is still there.
    pub fn open(self) -> Result<Option<OwnedFd>> {
        Ok(self.open_and_look()?.map(|(pidfd, _)| pidfd))
    }

    /// A descriptor of it and how it is, if it is still there.
    pub fn open_and_look(self) -> Result<Option<(OwnedFd, ProcessState)>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // Also when the number is another process's thread by now, or its process is being reaped at this moment: ENOENT, and
            // EINVAL before Linux 6.9.
            Err(Errno::SRCH | Errno::NOENT | Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(Error::system(format!("open process {}", self.pid), errno)),
        };
        // Looked at after it was opened: the number can not have been used anew in between.
        Ok(self.state()?.map(|state| (pidfd, state)))
    }
}

impl ProcessState {
    fn read(pid: i32) -> Result<Option<Self>> {
        let path = format!("/proc/{pid}/stat");
        let file = match rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(Error::system(format!("open {path}"), errno)),
        };
        let mut buffer = [0; 1024];
        let length = match rustix::io::read(&file, &mut buffer) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            other => other.step(|| format!("read {path}"))?,
        };
        let text = String::from_utf8_lossy(&buffer[..length]);
        Self::parse(&text)
            .map(Some)
            .ok_or_else(|| Error::new(Kind::System, format!("{path} has a form that nobody knows")))
    }

    /// The name is in parentheses and may hold anything, parentheses too.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(") ")?;
        let name = before.split_once('(')?.1.to_owned();
        let mut fields = after.split(' ');
        let state = fields.next()?;
        let start_time = fields.nth(18)?.parse().ok()?;
        Some(Self { name, dead: matches!(state, "Z" | "X" | "x"), start_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_anything() {
        let text = "42 (a) b (c) Z 1 1 1 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 0 0\n";
        let state = ProcessState::parse(text).unwrap();
        assert_eq!(state, ProcessState { name: "a) b (c".into(), dead: true, start_time: 987_654 });
    }

    #[test]
    fn a_number_that_is_a_thread_now_is_no_process() {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            let _ = ended.recv();
        });
        let pid = told.recv().unwrap().as_raw_nonzero().get();
        assert!(Identity { pid, start_time: 0 }.open().unwrap().is_none());
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn this_process_is_there_and_another_start_time_is_not() {
        let identity = Identity::of(rustix::process::getpid()).unwrap();
        assert!(identity.state().unwrap().is_some());
        assert!(identity.open().unwrap().is_some());
        let other = Identity { start_time: identity.start_time + 1, ..identity };
        assert!(other.open().unwrap().is_none());
    }
}
