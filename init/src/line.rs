//! One line of text for a person, built in place and written with one `write(2)`, so that lines of several processes
//! do not mix.

use core::borrow::Borrow;

use crate::kernel::file;
use crate::signal::{NAMES, Signal};
use crate::start::Text;
use crate::text;
use crate::texts::Packed;

/// A line of at most this many bytes; a longer one is cut.
const ROOM: usize = 512;
/// Of foreign words no more than this.
const LONGEST: usize = 200;

/// A line being built.
pub struct Line {
    length: usize,
    bytes: [u8; ROOM],
}

impl Line {
    /// An empty line.
    #[inline(never)]
    pub fn new() -> Self {
        Self { length: 0, bytes: [0; ROOM] }
    }

    /// Adds `text` as it is.
    pub fn text(&mut self, text: &str) -> &mut Self {
        text.bytes().for_each(|byte| _ = self.push(byte));
        self
    }

    /// Adds `text` with what its marks stand for: `#` for `number`, `$` for the name of the signal with this number, `@` for
    /// `word`, which may be of foreign origin, `%` for word number `number` of `word`.
    #[inline(never)]
    pub fn add(&mut self, text: Packed, number: u64, word: Text<'_>) -> &mut Self {
        for byte in text {
            match byte {
                b'#' => self.number(number),
                b'$' => self.signal(number as u8),
                b'@' => self.foreign(word),
                b'%' => self.word(word, number as usize),
                _ => self.push(byte),
            };
        }
        self
    }

    /// Adds bytes of foreign origin, so many as leave room for ours: what could steer a terminal is shown as `\xNN`.
    #[inline(never)]
    pub fn foreign(&mut self, bytes: impl IntoIterator<Item: Borrow<u8>>) -> &mut Self {
        for byte in bytes.into_iter().take(LONGEST) {
            let byte = *byte.borrow();
            if byte < b' ' || byte == 0x7f {
                self.push(b'\\');
                self.push(b'x');
                self.push(b'0' + (byte >> 4));
                self.push(b"0123456789abcdef"[usize::from(byte & 15)]);
            } else {
                self.push(byte);
            }
        }
        self
    }

    /// Adds word number `index` of `list`, in which there are spaces between.
    #[inline(never)]
    pub fn word(&mut self, list: Text<'_>, mut index: usize) -> &mut Self {
        for byte in list {
            if byte == b' ' {
                index = index.wrapping_sub(1);
            } else if index == 0 {
                self.push(byte);
            }
        }
        self
    }

    /// Adds `number` in decimal digits.
    #[inline(never)]
    pub fn number(&mut self, number: u64) -> &mut Self {
        if number >= 10 {
            self.number(number / 10);
        }
        self.push(b'0' + (number % 10) as u8);
        self
    }

    /// Adds the name of a signal, as `SIGTERM`, `SIGRTMIN+3` or a number.
    fn signal(&mut self, number: u8) -> &mut Self {
        let (text, number) = match Signal::new(number).map(|signal| (signal.name(), signal.above_rtmin())) {
            Some((Some(index), _)) => (text!("SIG%"), index as u64),
            Some((None, Some(offset))) => (text!("SIGRTMIN+#"), offset.into()),
            _ => (text!("signal #"), number.into()),
        };
        self.add(text, number, NAMES)
    }

    /// What has been added so far.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// What has been added so far, for the kernel.
    pub fn as_text(&mut self) -> Text<'_> {
        Text::within(&mut self.bytes)
    }

    /// Ends the line and writes it to descriptor `to`.
    #[inline(never)]
    pub fn end(&mut self, to: i32) {
        self.length = self.length.min(ROOM - 1);
        self.push(b'\n');
        file::write(to, self.as_bytes());
        self.length = 0;
    }

    /// Adds a byte.
    #[inline(never)]
    pub fn push(&mut self, byte: u8) -> &mut Self {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
        self
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_signals_and_foreign_bytes() {
        let mut line = Line::new();
        line.number(0).add(text!(" # @"), u64::MAX, Text::of(c"/bin/sh\r\x1b[31m\x7f ")).add(
            text!("$"),
            15,
            Text::of(c""),
        );
        assert_eq!(line.as_bytes(), br"0 18446744073709551615 /bin/sh\x0d\x1b[31m\x7f SIGTERM");
    }

    #[test]
    fn a_long_line_is_cut() {
        let mut line = Line::new();
        line.foreign([b'x'; 100_000]);
        assert_eq!(line.as_bytes().len(), LONGEST);
        line.foreign([b'x'; 100_000]).foreign([b'x'; 100_000]).text("more").number(1);
        assert_eq!(line.as_bytes().len(), ROOM);
    }
}
