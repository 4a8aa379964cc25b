//! Times on the command line, as Go prints and reads them.

use rustix::event::Timespec;

/// `500ms`, `5s`, `2m`, `1h`, `1.5s`; more than nothing.
pub(super) fn parse(text: &str) -> Result<Timespec, String> {
    let error = || format!("{text:?} is not a time above 0 such as 500ms, 5s or 2m");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
    let (number, unit) = text.split_at(digits);
    let nanoseconds_per_unit = match unit {
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return Err(error()),
    };
    let nanoseconds = number.parse::<f64>().map_err(|_| error())? * nanoseconds_per_unit;
    if !(1.0..1e18).contains(&nanoseconds) {
        return Err(error());
    }
    let nanoseconds = nanoseconds as i64;
    Ok(Timespec { tv_sec: nanoseconds / 1_000_000_000, tv_nsec: nanoseconds % 1_000_000_000 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(parse("1.5s"), Ok(Timespec { tv_sec: 1, tv_nsec: 500_000_000 }));
        assert_eq!(parse("2m"), Ok(Timespec { tv_sec: 120, tv_nsec: 0 }));
        for bad in ["", "5", "s", "0s", "-1s", "1d", "1e30s", "."] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
