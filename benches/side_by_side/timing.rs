//! Programs run to their end, and how long that takes.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Whoever takes longer hangs.
const LONGEST: Timespec = Timespec { tv_sec: 120, tv_nsec: 0 };

/// Milliseconds from before the start to after the end of a program; the error when it does not do its work.
pub fn milliseconds(command: &mut Command) -> Result<f64, String> {
    let started = Instant::now();
    finish(command)?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}

/// Runs a program to its end, without input and output.
pub fn finish(command: &mut Command) -> Result<(), String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let status = wait(child).map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {}", reason(command).unwrap_or_else(|| status.to_string())))
    }
}

fn wait(child: Child) -> Result<ExitStatus, String> {
    let mut status = None;
    wait_for_each(vec![child], |ended| status = Some(ended));
    status.unwrap_or_else(|| Err("is gone".to_owned()))
}

/// Calls `at` when one of them has ended; how many did not do their work.
pub fn wait_for_all(children: Vec<Child>, mut at: impl FnMut()) -> usize {
    let mut failed = 0;
    wait_for_each(children, |ended| {
        failed += usize::from(!ended.is_ok_and(|status| status.success()));
        at();
    });
    failed
}

/// The end of each, in the order in which they end. Those that hang are killed.
fn wait_for_each(children: Vec<Child>, mut at: impl FnMut(Result<ExitStatus, String>)) {
    let watch = |child: Child| (pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("pidfd_open"), child);
    let mut running: Vec<_> = children.into_iter().map(watch).collect();
    while !running.is_empty() {
        let mut watched: Vec<PollFd<'_>> =
            running.iter().map(|(handle, _)| PollFd::new(handle, PollFlags::IN)).collect();
        let ready = match rustix::event::poll(&mut watched, Some(&LONGEST)) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.expect("poll"),
        };
        let over: Vec<bool> = watched.iter().map(|one| ready == 0 || !one.revents().is_empty()).collect();
        let mut over = over.into_iter();
        let (ended, still) = running.into_iter().partition(|_| over.next().unwrap_or(true));
        running = still;
        for (handle, mut child) in ended {
            if ready == 0 {
                let _ = pidfd_send_signal(&handle, Signal::KILL);
            }
            let status = child.wait().map_err(|error| error.to_string());
            at(if ready == 0 { Err(format!("has not ended after {} s", LONGEST.tv_sec)) } else { status });
        }
    }
}

/// What a command that failed says when it is asked once more; `None` when it does not fail again.
fn reason(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::piped()).output().ok().filter(|output| !output.status.success())?;
    Some(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
