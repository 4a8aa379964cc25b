//! Fields in what the kernel writes.

/// What stands before the first `separator` in `word`, and what behind it, if there is one.
pub fn split_at(word: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match word.iter().position(|byte| *byte == separator) {
        Some(at) => (word.get(..at).unwrap_or_default(), word.get(at + 1..)),
        None => (word, None),
    }
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

    #[test]
    fn decimals_know_their_limit_and_do_not_wrap() {
        assert_eq!(decimal(b"255", 255), Some(255));
        assert_eq!(decimal(b"256", 255), None);
        assert_eq!(decimal(b"18446744073709551616", u64::MAX), None);
        assert_eq!(decimal(b"1/", 255), None);
        assert_eq!(decimal(b"1:", 255), None);
        assert_eq!(decimal(b"", 255), None);
    }
}
