//! An ordinary user becomes root of an own user namespace, in which images are unpacked and containers started
//! (user_namespaces(7), newuidmap(1), subuid(5)).
//!
//! The maps of several ids can only be written by the set-user-id programs `newuidmap` and `newgidmap`, from outside of
//! the new namespace. So the process first starts itself again as a small helper, which waits there.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::sched::CloneFlags;

use crate::error::{Context, Error, Kind, Result};
use crate::store::read_bounded;
use crate::unpack::metadata::{Overlay, Owners, Policy};

/// `argv[0]` of the helper.
const HELPER: &str = "pipkin-idmap";
/// The largest `/etc/passwd` or `/etc/subuid` that is read.
const FILE_LIMIT: u64 = 16 << 20;

/// A range of ids: inside, outside, count.
type Range = (u32, u32, u32);

/// What this process may do: decided by the id map of the user namespace it is in.
///
/// # Errors
/// `/proc/self/uid_map` can not be read.
pub fn policy() -> Result<Policy> {
    let map = fs::read_to_string("/proc/self/uid_map").on("read", "/proc/self/uid_map")?;
    let lines: Vec<Vec<u64>> =
        map.lines().map(|line| line.split_whitespace().filter_map(|n| n.parse().ok()).collect()).collect();
    let root = nix::unistd::geteuid().is_root();
    let initial = lines == [[0, 0, 4_294_967_295]];
    let several = lines.iter().map(|line| line.get(2).copied().unwrap_or(0)).sum::<u64>() > 1;
    Ok(Policy {
        overlay: if root && initial { Overlay::Trusted } else { Overlay::User },
        owners: if root && several { Owners::FromArchive } else { Owners::OnlyUser },
        devices: root && initial,
    })
}

/// Checks that a program can run as these ids here.
///
/// # Errors
/// One of them has no mapping in this user namespace; says how to get it one.
pub fn check_mapped(uid: u32, gid: u32) -> Result<()> {
    for (file, what, id) in [("uid_map", "user", uid), ("gid_map", "group", gid)] {
        let path = format!("/proc/self/{file}");
        let map = fs::read_to_string(&path).on("read", &path)?;
        let mapped = map.lines().any(|line| {
            let mut numbers = line.split_whitespace().filter_map(|n| n.parse::<u64>().ok());
            let (start, count) = (numbers.next().unwrap_or(0), numbers.nth(1).unwrap_or(0));
            (start..start + count).contains(&u64::from(id))
        });
        if !mapped {
            return Err(Error::invalid(format!("{what} {id}"), "is not available to you in a container").remedy(
                "install newuidmap (package uidmap) and give yourself a range that is large enough in /etc/subuid and /etc/subgid, or run as root with --user 0",
            ));
        }
    }
    Ok(())
}

/// Makes an ordinary user the root of a new user namespace; root stays what it is. To be called before any thread exists.
///
/// All ids of the user's ranges in `/etc/subuid` and `/etc/subgid` are mapped when `newuidmap` is installed, else the
/// user's own id only.
///
/// # Errors
/// User namespaces are not allowed here, or `newuidmap` refuses the ranges.
pub fn enter() -> Result<()> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    if uid == 0 {
        return Ok(());
    }
    match ranges(uid)? {
        Some((users, groups)) => enter_with_ranges(&map(uid, &users), &map(gid, &groups)),
        None => enter_alone(uid, gid),
    }
}

/// Runs the helper if this process was started as one. To be called first in `main`.
pub fn helper() -> Option<ExitCode> {
    let mut arguments = std::env::args();
    if arguments.next().as_deref() != Some(HELPER) {
        return None;
    }
    let arguments: Vec<String> = arguments.collect();
    Some(write_maps(&arguments).map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

/// The helper's work: waits for the new namespace, then has its maps written. `arguments`: pid, uid map, `--`, gid map.
fn write_maps(arguments: &[String]) -> Result<()> {
    let (Some((pid, maps)), mut go) = (arguments.split_first(), [0]) else {
        return Err(Error::invalid(HELPER, "no arguments"));
    };
    std::io::stdin().read_exact(&mut go).step(|| "wait for the user namespace")?;
    let (users, groups) = maps.split_at(maps.iter().position(|word| word == "--").unwrap_or(maps.len()));
    for (program, map) in [("newuidmap", users), ("newgidmap", groups.get(1..).unwrap_or_default())] {
        let output = Command::new(program).arg(pid).args(map).stdin(Stdio::null()).output().on("run", program)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            return Err(Error::invalid(program, said)
                .remedy("check /etc/subuid and /etc/subgid, and that newuidmap is installed set-user-id"));
        }
    }
    Ok(())
}

fn enter_with_ranges(users: &[Range], groups: &[Range]) -> Result<()> {
    let words = |map: &[Range]| {
        map.iter()
            .flat_map(|(inside, outside, count)| [inside.to_string(), outside.to_string(), count.to_string()])
            .collect::<Vec<_>>()
    };
    let mut helper = Command::new("/proc/self/exe")
        .arg0(HELPER)
        .arg(std::process::id().to_string())
        .args(words(users))
        .arg("--")
        .args(words(groups))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .step(|| "start the id map helper")?;
    let unshared = unshare();
    // Without the byte the helper ends by itself.
    if let (Ok(()), Some(mut stdin)) = (&unshared, helper.stdin.take()) {
        stdin.write_all(b"g").step(|| "tell the id map helper to go on")?;
    }
    let output = helper.wait_with_output().step(|| "wait for the id map helper")?;
    unshared?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Error::new(Kind::System, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Maps the user's own ids to root; groups can not be changed then (CVE-2014-8989).
fn enter_alone(uid: u32, gid: u32) -> Result<()> {
    unshare()?;
    let write = |name: &str, text: String| {
        let path = format!("/proc/self/{name}");
        File::options().write(true).open(&path).and_then(|mut file| file.write_all(text.as_bytes())).on("write", &path)
    };
    write("setgroups", "deny".to_string())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}

fn unshare() -> Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| {
        let remedy = match errno {
            nix::Error::EPERM | nix::Error::EACCES => {
                "this system does not let ordinary users make user namespaces: see the sysctls kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns, or run pipkin as root"
            }
            nix::Error::ENOSPC => "the sysctl user.max_user_namespaces is too low",
            _ => "run pipkin as root",
        };
        Error::system("make a user namespace", errno).remedy(remedy)
    })
}

/// Root is the user, the ids from 1 on are those of the ranges.
fn map(own: u32, ranges: &[(u32, u32)]) -> Vec<Range> {
    let mut map = vec![(0, own, 1)];
    let mut next = 1_u32;
    for (start, count) in ranges {
        let count = (*count).min(u32::MAX - 1 - next);
        if count > 0 {
            map.push((next, *start, count));
            next += count;
        }
    }
    map
}

/// The ranges of `/etc/subuid` and `/etc/subgid` for user `uid`; `None` when there are none or `newuidmap` is absent.
#[allow(clippy::type_complexity, reason = "a pair of the same thing")]
fn ranges(uid: u32) -> Result<Option<(Vec<(u32, u32)>, Vec<(u32, u32)>)>> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let installed = |program: &str| std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if !installed("newuidmap") || !installed("newgidmap") {
        return Ok(None);
    }
    let passwd = read_if_there("/etc/passwd")?;
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_string())
    });
    let users = parse_ranges(&read_if_there("/etc/subuid")?, uid, name.as_deref());
    let groups = parse_ranges(&read_if_there("/etc/subgid")?, uid, name.as_deref());
    Ok((!users.is_empty() && !groups.is_empty()).then_some((users, groups)))
}

fn read_if_there(path: &str) -> Result<String> {
    match File::open(path) {
        Ok(file) => Ok(String::from_utf8_lossy(&read_bounded(file, FILE_LIMIT, path)?).into_owned()),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(cause) => Err(cause).on("open", path),
    }
}

/// `OWNER:START:COUNT` lines of one owner, by name or number.
fn parse_ranges(text: &str, uid: u32, name: Option<&str>) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let (owner, range) = line.trim().split_once(':')?;
            let (start, count) = range.split_once(':')?;
            (owner == uid || Some(owner) == name).then_some((start.parse().ok()?, count.parse().ok()?))
        })
        .filter(|(start, count): &(u32, u32)| *count > 0 && start.checked_add(*count).is_some())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let text = "u:100000:65536\n# x\n1000:300000:10\nother:1:1\nu:bad:1\nu:4294967295:5\nu:7:0\n";
        assert_eq!(parse_ranges(text, 1000, Some("u")), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(parse_ranges(text, 5, None), []);
        assert_eq!(
            map(1000, &[(100_000, 65_536), (300_000, 10)]),
            [(0, 1000, 1), (1, 100_000, 65_536), (65_537, 300_000, 10)]
        );
    }
}
