//! The program's environment: as configured, with HOME from the container's /etc/passwd where it is missing.

use std::ffi::CString;
use std::io::Read;

use rustix::fs::{FileType, Mode, OFlags};

use crate::error::{Error, Result};

/// Larger files are not read to the end (CVE class of containers/storage CVE-2024-9676, cri-o's huge /etc/passwd).
const LARGEST_PASSWD: u64 = 4 * 1024 * 1024;

/// C strings for execve(2).
pub(super) fn compile(env: &[String], uid: u32) -> Result<Vec<CString>> {
    let text = |entry: &str| {
        CString::new(entry).map_err(|_| Error::invalid("process.env", format!("{entry:?} has a NUL in it")))
    };
    let mut compiled: Vec<CString> = env.iter().map(|entry| text(entry)).collect::<Result<_>>()?;
    let home_is_set = env.iter().any(|entry| entry.strip_prefix("HOME=").is_some_and(|home| !home.is_empty()));
    if !home_is_set {
        let home = home_directory(uid).unwrap_or_else(|| "/".to_owned());
        compiled.push(text(&format!("HOME={home}"))?);
    }
    Ok(compiled)
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
    fn the_last_variable_of_a_name_wins() {
        let env = ["PATH=/a".to_owned(), "PATHX=/c".to_owned(), "PATH=/b".to_owned()];
        assert_eq!(value(&env, "PATH"), Some("/b"));
    }
}
