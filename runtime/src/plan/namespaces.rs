//! `linux.namespaces`: which are made, which are joined.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxNamespaceType};
use serde::{Deserialize, Serialize};

use crate::error::Problems;

/// A type of namespace (namespaces(7)).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// user_namespaces(7)
    User,
    /// mount_namespaces(7)
    Mount,
    /// pid_namespaces(7)
    Pid,
    /// network_namespaces(7)
    Network,
    /// ipc_namespaces(7)
    Ipc,
    /// uts_namespaces(7)
    Uts,
    /// cgroup_namespaces(7)
    Cgroup,
    /// time_namespaces(7)
    Time,
}

impl NamespaceKind {
    /// All of them, in the order in which they have to be joined: the user namespace first, because it gives the
    /// rights for the others; the mount namespace last, because paths are looked up before it.
    pub const ALL: [Self; 8] =
        [Self::User, Self::Pid, Self::Network, Self::Ipc, Self::Uts, Self::Cgroup, Self::Time, Self::Mount];

    /// Its `CLONE_NEW*` flag.
    pub fn clone_flag(self) -> u64 {
        let flag = match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Network => libc::CLONE_NEWNET,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => libc::CLONE_NEWTIME,
        };
        flag as u64
    }

    /// The spec's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mount",
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// Its file in /proc/PID/ns.
    pub fn file(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            Self::Network => "net",
            other => other.name(),
        }
    }
}

impl From<LinuxNamespaceType> for NamespaceKind {
    fn from(kind: LinuxNamespaceType) -> Self {
        match kind {
            LinuxNamespaceType::User => Self::User,
            LinuxNamespaceType::Mount => Self::Mount,
            LinuxNamespaceType::Pid => Self::Pid,
            LinuxNamespaceType::Network => Self::Network,
            LinuxNamespaceType::Ipc => Self::Ipc,
            LinuxNamespaceType::Uts => Self::Uts,
            LinuxNamespaceType::Cgroup => Self::Cgroup,
            LinuxNamespaceType::Time => Self::Time,
        }
    }
}

/// A namespace that exists already.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Join {
    /// Its place in `linux.namespaces`.
    pub index: usize,
    /// Its type.
    pub kind: NamespaceKind,
    /// A file such as /proc/1/ns/net.
    pub path: PathBuf,
}

/// What is made and what is joined; types that are in neither list are the caller's.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Namespaces {
    /// Made for this container.
    pub new: Vec<NamespaceKind>,
    /// Joined, in this order.
    pub join: Vec<Join>,
}

impl Namespaces {
    pub(super) fn compile(linux: Option<&Linux>, problems: &mut Problems) -> Self {
        let mut compiled = Self::default();
        let list = linux.and_then(|linux| linux.namespaces().as_ref());
        for (index, namespace) in list.into_iter().flatten().enumerate() {
            let kind = NamespaceKind::from(namespace.typ());
            if compiled.makes(kind) || compiled.joins(kind) {
                problems.add(
                    format!("linux.namespaces[{index}]"),
                    format!("the {} namespace is listed twice", kind.name()),
                );
                continue;
            }
            match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
                None => compiled.new.push(kind),
                Some(path) if !path.is_absolute() => {
                    problems
                        .add(format!("linux.namespaces[{index}].path"), format!("{path:?} is not an absolute path"));
                }
                Some(path) => compiled.join.push(Join { index, kind, path: path.clone() }),
            }
        }
        if !compiled.has_own(NamespaceKind::Mount) {
            problems.add("linux.namespaces", "a mount namespace is required: add {\"type\": \"mount\"}");
        }
        let rank = |kind| NamespaceKind::ALL.iter().position(|other| *other == kind);
        compiled.join.sort_by_key(|join| rank(join.kind));
        compiled.new.sort_by_key(|kind| rank(*kind));
        compiled
    }

    /// Whether a new one of that type is made.
    pub fn makes(&self, kind: NamespaceKind) -> bool {
        self.new.contains(&kind)
    }

    /// Whether one of that type is joined.
    pub fn joins(&self, kind: NamespaceKind) -> bool {
        self.join.iter().any(|join| join.kind == kind)
    }

    /// Whether the container is apart from the host in that respect.
    pub fn has_own(&self, kind: NamespaceKind) -> bool {
        self.makes(kind) || self.joins(kind)
    }

    /// Whether a process has to join first and clone then: a joined pid namespace and a new time namespace take effect in
    /// children only, and a user namespace, new or joined, decides over the rights to join the others.
    pub fn join_before_clone(&self) -> bool {
        let joined = self.has_own(NamespaceKind::User) || self.joins(NamespaceKind::Pid);
        self.has_own(NamespaceKind::Time) || (!self.join.is_empty() && joined)
    }

    /// Whether that process enters a new user namespace by itself, before its clone: so that a new time namespace belongs
    /// to it.
    pub fn maps_before_clone(&self) -> bool {
        self.makes(NamespaceKind::Time) && self.makes(NamespaceKind::User)
    }

    /// Whether a new network namespace may be made by another process that is in the same user namespace.
    pub fn network_can_come_later(&self) -> bool {
        self.makes(NamespaceKind::Network) && !self.has_own(NamespaceKind::User) && !self.join_before_clone()
    }

    /// Flags for clone3(2). The cgroup namespace is not among them: it is made from inside the container's cgroup.
    /// Nor is the time namespace: its offsets are set before anybody is in it.
    pub fn clone_flags(&self) -> u64 {
        let elsewhere = |kind: &NamespaceKind| match kind {
            NamespaceKind::Cgroup | NamespaceKind::Time => true,
            NamespaceKind::User => self.maps_before_clone(),
            _ => false,
        };
        self.new.iter().filter(|kind| !elsewhere(kind)).fold(0, |flags, kind| flags | kind.clone_flag())
    }
}

/// Whether this process is in the machine's first user namespace, whose inode number is fixed in the kernel
/// (`PROC_USER_INIT_INO`, include/linux/proc_ns.h).
pub(crate) fn in_initial_user_namespace() -> bool {
    const PROC_USER_INIT_INO: u64 = 0xEFFF_FFFD;
    rustix::fs::stat("/proc/self/ns/user").is_ok_and(|stat| stat.st_ino == PROC_USER_INIT_INO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{compile_text, minimal, problems_of};

    #[test]
    fn joined_in_the_right_order() {
        let plan = compile_text(&minimal(
            r#"{"namespaces":[{"type":"mount"},{"type":"network","path":"/n"},{"type":"user","path":"/u"},{"type":"pid"}]}"#,
        ))
        .unwrap();
        let kinds: Vec<_> = plan.namespaces.join.iter().map(|join| join.kind).collect();
        assert_eq!(kinds, [NamespaceKind::User, NamespaceKind::Network]);
        assert!(plan.namespaces.join_before_clone());
        assert_eq!(plan.namespaces.clone_flags(), (libc::CLONE_NEWNS | libc::CLONE_NEWPID) as u64);
    }

    #[test]
    fn a_mount_namespace_is_required() {
        assert!(problems_of(&minimal("{}")).contains("mount namespace is required"));
        assert_eq!(problems_of(&minimal(r#"{"namespaces":[{"type":"mount","path":"/x"}]}"#)), "");
        assert!(
            problems_of(&minimal(r#"{"namespaces":[{"type":"mount","path":"x"}]}"#))
                .contains("linux.namespaces[0].path")
        );
    }
}
