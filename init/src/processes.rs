//! The processes below the init, as `/proc` shows them, `proc(5)`.

use core::ffi::CStr;

use crate::kernel::file::{self, Access, File};
use crate::kernel::process::{Pid, own_pid};
use crate::signal::{Signal, decimal};
use crate::start::c_str;
use crate::words::parts;

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

/// Calls `each` with every process below this one, or with those of one group.
///
/// False, and nothing is called, when there is no `/proc`, or when it is that of another PID namespace, whose numbers
/// would mean other processes.
#[inline(never)]
pub fn each_descendant(group: Option<Pid>, each: &mut dyn FnMut(Process)) -> bool {
    let own = own_pid();
    if !matches!(Process::read(c"/proc/self/stat"), Some(this) if this.pid == own) {
        return false;
    }
    let Ok(proc) = File::open(c"/proc", Access::Directory) else {
        return false;
    };
    let listed = proc.entries(&mut |name| {
        let Some(process) = decimal(name, i32::MAX as u64).and_then(|pid| Process::find(Pid(pid as i32))) else {
            return;
        };
        if group.is_some_and(|group| process.group != group) {
            return;
        }
        // Up to the init, or past it to the top. Pids are reused, so that a wrong turn is possible, a circle almost.
        let mut ancestor = process.parent;
        for _ in 0..1000 {
            if ancestor == own {
                return each(process);
            }
            match Process::find(ancestor) {
                Some(next) if ancestor.0 > 0 => ancestor = next.parent,
                _ => return,
            }
        }
    });
    listed.is_ok()
}

impl Process {
    fn find(pid: Pid) -> Option<Self> {
        Self::read(path_of(pid, b"stat", &mut [0; 32])?)
    }

    /// Reads `/proc/PID/stat`: number, name in brackets, state, parent, group, and more. A name may hold brackets.
    fn read(path: &CStr) -> Option<Self> {
        Self::parse(file::read_head(path, &mut [0; 256]))
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        let number = |field: &[u8]| decimal(field, i32::MAX as u64).map(|number| Pid(number as i32));
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 2;
        let mut fields = parts(stat.get(after_name..)?, b' ').skip(1);
        let pid = number(parts(stat, b' ').next()?)?;
        Some(Self { pid, parent: number(fields.next()?)?, group: number(fields.next()?)? })
    }
}

/// Whether `pid` has a handler for `signal`, by `SigCgt` in `/proc/PID/status`.
pub fn handles(pid: Pid, signal: Signal) -> bool {
    let mask = path_of(pid, b"status", &mut [0; 32]).and_then(|path| caught(file::read_head(path, &mut [0; 4096])));
    mask.is_some_and(|mask| mask >> (signal.number() - 1) & 1 == 1)
}

fn caught(status: &[u8]) -> Option<u64> {
    const FIELD: &[u8] = b"SigCgt:\t";
    let line = parts(status, b'\n').find_map(|line| line.strip_prefix(FIELD))?;
    line.iter().try_fold(0_u64, |mask, digit| Some(mask << 4 | u64::from((*digit as char).to_digit(16)?)))
}

/// The path of `file` of process `pid`, built in `room`.
fn path_of<'a>(pid: Pid, file: &[u8], room: &'a mut [u8; 32]) -> Option<&'a CStr> {
    let mut line = crate::line::Line::new();
    line.text("/proc/").number(pid.0 as u64).text("/").foreign(file);
    let path = line.as_bytes();
    room.get_mut(..path.len())?.copy_from_slice(path);
    c_str(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        let stat = b"17 (a) S 1 (b)) R 12 34 34 0 -1 4194560 90";
        assert_eq!(Process::parse(stat), Some(Process { pid: Pid(17), parent: Pid(12), group: Pid(34) }));
        assert_eq!(Process::parse(b""), None);
        assert_eq!(Process::parse(b"17 (a"), None);
        assert_eq!(Process::parse(b"17 (a)"), None);
    }

    #[test]
    fn caught_signals_are_read_from_their_field() {
        assert_eq!(caught(b"SigIgn:\t0000000000000001\nSigCgt:\t0000000000004002\nCapInh:\t0\n"), Some(0x4002));
        assert_eq!(caught(b"Name:\tx\n"), None);
    }

    #[test]
    fn finds_a_child_and_whether_it_handles_a_signal() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid(child.id() as i32);
        let mut found = None;
        assert!(each_descendant(None, &mut |process| {
            if process.pid == pid {
                found = Some(process);
            }
        }));
        let handled = handles(pid, Signal::TERM);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.map(|process| process.parent), Some(own_pid()));
        assert!(!handled);
    }
}
