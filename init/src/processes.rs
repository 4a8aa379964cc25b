//! The processes below the init, as `/proc` shows them, `proc(5)`.

use crate::kernel::file::{self, Names};
use crate::kernel::process::{Pid, own_pid};
use crate::line::Line;
use crate::signal::Signal;
use crate::start::Text;
use crate::text;
use crate::texts::Packed;
use crate::words::number;

/// A process, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// Its parent.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
}

/// Every process below this one, in turn.
pub struct Descendants {
    own: Pid,
    proc: Names,
}

impl Descendants {
    /// All of them.
    pub fn all() -> Self {
        let own = own_pid();
        let mut room = [0; 256];
        file::read_head(Text::of(c"/proc/self/stat"), &mut room);
        let is_ours = number(&mut Text::within(&mut room), u64::MAX) == Some(own.0 as u64);
        Self { own, proc: Names::of(Text::of(if is_ours { c"/proc" } else { c"" })) }
    }

    /// Whether they can be seen: not without `/proc`, nor with that of another PID namespace, whose numbers would mean
    /// other processes.
    pub fn are_visible(&self) -> bool {
        self.proc.are_readable()
    }
}

impl Iterator for Descendants {
    type Item = Process;

    #[inline(never)]
    fn next(&mut self) -> Option<Process> {
        loop {
            let mut name = self.proc.advance()?;
            let Some(process) = number(&mut name, i32::MAX as u64).and_then(|pid| Process::find(Pid(pid as i32)))
            else {
                continue;
            };
            // Up to the init, or past it to the top. Pids are reused, so that a wrong turn is possible, a circle almost.
            let mut ancestor = process.parent;
            for _ in 0..1000 {
                if ancestor == self.own {
                    return Some(process);
                }
                match Process::find(ancestor) {
                    Some(next) => ancestor = next.parent,
                    None => break,
                }
            }
        }
    }
}

impl Process {
    /// Process `pid`, if there is one: 0, the parent of who has none here, is nobody.
    #[inline(never)]
    fn find(pid: Pid) -> Option<Self> {
        let mut room = [0; 256];
        read(pid, text!("/proc/#/stat"), &mut room);
        Self::parse(pid, Text::within(&mut room))
    }

    /// Reads `/proc/PID/stat`: number, name in brackets, state, parent, group, and more. A name may hold brackets.
    fn parse(pid: Pid, mut stat: Text<'_>) -> Option<Self> {
        let mut fields = None;
        while let Some(byte) = stat.next() {
            if byte == b')' {
                fields = Some(stat);
            }
        }
        let mut fields = fields?;
        let mut next = || {
            fields.next()?;
            number(&mut fields, i32::MAX as u64).map(|number| Pid(number as i32))
        };
        next(); // the blank
        next(); // the state
        Some(Self { pid, parent: next()?, group: next()? })
    }
}

/// Reads the head of the file at `path`, in which `#` stands for `pid`.
#[inline(never)]
fn read(pid: Pid, path: Packed, room: &mut [u8]) {
    let mut line = Line::new();
    file::read_head(line.add(path, pid.0 as u64, Text::of(c"")).as_text(), room);
}

/// Whether `pid` has a handler for `signal`, by `SigCgt` in `/proc/PID/status`.
pub fn handles(pid: Pid, signal: Signal) -> bool {
    let mut room = [0; 4096];
    read(pid, text!("/proc/#/status"), &mut room);
    caught(Text::within(&mut room)) >> (signal.number() - 1) & 1 == 1
}

/// The mask in `SigCgt`: 16 hexadecimal digits.
fn caught(mut status: Text<'_>) -> u64 {
    while !status.is_empty() {
        if let Some(digits) = status.after(Text::of(c"SigCgt:\t")) {
            let value = |digit: u8| u64::from(if digit > b'9' { digit - b'a' + 10 } else { digit - b'0' });
            return digits.take_while(|byte| *byte != b'\n').fold(0, |mask, digit| mask << 4 | value(digit));
        }
        status.next();
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        let parse = |stat| Process::parse(Pid(17), Text::of(stat));
        let stat = c"17 (a) S 1 (b)) R 12 34 34 0 -1 4194560 90";
        assert_eq!(parse(stat), Some(Process { pid: Pid(17), parent: Pid(12), group: Pid(34) }));
        assert_eq!(parse(c""), None);
        assert_eq!(parse(c"17 (a"), None);
        assert_eq!(parse(c"17 (a)"), None);
    }

    #[test]
    fn caught_signals_are_read_from_their_field() {
        assert_eq!(caught(Text::of(c"SigIgn:\t0000000000000001\nSigCgt:\t00000000000040a2\nCapInh:\t0\n")), 0x40a2);
        assert_eq!(caught(Text::of(c"Name:\tx\n")), 0);
    }

    #[test]
    fn finds_a_child_and_whether_it_handles_a_signal() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid(child.id() as i32);
        let mut found = None;
        for process in Descendants::all() {
            if process.pid == pid {
                found = Some(process);
            }
        }
        let handled = handles(pid, Signal::TERM);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.map(|process| process.parent), Some(own_pid()));
        assert!(!handled);
    }
}
