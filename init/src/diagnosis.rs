//! Why a command can not be executed, in words: what `execve(2)` says by one number, read from the files themselves.

use core::ffi::CStr;

use crate::command::{Command, ExecutablePath};
use crate::kernel::Errno;
use crate::kernel::file::{self, Access, File};
use crate::line::Line;
use crate::start::ELF_MACHINE;

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
        (b"", _) => line.text("the command is an empty word"),
        (_, None) if errno == ENOENT => line.text("no such file"),
        (_, Some(directories)) if errno == ENOENT => line.text("not found in PATH, ").foreign(directories),
        _ => explain_number(errno, line),
    };
    false
}

/// The first file with the command's name.
fn locate<'a>(command: &Command<'_>, room: &'a mut ExecutablePath) -> Option<&'a CStr> {
    let name = Some(command.name()).filter(|name| !name.is_empty())?;
    let mut directories = command.directories().unwrap_or_default().split(|byte| *byte == b':');
    let directory = directories.find(|directory| room.join(directory, name).is_some_and(file::exists))?;
    room.join(directory, name)
}

fn explain_file(path: &CStr, errno: Errno, line: &mut Line) {
    let mut head = [0; 4096];
    if errno == EACCES && File::open(path, Access::Directory).is_ok() {
        line.text("is a directory");
    } else if errno == EACCES && !file::is_executable(path) {
        line.text("is not executable; chmod +x would make it so");
    } else if !matches!(errno, ENOENT | ENOEXEC | EACCES) {
        explain_number(errno, line);
    } else {
        // What is executable need not be readable.
        let head = File::open(path, Access::Read).ok().and_then(|file| file.read(&mut head).ok()).unwrap_or_default();
        let needed = match head {
            [b'#', b'!', rest @ ..] => Some(("interpreter", interpreter(rest))),
            [0x7f, b'E', b'L', b'F', ..] => {
                if let Some(machine) = elf_u16(head, 18).filter(|machine| *machine != ELF_MACHINE) {
                    line.text("is a program for ").text(machine_name(machine)).text(", and this machine is ");
                    line.text(machine_name(ELF_MACHINE));
                    return;
                }
                loader(head).map(|loader| ("loader", loader))
            }
            _ => None,
        };
        match needed {
            Some((what, needed)) => explain_needed(what, needed, errno, line),
            None if errno == ENOEXEC && head.is_empty() => line.text("is an empty file"),
            None if errno == ENOEXEC => line.text(
                "is neither a program nor a script with a #! line; if it is one for the shell, /bin/sh is missing",
            ),
            None if errno == EACCES => line.text("permission denied; its file system may be mounted noexec"),
            None => explain_number(errno, line),
        };
    }
}

/// Adds what is wrong with the interpreter or loader that a file needs.
fn explain_needed<'a>(what: &str, needed: &[u8], errno: Errno, line: &'a mut Line) -> &'a mut Line {
    let mut room = ExecutablePath::new();
    let path = room.join(b"", needed).unwrap_or_default();
    line.text("its ").text(what).text(" ").foreign(needed);
    if needed.ends_with(b"\r") {
        line.text(" does not exist: the first line ends with CR LF, as Windows writes it; save the file with LF")
    } else if !file::exists(path) {
        line.text(" does not exist here")
    } else if !file::is_executable(path) {
        line.text(" is not executable")
    } else {
        line.text(" cannot be used: ");
        explain_number(errno, line)
    }
}

fn explain_number(errno: Errno, line: &mut Line) -> &mut Line {
    match errno {
        ENOENT => line.text("no such file"),
        E2BIG => line.text("its arguments and environment are too long"),
        ENOEXEC => line.text("the kernel cannot execute this format"),
        ENOMEM => line.text("not enough memory"),
        EACCES => line.text("permission denied"),
        ETXTBSY => line.text("is open for writing"),
        ENAMETOOLONG => line.text("its path is too long"),
        Errno(number) => line.text("error ").number(number.into()),
    }
}

/// The interpreter in what follows `#!`, `execve(2)`: the first word of the line.
fn interpreter(rest: &[u8]) -> &[u8] {
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty()).unwrap_or_default()
}

/// The path in the `PT_INTERP` segment of a 64-bit ELF file, `elf(5)`, when it lies in the `head` that was read.
fn loader(head: &[u8]) -> Option<&[u8]> {
    const PT_INTERP: u32 = 3;
    let table = elf_u64(head, 32)?;
    let size = usize::from(elf_u16(head, 54)?);
    (0..usize::from(elf_u16(head, 56)?)).find_map(|index| {
        let header = head.get(table.checked_add(index * size)?..)?;
        if elf_u16(header, 0)? != PT_INTERP as u16 || elf_u16(header, 2)? != 0 {
            return None;
        }
        let path = head.get(elf_u64(header, 8)?..)?;
        path.split(|byte| *byte == 0).next()
    })
}

fn elf_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn elf_u64(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?) as usize)
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

    #[test]
    fn interpreters_of_scripts() {
        assert_eq!(interpreter(b"/bin/sh\necho"), b"/bin/sh");
        assert_eq!(interpreter(b" \t/usr/bin/env node\n"), b"/usr/bin/env");
        assert_eq!(interpreter(b"/bin/sh\r\n"), b"/bin/sh\r");
        assert_eq!(interpreter(b""), b"");
        assert_eq!(interpreter(b"\n/bin/sh"), b"");
    }

    #[test]
    fn the_loader_of_a_dynamic_program() {
        let head = std::fs::read("/bin/sh").unwrap();
        let loader = loader(&head[..4096]).map(String::from_utf8_lossy).unwrap();
        assert!(loader.contains("ld-linux"), "{loader}");
    }

    #[test]
    fn damaged_programs_do_no_harm() {
        let head = std::fs::read("/bin/sh").unwrap();
        for length in 0..300 {
            loader(&head[..length]);
        }
        for at in 0..64 {
            let mut damaged = head[..4096].to_vec();
            damaged[at] = 0xff;
            loader(&damaged);
        }
    }
}
