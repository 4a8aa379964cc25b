//! Runs the spec's hooks (config.md, "POSIX-platform Hooks").

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::error::{Context, Error, Kind, Result};
use crate::plan::Hook;
use crate::state::Document;
use crate::sys::process::ordinary_process;

/// Runs them one after the other, in the bundle; the first that fails ends it.
pub(crate) fn run(kind: &str, hooks: &[Hook], state: &Document) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state_text = serde_json::to_vec(state).map_err(std::io::Error::from).step(|| "encode the state for hooks")?;
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, &state_text, &state.bundle)
            .map_err(|error| error.during(format!("hooks.{kind}[{index}]: {}", hook.path.display())))?;
    }
    Ok(())
}

/// Runs them all whatever happens; the failures are what is returned (config.md: poststart and poststop).
pub(crate) fn run_all(kind: &str, hooks: &[Hook], state: &Document) -> Vec<Error> {
    let each = |(index, hook): (usize, &Hook)| {
        let result = run(kind, std::slice::from_ref(hook), state);
        result.err().map(|error| error.during(format!("hook {index}")))
    };
    hooks.iter().enumerate().filter_map(each).collect()
}

fn run_one(hook: &Hook, state: &[u8], directory: &Path) -> Result<()> {
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
    if let Some(seconds) = hook.timeout
        && !ends_within(child.id(), Duration::from_secs(seconds.into()))?
    {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::new(Kind::System, format!("did not end within its timeout of {seconds} s and was killed")));
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

fn ends_within(pid: u32, limit: Duration) -> Result<bool> {
    let pid =
        i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| Error::new(Kind::System, "no such process"))?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).step(|| "open its process")?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut waiting = [PollFd::new(&pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut waiting, Some(&timeout)) {
            Ok(0) => {
                let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
                return Ok(false);
            }
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for it", errno)),
        }
    }
}
