//! Words in lists, and numbers.
//!
//! A list is one text with a space between the words: a comparison with each of several literals would be compiled
//! into as many chains of single bytes. A word that is looked for ends where its text does, or at `=`, `:` or `,`.

use crate::start::Text;

/// How a word compares with one that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Likeness {
    /// They are the same.
    Same,
    /// The known one begins so.
    Abbreviated,
    /// It is another.
    Other,
}

/// Whether a word ends with this byte.
pub fn is_end(byte: u8) -> bool {
    matches!(byte, 0 | b'=' | b':' | b',')
}

/// Takes the first word off `list`, compares `word` with it, each byte as `fold` makes it (a space: the word
/// ends there), and returns what follows in `word`, too.
#[inline(never)]
pub fn compare<'a>(list: &mut Text<'_>, word: Text<'a>, fold: fn(u8) -> u8) -> (Likeness, Text<'a>) {
    let mut rest = word;
    let likeness = loop {
        let known = list.next().unwrap_or(b' ');
        let byte = if is_end(rest.first()) { b' ' } else { fold(rest.first()) };
        if known == b' ' {
            return (if byte == b' ' { Likeness::Same } else { Likeness::Other }, rest);
        }
        if known != byte {
            break if byte == b' ' { Likeness::Abbreviated } else { Likeness::Other };
        }
        rest.next();
    };
    list.find(|byte| *byte == b' ');
    (likeness, rest)
}

/// Takes a word off `word` that is in `list`, and returns its place there.
#[inline(never)]
pub fn find(mut list: Text<'_>, word: &mut Text<'_>, fold: fn(u8) -> u8) -> Option<usize> {
    let mut index = 0;
    while !list.is_empty() {
        if let (Likeness::Same, rest) = compare(&mut list, *word, fold) {
            *word = rest;
            return Some(index);
        }
        index += 1;
    }
    None
}

/// The place of `word`, all of it and byte for byte, in `list`.
pub fn position(list: Text<'_>, mut word: Text<'_>) -> Option<usize> {
    find(list, &mut word, |byte| byte).filter(|_| word.is_empty())
}

/// Takes a decimal number of at most `limit` off `word`.
#[inline(never)]
pub fn number(word: &mut Text<'_>, limit: u64) -> Option<u64> {
    let mut number = None;
    while word.first().is_ascii_digit() {
        let digit = word.next()? - b'0';
        number = Some(number.unwrap_or(0_u64).checked_mul(10)?.checked_add(digit.into())?);
    }
    number.filter(|number| *number <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole() {
        let list = Text::of(c"one two three");
        for (word, expected) in
            [(c"one", Some(0)), (c"three", Some(2)), (c"thre", None), (c"threes", None), (c"", None)]
        {
            assert_eq!(position(list, Text::of(word)), expected, "{word:?}");
        }
        let mut word = Text::of(c"TWO=2");
        assert_eq!(find(list, &mut word, |byte| byte.to_ascii_lowercase()), Some(1));
        assert_eq!(word, Text::of(c"=2"));
        assert_eq!(position(list, Text::of(c"two=2")), None);
        assert_eq!(position(list, Text::of(c"one two")), None);
        assert_eq!(compare(&mut { list }, Text::of(c"o=1"), |byte| byte).0, Likeness::Abbreviated);
    }

    #[test]
    fn numbers_know_their_limit_and_do_not_wrap() {
        let whole = |word, limit| {
            let mut word = Text::of(word);
            number(&mut word, limit).filter(|_| word.is_empty())
        };
        assert_eq!(whole(c"255", 255), Some(255));
        assert_eq!(whole(c"256", 255), None);
        assert_eq!(whole(c"18446744073709551615", u64::MAX), Some(u64::MAX));
        assert_eq!(whole(c"18446744073709551616", u64::MAX), None);
        assert_eq!(whole(c"1/", 255), None);
        assert_eq!(whole(c"1:", 255), None);
        assert_eq!(whole(c"", 255), None);
        assert_eq!(whole(c"-1", 255), None);
    }
}
