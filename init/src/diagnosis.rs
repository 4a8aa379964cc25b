//! Why a command can not be executed, in words: what `execve(2)` says by one number, read from the files themselves.

use core::ffi::CStr;

use crate::command::{Command, ExecutablePath};
use crate::kernel::Errno;
use crate::kernel::file::{self, Access, File};
use crate::line::Line;
use crate::start::ELF_MACHINE;
use crate::words::{parts, split_at};

const ENOENT: Errno = Errno(2);
const E2BIG: Errno = Errno(7);
const ENOEXEC: Errno = Errno(8);
const ENOMEM: Errno = Errno(12);
const EACCES: Errno = Errno(13);
const ETXTBSY: Errno = Errno(26);
const ENAMETOOLONG: Errno = Errno(36);

/// Adds to `line` why `command` was not executed, `errno` being what the kernel said. False: there is no such file.
pub fn explain(command: &Command<'_>, errno: Errno, line: &mut Line) -> bool {
    let name = command.name();
    let mut room = ExecutablePath::new();
    line.text("cannot run ");
    if let Some(path) = locate(command, &mut room) {
        line.foreign(path.to_bytes()).text(": ");
        explain_file(path, errno, line);
        return true;
    }
    line.foreign(name).text(": ");
    match (name, command.directories()) {
        (b"", _) => _ = line.text("the command is an empty word"),
        (_, Some(directories)) if errno == ENOENT => _ = line.text("not found in PATH, ").foreign(directories),
        _ => explain_number(errno, line),
    }
    false
}

/// The first file with the command's name.
fn locate<'a>(command: &Command<'_>, room: &'a mut ExecutablePath) -> Option<&'a CStr> {
    let name = command.name();
    let mut directories = parts(command.directories().unwrap_or_default(), b':');
    let directory = directories.find(|directory| room.join(directory, name).is_some_and(file::exists))?;
    room.join(directory, name).filter(|_| !name.is_empty())
}

fn explain_file(path: &CStr, errno: Errno, line: &mut Line) {
    let mut head = Head([0; 4096]);
    let text = if errno == EACCES && File::open(path, Access::Directory).is_ok() {
        "is a directory"
    } else if errno == EACCES && !file::is_executable(path) {
        "is not executable; chmod +x would make it so"
    } else if !matches!(errno, ENOENT | ENOEXEC | EACCES) {
        return explain_number(errno, line);
    } else {
        // What is executable need not be readable: then nothing is known.
        file::read_head(path, &mut head.0);
        let needed = match head.0 {
            [b'#', b'!', ..] => ("interpreter", head.interpreter()),
            [0x7f, b'E', b'L', b'F', ..] if head.u16_at(18) != ELF_MACHINE => {
                line.text("is a program for ").text(machine_name(head.u16_at(18))).text(", and this machine is ");
                line.text(machine_name(ELF_MACHINE));
                return;
            }
            [0x7f, b'E', b'L', b'F', ..] => ("loader", head.loader()),
            _ => ("", b"".as_slice()),
        };
        match (needed, errno) {
            ((what, name @ [_, ..]), _) => return explain_needed(what, name, errno, line),
            (_, ENOEXEC) => {
                "is neither a program nor a script with a #! line; if it is one for the shell, /bin/sh is missing"
            }
            (_, EACCES) => "permission denied; its file system may be mounted noexec",
            _ => return explain_number(errno, line),
        }
    };
    line.text(text);
}

/// Adds what is wrong with the interpreter or loader that a file needs.
fn explain_needed(what: &str, needed: &[u8], errno: Errno, line: &mut Line) {
    let mut room = ExecutablePath::new();
    let path = room.join(b"", needed).unwrap_or_default();
    line.text("its ").text(what).text(" ").foreign(needed).text(if needed.ends_with(b"\r") {
        " does not exist: the first line ends with CR LF, as Windows writes it; save the file with LF"
    } else if !file::exists(path) {
        " does not exist here"
    } else if !file::is_executable(path) {
        " is not executable"
    } else {
        " cannot be used: "
    });
    if file::is_executable(path) {
        explain_number(errno, line);
    }
}

fn explain_number(errno: Errno, line: &mut Line) {
    let text = match errno {
        ENOENT => "no such file",
        E2BIG => "its arguments and environment are too long",
        ENOMEM => "not enough memory",
        EACCES => "permission denied",
        ETXTBSY => "is open for writing",
        ENAMETOOLONG => "its path is too long",
        Errno(number) => {
            line.text("error ").number(number.into());
            return;
        }
    };
    line.text(text);
}

/// The first bytes of a file, with zeros behind its end.
struct Head([u8; 4096]);

impl Head {
    /// The interpreter in what follows `#!`, `execve(2)`: the first word of the line.
    fn interpreter(&self) -> &[u8] {
        let (line, _) = split_at(self.0.get(2..).unwrap_or_default(), b'\n');
        let start = line.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(0);
        let word = line.get(start..).unwrap_or_default();
        let end = word.iter().position(|byte| matches!(byte, b' ' | b'\t' | 0)).unwrap_or(word.len());
        word.get(..end).unwrap_or_default()
    }

    /// The path in the `PT_INTERP` segment of a 64-bit ELF file, `elf(5)`. Empty when it has none, or not in its head.
    fn loader(&self) -> &[u8] {
        const PT_INTERP: u16 = 3;
        let mut header = self.u16_at(32);
        for _ in 0..self.u16_at(56) {
            if self.u16_at(header) == PT_INTERP && self.u16_at(header.saturating_add(2)) == 0 {
                let path = self.0.get(self.u16_at(header.saturating_add(8)).into()..).unwrap_or_default();
                return split_at(path, 0).0;
            }
            header = header.saturating_add(self.u16_at(54));
        }
        b""
    }

    /// The number at this place, or the low half of a larger one: what is further away than 64 KiB is not in the head.
    fn u16_at(&self, at: u16) -> u16 {
        match self.0.get(at.into()..) {
            Some([low, high, ..]) => u16::from_le_bytes([*low, *high]),
            _ => 0,
        }
    }
}

/// What a machine is called, by its `e_machine`.
fn machine_name(machine: u16) -> &'static str {
    match machine {
        3 => "i386",
        21 => "ppc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        _ => "another machine",
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
            assert_eq!(head(content).interpreter(), interpreter);
        }
    }

    #[test]
    fn the_loader_of_a_dynamic_program() {
        let content = std::fs::read("/bin/sh").unwrap();
        let head = head(&content);
        let loader = String::from_utf8_lossy(head.loader());
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
