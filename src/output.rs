//! Standard output of the verbs that print results.

use std::fmt::Display;
use std::io::Write;

/// Prints a line. Nobody reading any more (`pipkin images | head -1`) is no error, and the end.
pub fn line(text: impl Display) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}
