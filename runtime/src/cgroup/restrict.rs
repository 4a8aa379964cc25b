//! Making the device rules hold.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::device_program;
use super::devices::{Exceptions, Rules};
use super::file;
use super::handle::{Cgroup, OpenSeat};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::bpf;

impl Cgroup {
    /// Makes the plan's device rules hold on version 1, by `devices.deny` and `devices.allow`, for every process in the cgroup.
    ///
    /// To be called before somebody is in it: between the first write, which denies all, and the last one the stage could not
    /// make the container's devices.
    ///
    /// # Errors
    /// [`Kind::System`] when the kernel refuses, for instance to allow what the parent cgroup denies.
    pub fn restrict_empty(&self) -> Result<()> {
        match self.restricting_rules().filter(|_| self.legacy("devices").is_some()) {
            Some(rules) => self.restrict_to(rules, true),
            None => Ok(()),
        }
    }

    /// The same on version 2, by one eBPF program. The kernel looks at it for longer than at all the rest of a cgroup, so it is loaded
    /// while the container is being set up, but before its program starts: what is open then stays open.
    ///
    /// To be called with the container's first process in the cgroup (where systemd has made it, a stand-in leaves now).
    ///
    /// # Errors
    /// [`Kind::System`] when the kernel refuses.
    pub fn restrict(&self) -> Result<()> {
        // The container's own process is in: systemd's scope needs no stand-in any more.
        drop(self.stand_in.take());
        match self.restricting_rules().filter(|_| self.legacy("devices").is_none()) {
            Some(rules) => self.restrict_to(rules, true),
            None => Ok(()),
        }
    }

    fn restricting_rules(&self) -> Option<&Rules> {
        self.devices.as_ref().filter(|rules| !rules.allow_everything())
    }

    /// `fresh`: nothing has been restricted before.
    pub(super) fn restrict_to(&self, rules: &Rules, fresh: bool) -> Result<()> {
        if let Some(seat) = self.legacy("devices") {
            let exceptions = rules.exceptions().map_err(|hole| Error::invalid("linux.resources.devices", hole))?;
            return match fresh {
                true => restrict_v1(&seat.directory, &exceptions),
                false => change_v1(&seat.directory, &exceptions),
            };
        }
        match self.unified() {
            Some(open) => restrict_v2(open, rules, fresh),
            None => Ok(()),
        }
    }
}

/// Documentation/admin-guide/cgroup-v1/devices.rst. A rule is one write.
fn restrict_v1(directory: &Path, rules: &Exceptions) -> Result<()> {
    let files = DeviceFiles::open(directory)?;
    // "a" forgets all exceptions and sets the default.
    files.put(rules.allow_others, "a")?;
    rules
        .exceptions
        .iter()
        .try_for_each(|(devices, access)| files.put(!rules.allow_others, &format!("{devices} {access}")))
}

/// The way from the rules that hold to others, with nothing denied meanwhile that both allow.
fn change_v1(directory: &Path, rules: &Exceptions) -> Result<()> {
    let list = directory.join("devices.list");
    let text = file::read_path(&list).on("read", &list)?;
    if rules.allow_others || text.lines().any(|line| line.starts_with("a ")) {
        // One of the two allows all: there is no list of the other kind to compare with.
        return restrict_v1(directory, rules);
    }
    let files = DeviceFiles::open(directory)?;
    let wanted: Vec<String> = rules.exceptions.iter().map(|(devices, access)| format!("{devices} {access}")).collect();
    let is_new = |line: &&String| !text.lines().any(|held| held == line.as_str());
    wanted.iter().filter(is_new).try_for_each(|line| files.put(true, line))?;
    // Denying takes from the exception with the same numbers what is not wanted, and leaves the rest.
    for held in text.lines() {
        let Some((numbers, access)) = held.rsplit_once(' ') else { continue };
        let kept = rules.exceptions.iter().find(|(devices, _)| devices.to_string() == numbers);
        let kept = kept.map(|(_, access)| access.to_string()).unwrap_or_default();
        let rest: String = access.chars().filter(|&letter| !kept.contains(letter)).collect();
        if !rest.is_empty() {
            files.put(false, &format!("{numbers} {rest}"))?;
        }
    }
    Ok(())
}

/// The two files of version 1's controller.
struct DeviceFiles<'a> {
    directory: &'a Path,
    allow: OwnedFd,
    deny: OwnedFd,
}

impl DeviceFiles<'_> {
    fn open(directory: &Path) -> Result<DeviceFiles<'_>> {
        let handle = file::open_directory(directory).on("open", directory)?;
        let open = |name: &str| file::open(&handle, Path::new(name), OFlags::WRONLY).on("open", directory.join(name));
        Ok(DeviceFiles { directory, allow: open("devices.allow")?, deny: open("devices.deny")? })
    }

    fn put(&self, allow: bool, line: &str) -> Result<()> {
        let (file, name) = if allow { (&self.allow, "devices.allow") } else { (&self.deny, "devices.deny") };
        file::put(file, line).step(|| format!("write \"{line}\" to {}", self.directory.join(name).display()))
    }
}

/// One program; a program of ours from before is replaced in one step, so that no moment is unrestricted.
fn restrict_v2(open: &OpenSeat, rules: &Rules, fresh: bool) -> Result<()> {
    let directory = &open.seat.directory;
    let Some(handle) = &open.handle else {
        return Err(Error::new(Kind::State, format!("no cgroup {} to restrict devices in", directory.display())));
    };
    let cgroup = handle.as_fd();
    let old = if fresh { Vec::new() } else { bpf::attached(cgroup).on("list the device programs of", directory)? };
    if !rules.allow_everything() {
        let program = bpf::load_device_program(&device_program::compile(rules)).map_err(load_failed)?;
        let replaced = match old.as_slice() {
            [only] => bpf::attach(cgroup, program.as_fd(), Some(only.as_fd())),
            _ => bpf::attach(cgroup, program.as_fd(), None),
        };
        replaced.on("attach the device program to", directory)?;
        if old.len() == 1 {
            return Ok(());
        }
    }
    for program in &old {
        match bpf::detach(cgroup, program.as_fd()) {
            Err(error) if error.raw_os_error() != Some(Errno::NOENT.raw_os_error()) => {
                return Err(error).on("detach the old device program from", directory);
            }
            _ => {}
        }
    }
    Ok(())
}

fn load_failed(error: std::io::Error) -> Error {
    let missing = match error.raw_os_error() {
        Some(libc::EPERM) => Some("needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, outside of any user namespace"),
        Some(libc::ENOSYS) => Some("the kernel is built without bpf(2) (CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF)"),
        _ => None,
    };
    let error = Error::system("linux.resources.devices: load the device program", error);
    missing.map(|what| error.clone().remedy(what)).unwrap_or(error)
}
