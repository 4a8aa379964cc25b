//! Words in lists, and words in parts.
//!
//! A list is one text with a space between the words: a comparison with each of several literals would be compiled
//! into as many chains of single bytes.

/// The place of `word` in `list`.
#[inline(never)]
pub fn position(list: &str, word: &[u8]) -> Option<usize> {
    parts(list.as_bytes(), b' ').position(|known| known == word)
}

/// What stands before the first `separator` in `word`, and what behind it, if there is one.
#[inline(never)]
pub fn split_at(word: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    for (at, byte) in word.iter().enumerate() {
        if *byte == separator {
            return (word.get(..at).unwrap_or_default(), word.get(at + 1..));
        }
    }
    (word, None)
}

/// The parts of `word` between the `separator`s.
pub fn parts(word: &[u8], separator: u8) -> Parts<'_> {
    Parts { rest: Some(word), separator }
}

/// What [`parts`] goes through.
pub struct Parts<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    #[inline(never)]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (part, rest) = split_at(self.rest?, self.separator);
        self.rest = rest;
        Some(part)
    }
}
