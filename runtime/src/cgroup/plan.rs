//! What is to be done for a container's cgroup, decided without touching the system.

use std::path::PathBuf;

use oci_spec::runtime::Linux;
use serde::{Deserialize, Serialize};

use super::devices::Rules;
use super::layout::{Hierarchy, Layout, Version};
use super::path::CgroupsPath;
use super::record::{Record, Seat};
use super::resources::Compiler;
use super::setting::Setting;
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
}

/// The container's cgroup in one hierarchy.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Group {
    pub seat: Seat,
    /// Where the hierarchy is mounted: parents are made and controllers enabled below it.
    pub mount_point: PathBuf,
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
    /// an unprivileged caller has.
    pub fn compile(
        id: &str,
        linux: Option<&Linux>,
        layout: &Layout,
        privileged: bool,
        systemd: bool,
        problems: &mut Problems,
    ) -> Option<Plan> {
        let _ = systemd;
        let asked_path = linux.and_then(|l| l.cgroups_path().as_deref());
        let path = CgroupsPath::parse(id, asked_path, problems);

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

        let optional = !privileged && settings.is_empty() && asked_path.is_none();
        if layout.hierarchies.is_empty() || (optional && !layout.is_unified()) {
            return None;
        }
        let path = path?;
        let groups = layout.hierarchies.iter().filter(|h| is_joined(h, &settings));
        let groups = groups.map(|hierarchy| Group::new(hierarchy, &path, &settings, layout)).collect();
        let spare = layout.hierarchies.iter().find(|h| !is_joined(h, &settings) && h.has("cpuset"));
        let spare = spare.map(|hierarchy| Seat::new(hierarchy, path.directory(hierarchy)));
        Some(Plan { groups, spare, devices, optional, owner: None })
    }

    /// Hands the cgroup to `uid` (a user of the host), so that the container can divide it: for a container with its own
    /// cgroup namespace and a writable cgroup mount (config-linux.md, "Cgroup ownership").
    #[must_use]
    pub fn owned_by(mut self, uid: u32) -> Plan {
        self.owner = Some(uid);
        self
    }

    /// What state.json keeps. [`super::Cgroup::record`] says what has really been made.
    pub fn record(&self) -> Record {
        Record { seats: self.groups.iter().map(|group| group.seat.clone()).collect(), spare: self.spare.clone() }
    }
}

impl Group {
    fn new(hierarchy: &Hierarchy, path: &CgroupsPath, settings: &[Setting], layout: &Layout) -> Group {
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
            seat: Seat::new(hierarchy, path.directory(hierarchy)),
            mount_point: hierarchy.mount_point.clone(),
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
