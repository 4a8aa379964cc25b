//! Why a program could not be executed: what the kernel's errno leaves open, the file itself tells.

use std::ffi::{CStr, OsStr};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use crate::error::{Error, Kind};

/// execve(2) looks at as many bytes (`BINPRM_BUF_SIZE`); an ELF header and its program headers are near the start.
const HEAD: usize = 4096;

/// The error for a failed exec of `program`, in the container.
pub(super) fn execution(program: &CStr, errno: Errno) -> Error {
    let path = Path::new(OsStr::from_bytes(program.to_bytes()));
    let error = Error::system(format!("unable to start container process: exec {}", path.display()), errno);
    let error = match cause(path, errno) {
        Some(cause) => error.remedy(cause),
        None => error,
    };
    error.with_kind(if errno == Errno::ENOENT { Kind::CommandNotFound } else { Kind::CommandNotExecutable })
}

fn cause(path: &Path, errno: Errno) -> Option<String> {
    let mut head = vec![0; HEAD];
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(_) if errno == Errno::EACCES => {
            return Some(
                "the file system may be mounted noexec, or a directory on the way is closed to this user".to_owned(),
            );
        }
        Err(_) => return None,
    };
    let mut length = 0;
    while let Ok(count @ 1..) = file.read(&mut head[length..]) {
        length += count;
    }
    let head = &head[..length];
    match errno {
        Errno::EACCES => on_noexec_mount(path).then(|| "its file system is mounted noexec".to_owned()),
        _ if head.starts_with(b"#!") => script(head),
        _ if head.starts_with(b"\x7fELF") => elf(head, errno),
        Errno::ENOEXEC if head.is_empty() => Some("the file is empty".to_owned()),
        Errno::ENOEXEC => Some("neither an ELF program nor a script that starts with #!".to_owned()),
        _ => None,
    }
}

fn on_noexec_mount(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}

fn script(head: &[u8]) -> Option<String> {
    let line = head[2..].split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_ascii_whitespace().next();
    if line.ends_with('\r') {
        return Some(format!(
            "its first line ends in CR LF, so the kernel looks for {:?}; save the file with Unix line ends",
            format!("{}\r", line.trim_end_matches('\r').trim())
        ));
    }
    match interpreter {
        None => Some("its #! line names no interpreter".to_owned()),
        Some(interpreter) if !Path::new(interpreter).exists() => {
            Some(format!("its interpreter {interpreter} is not in the image"))
        }
        Some(interpreter) => Some(format!("its interpreter {interpreter} can not be executed")),
    }
}

fn elf(head: &[u8], errno: Errno) -> Option<String> {
    let half = |offset: usize| Some(u16::from_le_bytes(head.get(offset..offset + 2)?.try_into().ok()?));
    let machine = half(18)?;
    if machine != own_machine() {
        return Some(format!(
            "it is a program for {}, this machine is {}",
            machine_name(machine),
            std::env::consts::ARCH
        ));
    }
    if errno == Errno::ENOENT {
        let loader = program_interpreter(head)?;
        return Some(format!("its loader {loader} is not in the image; a static program needs none"));
    }
    None
}

/// `PT_INTERP` of a 64-bit little-endian program (elf(5)).
fn program_interpreter(head: &[u8]) -> Option<String> {
    const PT_INTERP: u32 = 3;
    let number = |offset: usize, size: usize| -> Option<usize> {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(head.get(offset..offset.checked_add(size)?)?);
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    if head.get(4) != Some(&2) {
        return None;
    }
    let (table, entry_size, entries) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..entries {
        let entry = table.checked_add(index.checked_mul(entry_size)?)?;
        if number(entry, 4)? as u32 == PT_INTERP {
            let (start, size) = (number(entry.checked_add(8)?, 8)?, number(entry.checked_add(32)?, 8)?);
            let bytes = head.get(start..start.checked_add(size)?)?;
            return Some(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned());
        }
    }
    None
}

/// elf(5), `e_machine`.
fn own_machine() -> u16 {
    match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "riscv64" => 243,
        "s390x" => 22,
        "powerpc64" => 21,
        "arm" => 40,
        _ => 3,
    }
}

fn machine_name(machine: u16) -> String {
    let name = match machine {
        3 => "i386",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        other => return format!("ELF machine {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts() {
        assert!(
            script(b"#!/no/such/interpreter -x\nrest").unwrap().contains("/no/such/interpreter is not in the image")
        );
        assert!(script(b"#!/bin/sh\r\n").unwrap().contains("CR LF"));
        assert!(script(b"#!\n").unwrap().contains("no interpreter"));
    }

    #[test]
    fn other_machines_and_cut_off_headers() {
        let mut head = vec![0; 64];
        head[..5].copy_from_slice(b"\x7fELF\x02");
        head[18] = if own_machine() == 183 { 62 } else { 183 };
        assert!(elf(&head, Errno::ENOEXEC).unwrap().contains("this machine is"));
        assert!(elf(&head[..10], Errno::ENOEXEC).is_none());
        head[18..20].copy_from_slice(&own_machine().to_le_bytes());
        head[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        head[56] = 9;
        assert!(elf(&head, Errno::ENOENT).is_none());
    }
}
