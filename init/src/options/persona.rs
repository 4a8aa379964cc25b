//! The programs as which the init can be called, told apart by the name it is called with: their defaults, exit codes,
//! version lines and help. Their options are in one table with everybody's.

use super::table::OPTIONS;
use super::{Delivery, Isolation, Rest, Settings};
use crate::duration::Duration;
use crate::kernel::errno::{EACCES, ENOENT};
use crate::line::Line;
use crate::start::Text;
use crate::text;
use crate::texts::Packed;
use crate::words::position;

/// One of the programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "named after them")]
pub enum Persona {
    Pipkin,
    DumbInit,
    Catatonit,
    Tini,
}

/// Their names, and others of the last one.
const NAMES: Text<'static> = Text::of(c"pipkin-init dumb-init catatonit tini tini-static docker-init");

/// Exit codes for what fails before the command runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailureCodes {
    /// The command line or the init itself.
    pub own: u8,
    /// The command was not found.
    pub not_found: u8,
    /// The command can not be executed: `EACCES`.
    pub not_permitted: u8,
    /// It can not be executed for another reason.
    pub other: u8,
}

impl FailureCodes {
    const fn new([own, not_found, not_permitted, other]: [u8; 4]) -> Self {
        Self { own, not_found, not_permitted, other }
    }

    /// The code for a command whose execution failed with `errno`, the file being there or not.
    pub fn for_execution(&self, errno: i32, exists: bool) -> u8 {
        match errno {
            // The file may be there and its interpreter not, which the originals do not tell apart.
            ENOENT if !exists || self.own == 1 => self.not_found,
            EACCES => self.not_permitted,
            _ => self.other,
        }
    }
}

/// What a persona does unless told otherwise, in the order of the fields of [`Settings`]; and what becomes of TSTP, TTIN
/// and TTOU.
#[repr(C)]
struct Usual(Isolation, Delivery, Rest, bool, bool, bool, [u8; 3]);

impl Persona {
    /// The persona for the name with which the program was called, whatever directory stands before it.
    pub fn of(name: Text<'_>) -> Self {
        let (mut base, mut rest) = (name, name);
        while let Some(byte) = rest.next() {
            if byte == b'/' {
                base = rest;
            }
        }
        match position(NAMES, base) {
            None | Some(0) => Self::Pipkin,
            Some(1) => Self::DumbInit,
            Some(2) => Self::Catatonit,
            Some(_) => Self::Tini,
        }
    }

    /// Makes of the settings what this one does unless told otherwise.
    pub fn prepare(self, settings: &mut Settings) {
        static USUAL: [Usual; 4] = [
            Usual(Isolation::Group, Delivery::Group, Rest::Wait, true, false, false, [20, 21, 22]),
            Usual(Isolation::Session, Delivery::Group, Rest::Terminate, false, false, true, [19, 19, 19]),
            Usual(Isolation::Group, Delivery::MainChild, Rest::Leave, true, false, false, [0, 0, 0]),
            Usual(Isolation::Group, Delivery::MainChild, Rest::Leave, false, true, false, [20, 0, 0]),
        ];
        let Usual(isolation, delivery, rest, subreaper, warn_no_subreaper, stop_with_child, stops) =
            USUAL[self as usize];
        settings.persona = self;
        settings.verbosity = 1;
        settings.grace = Duration::FOREVER;
        settings.isolation = isolation;
        settings.delivery = delivery;
        settings.rest = rest;
        settings.subreaper = subreaper;
        settings.warn_no_subreaper = warn_no_subreaper;
        settings.stop_with_child = stop_with_child;
        settings.rewrites.stops = stops;
    }

    /// What follows from the options when all are read.
    pub fn complete(self, settings: &mut Settings) {
        if self == Self::DumbInit && settings.delivery == Delivery::MainChild {
            settings.isolation = Isolation::None;
            settings.rewrites.stops = [20, 21, 22];
        }
    }

    /// Whether its long options may be abbreviated, `getopt_long(3)`.
    pub fn abbreviates(self) -> bool {
        matches!(self, Self::DumbInit | Self::Catatonit)
    }

    /// Its exit codes for failures.
    pub fn codes(self) -> FailureCodes {
        static CODES: [FailureCodes; 4] = [
            FailureCodes::new([125, 127, 126, 126]),
            FailureCodes::new([1, 2, 2, 2]),
            FailureCodes::new([1, 1, 1, 1]),
            FailureCodes::new([1, 127, 126, 1]),
        ];
        CODES[self as usize]
    }

    /// Prints its help where its original does, and ends: of [`HELP`] what is on its options, and of these what it has.
    pub fn print_help(self) -> ! {
        #[cfg(test)]
        std::panic::resume_unwind(Box::new("printed"));
        #[allow(unreachable_code, reason = "a test catches that it was printed")]
        self.each_help_line(|line| line.end(if self.abbreviates() { 2 } else { 1 }));
        crate::kernel::exit(0)
    }

    fn each_help_line(self, mut each: impl FnMut(&mut Line)) {
        let mut line = Line::new();
        each(line.add(text!("Usage: % [OPTION...] [--] COMMAND [ARGUMENT...]"), self as u64, NAMES));
        let (mut help, mut options) = (HELP.into_iter(), OPTIONS.iter());
        while let Some(first) = help.next() {
            let option = if first == b' ' { options.next() } else { None };
            let is_shown =
                option.map_or(self == Self::Pipkin, |option| option.has_letter(self) || option.has_name(self));
            let has_name = option.is_none_or(|option| option.has_name(self));
            let (mut column, mut byte) = (0, Some(first));
            while let Some(letter) = byte
                && letter != b'\n'
            {
                if is_shown && (has_name || !NAME_COLUMNS.contains(&column)) {
                    line.push(letter);
                }
                column += 1;
                byte = help.next();
            }
            if is_shown {
                each(&mut line);
            }
        }
    }

    /// Prints its version where its original does, and ends.
    pub fn print_version(self) -> ! {
        let to = if self == Self::DumbInit { 2 } else { 1 };
        let text = match self {
            Self::Pipkin => text!(concat!("pipkin-init ", env!("CARGO_PKG_VERSION"))),
            Self::DumbInit => text!("dumb-init v1.2.5"),
            Self::Catatonit => text!("tini version 0.2.1_catatonit"), // Docker looks for these first two words
            Self::Tini => text!("tini version 0.19.0"),
        };
        print(to, text)
    }

    /// Prints what all of them print when asked for their licence, and ends.
    pub fn print_license(self) -> ! {
        print(
            1,
            text!(
                "pipkin-init, part of pipkin. Apache License, Version 2.0: http://www.apache.org/licenses/LICENSE-2.0"
            ),
        )
    }
}

#[cfg_attr(test, allow(unreachable_code, unused_variables, reason = "a test catches that it was printed"))]
fn print(to: i32, text: Packed) -> ! {
    #[cfg(test)]
    std::panic::resume_unwind(Box::new("printed"));
    Line::new().add(text, 0, Text::of(c"")).end(to);
    crate::kernel::exit(0)
}

/// Where the long names stand in [`HELP`].
const NAME_COLUMNS: core::ops::Range<u32> = 5..25;

/// What `pipkin-init` prints when asked for help: the lines that begin with a space are on the [`OPTIONS`], in their order.
const HELP: Packed = text!(
    "\
Runs COMMAND, passes signals on to it, reaps orphans, and ends with its exit code.
Signals
  -g --group             pass them to COMMAND's whole process group
  -c --single-child      pass them to COMMAND alone
     --once              pass them to the group except those whose parent handles them
  -r --rewrite FROM:TO   pass FROM on as TO: TERM:QUIT, 15:3, HUP:RTMIN+1; TO 0: not at all
     --delay TIME        hold the first TERM back for TIME; a second one passes at once
The end
     --wait[=TIME]       when COMMAND has ended, TERM the rest and wait for it; KILL it after TIME
     --no-wait           when COMMAND has ended, TERM the rest and end at once
     --grace TIME        TIME after TERM or INT, KILL all and end with 137
  -e --exit-zero CODE    end with 0 when COMMAND ended with CODE
The process
  -s --subreaper         adopt orphans, also when not PID 1
     --no-subreaper      do not
  -p --parent-death SIG  get SIG when the parent dies
     --session           run COMMAND in a session of its own
  -P --pause             run nothing: reap until TERM or INT
Messages
  -v --verbose           say more; twice: say all
  -w --report-reaped     tell of each orphan that ended
  -h --help              print this
  -V --version           print the version
  -L --license           print the licence
  -l                     print the licence
TIME: 500ms, 10s, 2m, 1h. Default: -gs --wait=10s, --wait when told to stop.
Each option also by environment: PIPKIN_INIT_GRACE=8s, PIPKIN_INIT_ONCE=1.
Exit codes: COMMAND's, or 128+n when signal n ended it; 127 not found, 126 not executable, 125 other.
"
);

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    fn help(persona: Persona) -> Vec<String> {
        let mut lines = Vec::new();
        persona.each_help_line(|line| {
            lines.push(String::from_utf8(line.as_bytes().to_vec()).unwrap());
            *line = Line::new();
        });
        lines
    }

    #[test]
    fn the_help_tells_of_every_option_and_of_no_other() {
        let names = std::str::from_utf8(table::NAMES.bytes()).unwrap();
        for persona in [Persona::Pipkin, Persona::DumbInit, Persona::Catatonit, Persona::Tini] {
            let help = help(persona);
            let mut lines = help.iter().filter(|line| line.starts_with(' '));
            for (option, name) in OPTIONS.iter().zip(names.split(' ').chain([""])) {
                if !option.has_letter(persona) && !option.has_name(persona) {
                    continue;
                }
                let line = lines.next().unwrap();
                let letter = if option.letter == 0 { "     ".into() } else { format!("  -{} ", option.letter as char) };
                let rest = line.strip_prefix(&letter).unwrap_or_else(|| panic!("{persona:?}: {line}"));
                let text = if option.has_name(persona) {
                    assert!(rest.starts_with(&format!("--{name}")), "{persona:?}: {line}");
                    &rest[20..]
                } else {
                    rest
                };
                assert!(text.len() > 5 && !text.starts_with([' ', '-']), "{persona:?}: {line}");
            }
            assert_eq!(lines.next(), None);
            assert!(help.iter().all(|line| line.len() <= 110), "{help:?}");
            assert!(help[0].starts_with("Usage: "), "{help:?}");
        }
        assert_eq!(help(Persona::Tini)[0], "Usage: tini [OPTION...] [--] COMMAND [ARGUMENT...]");
        assert_eq!(help(Persona::Tini)[2], "  -e end with 0 when COMMAND ended with CODE");
    }
}
