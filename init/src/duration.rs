//! Times as people write them: `500ms`, `10s`, `2m`, `1h`; a bare number is seconds, as for `sleep(1)` and `timeout(1)`.

use crate::start::Text;
use crate::words::{number, position};

/// A length of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Duration(pub u64);

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;
/// Ten years, in seconds: more is a mistake, and would not fit into nanoseconds for ever.
const LONGEST: u64 = 10 * 366 * 24 * 3600;

impl Duration {
    /// No time.
    pub const NONE: Self = Self(0);
    /// Longer than anything lasts.
    pub const FOREVER: Self = Self(u64::MAX / 2);

    /// `seconds` seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * SECOND)
    }

    /// Reads a time: digits, and one of `ms`, `s`, `m`, `h` or nothing.
    #[inline(never)]
    pub fn parse(mut word: Text<'_>) -> Option<Self> {
        let number = number(&mut word, u64::MAX)?;
        let unit = match position(Text::of(c"ms s m h"), word) {
            Some(0) => MILLISECOND,
            Some(2) => 60 * SECOND,
            Some(3) => 3600 * SECOND,
            None if !word.is_empty() => return None,
            _ => SECOND,
        };
        number.checked_mul(unit).filter(|length| *length <= LONGEST * SECOND).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(word: &str) -> Option<Duration> {
        Duration::parse(Text::of(&std::ffi::CString::new(word).unwrap()))
    }

    #[test]
    fn times_with_and_without_unit() {
        for (word, milliseconds) in
            [("0", 0), ("500ms", 500), ("10s", 10_000), ("10", 10_000), ("2m", 120_000), ("1h", 3_600_000), ("0ms", 0)]
        {
            assert_eq!(parse(word), Some(Duration(milliseconds * MILLISECOND)), "{word}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for word in [
            "",
            "s",
            "ms",
            "-1s",
            "+1",
            "1.5s",
            "1 s",
            "10S",
            "10sec",
            "10d",
            "10ss",
            "99999999999999999999",
            "100000h",
        ] {
            assert_eq!(parse(word), None, "{word:?}");
        }
    }
}
