//! Why a command line or a variable is refused, in words.

use crate::line::Line;

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the text of each is in `describe`")]
pub enum Cause {
    UnknownOption,
    AmbiguousOption,
    MissingValue,
    UnwantedValue,
    UnknownVariable,
    NotATime,
    NotASignal,
    NotARewrite,
    NotAnExitCode,
    NotASwitch,
    Conflict,
    NeedsCommand,
    NoCommand,
    CommandWithPause,
    Reserved,
}

/// What is wrong, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What is wrong.
    pub cause: Cause,
    /// The letter or the long name of the option, or the name of the variable.
    pub subject: &'static [u8],
    /// Its value, where that is what is wrong.
    pub value: &'static [u8],
}

impl Refusal {
    pub(super) const fn new(cause: Cause, subject: &'static [u8]) -> Self {
        Self { cause, subject, value: b"" }
    }

    /// Adds to `line` what is wrong, and how it would be right.
    pub fn describe(&self, line: &mut Line) {
        if !self.subject.is_empty() {
            line.text(match self.subject {
                [_] => "-",
                [b'A'..=b'Z', ..] => "", // a variable
                _ => "--",
            });
            line.foreign(self.subject).text(": ");
        }
        if matches!(
            self.cause,
            Cause::NotATime | Cause::NotASignal | Cause::NotARewrite | Cause::NotAnExitCode | Cause::NotASwitch
        ) {
            line.text("\"").foreign(self.value).text("\" is not ");
        }
        line.text(match self.cause {
            Cause::UnknownOption => "no such option",
            Cause::AmbiguousOption => "may be more than one option",
            Cause::MissingValue => "needs a value",
            Cause::UnwantedValue => "takes no value",
            Cause::UnknownVariable => "no option has this variable",
            Cause::NotATime => "a time, such as 500ms, 10s or 2m",
            Cause::NotASignal => "a signal, such as TERM, 15 or RTMIN+3",
            Cause::NotARewrite => "FROM:TO, such as TERM:QUIT, 15:3 or HUP:0",
            Cause::NotAnExitCode => "an exit code, 0 to 255",
            Cause::NotASwitch => "1 or 0",
            Cause::Conflict => "contradicts another option given",
            Cause::NeedsCommand => "means nothing with --pause",
            Cause::NoCommand => "no command to run",
            Cause::CommandWithPause => "--pause runs no command",
            Cause::Reserved => "is reserved",
        });
    }
}
