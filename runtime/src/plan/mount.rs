//! One mount, and what it is made of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::id_mapping::IdMapping;
use crate::cgroup;

/// One entry of `mounts`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Mount {
    /// Its place in `mounts`.
    pub index: usize,
    /// Where, as the container sees it; normalized.
    pub destination: PathBuf,
    /// What.
    pub kind: MountKind,
    /// Of this mount only.
    pub attributes: Attributes,
    /// Of this mount and all below it.
    pub recursive_attributes: Attributes,
    /// How further mounts travel.
    pub propagation: Option<Propagation>,
    /// How the owners of files appear.
    pub id_mapping: Option<IdMapping>,
    /// The destination's last component is not followed if it is a symbolic link (`dest-nofollow`).
    pub destination_nofollow: bool,
}

/// What is mounted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// A new instance of a file system.
    Filesystem {
        /// Such as `tmpfs`.
        filesystem: String,
        /// What mountinfo shows as its source.
        source: String,
        /// Its own options.
        parameters: Vec<Parameter>,
        /// It starts with the content of what it covers (`tmpcopyup`).
        copy_up: bool,
    },
    /// A part of the host's file systems.
    Bind {
        /// On the host.
        source: PathBuf,
        /// With everything mounted below it.
        recursive: bool,
        /// What if the source's last component is a symbolic link.
        link: SourceLink,
    },
    /// What an earlier entry has mounted there gets other options (`remount`).
    Remount {
        /// Of its file system; empty for a bind mount, whose file system is the host's.
        parameters: Vec<Parameter>,
    },
    /// The container's cgroups (type `cgroup`).
    Cgroup(CgroupView),
}

impl MountKind {
    /// Whether what is mounted, or whether it can be, may depend on the network namespace of who mounts it: as with sysfs, a file
    /// system of a network, or a source that is looked up.
    pub(crate) fn may_depend_on_network(&self) -> bool {
        match self {
            Self::Filesystem { filesystem, .. } => {
                !matches!(filesystem.as_str(), "proc" | "tmpfs" | "devpts" | "mqueue" | "cgroup2")
            }
            Self::Cgroup(_) => false,
            Self::Bind { .. } | Self::Remount { .. } => true,
        }
    }

    /// All files of a new file system get this SELinux context (`context=`, mount(8)), unless its own options say another
    /// one. Those of the kernel have contexts from the policy, bind mounts keep those of their files.
    pub(super) fn label(&mut self, context: &str) {
        match self {
            Self::Filesystem { filesystem, .. } if matches!(filesystem.as_str(), "proc" | "sysfs" | "cgroup2") => {}
            Self::Filesystem { parameters, .. } => {
                if parameters.iter().all(|parameter| parameter.context().is_none()) {
                    parameters.push(Parameter::Value { key: CONTEXT.to_owned(), value: context.to_owned() });
                }
            }
            Self::Bind { .. } | Self::Remount { .. } => {}
            Self::Cgroup(view) => view.context = Some(context.to_owned()),
        }
    }
}

/// SELinux's mount option.
pub(crate) const CONTEXT: &str = "context";

/// What becomes of a bind mount's source that is a symbolic link.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceLink {
    /// What it leads to is mounted.
    #[default]
    Follow,
    /// It is mounted itself (`src-nofollow`).
    Mount,
    /// A link that says the same is made in the container (`copy-symlink`).
    Copy,
}

/// How the container sees its cgroups.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CgroupView {
    /// The hierarchies, each with the container's directory in it; one with an empty name is the whole view.
    pub hierarchies: Vec<cgroup::CgroupMount>,
    /// A new cgroup namespace: the hierarchies are mounted anew, with the container's directory as their root.
    pub namespace: bool,
    /// The SELinux context of the directory that several hierarchies are in.
    pub context: Option<String>,
}

/// An option for a file system (fsconfig(2)).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parameter {
    /// `newinstance`
    Flag(String),
    /// `mode=755`
    Value {
        /// `mode`
        key: String,
        /// `755`
        value: String,
    },
}

impl Parameter {
    /// For mount(2) only: a value longer than fsconfig(2) takes, or its flag `MS_I_VERSION`.
    pub(crate) fn is_classic(&self) -> bool {
        match self {
            Self::Value { value, .. } => value.len() > 255,
            Self::Flag(_) => self.is_i_version(),
        }
    }

    /// Changes of files are counted.
    pub(crate) fn is_i_version(&self) -> bool {
        matches!(self, Self::Flag(key) if key == "iversion")
    }

    /// The SELinux context that it sets.
    pub(crate) fn context(&self) -> Option<&str> {
        match self {
            Self::Value { key, value } if key == CONTEXT => Some(value),
            _ => None,
        }
    }
}

/// `MOUNT_ATTR_*` to set and to clear (mount_setattr(2)).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Attributes {
    /// To set.
    pub set: u64,
    /// To clear.
    pub clear: u64,
}

impl Attributes {
    /// A later option wins over an earlier one.
    pub(super) fn change(&mut self, set: u64, clear: u64) {
        self.set = (self.set & !clear) | set;
        self.clear = (self.clear & !set) | clear;
    }

    /// Whether nothing is changed.
    pub fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// mount_namespaces(7), "Shared subtrees".
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub kind: u64,
    /// For all mounts below, too.
    pub recursive: bool,
}

impl Propagation {
    /// Mounts of the host reach the container, those of the container do not reach the host.
    pub fn slave(recursive: bool) -> Self {
        Self { kind: libc::MS_SLAVE, recursive }
    }

    /// `slave`, `rslave` and so on.
    pub fn parse(option: &str) -> Option<Self> {
        let kind = |name| match name {
            "shared" => Some(libc::MS_SHARED),
            "slave" => Some(libc::MS_SLAVE),
            "private" => Some(libc::MS_PRIVATE),
            "unbindable" => Some(libc::MS_UNBINDABLE),
            _ => None,
        };
        if let Some(kind) = kind(option) {
            return Some(Self { kind, recursive: false });
        }
        let kind = kind(option.strip_prefix('r')?)?;
        Some(Self { kind, recursive: true })
    }

    /// The option's name.
    pub fn name(self) -> &'static str {
        match (self.kind, self.recursive) {
            (libc::MS_SHARED, false) => "shared",
            (libc::MS_SHARED, true) => "rshared",
            (libc::MS_SLAVE, false) => "slave",
            (libc::MS_SLAVE, true) => "rslave",
            (libc::MS_PRIVATE, false) => "private",
            (libc::MS_PRIVATE, true) => "rprivate",
            (_, false) => "unbindable",
            (_, true) => "runbindable",
        }
    }
}
