//! Signals by name and number, `signal(7)`.

use crate::words::parts;

/// Names of the standard signals in the order of their numbers, from 1.
const NAMES: &[u8] =
    b"HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP \
                     TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";
/// Other names in use, each with the number it stands for.
const ALIASES: [(&[u8], u8); 3] = [(b"IOT", 6), (b"CLD", 17), (b"POLL", 29)];
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

    /// Reads `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `RTMAX-2`; letters may be small.
    pub fn parse(word: &[u8]) -> Option<Self> {
        if let Some(number) = decimal(word, RTMAX.into()) {
            return Self::new(number as u8);
        }
        let name = if begins(word, b"SIG") { word.get(3..)? } else { word };
        let same = |known: &[u8]| known.len() == name.len() && begins(name, known);
        if let Some(index) = names().position(same) {
            return Self::new(index as u8 + 1);
        }
        if let Some((_, number)) = ALIASES.iter().find(|(known, _)| same(known)) {
            return Some(Self(*number));
        }
        // From either end of the range towards the other.
        let offset = match name.get(5..)? {
            [] => 0,
            [b'+' | b'-', digits @ ..] => decimal(digits, (RTMAX - RTMIN).into())? as u8,
            _ => return None,
        };
        match name.get(5) {
            None | Some(b'+') if begins(name, b"RTMIN") => Some(Self(RTMIN + offset)),
            None | Some(b'-') if begins(name, b"RTMAX") => Some(Self(RTMAX - offset)),
            _ => None,
        }
    }

    /// Its name as in `SIGTERM`, without `SIG`, when it is a standard signal.
    pub fn name(self) -> Option<&'static [u8]> {
        names().nth(usize::from(self.0) - 1)
    }

    /// How far above `SIGRTMIN` it is, for the others. 32 and 33, which the C library keeps to itself, have none.
    pub fn above_rtmin(self) -> Option<u8> {
        self.0.checked_sub(RTMIN)
    }
}

fn names() -> impl Iterator<Item = &'static [u8]> {
    parts(NAMES, b' ')
}

/// Whether `word` begins with `capitals`, in letters of any size.
fn begins(word: &[u8], capitals: &[u8]) -> bool {
    word.len() >= capitals.len()
        && word.iter().zip(capitals).all(|(byte, capital)| byte.to_ascii_uppercase() == *capital)
}

/// Reads a decimal number of at most `limit`: digits only.
pub fn decimal(digits: &[u8], limit: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(digit.into()) }
    })?;
    (number <= limit).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(word: &str) -> Option<u8> {
        Signal::parse(word.as_bytes()).map(Signal::number)
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
            let name = match (signal.name(), signal.above_rtmin()) {
                (Some(name), _) => String::from_utf8(name.to_vec()).unwrap(),
                (None, Some(offset)) => format!("RTMIN+{offset}"),
                (None, None) => signal.number().to_string(),
            };
            assert_eq!(Signal::parse(name.as_bytes()), Some(signal));
        }
    }

    #[test]
    fn decimals_know_their_limit_and_do_not_wrap() {
        assert_eq!(decimal(b"255", 255), Some(255));
        assert_eq!(decimal(b"256", 255), None);
        assert_eq!(decimal(b"18446744073709551615", u64::MAX), Some(u64::MAX));
        assert_eq!(decimal(b"18446744073709551616", u64::MAX), None);
        assert_eq!(decimal(b"1/", 255), None);
        assert_eq!(decimal(b"1:", 255), None);
    }
}
