//! `kill`.

use rustix::process::Signal;

use super::Runtime;
use crate::error::{Error, Kind, Result};
use crate::state::{Record, Status};

impl Runtime {
    /// What signal 0 is for (kill(2)): an error when the container has no process.
    pub fn check_running(&self, id: &str) -> Result<()> {
        match self.look_up(id)?.2 {
            Status::Stopped | Status::Creating => Err(Error::new(Kind::State, format!("container not running: {id}"))),
            Status::Created | Status::Running | Status::Paused => Ok(()),
        }
    }

    /// Sends a signal to the container's first process, or to all of its processes.
    ///
    /// SIGKILL reaches all where the container has no pid namespace of its own, because the end of its first process
    /// would not be the end of the others.
    pub fn kill(&self, id: &str, signal: Signal, all: bool) -> Result<()> {
        let (directory, record, status) = self.look_up(id)?;
        let not_running = || Error::new(Kind::State, format!("container not running: {id}"));
        let everywhere = all || (signal == Signal::KILL && !record.private_pid_namespace);
        if everywhere && let Some(cgroup) = &record.cgroup {
            let cgroup = cgroup.open();
            if status == Status::Stopped && cgroup.processes()?.is_empty() {
                // A repeated --all is how engines make sure.
                return if all { Ok(()) } else { Err(not_running()) };
            }
            cgroup.signal_all(signal)?;
            return thaw_killed(&record, signal, status);
        }
        if matches!(status, Status::Stopped | Status::Creating) {
            return Err(not_running());
        }
        let init =
            directory.init()?.map(crate::state::Identity::open).transpose()?.flatten().ok_or_else(not_running)?;
        match rustix::process::pidfd_send_signal(&init, signal) {
            Ok(()) => thaw_killed(&record, signal, status),
            Err(rustix::io::Errno::SRCH) => Err(not_running()),
            Err(errno) => Err(Error::system(format!("send signal {} to container {id}", signal.as_raw()), errno)),
        }
    }
}

/// The frozen do not die before they are thawed (cgroup v1).
fn thaw_killed(record: &Record, signal: Signal, status: Status) -> Result<()> {
    match &record.cgroup {
        Some(cgroup) if signal == Signal::KILL && status == Status::Paused => cgroup.open().thaw(),
        _ => Ok(()),
    }
}

/// `TERM`, `SIGTERM`, `15` and so on; real-time signals as `RTMIN+3`, `RTMAX-1` or by number (signal(7)).
pub fn parse_signal(text: &str) -> Result<Signal> {
    let unknown = || {
        Error::invalid("signal", format!("unknown signal {text:?}: give a name such as TERM or a number from 1 to 64"))
    };
    let raw = match text.parse::<i32>() {
        Ok(number) => number,
        Err(_) => number_of_name(text.to_ascii_uppercase().as_str()).ok_or_else(unknown)?,
    };
    if !(1..=libc::SIGRTMAX()).contains(&raw) {
        return Err(unknown());
    }
    // rustix leaves the real-time signals to the C library; the runtime only passes them on.
    Signal::from_named_raw(raw).or_else(|| crate::sys::process::realtime_signal(raw)).ok_or_else(unknown)
}

fn number_of_name(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    let offset = |rest: &str, sign: char| rest.strip_prefix(sign).and_then(|digits| digits.parse::<i32>().ok());
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return if rest.is_empty() { Some(libc::SIGRTMIN()) } else { Some(libc::SIGRTMIN() + offset(rest, '+')?) };
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return if rest.is_empty() { Some(libc::SIGRTMAX()) } else { Some(libc::SIGRTMAX() - offset(rest, '-')?) };
    }
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in
            [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("9", 9), ("RTMIN+3", 37), ("64", 64), ("RTMAX", 64)]
        {
            assert_eq!(parse_signal(text).unwrap().as_raw(), number, "{text}");
        }
        for bad in ["", "0", "65", "-1", "NOPE", "RTMIN-1", "RTMAX+1", "RTMIN+99"] {
            assert!(parse_signal(bad).is_err(), "{bad}");
        }
    }
}
