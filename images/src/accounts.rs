//! Users and groups as an image knows them: `USER` and `--user` against its own `/etc/passwd` and `/etc/group`.
//!
//! The files are a stranger's: opened inside the root file system, regular files only, bounded (CVE-2024-9676,
//! CVE-2026-47262). No NSS, no code of the image is ever run for this (CVE-2019-14271).

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::{OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::store::read_bounded;

/// The largest passwd or group file that is read: 1 MiB.
const FILE_LIMIT: u64 = 1 << 20;
/// The most supplementary groups (`NGROUPS_MAX`).
const GROUPS_LIMIT: usize = 65536;

/// Who a container's program runs as.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, the primary one among them: else a program could use group permissions that deny
    /// (CVE-2022-36109).
    pub groups: Vec<u32>,
    /// Home directory, where the image says one.
    pub home: Option<String>,
}

/// One line of passwd.
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A user or group as written: a number is never looked up as a name (CVE-2016-3697).
enum Id<'a> {
    Number(u32),
    Name(&'a str),
}

impl Account {
    /// Looks up `USER[:GROUP]` in the root file system `root`; empty is root.
    ///
    /// # Errors
    /// A part is empty or out of range (CVE-2024-40635), or the image does not know the name.
    pub fn look_up(root: impl AsFd, text: &str) -> Result<Self> {
        let passwd = read(&root, "etc/passwd")?;
        let group = read(&root, "etc/group")?;
        Self::from_files(&passwd, &group, text)
    }

    fn from_files(passwd: &str, group: &str, text: &str) -> Result<Self> {
        let (user_text, group_text) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None if text.is_empty() => ("0", None),
            None => (text, None),
        };
        let user_id = parse(user_text, text)?;
        let found = users(passwd).find(|user| match user_id {
            Id::Number(uid) => user.uid == uid,
            Id::Name(name) => user.name == name,
        });
        let uid = match (&user_id, &found) {
            (Id::Number(uid), _) => *uid,
            (Id::Name(_), Some(user)) => user.uid,
            (Id::Name(name), None) => return Err(unknown(text, name, "/etc/passwd")),
        };
        let (gid, mut all) = match group_text.map(|group| parse(group, text)).transpose()? {
            Some(Id::Number(gid)) => (gid, Vec::new()),
            Some(Id::Name(name)) => {
                let gid = groups(group).find(|(known, ..)| *known == name).map(|(_, gid, _)| gid);
                (gid.ok_or_else(|| unknown(text, name, "/etc/group"))?, Vec::new())
            }
            None => match &found {
                Some(user) => {
                    let member = groups(group).filter(|(.., members)| members.split(',').any(|name| name == user.name));
                    (user.gid, member.map(|(_, gid, _)| gid).take(GROUPS_LIMIT).collect())
                }
                None => (0, Vec::new()),
            },
        };
        all.push(gid);
        all.sort_unstable();
        all.dedup();
        let home = found.map(|user| user.home).filter(|home| home.starts_with('/')).map(str::to_string);
        Ok(Self { uid, gid, groups: all, home })
    }
}

fn parse<'a>(part: &'a str, whole: &str) -> Result<Id<'a>> {
    let bad = |why: &str| Err(Error::invalid(format!("user {whole:?}"), why));
    if part.is_empty() {
        return bad("expected USER or USER:GROUP");
    }
    if part.bytes().all(|c| c.is_ascii_digit()) {
        return match part.parse::<u32>() {
            _ if part.len() > 1 && part.starts_with('0') => bad("a number must not start with 0"),
            Ok(id) if id <= i32::MAX as u32 => Ok(Id::Number(id)),
            _ => bad("the number is larger than 2147483647"),
        };
    }
    if part.starts_with(['+', '-']) {
        return bad("neither a number nor a name");
    }
    Ok(Id::Name(part))
}

fn unknown(whole: &str, name: &str, file: &str) -> Error {
    Error::invalid(format!("user {whole:?}"), format!("the image's {file} has no {name:?}"))
}

/// Ids in the files are trusted no more than others.
fn id(field: Option<&str>) -> Option<u32> {
    field
        .filter(|text| text.bytes().all(|c| c.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|id| *id <= i32::MAX as u32)
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1))?;
        let gid = id(fields.next())?;
        Some(User { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some((name, id(fields.nth(1))?, fields.next().unwrap_or_default()))
    })
}

/// A small text file of the image; empty when it is missing.
fn read(root: impl AsFd, name: &str) -> Result<String> {
    // O_NONBLOCK: a named pipe must not make us wait.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match crate::resolve::open(root, name, flags, resolve) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(Error::system(format!("open the image's /{name}"), errno)),
    };
    if !file.metadata().on("examine", name)?.is_file() {
        return Err(Error::invalid(format!("the image's /{name}"), "is not a regular file"));
    }
    Ok(String::from_utf8_lossy(&read_bounded(file, FILE_LIMIT, &format!("the image's /{name}"))?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/:\nnode:x:1001:1002::/home/node:\nbad:x:4294967296:0::/:\n";
    const GROUP: &str = "root:x:0:\nnode:x:1002:\naudio:x:29:node,other\nvideo:x:44:other,node\n";

    fn look_up(text: &str) -> Result<Account> {
        Account::from_files(PASSWD, GROUP, text)
    }

    #[test]
    fn names_numbers_and_groups() {
        let node = look_up("node").unwrap();
        assert_eq!(
            (node.uid, node.gid, node.groups.as_slice(), node.home.as_deref()),
            (1001, 1002, &[29, 44, 1002][..], Some("/home/node"))
        );
        assert_eq!(look_up("1001").unwrap(), node);
        assert_eq!((look_up("").unwrap().uid, look_up("").unwrap().groups), (0, vec![0]));
        let other = look_up("node:audio").unwrap();
        assert_eq!((other.uid, other.gid, other.groups), (1001, 29, vec![29]));
        assert_eq!((look_up("5:6").unwrap().uid, look_up("5:6").unwrap().gid, look_up("5").unwrap().gid), (5, 6, 0));
    }

    #[test]
    fn a_number_is_never_a_name() {
        let user = look_up("1000").unwrap();
        assert_eq!((user.uid, user.gid), (1000, 0));
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for bad in [
            "4294967296",
            "4294967295",
            "2147483648:0",
            "0:2147483648",
            "+0",
            "-1",
            "00",
            "1:",
            ":1",
            ":",
            "nobody",
            "node:nobody",
            "bad",
            "1:2:3",
        ] {
            assert!(look_up(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_files_are_regular_small_and_inside() {
        let scratch = std::env::temp_dir().join(format!("pipkin-accounts-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&scratch);
        let directory = scratch.join("root");
        std::fs::create_dir_all(directory.join("etc")).unwrap();
        let passwd = directory.join("etc/passwd");
        let look_up = || Account::look_up(File::open(&directory).unwrap(), "0");
        assert!(look_up().is_ok());
        nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(look_up().unwrap_err().to_string().contains("regular"));
        std::fs::remove_file(&passwd).unwrap();
        // A link to a file outside ends inside, where there is none.
        std::fs::write(scratch.join("outside"), "evil:x:0:0::/evil:\n").unwrap();
        for target in [scratch.join("outside"), "../../outside".into()] {
            std::os::unix::fs::symlink(&target, &passwd).unwrap();
            assert_eq!(look_up().unwrap().home, None, "{}", target.display());
            std::fs::remove_file(&passwd).unwrap();
        }
        File::create(&passwd).unwrap().set_len(1 << 30).unwrap();
        assert!(look_up().unwrap_err().to_string().contains("limit"));
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}
