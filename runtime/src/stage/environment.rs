//! The program's environment: as configured, with HOME from the container's /etc/passwd where it is missing.

use std::ffi::CString;
use std::io::Read;

use rustix::fs::{FileType, Mode, OFlags};

use crate::error::{Error, Result};

/// Larger files are not read to the end (CVE class of containers/storage CVE-2024-9676, cri-o's huge /etc/passwd).
const LARGEST_PASSWD: u64 = 4 * 1024 * 1024;

/// C strings for execve(2): of a name that is given twice the last value, in the first one's place.
pub(super) fn compile(env: &[String], uid: u32) -> Result<Vec<CString>> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut unique: Vec<&str> = Vec::with_capacity(env.len() + 1);
    for entry in env {
        match unique.iter().position(|earlier| name(earlier) == name(entry)) {
            Some(earlier) => unique[earlier] = entry,
            None => unique.push(entry),
        }
    }
    unique.retain(|entry| *entry != "HOME=");
    let home;
    if !unique.iter().any(|entry| entry.starts_with("HOME=")) {
        home = format!("HOME={}", home_directory(uid).unwrap_or_else(|| "/".to_owned()));
        unique.push(&home);
    }
    let text = |entry: &&str| {
        CString::new(*entry).map_err(|_| Error::invalid("process.env", format!("{entry:?} has a NUL in it")))
    };
    unique.iter().map(text).collect()
}

/// The value of a variable; the last one wins, as in a shell.
pub(super) fn value<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// passwd(5) in the container: an ordinary file, read only so far, and never through the C library's NSS.
fn home_directory(uid: u32) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open("/etc/passwd", flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(LARGEST_PASSWD).read_to_end(&mut bytes).ok()?;
    find_home(&String::from_utf8_lossy(&bytes), uid)
}

fn find_home(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.nth(2)?.parse() == Ok(uid);
        let home = fields.nth(2)?;
        (found && home.starts_with('/')).then(|| home.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_comes_from_the_line_of_the_uid() {
        let passwd = "broken\nroot:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\nrel:x:7:7::x:\n";
        assert_eq!(find_home(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(find_home(passwd, 1000).as_deref(), Some("/home/u"));
        assert_eq!(find_home(passwd, 7), None);
        assert_eq!(find_home(passwd, 8), None);
    }

    #[test]
    fn every_name_once() {
        let env = ["A=1", "HOME=", "B=2", "A=3"].map(str::to_owned);
        let compiled = compile(&env, u32::MAX - 1).unwrap();
        let compiled: Vec<_> = compiled.iter().map(|entry| entry.to_str().unwrap()).collect();
        assert_eq!(compiled, ["A=3", "B=2", "HOME=/"]);
    }

    #[test]
    fn the_last_variable_of_a_name_wins() {
        let env = ["PATH=/a".to_owned(), "PATHX=/c".to_owned(), "PATH=/b".to_owned()];
        assert_eq!(value(&env, "PATH"), Some("/b"));
    }
}
