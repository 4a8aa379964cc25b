//! Moves network devices of the host into the container's network namespace.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::netlink::Routes;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::{NamespaceKind, Namespaces, NetDevice};

/// Moves them, gives them their names and the addresses that they had, and brings them up. Whether they are there and
/// their names are free is looked at before the first is moved.
///
/// What a container that then fails to start has got is gone with its namespace: the kernel gives physical devices back
/// and removes virtual ones.
pub(super) fn move_into(devices: &[NetDevice], namespaces: &Namespaces, stage: Pid) -> Result<()> {
    move_all(devices, namespaces, stage).map_err(|error| match error.errno() {
        Some(libc::EPERM | libc::EACCES) => {
            error.remedy("it needs CAP_NET_ADMIN over the host's and the container's network namespace")
        }
        _ => error,
    })
}

fn move_all(devices: &[NetDevice], namespaces: &Namespaces, stage: Pid) -> Result<()> {
    let target = open_target(namespaces, stage)?;
    let own = open("/proc/self/ns/net")?;
    check_apart(&own, &target)?;
    let here = Routes::open().step(|| "linux.netDevices: speak to the kernel (rtnetlink)")?;
    let there = enter_for(&own, &target)?;
    let mut found = Vec::with_capacity(devices.len());
    for device in devices {
        let during = |error: Error| error.during(field(device));
        let index = here.index_of(&device.host).step(|| "look it up").map_err(during)?;
        let index = index.ok_or_else(|| {
            Error::invalid(field(device), "there is no such network device in the runtime's network namespace")
        })?;
        if device.template().is_none() && there.index_of(&device.container).step(|| "look up its new name")?.is_some() {
            return Err(Error::invalid(
                field(device),
                format!(
                    "the container's network namespace has a device {:?} already; give another name",
                    device.container
                ),
            ));
        }
        found.push((device, index));
    }
    for (device, index) in found {
        move_one(device, index, &here, &there, target.as_fd()).map_err(|error| error.during(field(device)))?;
    }
    Ok(())
}

fn field(device: &NetDevice) -> String {
    format!("linux.netDevices[{:?}]", device.host)
}

fn move_one(device: &NetDevice, index: u32, here: &Routes, there: &Routes, target: BorrowedFd<'_>) -> Result<()> {
    let addresses = here.lasting_addresses(index).step(|| "look up its addresses")?;
    let name = move_and_name(device, index, here, there, target)?;
    let index = there.index_of(&name).step(|| "look it up in the container")?;
    let index = index.ok_or_else(|| Error::new(Kind::System, format!("{name:?} is gone after it was moved")))?;
    for address in &addresses {
        match there.add_address(index, address) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::system("give it an address that it had", errno)),
        }
    }
    there.bring_up(index).step(|| "bring it up")
}

/// Its name in the container: with a template, the first that is free, also if others take names meanwhile.
fn move_and_name(
    device: &NetDevice,
    index: u32,
    here: &Routes,
    there: &Routes,
    target: BorrowedFd<'_>,
) -> Result<String> {
    let Some(prefix) = device.template() else {
        here.move_device(index, target, &device.container).map_err(explain)?;
        return Ok(device.container.clone());
    };
    for number in 0.. {
        let name = format!("{prefix}{number}");
        if there.index_of(&name).step(|| "look up a new name")?.is_some() {
            continue;
        }
        match here.move_device(index, target, &name) {
            Err(Errno::EXIST) => {}
            other => return other.map(|()| name).map_err(explain),
        }
    }
    Err(Error::new(Kind::System, "no name is free"))
}

fn explain(errno: Errno) -> Error {
    let error = Error::system("move it", errno);
    match errno {
        Errno::INVAL | Errno::OPNOTSUPP => {
            error.remedy("this kind of device belongs to its network namespace for good")
        }
        _ => error,
    }
}

fn open(path: impl AsRef<std::path::Path>) -> Result<OwnedFd> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).step(|| format!("linux.netDevices: open {}", path.display()))
}

fn open_target(namespaces: &Namespaces, stage: Pid) -> Result<OwnedFd> {
    match namespaces.join.iter().find(|join| join.kind == NamespaceKind::Network) {
        Some(join) => open(&join.path),
        None => open(format!("/proc/{}/ns/net", stage.as_raw_nonzero())),
    }
}

fn check_apart(own: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let identity = |file: &OwnedFd| {
        let stat = rustix::fs::fstat(file).step(|| "stat a network namespace")?;
        Ok::<_, Error>((stat.st_dev, stat.st_ino))
    };
    if identity(own)? != identity(target)? {
        return Ok(());
    }
    Err(Error::invalid(
        "linux.netDevices",
        "the container's network namespace is the runtime's own; nothing can be moved",
    ))
}

/// A socket belongs to the network namespace in which it was made: this process is there for no longer than that.
fn enter_for(own: &OwnedFd, target: &OwnedFd) -> Result<Routes> {
    let enter = |namespace: &OwnedFd| nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET);
    enter(target).step(|| "linux.netDevices: enter the container's network namespace")?;
    let routes = Routes::open();
    enter(own).step(|| "linux.netDevices: return to the runtime's network namespace")?;
    routes.step(|| "linux.netDevices: speak to the kernel (rtnetlink)")
}
