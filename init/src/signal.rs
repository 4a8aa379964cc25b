//! Signals by name and number, `signal(7)`.

use crate::start::Text;
use crate::words::{find, number};

/// Names of the standard signals in the order of their numbers, from 1; then other names of some, and of both ends of the
/// real-time signals.
pub const NAMES: Text<'static> = Text::of(
    c"HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU \
      XFSZ VTALRM PROF WINCH IO PWR SYS IOT CLD POLL RTMIN RTMAX",
);
/// What the names behind the standard signals stand for.
const OTHERS: [u8; 5] = [6, 17, 29, RTMIN, RTMAX];
/// Number of the last standard signal.
const SYS: u8 = 31;
/// First and last real-time signal as programs count them: the C library keeps 32 and 33 to itself.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

/// A signal's number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal(u8);

#[allow(missing_docs, reason = "the names are those of signal(7)")]
impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const QUIT: Self = Self(3);
    pub const KILL: Self = Self(9);
    pub const PIPE: Self = Self(13);
    pub const TERM: Self = Self(15);
    pub const CHLD: Self = Self(17);
    pub const CONT: Self = Self(18);
    pub const STOP: Self = Self(19);
    pub const TSTP: Self = Self(20);
    pub const TTIN: Self = Self(21);
    pub const TTOU: Self = Self(22);
}

impl Signal {
    /// The signal with this number, if there is one.
    pub fn new(number: u8) -> Option<Self> {
        (1..=RTMAX).contains(&number).then_some(Self(number))
    }

    /// The signal with this number, of which the kernel says that it is one.
    pub const fn from_kernel(number: i32) -> Self {
        Self(number as u8)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether several of it queue, in order and with a value each.
    pub fn is_real_time(self) -> bool {
        self.0 > 31
    }

    /// Whether a process can not handle, ignore or block it.
    pub fn is_unblockable(self) -> bool {
        matches!(self, Self::KILL | Self::STOP)
    }

    /// Whether it is one of the three with which a terminal stops a process.
    pub fn is_terminal_stop(self) -> bool {
        matches!(self, Self::TSTP | Self::TTIN | Self::TTOU)
    }

    /// Takes `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `RTMAX-2` off `word`; letters may be small.
    #[inline(never)]
    pub fn take(word: &mut Text<'_>) -> Option<Self> {
        if let Some(number) = number(word, RTMAX.into()) {
            return Self::new(number as u8);
        }
        // "SIG" in letters of any size.
        let mut behind = *word;
        if behind.by_ref().take(3).map(|byte| byte & !0x20).eq(*b"SIG") {
            *word = behind;
        }
        let fold = |byte: u8| if matches!(byte, b'+' | b'-') { b' ' } else { byte.to_ascii_uppercase() };
        let index = find(NAMES, word, fold)? as u8;
        let known = match index.checked_sub(SYS) {
            None => index + 1,
            Some(other) => *OTHERS.get(usize::from(other))?,
        };
        // From either end of the range towards the other.
        let offset = match (known, word.first()) {
            (RTMIN, b'+') | (RTMAX, b'-') => {
                word.next();
                number(word, (RTMAX - RTMIN).into())? as u8
            }
            _ => 0,
        };
        Some(Self(if known == RTMAX { known - offset } else { known + offset }))
    }

    /// Its name as in `SIGTERM`, without `SIG`: its place in [`NAMES`], when it is a standard signal.
    pub fn name(self) -> Option<usize> {
        (self.0 <= SYS).then(|| usize::from(self.0) - 1)
    }

    /// How far above `SIGRTMIN` it is, for the others. 32 and 33, which the C library keeps to itself, have none.
    pub fn above_rtmin(self) -> Option<u8> {
        self.0.checked_sub(RTMIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(word: &str) -> Option<u8> {
        let word = std::ffi::CString::new(word).unwrap();
        let mut text = Text::of(&word);
        Signal::take(&mut text).filter(|_| text.is_empty()).map(Signal::number)
    }

    #[test]
    fn names_and_numbers_as_kill_lists_them() {
        for (word, expected) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("HUP", 1),
            ("SYS", 31),
            ("STKFLT", 16),
            ("POLL", 29),
            ("IO", 29),
            ("SIGIOT", 6),
            ("CLD", 17),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmin+30", 64),
            ("RTMAX", 64),
            ("RTMAX-14", 50),
            ("RTMAX-30", 34),
            ("64", 64),
            ("1", 1),
            ("32", 32),
        ] {
            assert_eq!(number(word), Some(expected), "{word}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for word in [
            "",
            "0",
            "65",
            "-1",
            "+15",
            "SIG",
            "SIG15",
            "TERMX",
            "TER",
            "RTMIN+31",
            "RTMAX-31",
            "RTMIN-1",
            "RTMAX+1",
            "RTMIN+",
            "RTMINX",
            "RTMIN+x",
            "999999999999999999999",
            "15 ",
            "SIGSIGTERM",
            "INT QUIT",
        ] {
            assert_eq!(number(word), None, "{word:?}");
        }
    }

    #[test]
    fn every_signal_reads_back_from_its_own_name() {
        for signal in (1..=64).filter_map(Signal::new) {
            let mut line = crate::line::Line::new();
            line.add(crate::text!("$"), signal.number().into(), Text::of(c""));
            let name = std::str::from_utf8(line.as_bytes()).unwrap();
            assert_eq!(number(name.strip_prefix("signal ").unwrap_or(name)), Some(signal.number()), "{name}");
        }
    }
}
