//! `--trace-boot`: what takes how long, step by step, in the launcher and in the stage, for chrome://tracing or Perfetto.
//!
//! Both append to one file ("Trace Event Format", JSON array, whose closing bracket may be missing), each with one write when it
//! is done. Without the option a step costs one look at a variable.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use rustix::time::{ClockId, Timespec};

use crate::error::{Context, Result};
use crate::sys::process::inherited_descriptor;

/// Names the descriptor of the file in the stage's environment, which is otherwise empty.
const VARIABLE: &str = "PIPKIN_TRACE";

struct Trace {
    file: File,
    process: &'static str,
    /// For the viewer: the launcher above the stage.
    number: u32,
    steps: Mutex<Steps>,
}

struct Steps {
    /// When the last one ended, in nanoseconds.
    last: i64,
    done: Vec<(Cow<'static, str>, i64, i64)>,
}

static TRACE: OnceLock<Trace> = OnceLock::new();

/// In the launcher: everything is noted from now on.
///
/// # Errors
/// When the file can not be written.
pub fn begin(path: &Path) -> Result<()> {
    let file = OpenOptions::new().create(true).write(true).truncate(true).open(path);
    // Emptied first; from here on both processes append.
    let file =
        file.and_then(|mut file| file.write_all(b"[\n")).and_then(|()| OpenOptions::new().append(true).open(path));
    let file = file.on("write the trace", path)?;
    set(out_of_the_way(&file).map_or(file, File::from), "launcher", 1);
    Ok(())
}

/// At a high number: the low ones are those that the caller may want the program to have.
fn out_of_the_way(file: &File) -> Option<OwnedFd> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024).min(1024);
    let lowest = i32::try_from(limit).ok()?.checked_sub(8)?;
    rustix::io::fcntl_dupfd_cloexec(file, lowest).ok()
}

/// In the stage: goes on in the launcher's file, if there is one.
pub(crate) fn begin_in_stage() {
    let number = std::env::var(VARIABLE).ok().and_then(|number| number.parse().ok());
    if let Some(file) = number.and_then(|number| inherited_descriptor(number).ok()) {
        set(file.into(), "stage", 2);
    }
}

fn set(file: File, process: &'static str, number: u32) {
    let steps = Mutex::new(Steps { last: now(), done: Vec::new() });
    let _ = TRACE.set(Trace { file, process, number, steps });
}

/// The file, for the stage, and what its environment must have.
pub(crate) fn for_stage() -> Option<(BorrowedFd<'static>, String)> {
    let file = &TRACE.get()?.file;
    Some((file.as_fd(), format!("{VARIABLE}={}", file.as_raw_fd())))
}

/// That is what was done since the last step.
pub(crate) fn step(what: &'static str) {
    if let Some(trace) = TRACE.get() {
        trace.note(what.into());
    }
}

/// As [`step`], for a text that has to be made.
pub(crate) fn step_of(what: impl FnOnce() -> String) {
    if let Some(trace) = TRACE.get() {
        trace.note(what().into());
    }
}

/// Writes what was noted; what comes later is written by the next call.
pub fn flush() {
    let Some(trace) = TRACE.get() else { return };
    let Ok(mut steps) = trace.steps.lock() else { return };
    let number = trace.number;
    let name = trace.process;
    let mut text =
        format!(r#"{{"name":"process_name","ph":"M","pid":{number},"tid":{number},"args":{{"name":"{name}"}}}},"#);
    text.push('\n');
    for (what, from, to) in steps.done.drain(..) {
        let what = serde_json::Value::from(what);
        let (from, length) = (microseconds(from), microseconds(to - from));
        text += &format!(r#"{{"name":{what},"ph":"X","ts":{from},"dur":{length},"pid":{number},"tid":{number}}},"#);
        text.push('\n');
    }
    // A full disk must not end a container.
    let _ = (&trace.file).write_all(text.as_bytes());
}

impl Trace {
    fn note(&self, what: Cow<'static, str>) {
        let Ok(mut steps) = self.steps.lock() else { return };
        let (from, to) = (steps.last, now());
        steps.done.push((what, from, to));
        steps.last = to;
    }
}

/// Not the monotonic clock: a time namespace has its own.
fn now() -> i64 {
    let Timespec { tv_sec, tv_nsec } = rustix::time::clock_gettime(ClockId::Realtime);
    tv_sec * 1_000_000_000 + tv_nsec
}

fn microseconds(nanoseconds: i64) -> String {
    format!("{}.{:03}", nanoseconds / 1000, nanoseconds % 1000)
}
