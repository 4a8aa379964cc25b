//! Extended header records (POSIX.1-2017, pax, "pax Extended Header").

use std::io;

use super::corrupt;

/// The records of one extended header, values as raw bytes.
#[derive(Debug, Default)]
pub struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    /// Reads `LENGTH KEY=VALUE\n` records. A value may hold any byte, newlines included (extended attributes do).
    ///
    /// # Errors
    /// Whatever does not fit exactly: two readers must never disagree about where a record ends.
    pub fn parse(mut data: &[u8]) -> io::Result<Self> {
        let mut records = Vec::new();
        while !data.is_empty() {
            let malformed = || corrupt("malformed pax record");
            let space = data.iter().take(20).position(|b| *b == b' ').ok_or_else(malformed)?;
            let length = usize::try_from(number(&data[..space]).ok_or_else(malformed)?).map_err(|_| malformed())?;
            if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
                return Err(malformed());
            }
            let record = &data[space + 1..length - 1];
            let equals = record.iter().position(|b| *b == b'=').filter(|at| *at > 0).ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if key.contains(&0) || (!key.starts_with(b"SCHILY.xattr.") && value.contains(&0)) {
                return Err(corrupt("a pax record contains a NUL byte"));
            }
            records.push((key.to_vec(), value.to_vec()));
            data = &data[length..];
        }
        Ok(Self(records))
    }

    /// The value of `key`; of several the last counts, and an empty one removes it (POSIX).
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let (_, value) = self.0.iter().rfind(|(name, _)| name == key.as_bytes())?;
        (!value.is_empty()).then_some(value)
    }

    /// The value of `key` as a decimal number.
    ///
    /// # Errors
    /// The value is anything but digits, or larger than 63 bits.
    pub fn number(&self, key: &str) -> io::Result<Option<u64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        number(value).map(Some).ok_or_else(|| corrupt(format!("pax record {key} is not a number")))
    }

    /// A time in seconds with an optional fraction, as seconds and nanoseconds; times before 1970 become 0.
    ///
    /// # Errors
    /// The value is not a decimal number.
    pub fn time(&self, key: &str) -> io::Result<Option<(u64, u32)>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        if value.starts_with(b"-") {
            return Ok(Some((0, 0)));
        }
        let malformed = || corrupt(format!("pax record {key} is not a time"));
        let (whole, fraction) = match value.iter().position(|b| *b == b'.') {
            Some(dot) => (&value[..dot], &value[dot + 1..]),
            None => (value, &b""[..]),
        };
        let seconds = number(whole).ok_or_else(malformed)?;
        if !fraction.iter().all(u8::is_ascii_digit) {
            return Err(malformed());
        }
        let nanoseconds =
            (0..9).fold(0, |sum, i| sum * 10 + u32::from(fraction.get(i).map_or(0, |digit| digit - b'0')));
        Ok(Some((seconds, nanoseconds)))
    }

    /// The extended attributes: `SCHILY.xattr.NAME`, last one of a name wins.
    pub fn xattrs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (key, value) in &self.0 {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                found.retain(|(other, _)| other != name);
                found.push((name.to_vec(), value.clone()));
            }
        }
        found
    }

    /// Whether any key starts with `prefix`.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|(key, _)| key.starts_with(prefix.as_bytes()))
    }
}

/// Decimal digits and nothing else (no sign, no blank), up to 63 bits.
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|n| *n <= i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with the right length in front.
    fn record(key: &str, value: &str) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let length = (1..9).map(|digits| rest + digits).find(|n| n.to_string().len() + rest == *n).unwrap();
        format!("{length} {key}={value}\n").into_bytes()
    }

    #[test]
    fn values_may_hold_newlines_and_the_last_record_counts() {
        let data = [record("SCHILY.xattr.a.b", "\n\0x\n"), record("size", "12"), record("size", "7")].concat();
        let records = Records::parse(&data).unwrap();
        assert_eq!(records.xattrs(), [(b"a.b".to_vec(), b"\n\0x\n".to_vec())]);
        assert_eq!(records.number("size").unwrap(), Some(7));
        assert_eq!(Records::parse(&[record("path", "x"), record("path", "")].concat()).unwrap().get("path"), None);
    }

    #[test]
    fn malformed_records_are_errors() {
        let good = record("abc", "def");
        assert!(Records::parse(&good).is_ok());
        for bad in [
            &b"12 abc=def\n"[..],
            b"10 abc=def\n",
            b"0 =\n",
            b"99999999999999999999 a=b\n",
            b"+6 a=b\n",
            b"6 abc\n",
            b"6 =bc\n",
            b"6 a=b ",
        ] {
            assert!(Records::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Records::parse(&record("path", "a\0b")).is_err());
        for bad in ["+5", " 5", "-1", "5x", "99999999999999999999"] {
            assert!(Records::parse(&record("size", bad)).unwrap().number("size").is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_fractions() {
        let records =
            Records::parse(&[record("mtime", "1700000000.5"), record("atime", "-12"), record("ctime", "1.x")].concat())
                .unwrap();
        assert_eq!(records.time("mtime").unwrap(), Some((1_700_000_000, 500_000_000)));
        assert_eq!(records.time("atime").unwrap(), Some((0, 0)));
        assert!(records.time("ctime").is_err());
    }
}
