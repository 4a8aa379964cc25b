//! One line of text for a person, built in place and written with one `write(2)`, so that lines of several processes
//! do not mix.

use crate::kernel::file;
use crate::signal::Signal;

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
        self.raw(text.as_bytes())
    }

    /// Adds bytes of foreign origin, so many as leave room for ours: what could steer a terminal is shown as `\xNN`.
    #[inline(never)]
    pub fn foreign(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes.iter().take(LONGEST) {
            if byte < b' ' || byte == 0x7f {
                let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
                self.raw(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
            } else {
                self.raw(&[byte]);
            }
        }
        self
    }

    /// Adds `number` in decimal digits.
    #[inline(never)]
    pub fn number(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 || first == 0 {
                break;
            }
        }
        self.raw(&digits[first..])
    }

    /// Adds the name of `signal`, as `SIGTERM`, `SIGRTMIN+3` or a number.
    pub fn signal(&mut self, signal: Signal) -> &mut Self {
        match (signal.name(), signal.above_rtmin()) {
            (Some(name), _) => self.text("SIG").raw(name),
            (None, Some(offset)) => self.text("SIGRTMIN+").number(offset.into()),
            (None, None) => self.text("signal ").number(signal.number().into()),
        }
    }

    /// What has been added so far.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Ends the line and writes it to descriptor `to`.
    #[inline(never)]
    pub fn end(&mut self, to: i32) {
        if self.length == ROOM {
            self.length = ROOM - 4;
            self.text("...");
        }
        self.raw(b"\n");
        file::write(to, self.as_bytes());
        self.length = 0;
    }

    #[inline(never)]
    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(bytes) {
            *to = *from;
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
        line.number(0).text(" ").number(u64::MAX).text(" ").foreign(b"/bin/sh\r\x1b[31m\x7f ").signal(Signal::TERM);
        assert_eq!(line.as_bytes(), br"0 18446744073709551615 /bin/sh\x0d\x1b[31m\x7f SIGTERM");
    }

    #[test]
    fn a_long_line_is_cut() {
        let mut line = Line::new();
        line.foreign(&[b'x'; 100_000]);
        assert_eq!(line.as_bytes().len(), LONGEST);
        line.foreign(&[b'x'; 100_000]).foreign(&[b'x'; 100_000]).text("more").number(1);
        assert_eq!(line.as_bytes().len(), ROOM);
    }
}
