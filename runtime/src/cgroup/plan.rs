//! What is to be done for a container's cgroup, decided without touching the system.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Linux;
use serde::{Deserialize, Serialize};

use super::devices::Rules;
use super::layout::{Hierarchy, Layout, Version};
use super::path::CgroupsPath;
use super::record::{Record, Seat};
use super::resources::Compiler;
use super::setting::Setting;
use super::systemd::{self, Property, Unit};
use crate::error::Problems;

/// Controllers that every container of version 2 gets, limit or not: `stats` and `update` need them.
const USUAL: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// The directories to make, the values to write in order, and the device rules.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Plan {
    pub(super) groups: Vec<Group>,
    /// Where the container could be limited later, but is not joined now.
    pub(super) spare: Option<Seat>,
    /// `None` where a rule about devices can not be made: without privilege. There, mknod is impossible anyway.
    pub(super) devices: Option<Rules>,
    /// Nobody asked for a cgroup: where it may not be made, the container runs without.
    pub(super) optional: bool,
    /// Who owns the cgroup and may divide it further; `None` leaves it to the runtime's user.
    pub(super) owner: Option<u32>,
    /// The scope, where systemd makes the cgroup, and properties beyond the limits.
    pub(super) unit: Option<Unit>,
    pub(super) properties: Vec<Property>,
}

/// Who makes the cgroups.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Manager {
    /// The runtime, by the file system.
    #[default]
    Cgroupfs,
    /// systemd, asked over D-Bus.
    Systemd,
    /// Nobody: containers stay in the caller's cgroup.
    Disabled,
}

/// What the caller of the runtime wants of cgroups, whatever the container.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Driving {
    /// Who makes them.
    pub manager: Manager,
    /// Whether a container goes without where none may be made and none is asked for; `None`: unless the caller is root.
    pub forgiving: Option<bool>,
}

/// Where the cgroup is to be.
enum Place {
    Path(CgroupsPath),
    Scope(Unit),
}

impl Place {
    fn directory(&self, hierarchy: &Hierarchy) -> PathBuf {
        match self {
            Place::Path(path) => path.directory(hierarchy),
            Place::Scope(unit) => {
                let path = Path::new("/").join(unit.expected_path(&hierarchy.own));
                hierarchy.mount_point.join(path.strip_prefix(&hierarchy.root).unwrap_or(Path::new("")))
            }
        }
    }
}

/// The container's cgroup in one hierarchy.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Group {
    pub seat: Seat,
    /// Where the hierarchy is mounted: parents are made and controllers enabled below it.
    pub mount_point: PathBuf,
    /// The cgroup that is visible there.
    pub root: PathBuf,
    /// Version 2: the controllers that the parent has to hand down.
    pub enable: Vec<String>,
    /// The values to write, in order.
    pub settings: Vec<Setting>,
}

impl Plan {
    /// Decides the container's cgroup: `linux.cgroupsPath` and `linux.resources`.
    ///
    /// Every problem goes to `problems`, with its field's path. `privileged` says whether the runtime has the first user
    /// namespace's root privileges: without, no device rules are made. `None`: the container runs in the caller's cgroup,
    /// because there is no hierarchy, or because nothing is asked for and version 1, which can not be delegated, is what
    /// a `forgiving` caller has: one that goes without a cgroup where it may not make one. With `systemd`, a scope is
    /// started for it (version 2 alone).
    pub fn compile(
        id: &str,
        linux: Option<&Linux>,
        layout: &Layout,
        privileged: bool,
        systemd: bool,
        forgiving: bool,
        problems: &mut Problems,
    ) -> Option<Plan> {
        let asked_path = linux.and_then(|l| l.cgroups_path().as_deref());
        let place = match systemd {
            true => Unit::parse(id, asked_path, !privileged, problems).map(Place::Scope),
            false => CgroupsPath::parse(id, asked_path, problems).map(Place::Path),
        };
        if systemd && !layout.is_unified() {
            let message = "systemd's cgroups need cgroup version 2 alone; leave --systemd-cgroup out here";
            problems.add("--systemd-cgroup", message);
        }

        let mut compiler = Compiler { layout, settings: Vec::new(), problems, prefix: "linux.resources.", fresh: true };
        if let Some(resources) = linux.and_then(|l| l.resources().as_ref()) {
            compiler.compile(resources);
        }
        let settings = compiler.settings;
        let devices = privileged.then(|| Rules::compile(linux, problems));
        let devices_field = "linux.resources.devices";
        let in_v1 = layout.of("devices").is_some();
        if let (true, Some(Err(hole))) = (in_v1, devices.as_ref().map(Rules::exceptions)) {
            problems.add(devices_field, hole);
        }
        // Confinement that can not be had is refused, as runc does; it is never dropped.
        let restricts = devices.as_ref().is_some_and(|rules| !rules.allow_everything());
        let somewhere = in_v1 || layout.hierarchies.iter().any(|h| h.version == Version::V2);
        if restricts && !somewhere && linux.and_then(|l| l.resources().as_ref()).is_some_and(|r| r.devices().is_some())
        {
            problems
                .add(devices_field, "needs the cgroup controller \"devices\" or cgroup version 2; neither is mounted");
        }

        let optional = !systemd && forgiving && settings.is_empty() && asked_path.is_none();
        if layout.hierarchies.is_empty() || (optional && !layout.is_unified()) {
            return None;
        }
        let place = place?;
        let groups = layout.hierarchies.iter().filter(|h| is_joined(h, &settings));
        let groups = groups.map(|hierarchy| Group::new(hierarchy, &place, &settings, layout)).collect();
        let spare = layout.hierarchies.iter().find(|h| !is_joined(h, &settings) && h.has("cpuset"));
        let spare = spare.map(|hierarchy| Seat::new(hierarchy, place.directory(hierarchy)));
        let unit = match place {
            Place::Scope(unit) => Some(unit),
            Place::Path(_) => None,
        };
        Some(Plan { groups, spare, devices, optional, owner: None, unit, properties: Vec::new() })
    }

    /// Without a cgroup there are no limits: notes every one that is asked for. Nor are device rules enforced, which is a warning only:
    /// every engine asks for them, and podman lets its containers have CAP_MKNOD (`makes_devices`).
    pub fn refuse_limits(
        linux: Option<&Linux>,
        layout: &Layout,
        makes_devices: bool,
        warnings: &mut Vec<String>,
        problems: &mut Problems,
    ) {
        if linux.is_some_and(|l| l.cgroups_path().is_some()) {
            warnings.push("linux.cgroupsPath: not used, because cgroups are disabled".to_owned());
        }
        let Some(resources) = linux.and_then(|l| l.resources().as_ref()) else { return };
        let mut compiler = Compiler { layout, settings: Vec::new(), problems, prefix: "linux.resources.", fresh: true };
        compiler.compile(resources);
        for setting in std::mem::take(&mut compiler.settings) {
            let message = "needs a cgroup, and cgroups are disabled; leave the limit or --cgroup-manager=disabled out";
            problems.add(setting.field, message);
        }
        if resources.devices().is_none() || Rules::compile(linux, problems).allow_everything() {
            return;
        }
        let hole = if makes_devices { ", and with CAP_MKNOD the program can make any device" } else { "" };
        warnings.push(format!("linux.resources.devices: not enforced, because cgroups are disabled{hole}"));
    }

    /// Hands the cgroup to `uid` (a user of the host), so that the container can divide it: for a container with its own
    /// cgroup namespace and a writable cgroup mount (config-linux.md, "Cgroup ownership").
    #[must_use]
    pub fn owned_by(mut self, uid: u32) -> Plan {
        self.owner = Some(uid);
        self
    }

    /// Adds the properties of the scope that `org.systemd.property.NAME` annotations ask for; without systemd they say
    /// nothing. What is wrong with them goes to `problems`.
    #[must_use]
    pub fn annotated(mut self, annotations: &HashMap<String, String>, problems: &mut Problems) -> Plan {
        if self.unit.is_some() {
            self.properties = systemd::annotated(annotations, problems);
        }
        self
    }

    /// What state.json keeps. [`super::Cgroup::record`] says what has really been made.
    pub fn record(&self) -> Record {
        let seats = self.groups.iter().map(|group| group.seat.clone()).collect();
        Record { seats, spare: self.spare.clone(), unit: self.unit.clone() }
    }
}

impl Group {
    fn new(hierarchy: &Hierarchy, place: &Place, settings: &[Setting], layout: &Layout) -> Group {
        let settings: Vec<Setting> = settings.iter().filter(|s| hierarchy.has(&s.controller)).cloned().collect();
        let mut enable = Vec::new();
        if hierarchy.version == Version::V2 {
            let usual = USUAL.iter().filter(|c| layout.is_unified() && hierarchy.has(c)).map(|c| (*c).to_owned());
            enable.extend(usual);
            for setting in &settings {
                if !enable.contains(&setting.controller) {
                    enable.push(setting.controller.clone());
                }
            }
        }
        Group {
            seat: Seat::new(hierarchy, place.directory(hierarchy)),
            mount_point: hierarchy.mount_point.clone(),
            root: hierarchy.root.clone(),
            enable,
            settings,
        }
    }
}

/// Every controller's hierarchy, and systemd's own; hierarchies named by others are theirs.
///
/// Not version 1's cpuset unless it is asked for: making and filling one costs more than all the rest together
/// (0.35 ms against 0.2 ms) and says only "the same as the parent".
fn is_joined(hierarchy: &Hierarchy, settings: &[Setting]) -> bool {
    let asked = |controller: &str| settings.iter().any(|s| s.controller == controller);
    match hierarchy.options.as_str() {
        "cpuset" if hierarchy.version == Version::V1 => asked("cpuset"),
        options => !options.starts_with("name=") || options == "name=systemd",
    }
}

#[cfg(test)]
mod tests;
