//! Where warnings and errors go: standard error, or the engine's log file in text or JSON, as with runc.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Context, Result};
use crate::state::now_rfc3339;

/// `--log-format`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// `time="…" level=error msg="…"`
    #[default]
    Text,
    /// One object a line; what engines read.
    Json,
}

struct Log {
    file: Option<PathBuf>,
    format: Format,
    debug: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Decides where everything goes from now on; the first call counts.
///
/// # Errors
/// When the file can not be opened for appending.
pub fn set_up(file: Option<&Path>, format: Format, debug: bool) -> Result<()> {
    if let Some(path) = file {
        match open(path) {
            // A named pipe that nobody reads: what is written is lost, as the reader wants it.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
            other => drop(other.on("open the log", path)?),
        }
    }
    let _ = LOG.set(Log { file: file.map(Path::to_owned), format, debug });
    Ok(())
}

/// Something that a person should know although it went on.
pub fn warn(text: impl Display) {
    write("warning", &text.to_string());
}

/// What ended the command. Standard error gets it beside a log file, too.
pub fn error(text: impl Display) {
    let text = text.to_string();
    write("error", &text);
    if LOG.get().is_some_and(|log| log.file.is_some()) {
        eprintln!("{text}");
    }
}

/// As [`error`], to the log file alone: a person has been told otherwise.
pub fn to_file(text: impl Display) {
    write("error", &text.to_string());
}

/// With `--debug` only.
pub fn debug(text: impl FnOnce() -> String) {
    if LOG.get().is_some_and(|log| log.debug) {
        write("debug", &text());
    }
}

fn write(level: &str, text: &str) {
    let (file, format) = LOG.get().map_or((None, Format::Text), |log| (log.file.as_deref(), log.format));
    let time = now_rfc3339();
    let line = match (format, file) {
        (Format::Json, _) => serde_json::json!({"level": level, "msg": text, "time": time}).to_string(),
        (Format::Text, Some(_)) => format!("time={time:?} level={level} msg={text:?}"),
        (Format::Text, None) => format!("{level}: {text}"),
    };
    match file.map(open) {
        // One write a line: several commands may share the file.
        Some(Ok(mut file)) => drop(file.write_all(format!("{line}\n").as_bytes())),
        _ => eprintln!("{line}"),
    }
}

fn open(path: &Path) -> std::io::Result<std::fs::File> {
    // A named pipe without a reader must not hold the runtime up.
    OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(libc::O_NONBLOCK).open(path)
}
