//! What is kept on disk of a container's cgroup.

use std::path::{Path, PathBuf};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::file;
use super::layout::{Hierarchy, Version};
use super::systemd::Unit;

/// Where a container's cgroup is: enough for every later command to find it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    pub(super) seats: Vec<Seat>,
    /// Version 1's cpuset, where the container has not joined it: `update` makes it when it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) spare: Option<Seat>,
    /// The scope, where systemd makes the cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<Unit>,
}

/// The cgroup in one hierarchy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Seat {
    pub version: Version,
    /// As [`Hierarchy::options`].
    pub options: String,
    /// As [`Hierarchy::name`].
    pub name: String,
    /// The cgroup's directory on the host.
    pub directory: PathBuf,
    /// The cgroup's path as /proc/PID/cgroup shows it for the processes in it.
    pub membership: PathBuf,
}

impl Seat {
    /// The cgroup in `directory`, which is below the hierarchy's mount point.
    pub fn new(hierarchy: &Hierarchy, directory: PathBuf) -> Seat {
        let below = directory.strip_prefix(&hierarchy.mount_point).unwrap_or(&directory);
        Seat {
            version: hierarchy.version,
            options: hierarchy.options.clone(),
            name: hierarchy.name(),
            membership: hierarchy.root.join(below),
            directory,
        }
    }

    /// The second field of /proc/PID/cgroup (cgroups(7)): empty for version 2.
    fn key(&self) -> &str {
        if self.version == Version::V2 { "" } else { &self.options }
    }

    /// Whether version 1's `controller` is in this hierarchy.
    pub fn holds(&self, controller: &str) -> bool {
        self.version == Version::V1 && self.options.split(',').any(|o| o == controller)
    }
}

/// One hierarchy as the mount of type `cgroup` shows it to the container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CgroupMount {
    /// Its generation.
    pub version: Version,
    /// As [`Hierarchy::options`]: for version 1 also what the symbolic links beside a joint mount point are called.
    pub options: String,
    /// The name of the mount point below /sys/fs/cgroup; empty for pure version 2.
    pub name: String,
    /// The container's cgroup on the host.
    pub directory: PathBuf,
    /// The container has no cgroup of its own here and would see its parent's: show it read-only.
    pub shared: bool,
}

impl Record {
    /// Whether the process is in this cgroup, or in one below it: in any hierarchy.
    pub fn has(&self, pid: Pid) -> bool {
        let text = file::read_path(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).unwrap_or_default();
        self.seats.iter().any(|seat| {
            text.lines().any(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                parts.next() == Some(seat.key())
                    && parts.next().is_some_and(|path| Path::new(path).starts_with(&seat.membership))
            })
        })
    }

    /// The hierarchies in which the container has a cgroup of its own, as /proc/PID/cgroup calls them.
    pub fn hierarchies(&self) -> impl Iterator<Item = &str> {
        self.seats.iter().map(Seat::key)
    }

    /// What a mount of type `cgroup` shows: the container's cgroup in each hierarchy.
    pub fn mounts(&self) -> Vec<CgroupMount> {
        let mount = |seat: &Seat| CgroupMount {
            version: seat.version,
            options: seat.options.clone(),
            name: seat.name.clone(),
            directory: seat.directory.clone(),
            shared: false,
        };
        self.seats.iter().map(mount).collect()
    }

    /// As [`Record::mounts`], and the hierarchies in which the container stays in the caller's cgroup: programs look for
    /// a complete set (the Java VM for `cpuset`).
    pub fn mounts_among(&self, hierarchies: &[Hierarchy]) -> Vec<CgroupMount> {
        let own = self.mounts();
        let is_new = |h: &&Hierarchy| !own.iter().any(|m| m.version == h.version && m.options == h.options);
        let shared: Vec<CgroupMount> = hierarchies
            .iter()
            .filter(is_new)
            .map(|hierarchy| CgroupMount {
                version: hierarchy.version,
                options: hierarchy.options.clone(),
                name: hierarchy.name(),
                directory: hierarchy.mount_point.join(hierarchy.own_below_mount()),
                shared: true,
            })
            .collect();
        own.into_iter().chain(shared).collect()
    }
}
