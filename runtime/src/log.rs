//! Where warnings and errors go: standard error, the engine's log file in text or JSON, as with runc, or the machine's log, as
//! with crun.

mod system;

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use self::system::SystemLog;
use crate::error::{Context, Result};
use crate::state::now_rfc3339;

/// `--log`
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Destination {
    /// A path, also as `file:PATH`.
    File(PathBuf),
    /// `journald:NAME` or `syslog:NAME`: lines of the program NAME.
    System(SystemLog),
}

impl From<OsString> for Destination {
    fn from(text: OsString) -> Self {
        let after = |kind: &str| text.to_str().and_then(|text| text.strip_prefix(kind));
        if let Some(name) = after("journald:") {
            Self::System(SystemLog::journal(name))
        } else if let Some(name) = after("syslog:") {
            Self::System(SystemLog::syslog(name))
        } else {
            let path = text.as_bytes().strip_prefix(b"file:").map(std::ffi::OsStr::from_bytes);
            Self::File(path.map_or_else(|| text.clone().into(), PathBuf::from))
        }
    }
}

/// `--log-level`: this and what is worse.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Level {
    /// What ended the command.
    Error,
    /// Also what a person should know although it went on.
    #[default]
    Warning,
    /// Also what is done; `--debug` is the same.
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Debug => "debug",
        }
    }
}

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
    destination: Option<Destination>,
    format: Format,
    level: Level,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Decides where everything goes from now on; the first call counts.
///
/// # Errors
/// When the file can not be opened for appending, or nobody keeps the machine's log.
pub fn set_up(destination: Option<&Destination>, format: Format, level: Level) -> Result<()> {
    match destination {
        Some(Destination::File(path)) => match open(path) {
            // A named pipe that nobody reads: what is written is lost, as the reader wants it.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
            other => drop(other.on("open the log", path)?),
        },
        Some(Destination::System(log)) => log.check()?,
        None => {}
    }
    let _ = LOG.set(Log { destination: destination.cloned(), format, level });
    Ok(())
}

/// Something that a person should know although it went on.
pub fn warn(text: impl Display) {
    if level() >= Level::Warning {
        write(Level::Warning, &text.to_string());
    }
}

/// What ended the command. Standard error gets it beside a log, too.
pub fn error(text: impl Display) {
    let text = text.to_string();
    write(Level::Error, &text);
    if LOG.get().is_some_and(|log| log.destination.is_some()) {
        eprintln!("{text}");
    }
}

/// As [`error`], to the log alone: a person has been told otherwise.
pub fn to_log(text: impl Display) {
    write(Level::Error, &text.to_string());
}

/// With `--debug` only.
pub fn debug(text: impl FnOnce() -> String) {
    if level() >= Level::Debug {
        write(Level::Debug, &text());
    }
}

fn level() -> Level {
    LOG.get().map_or(Level::default(), |log| log.level)
}

fn write(level: Level, text: &str) {
    let (destination, format) = LOG.get().map_or((None, Format::Text), |log| (log.destination.as_ref(), log.format));
    let name = level.name();
    let line = || match (format, destination) {
        (Format::Json, _) => serde_json::json!({"level": name, "msg": text, "time": now_rfc3339()}).to_string(),
        (Format::Text, Some(_)) => format!("time={:?} level={name} msg={text:?}", now_rfc3339()),
        (Format::Text, None) => format!("{name}: {text}"),
    };
    let written = match destination {
        // One write a line: several commands may share the file.
        Some(Destination::File(path)) => {
            open(path).map(|mut file| drop(file.write_all(format!("{}\n", line()).as_bytes())))
        }
        Some(Destination::System(log)) => log.write(level, text),
        None => Err(std::io::ErrorKind::NotFound.into()),
    };
    if written.is_err() {
        eprintln!("{}", line());
    }
}

fn open(path: &Path) -> std::io::Result<std::fs::File> {
    // A named pipe without a reader must not hold the runtime up.
    OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(libc::O_NONBLOCK).open(path)
}
