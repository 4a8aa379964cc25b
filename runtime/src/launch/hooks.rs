//! Runs the spec's hooks (config.md, "POSIX-platform Hooks").

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags};

use super::foreground::Foreground;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::Hook;
use crate::state::Document;
use crate::sys::process::ordinary_process;

/// Runs them one after the other, in the bundle; the first that fails ends it. A caller in the foreground may
/// interrupt them.
pub(crate) fn run(kind: &str, hooks: &[Hook], state: &Document, caller: Option<&Foreground>) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state_text = serde_json::to_vec(state).map_err(std::io::Error::from).step(|| "encode the state for hooks")?;
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, &state_text, &state.bundle, caller)
            .map_err(|error| error.during(format!("hooks.{kind}[{index}]: {}", hook.path.display())))?;
    }
    Ok(())
}

/// Runs them all whatever happens; the failures are what is returned (config.md: poststart and poststop).
pub(crate) fn run_all(kind: &str, hooks: &[Hook], state: &Document, caller: Option<&Foreground>) -> Vec<Error> {
    let each = |(index, hook): (usize, &Hook)| {
        let result = run(kind, std::slice::from_ref(hook), state, caller);
        result.err().map(|error| error.during(format!("hook {index}")))
    };
    hooks.iter().enumerate().filter_map(each).collect()
}

fn run_one(hook: &Hook, state: &[u8], directory: &Path, caller: Option<&Foreground>) -> Result<()> {
    let mut command = Command::new(&hook.path);
    if let Some((name, arguments)) = hook.args.split_first() {
        command.arg0(name).args(arguments);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|entry| entry.split_once('=')));
    if directory.is_dir() {
        command.current_dir(directory);
    }
    // Through memory: a hook that does not read its state must not hold anybody up, and what it prints is not the
    // container's output.
    let input = memory(state)?;
    let output = memory(&[])?;
    let keep = |file: &File| file.try_clone().map(Stdio::from).step(|| "hand it its output");
    command.stdin(input).stdout(keep(&output)?).stderr(keep(&output)?);
    ordinary_process(&mut command);
    let mut child = command.spawn().step(|| "start it")?;
    if hook.timeout.is_some() || caller.is_some() {
        let ended = wait_for_end(child.id(), hook.timeout, caller);
        if ended.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        ended?;
    }
    let status = child.wait().step(|| "wait for it")?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(Kind::System, format!("failed: {status}")).remedy(last_words(output)))
}

/// A file in memory with that content, at its beginning.
fn memory(content: &[u8]) -> Result<File> {
    let step = || "hand it its state";
    let mut file = File::from(rustix::fs::memfd_create("pipkin-hook", MemfdFlags::CLOEXEC).step(step)?);
    file.write_all(content).step(step)?;
    file.rewind().step(step)?;
    Ok(file)
}

/// The end of what it printed, on one line.
fn last_words(mut output: File) -> String {
    const LONGEST: u64 = 512;
    let _ = output.seek(SeekFrom::End(0)).and_then(|end| output.seek(SeekFrom::Start(end.saturating_sub(LONGEST))));
    let mut text = Vec::new();
    let _ = output.take(LONGEST).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let text = text.trim().replace('\n', "; ");
    if text.is_empty() { "it printed nothing".to_owned() } else { format!("it printed: {text}") }
}

/// An error when it does not end in time, or somebody in the foreground asks for the end.
fn wait_for_end(pid: u32, timeout: Option<u32>, caller: Option<&Foreground>) -> Result<()> {
    let pid =
        i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| Error::new(Kind::System, "no such process"))?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).step(|| "open its process")?;
    let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    loop {
        caller.map_or(Ok(()), Foreground::check)?;
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        let signals = caller.map(|caller| PollFd::from_borrowed_fd(caller.signals(), PollFlags::IN));
        let mut waiting: Vec<PollFd<'_>> =
            [Some(PollFd::new(&pidfd, PollFlags::IN)), signals].into_iter().flatten().collect();
        match rustix::event::poll(&mut waiting, left.as_ref()) {
            Ok(0) => {
                let seconds = timeout.unwrap_or(0);
                let text = format!("did not end within its timeout of {seconds} s and was killed");
                return Err(Error::new(Kind::System, text));
            }
            Ok(_) if !waiting[0].revents().is_empty() => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for it", errno)),
        }
    }
}
