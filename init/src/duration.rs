//! Times as people write them: `500ms`, `10s`, `2m`, `1h`; a bare number is seconds, as for `sleep(1)` and `timeout(1)`.

use crate::signal::decimal;
use crate::words::position;

/// A length of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Duration(pub u64);

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;
/// Ten years, in seconds: more is a mistake, and would not fit into nanoseconds for ever.
const LONGEST: u64 = 10 * 366 * 24 * 3600;

impl Duration {
    /// `seconds` seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * SECOND)
    }

    /// Reads a time: digits, and one of `ms`, `s`, `m`, `h` or nothing.
    pub fn parse(word: &[u8]) -> Option<Self> {
        let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, unit) = word.split_at(digits);
        let unit = [SECOND, 60 * SECOND, 3600 * SECOND, MILLISECOND, SECOND][position("s m h ms ", unit)?];
        let length = decimal(number, u64::MAX)?.checked_mul(unit)?;
        (length <= LONGEST * SECOND).then_some(Self(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_and_without_unit() {
        for (word, milliseconds) in
            [("0", 0), ("500ms", 500), ("10s", 10_000), ("10", 10_000), ("2m", 120_000), ("1h", 3_600_000), ("0ms", 0)]
        {
            assert_eq!(Duration::parse(word.as_bytes()), Some(Duration(milliseconds * MILLISECOND)), "{word}");
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
            assert_eq!(Duration::parse(word.as_bytes()), None, "{word:?}");
        }
    }
}
