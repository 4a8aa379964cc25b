//! Why a command line or a variable is refused, in words: the one way out of reading options, beside their help.

use super::Settings;
use crate::line::Line;
use crate::messages;
use crate::start::Text;
use crate::text;
use crate::texts::Packed;

/// What is wrong; `@` stands for the value that is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cause(Packed);

#[allow(missing_docs, reason = "the texts say it")]
impl Cause {
    pub const UNKNOWN_OPTION: Self = Self(text!("no such option"));
    pub const UNKNOWN_LETTER: Self = Self(text!("no option -@"));
    pub const AMBIGUOUS_OPTION: Self = Self(text!("may be more than one option"));
    pub const MISSING_VALUE: Self = Self(text!("needs a value"));
    pub const UNWANTED_VALUE: Self = Self(text!("takes no value"));
    pub const UNKNOWN_VARIABLE: Self = Self(text!("no option has this variable"));
    pub const NOT_A_TIME: Self = Self(text!("\"@\" is not a time, such as 500ms, 10s or 2m"));
    pub const NOT_A_SIGNAL: Self = Self(text!("\"@\" is not a signal, such as TERM, 15 or RTMIN+3"));
    pub const NOT_A_REWRITE: Self = Self(text!("\"@\" is not FROM:TO, such as TERM:QUIT, 15:3 or HUP:0"));
    pub const NOT_AN_EXIT_CODE: Self = Self(text!("\"@\" is not an exit code, 0 to 255"));
    pub const NOT_A_SWITCH: Self = Self(text!("\"@\" is not 1 or 0"));
    pub const CONFLICT: Self = Self(text!("contradicts another option"));
    pub const NEEDS_COMMAND: Self = Self(text!("an option means nothing with --pause"));
    pub const NO_COMMAND: Self = Self(text!("no command to run"));
    pub const COMMAND_WITH_PAUSE: Self = Self(text!("--pause runs no command"));
    pub const RESERVED: Self = Self(text!("is reserved"));
}

/// The reader of a command line or an environment, as far as it has come.
pub struct Reader<'s, 'a> {
    /// What it reads into.
    pub settings: &'s mut Settings,
    /// The word or the variable that it reads.
    pub word: Text<'a>,
    /// The options that it has read: a bit for each.
    pub seen: u32,
}

impl Reader<'_, '_> {
    /// Says what is wrong with the word, and ends.
    #[cold]
    #[inline(never)]
    #[cfg_attr(test, allow(unreachable_code, unused_variables, reason = "a test catches the cause"))]
    pub fn refuse(&self, cause: Cause, value: Text<'_>) -> ! {
        #[cfg(test)]
        std::panic::resume_unwind(Box::new(cause));
        let mut line = Line::new();
        messages::begin(&mut line, self.settings.persona, 0);
        if !self.word.is_empty() {
            line.add(text!("@: "), 0, self.word);
        }
        line.add(cause.0, 0, value).add(text!(" (see -h)"), 0, value).end(2);
        crate::kernel::exit(self.settings.persona.codes().own)
    }
}
