//! Options by environment: `PIPKIN_INIT_GRACE=8s` for `--grace 8s`, under every name, so that an image can be tuned
//! without a change of its entry point; and the variables of each persona's original.

use super::refusal::{Cause, Reader};
use super::table::{ACTIONS, Meaning, NAMES, OPTIONS, TAKE_VALUE, VARIABLE_NAMES, VARIABLES};
use crate::start::{Text, Words};
use crate::words::{find, number, position};

impl<'a> Reader<'_, 'a> {
    /// Reads the variables that concern an init. Those of the persona's original come later than its options there, so
    /// that they are read by [`Self::original_variables`].
    #[inline(never)]
    pub fn environment(&mut self, environment: Words<'a>) {
        for entry in environment {
            let Some(mut value) = entry.after(Text::of(c"PIPKIN_INIT_")) else { continue };
            self.word = entry;
            let option = find(NAMES, &mut value, as_option).and_then(|index| OPTIONS.get(index));
            let meaning = match option {
                Some(option) if value.strip(b'=') && !option.meaning.is_in(ACTIONS) => option.meaning,
                _ => self.refuse(Cause::UNKNOWN_VARIABLE, value),
            };
            if value.is_empty() {
                continue; // as good as not set: `ENV PIPKIN_INIT_GRACE=` takes back what a base image says
            }
            if meaning.is_in(TAKE_VALUE | Meaning::Wait.bit()) {
                self.take(meaning, Some(value));
                continue;
            }
            let mut rest = value;
            let times = if meaning == Meaning::Verbose {
                number(&mut rest, 9).filter(|_| rest.is_empty())
            } else {
                position(Text::of(c"0 1 false true no yes off on"), value).map(|place| place as u64 & 1)
            };
            let Some(times) = times else { self.refuse(Cause::NOT_A_SWITCH, value) };
            for _ in 0..times {
                self.take(meaning, None);
            }
        }
        self.seen = 0; // the command line may say otherwise
    }

    /// Reads the variables of this persona's original, after its options.
    #[inline(never)]
    pub fn original_variables(&mut self, environment: Words<'a>) {
        for entry in environment {
            let mut value = entry;
            let variable = find(VARIABLE_NAMES, &mut value, |byte| byte).and_then(|index| VARIABLES.get(index));
            let Some(&(whose, only, meaning)) = variable else { continue };
            let is_whole = value.strip(b'=');
            let mut rest = value;
            if is_whole && whose == self.settings.persona && (only == 0 || rest.strip(only) && rest.is_empty()) {
                self.word = entry;
                self.apply(meaning, Some(value));
            }
        }
    }
}

/// A byte of a variable's name as it would be in an option's: small letters for capitals, `-` for `_`.
fn as_option(byte: u8) -> u8 {
    match byte {
        b'_' => b'-',
        b'A'..=b'Z' => byte | 0x20,
        _ => 0,
    }
}
