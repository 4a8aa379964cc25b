//! Moves network devices of the host into the container's network namespace.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::netlink::{Address, Link, Routes};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::{NamespaceKind, Namespaces, NetDevice};

/// Devices that are the container's now. Dropped without [`Moved::keep`] they are given back, as they were: their network
/// namespace would take virtual ones with it.
pub(super) struct Moved {
    own: OwnedFd,
    here: Routes,
    there: Routes,
    devices: Vec<MovedDevice>,
}

struct MovedDevice {
    host_name: String,
    was_up: bool,
    index: u32,
    addresses: Vec<Address>,
}

impl Moved {
    /// The container is made.
    pub fn keep(mut self) {
        self.devices.clear();
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        for device in &self.devices {
            let name = &device.host_name;
            // For undoing: errors have nowhere to go.
            if self.there.move_device(device.index, self.own.as_fd(), name).is_ok()
                && let Ok(Some(link)) = self.here.find(name)
            {
                let _ = dress(&self.here, link.index, &device.addresses, device.was_up);
            }
        }
    }
}

/// Moves them, gives them their names and the addresses that they had, and brings them up. Whether they are there and
/// their names are free is looked at before the first is moved.
pub(super) fn move_into(devices: &[NetDevice], namespaces: &Namespaces, stage: Pid) -> Result<Moved> {
    move_all(devices, namespaces, stage).map_err(|error| match error.errno() {
        Some(libc::EPERM | libc::EACCES) => {
            error.remedy("it needs CAP_NET_ADMIN over the host's and the container's network namespace")
        }
        _ => error,
    })
}

fn move_all(devices: &[NetDevice], namespaces: &Namespaces, stage: Pid) -> Result<Moved> {
    let target = open_target(namespaces, stage)?;
    let own = open("/proc/self/ns/net")?;
    check_apart(&own, &target)?;
    let here = Routes::open().step(|| "linux.netDevices: speak to the kernel (rtnetlink)")?;
    let there = enter_for(&own, &target)?;
    let mut found = Vec::with_capacity(devices.len());
    for device in devices {
        found.push(look_up(device, &here, &there).map_err(|error| error.during(field(device)))?);
    }
    let mut moved = Moved { own, here, there, devices: Vec::with_capacity(devices.len()) };
    for (device, link) in devices.iter().zip(found) {
        moved.take(device, link, target.as_fd()).map_err(|error| error.during(field(device)))?;
    }
    Ok(moved)
}

fn field(device: &NetDevice) -> String {
    format!("linux.netDevices[{:?}]", device.host)
}

/// The device, whose new name must be free.
fn look_up(device: &NetDevice, here: &Routes, there: &Routes) -> Result<Link> {
    let link = here.find(&device.host).step(|| "look it up")?;
    let missing = "there is no such network device in the runtime's network namespace";
    let link = link.ok_or_else(|| Error::new(Kind::Invalid, missing))?;
    let name = &device.container;
    if device.template().is_none() && there.find(name).step(|| "look up its new name")?.is_some() {
        let taken = format!("the container's network namespace has a device {name:?} already; give another name");
        return Err(Error::new(Kind::Invalid, taken));
    }
    Ok(link)
}

impl Moved {
    fn take(&mut self, device: &NetDevice, link: Link, target: BorrowedFd<'_>) -> Result<()> {
        let addresses = self.here.lasting_addresses(link.index).step(|| "look up its addresses")?;
        let name = move_and_name(device, link.index, &self.here, &self.there, target)?;
        let there = self.there.find(&name).step(|| "look it up in the container")?;
        let there = there.ok_or_else(|| Error::new(Kind::System, format!("{name:?} is gone after it was moved")))?;
        let host_name = device.host.clone();
        self.devices.push(MovedDevice { host_name, was_up: link.up, index: there.index, addresses });
        let addresses = self.devices.last().map_or(&[][..], |device| &device.addresses);
        dress(&self.there, there.index, addresses, true)
    }
}

/// What a device loses when it is moved.
fn dress(routes: &Routes, index: u32, addresses: &[Address], up: bool) -> Result<()> {
    for address in addresses {
        match routes.add_address(index, address) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::system("give it an address that it had", errno)),
        }
    }
    if up { routes.bring_up(index).step(|| "bring it up") } else { Ok(()) }
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
        if there.find(&name).step(|| "look up a new name")?.is_some() {
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
