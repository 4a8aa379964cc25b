//! Why a command can not be executed, in words: what `execve(2)` says by one number, read from the files themselves.

use crate::command::Command;
use crate::kernel::errno::{E2BIG, EACCES, ENAMETOOLONG, ENOENT, ENOEXEC, ENOMEM, ETXTBSY};
use crate::kernel::file::{self, Access};
use crate::line::Line;
use crate::start::{ELF_MACHINE, Text};
use crate::text;
use crate::texts::Packed;

const NOTHING: Text<'static> = Text::of(c"");

/// Adds to `line` why `command` was not executed, `errno` being what the kernel said. False: there is no such file.
pub fn explain(command: &Command<'_>, errno: i32, line: &mut Line) -> bool {
    let mut candidates = command.candidates();
    let mut head = Head([0; 4096]);
    let mut exists = false;
    while !exists && candidates.advance() {
        exists = file::exists(candidates.path());
    }
    let subject = if exists { candidates.path() } else { command.name };
    line.add(text!("cannot run @: "), 0, subject);
    let directories = command.directories();
    let text = if exists {
        explain_file(subject, errno, &mut head, line)
    } else if subject.is_empty() {
        text!("the command is an empty word")
    } else if errno == ENOENT && directories.is_some() {
        text!("not found in PATH, @")
    } else {
        explain_number(errno)
    };
    line.add(text, errno.unsigned_abs().into(), directories.unwrap_or(NOTHING));
    exists
}

#[inline(never)]
fn explain_file<'a>(path: Text<'a>, errno: i32, head: &'a mut Head, line: &mut Line) -> Packed {
    if errno == EACCES {
        let fd = file::open(path, Access::Directory);
        file::close(fd);
        if fd >= 0 {
            return text!("is a directory");
        }
        if !file::is_executable(path) {
            return text!("is not executable; chmod +x would make it so");
        }
    } else if errno != ENOENT && errno != ENOEXEC {
        return explain_number(errno);
    }
    // What is executable need not be readable: then nothing is known.
    file::read_head(path, &mut head.0);
    let machine = head.u16_at(18);
    let (what, needed) = match (head.u16_at(0), head.u16_at(2)) {
        (SCRIPT, _) => (text!("its interpreter @ "), head.interpreter()),
        (ELF, LF) if machine != ELF_MACHINE => {
            add_machine(machine, line);
            return text!(", not for this machine");
        }
        (ELF, LF) => (text!("its loader @ "), head.loader()),
        _ => (text!(""), NOTHING),
    };
    if !needed.is_empty() {
        line.add(what, 0, needed);
        if needed.last() == Some(b'\r') {
            let text =
                text!("does not exist: the first line ends with CR LF, as Windows writes it; save the file with LF");
            return text;
        }
        if !file::exists(needed) {
            return text!("does not exist here");
        }
        if !file::is_executable(needed) {
            return text!("is not executable");
        }
        line.add(text!("cannot be used: "), 0, NOTHING);
    } else if errno == ENOEXEC {
        return text!(
            "is neither a program nor a script that names an interpreter; if it is one for the shell, /bin/sh is missing"
        );
    } else if errno == EACCES {
        return text!("permission denied; its file system may be mounted noexec");
    }
    explain_number(errno)
}

#[inline(never)]
fn explain_number(errno: i32) -> Packed {
    match errno {
        ENOENT => text!("no such file"),
        E2BIG => text!("its arguments and environment are too long"),
        ENOMEM => text!("not enough memory"),
        EACCES => text!("permission denied"),
        ETXTBSY => text!("is open for writing"),
        ENAMETOOLONG => text!("its path is too long"),
        _ => text!("error #"),
    }
}

/// Adds what a program for another machine is made for, by its `e_machine`.
fn add_machine(machine: u16, line: &mut Line) {
    static MACHINES: [u16; 8] = [3, 21, 22, 40, 62, 183, 243, 258];
    let index = MACHINES.iter().take_while(|known| **known != machine).count();
    let names = Text::of(c"i386 ppc64 s390x arm x86_64 aarch64 riscv64 loongarch64 another");
    line.add(text!("is a program for %"), index as u64, names);
}

/// How files begin, read by twos: scripts and programs.
const SCRIPT: u16 = u16::from_le_bytes(*b"#!");
const ELF: u16 = u16::from_le_bytes(*b"\x7fE");
const LF: u16 = u16::from_le_bytes(*b"LF");

/// The first bytes of a file, with zeros behind its end.
struct Head([u8; 4096]);

impl Head {
    /// The interpreter in what follows `#!`, `execve(2)`: the first word of the line.
    #[inline(never)]
    fn interpreter(&mut self) -> Text<'_> {
        let mut at = 2;
        while matches!(self.0.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        let start = at;
        while let Some(byte) = self.0.get_mut(at) {
            if matches!(byte, b' ' | b'\t' | b'\n') {
                *byte = 0;
                break;
            }
            at += 1;
        }
        Text::within(self.0.get_mut(start..).unwrap_or_default())
    }

    /// The path in the `PT_INTERP` segment of a 64-bit ELF file, `elf(5)`. Empty when it has none, or not in its head.
    #[inline(never)]
    fn loader(&mut self) -> Text<'_> {
        const PT_INTERP: u16 = 3;
        let mut header = self.u16_at(32);
        for _ in 0..self.u16_at(56) {
            if self.u16_at(header) == PT_INTERP && self.u16_at(header.saturating_add(2)) == 0 {
                let at = self.u16_at(header.saturating_add(8));
                return Text::within(self.0.get_mut(at.into()..).unwrap_or_default());
            }
            header = header.saturating_add(self.u16_at(54));
        }
        NOTHING
    }

    /// The number at this place, or the low half of a larger one: what is further away than 64 KiB is not in the head.
    #[inline(never)]
    fn u16_at(&self, at: u16) -> u16 {
        match self.0.get(at.into()..) {
            Some([low, high, ..]) => u16::from_le_bytes([*low, *high]),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(content: &[u8]) -> Head {
        let mut head = Head([0; 4096]);
        let length = content.len().min(4096);
        head.0[..length].copy_from_slice(&content[..length]);
        head
    }

    #[test]
    fn interpreters_of_scripts() {
        for (content, interpreter) in [
            (&b"#!/bin/sh\necho"[..], &b"/bin/sh"[..]),
            (b"#! \t/usr/bin/env node\n", b"/usr/bin/env"),
            (b"#!/bin/sh\r\n", b"/bin/sh\r"),
            (b"#!/bin/sh", b"/bin/sh"),
            (b"#!", b""),
            (b"#!\n/bin/sh", b""),
        ] {
            assert_eq!(head(content).interpreter().bytes(), interpreter);
        }
    }

    #[test]
    fn the_loader_of_a_dynamic_program() {
        let content = std::fs::read("/bin/sh").unwrap();
        let mut head = head(&content);
        let loader = String::from_utf8_lossy(head.loader().bytes());
        assert!(loader.contains("ld-linux"), "{loader}");
    }

    #[test]
    fn damaged_programs_do_no_harm() {
        let content = std::fs::read("/bin/sh").unwrap();
        for length in 0..300 {
            head(&content[..length]).loader();
        }
        for at in 0..64 {
            let mut damaged = content[..4096].to_vec();
            damaged[at] = 0xff;
            head(&damaged).loader();
        }
    }
}
