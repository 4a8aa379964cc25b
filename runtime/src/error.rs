//! The one error type of the runtime: a single line for a person, and a kind for the program.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A result whose error names the step, the object and the cause.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of failure it was; decides exit codes and how callers react.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Kind {
    /// The configuration or an argument is wrong; nothing has been done.
    Invalid,
    /// No container of that name.
    NotFound,
    /// A container of that name is there already.
    Exists,
    /// The container is in a state that does not allow the operation.
    State,
    /// The container's program can not be found (127 to a shell).
    CommandNotFound,
    /// The container's program can not be executed (126 to a shell).
    CommandNotExecutable,
    /// What is kept of a container can not be read.
    Damaged,
    /// Somebody asked for the end (SIGINT, SIGTERM) before it was done.
    Interrupted,
    /// The kernel refused something.
    System,
}

/// An error for a person: `step object: cause: remedy` on one line.
///
/// It is serializable because the stage, inside the container, reports its errors to the launcher.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Error {
    kind: Kind,
    text: String,
    errno: Option<i32>,
}

impl Error {
    /// An error with a text that is complete as it is.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), errno: None }
    }

    /// A wrong configuration field or argument: `field: message`.
    pub fn invalid(field: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self::new(Kind::Invalid, format!("{field}: {message}"))
    }

    /// A system call that failed: `step: errno's text`.
    pub fn system(step: impl fmt::Display, cause: impl Into<std::io::Error>) -> Self {
        let cause = cause.into();
        let errno = cause.raw_os_error();
        Self { kind: Kind::System, text: format!("{step}: {}", Cause(&cause)), errno }
    }

    /// Adds what the person can do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.text = format!("{}: {remedy}", self.text);
        self
    }

    /// Puts the larger step in front: `step: text`.
    #[must_use]
    pub fn during(mut self, step: impl fmt::Display) -> Self {
        self.text = format!("{step}: {}", self.text);
        self
    }

    /// The same error as another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Cuts a text that is too long to be sent on; there is no better half.
    #[must_use]
    pub fn shortened(mut self, longest: usize) -> Self {
        if self.text.len() > longest {
            let end = (0..=longest).rev().find(|end| self.text.is_char_boundary(*end)).unwrap_or(0);
            self.text.truncate(end);
        }
        self
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The kernel's errno, where there was one.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// The kernel's words without Rust's "(os error N)".
struct Cause<'a>(&'a std::io::Error);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error() {
            Some(errno) => {
                // Engines look for Go's spelling, which starts in lower case ("permission denied").
                let text = nix::errno::Errno::from_raw(errno).desc();
                let (first, rest) = text.split_at(1);
                write!(f, "{}{rest}", first.to_lowercase())
            }
            None => self.0.fmt(f),
        }
    }
}

/// Adds the step to a failed system call; the closure runs only on failure.
pub trait Context<T> {
    /// `step: errno's text`.
    fn step<D: fmt::Display>(self, step: impl FnOnce() -> D) -> Result<T>;

    /// `verb path: errno's text`.
    fn on(self, verb: &str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for std::result::Result<T, E> {
    fn step<D: fmt::Display>(self, step: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|cause| Error::system(step(), cause))
    }

    fn on(self, verb: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|cause| Error::system(format!("{verb} {}", path.as_ref().display()), cause))
    }
}

/// One thing that is wrong with a configuration: which field, and what about it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// The field's path in config.json, such as `linux.uidMappings[0].size`.
    pub field: String,
    /// The value, what is wrong with it and what to do.
    pub message: String,
}

/// Everything that is wrong with a configuration, found in one pass.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes one more.
    pub fn add(&mut self, field: impl fmt::Display, message: impl fmt::Display) {
        self.0.push(Problem { field: field.to_string(), message: message.to_string() });
    }

    /// The problems in the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `Ok` when nothing is wrong; else one error that lists them all on one line.
    pub fn into_result(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = self.0.iter().map(|p| format!("{}: {}", p.field, p.message)).collect();
        Err(Error::new(Kind::Invalid, lines.join("; ")))
    }
}
