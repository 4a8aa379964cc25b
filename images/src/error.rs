//! The error of this library: one line for a person, and a kind for the program.

use std::fmt;
use std::io;
use std::path::Path;

/// A result whose error names the step, the object and the cause.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of failure it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// An archive, image, name or argument is wrong.
    Invalid,
    /// No image or container of that name.
    NotFound,
    /// Something of that name is there already.
    Exists,
    /// The object is in use and can not be removed.
    InUse,
    /// The kernel refused something.
    System,
}

/// An error for a person: `step object: cause: remedy` on one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    kind: Kind,
    text: String,
    errno: Option<i32>,
}

impl Error {
    /// An error whose text is complete as it is.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), errno: None }
    }

    /// Something that is wrong with foreign data or an argument: `object: message`.
    pub fn invalid(object: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self::new(Kind::Invalid, format!("{object}: {message}"))
    }

    /// A system call that failed: `step: errno's text`. An error that is no errno is one of foreign data.
    pub fn system(step: impl fmt::Display, cause: impl Into<io::Error>) -> Self {
        let cause = cause.into();
        let errno = cause.raw_os_error();
        let kind = if errno.is_some() { Kind::System } else { Kind::Invalid };
        let mut text = format!("{step}: {}", cause_text(&cause));
        if errno == Some(libc::ENOSPC) || errno == Some(libc::EDQUOT) {
            text.push_str(": free some space or choose another disk with --root; nothing was kept");
        }
        Self { kind, text, errno }
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
    /// One line: what an archive put into a name can neither break the line nor steer the terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text
            .chars()
            .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { write!(f, "{c}") })
    }
}

impl std::error::Error for Error {}

/// The kernel's words without Rust's "(os error N)".
fn cause_text(cause: &io::Error) -> String {
    match cause.raw_os_error() {
        Some(errno) => nix::errno::Errno::from_raw(errno).desc().to_string(),
        None => cause.to_string(),
    }
}

/// Adds the step to a failed system call; the closure runs only on failure.
pub trait Context<T> {
    /// `step: errno's text`.
    fn step<D: fmt::Display>(self, step: impl FnOnce() -> D) -> Result<T>;

    /// `verb path: errno's text`.
    fn on(self, verb: &str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn step<D: fmt::Display>(self, step: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|cause| Error::system(step(), cause))
    }

    fn on(self, verb: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|cause| Error::system(format!("{verb} {}", path.as_ref().display()), cause))
    }
}
