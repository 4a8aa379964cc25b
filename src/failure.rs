//! How `pipkin` says that it failed: one line, and the exit codes that Docker uses.

use std::process::ExitCode;

/// pipkin itself failed; the container's program never ran.
const OURS: u8 = 125;
/// The program can not be executed.
const NOT_EXECUTABLE: u8 = 126;
/// The program was not found.
const NOT_FOUND: u8 = 127;

/// A command's result.
pub type Result<T> = std::result::Result<T, Failure>;

/// A line for the person and the exit code.
#[derive(Debug)]
pub struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// A wrong argument.
    pub fn argument(name: impl std::fmt::Display, message: impl std::fmt::Display) -> Self {
        Self { text: format!("{name}: {message}"), code: OURS }
    }

    /// Prints the line and gives the exit code.
    pub fn report(self) -> ExitCode {
        eprintln!("pipkin: {}", self.text);
        ExitCode::from(self.code)
    }
}

impl From<pipkin_images::error::Error> for Failure {
    fn from(error: pipkin_images::error::Error) -> Self {
        Self { text: error.to_string(), code: OURS }
    }
}

impl From<pipkin_runtime::error::Error> for Failure {
    fn from(error: pipkin_runtime::error::Error) -> Self {
        use pipkin_runtime::error::Kind;
        let code = match error.kind() {
            Kind::CommandNotFound => NOT_FOUND,
            Kind::CommandNotExecutable => NOT_EXECUTABLE,
            _ => OURS,
        };
        Self { text: error.to_string(), code }
    }
}
