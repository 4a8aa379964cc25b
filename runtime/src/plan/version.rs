//! `ociVersion`.

use crate::error::Problems;

/// config.md, "Specification version": any 1.x is understood.
pub(super) fn check(version: &str, problems: &mut Problems) {
    let mut numbers = version.split(['-', '+']).next().unwrap_or_default().split('.');
    let is_number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
    let first = numbers.next();
    let well_formed = is_number(first) && is_number(numbers.next()) && is_number(numbers.next());
    if !well_formed || numbers.next().is_some() {
        problems.add("ociVersion", format!("{version:?} is not a version such as 1.3.0"));
    } else if first != Some("1") {
        problems.add("ociVersion", format!("{version:?} is not supported: this runtime understands 1.0.0 to 1.3.x"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, good) in [
            ("1.0.0", true),
            ("1.2.1-dev", true),
            ("1.0.0-rc5+dev", true),
            ("0.9.0", false),
            ("1.0", false),
            ("", false),
            ("1.0.0.0", false),
            ("x", false),
        ] {
            let mut problems = Problems::default();
            check(version, &mut problems);
            assert_eq!(problems.is_empty(), good, "{version}");
        }
    }
}
