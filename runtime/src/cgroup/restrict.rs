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
    /// Makes the plan's device rules hold for every process in the cgroup, on version 1 by `devices.deny` and
    /// `devices.allow`, on version 2 by one eBPF program.
    ///
    /// May run while the container is being set up, but before its program starts: what is open then stays open.
    ///
    /// # Errors
    /// [`Kind::System`] when the kernel refuses, for instance to allow what the parent cgroup denies.
    pub fn restrict(&self) -> Result<()> {
        match &self.devices {
            Some(rules) if !(rules.allow_everything()) => self.restrict_to(rules, true),
            _ => Ok(()),
        }
    }

    /// `fresh`: nothing has been restricted before.
    pub(super) fn restrict_to(&self, rules: &Rules, fresh: bool) -> Result<()> {
        if let Some(seat) = self.legacy("devices") {
            let exceptions = rules.exceptions().map_err(|hole| Error::invalid("linux.resources.devices", hole))?;
            return restrict_v1(&seat.directory, &exceptions);
        }
        match self.unified() {
            Some(open) => restrict_v2(open, rules, fresh),
            None => Ok(()),
        }
    }
}

/// Documentation/admin-guide/cgroup-v1/devices.rst. A rule is one write.
fn restrict_v1(directory: &Path, rules: &Exceptions) -> Result<()> {
    let handle = file::open_directory(directory).on("open", directory)?;
    let open = |name: &str| file::open(&handle, Path::new(name), OFlags::WRONLY).on("open", directory.join(name));
    let (deny, allow) = (open("devices.deny")?, open("devices.allow")?);
    let put = |file: &OwnedFd, name: &str, value: &str| {
        file::put(file, value).step(|| format!("write \"{value}\" to {}", directory.join(name).display()))
    };
    // "a" forgets all exceptions and sets the default.
    match rules.allow_others {
        true => put(&allow, "devices.allow", "a")?,
        false => put(&deny, "devices.deny", "a")?,
    }
    rules.exceptions.iter().try_for_each(|(devices, access)| match rules.allow_others {
        true => put(&deny, "devices.deny", &format!("{devices} {access}")),
        false => put(&allow, "devices.allow", &format!("{devices} {access}")),
    })
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
