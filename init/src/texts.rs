//! Texts for people, packed: the pairs of bytes that are most frequent in them are one byte each.
//!
//! An init says something once in a while, and stays in memory for as long as its container lives. `build.rs` counts the
//! pairs, in what stands in the `text!` of the sources.

use crate::start::Text;

include!(concat!(env!("OUT_DIR"), "/pairs.rs"));

/// The first byte that stands for a pair.
const FIRST: u8 = 0x80;

/// A packed text. [`Line::add`](crate::line::Line::add) says what stands for something else in it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Packed(Text<'static>);

/// Packs a text of ASCII characters when it is compiled.
#[macro_export]
macro_rules! text {
    ($text:expr) => {{
        const LENGTH: usize = $crate::texts::pack($text).1;
        static PACKED: [u8; LENGTH + 1] = $crate::texts::cut($crate::texts::pack($text).0);
        const { $crate::texts::Packed::new(&PACKED) }
    }};
}

/// Room for the longest text.
const ROOM: usize = 2048;

/// Packs `text`: the bytes, and how many they are.
pub const fn pack(text: &str) -> ([u8; ROOM], usize) {
    let mut bytes = [0; ROOM];
    let mut length = 0;
    while length < text.len() {
        bytes[length] = text.as_bytes()[length];
        length += 1;
    }
    let mut pair = 0;
    while pair < PAIRS.len() {
        let [first, second] = PAIRS[pair];
        let (mut from, mut to) = (0, 0);
        while from < length {
            if bytes[from] == first && bytes[from + 1] == second {
                bytes[to] = FIRST + pair as u8;
                from += 1;
            } else {
                bytes[to] = bytes[from];
            }
            from += 1;
            to += 1;
        }
        while length > to {
            length -= 1;
            bytes[length] = 0;
        }
        pair += 1;
    }
    (bytes, length)
}

/// The first bytes.
pub const fn cut<const N: usize>(bytes: [u8; ROOM]) -> [u8; N] {
    let mut cut = [0; N];
    cut.copy_from_slice(bytes.split_at(N).0);
    cut
}

impl Packed {
    /// What [`pack`] has made, with a NUL at its end.
    pub const fn new(bytes: &'static [u8]) -> Self {
        match core::ffi::CStr::from_bytes_with_nul(bytes) {
            Ok(text) => Self(Text::of(text)),
            Err(_) => panic!("a text has a NUL in it"),
        }
    }
}

impl IntoIterator for Packed {
    type Item = u8;
    type IntoIter = Unpacked;

    fn into_iter(self) -> Unpacked {
        Unpacked { rest: self.0, depth: 0, later: [0; DEPTH] }
    }
}

/// The bytes of a text as they were.
pub struct Unpacked {
    rest: Text<'static>,
    /// The second halves of the pairs whose first ones come now, the innermost last.
    later: [u8; DEPTH],
    depth: usize,
}

impl Iterator for Unpacked {
    type Item = u8;

    #[inline(never)]
    fn next(&mut self) -> Option<u8> {
        let mut byte = match self.depth.checked_sub(1) {
            None => self.rest.next()?,
            Some(depth) => {
                self.depth = depth;
                self.later[depth % DEPTH]
            }
        };
        while let Some([first, second]) = PAIRS.get(usize::from(byte.wrapping_sub(FIRST))) {
            self.later[self.depth % DEPTH] = *second;
            self.depth += 1;
            byte = *first;
        }
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_shorter_and_the_same_again() {
        for text in
            ["", "x", "the main child ended", "what the main child left does not end: killing it", "aaaaaaa", "e e e "]
        {
            let (bytes, length) = pack(text);
            let packed = Packed::new(bytes[..=length].to_vec().leak());
            assert_eq!(String::from_utf8(packed.into_iter().collect()).unwrap(), text);
            assert!(length <= text.len() && (length < 26 || length < text.len() * 2 / 3), "{text}: {length}");
        }
    }
}
