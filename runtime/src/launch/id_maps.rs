//! Writes the id maps of a new user namespace (user_namespaces(7)).

use std::process::{Command, Stdio};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Pid;
use rustix::thread::CapabilitySet;

use crate::error::{Context, Error, Kind, Result};
use crate::plan::{IdMap, IdMaps};

/// Writes both maps of a process that waits for them.
///
/// With CAP_SETUID and CAP_SETGID the kernel takes any map; else it takes the caller's own id alone, and
/// newuidmap(1) and newgidmap(1) write what /etc/subuid and /etc/subgid allow.
pub(super) fn write(pid: Pid, maps: &IdMaps) -> Result<()> {
    let pid = pid.as_raw_nonzero().get();
    if has(CapabilitySet::SETUID) && has(CapabilitySet::SETGID) {
        write_file(pid, "uid_map", &lines(&maps.uid))?;
        return write_file(pid, "gid_map", &lines(&maps.gid));
    }
    if is_only(&maps.uid, rustix::process::geteuid().as_raw()) {
        write_file(pid, "uid_map", &lines(&maps.uid))?;
    } else {
        run_helper("newuidmap", "linux.uidMappings", pid, &maps.uid)?;
    }
    if is_only(&maps.gid, rustix::process::getegid().as_raw()) {
        // Without it a group that denies access could be dropped (CVE-2014-8989).
        write_file(pid, "setgroups", "deny")?;
        write_file(pid, "gid_map", &lines(&maps.gid))
    } else {
        run_helper("newgidmap", "linux.gidMappings", pid, &maps.gid)
    }
}

fn has(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

fn is_only(maps: &[IdMap], id: u32) -> bool {
    matches!(maps, [map] if map.size == 1 && map.host == id)
}

fn lines(maps: &[IdMap]) -> String {
    maps.iter().map(|map| format!("{} {} {}\n", map.container, map.host, map.size)).collect()
}

fn write_file(pid: i32, name: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    let file = rustix::fs::openat(CWD, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).on("open", &path)?;
    // The kernel wants the whole map in one write.
    rustix::io::write(&file, text.as_bytes()).map(drop).map_err(|errno| {
        let error = Error::system(format!("write {path}"), errno);
        match errno {
            rustix::io::Errno::PERM => {
                error.remedy(format!("this process may not map these ids: {}", text.trim().replace('\n', ", ")))
            }
            _ => error,
        }
    })
}

fn run_helper(program: &str, field: &str, pid: i32, maps: &[IdMap]) -> Result<()> {
    let numbers = maps.iter().flat_map(|map| [map.container, map.host, map.size]);
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| {
            let error = Error::system(format!("{field}: run {program}"), cause);
            error.remedy("install the package uidmap, or map only your own id")
        })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.lines().next().unwrap_or("no message").to_owned();
    Err(Error::new(Kind::System, format!("{field}: {program} failed: {message}"))
        .remedy("see /etc/subuid and /etc/subgid"))
}
