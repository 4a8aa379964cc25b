//! Sizes and times for people.

use std::time::{SystemTime, UNIX_EPOCH};

/// `512`, `64k`, `1.5g`: bytes, with Docker's suffixes b, k, m, g, t (powers of 1024).
pub fn parse(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let number = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (number, shift) = match number.char_indices().last()? {
        (at, 'k') => (&number[..at], 10),
        (at, 'm') => (&number[..at], 20),
        (at, 'g') => (&number[..at], 30),
        (at, 't') => (&number[..at], 40),
        _ => (number, 0),
    };
    if !number.bytes().all(|c| c.is_ascii_digit() || c == b'.') {
        return None;
    }
    let value = number.parse::<f64>().ok()? * f64::from(1_u32 << 10).powi(shift / 10);
    (1.0..9e18).contains(&value).then_some(value as i64)
}

/// `1.5 MB`: powers of 1000, as disks and Docker count.
pub fn show(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if value < 10.0 && unit != "B" {
                format!("{value:.1} {unit}")
            } else {
                format!("{value:.0} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// `3 minutes ago`.
pub fn ago(seconds_since_1970: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = now.saturating_sub(seconds_since_1970);
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_docker_s() {
        for (text, bytes) in
            [("512", 512), ("64k", 65_536), ("64KB", 65_536), ("1.5g", 3 << 29), ("2MiB", 2 << 20), ("10b", 10)]
        {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for bad in ["", "k", "-1", "1x", "0", "1e9", "nan", "inf", "99999999999g"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(
            (show(999).as_str(), show(1_500_000).as_str(), show(115_000_000).as_str()),
            ("999 B", "1.5 MB", "115 MB")
        );
    }
}
