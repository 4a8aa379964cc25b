//! Programs run to their end, and how long that takes.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// In seconds: whoever takes longer hangs. Loading an image takes some.
const LONGEST: i64 = 60;
/// The same for one container.
const LONGEST_RUN: i64 = 5;

/// Milliseconds from before the start to after the end of a program; the error when it does not do its work.
pub fn milliseconds(command: &mut Command) -> Result<f64, String> {
    let started = Instant::now();
    finish(command)?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}

/// The same of a program that may hang now and then, as youki's `run` does when the container has ended before it looks: it is
/// killed, `clean_up` removes what is left, and it is done once more.
pub fn milliseconds_in_a_few_attempts(command: &mut Command, clean_up: impl Fn()) -> Result<f64, String> {
    for _ in 0..5 {
        let started = Instant::now();
        match end(command, LONGEST_RUN)? {
            Some(status) => {
                let elapsed = started.elapsed();
                return judge(command, status).map(|()| elapsed.as_secs_f64() * 1000.0);
            }
            None => clean_up(),
        }
    }
    Err(format!("hangs: has not ended after {LONGEST_RUN} s, five times"))
}

/// Runs a program to its end, without input and output.
pub fn finish(command: &mut Command) -> Result<(), String> {
    match end(command, LONGEST)? {
        Some(status) => judge(command, status),
        None => Err(format!("{command:?}: has not ended after {LONGEST} s")),
    }
}

/// How it ended; `None`: it was killed when the time was over.
fn end(command: &mut Command, seconds: i64) -> Result<Option<ExitStatus>, String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let mut end = None;
    wait_for_each(vec![child], seconds, |status| end = status);
    Ok(end)
}

fn judge(command: &mut Command, status: ExitStatus) -> Result<(), String> {
    if status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", reason(command).unwrap_or_else(|| status.to_string())))
}

/// Calls `at` when one of them has ended; how many did not do their work.
pub fn wait_for_all(children: Vec<Child>, mut at: impl FnMut()) -> usize {
    let mut failed = 0;
    wait_for_each(children, LONGEST, |status| {
        failed += usize::from(!status.is_some_and(|status| status.success()));
        at();
    });
    failed
}

/// How each ended, in the order in which they do; `None` for those that were killed because nobody ended for so many seconds.
fn wait_for_each(children: Vec<Child>, seconds: i64, mut at: impl FnMut(Option<ExitStatus>)) {
    let watch = |child: Child| (pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("pidfd_open"), child);
    let mut running: Vec<_> = children.into_iter().map(watch).collect();
    while !running.is_empty() {
        let mut watched: Vec<PollFd<'_>> =
            running.iter().map(|(handle, _)| PollFd::new(handle, PollFlags::IN)).collect();
        let ready = match rustix::event::poll(&mut watched, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })) {
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
            let status = child.wait().expect("wait for a child");
            at((ready > 0).then_some(status));
        }
    }
}

/// What a command that failed says when it is asked once more; `None` when it does not fail again.
fn reason(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::piped()).output().ok().filter(|output| !output.status.success())?;
    Some(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
