//! What is kept of a container on disk, and its status, which is never kept but derived from the kernel.
//!
//! `<root>/<id>/` holds `state.json`, written before anything else is made, so that a launcher killed at any
//! point leaves something that `delete --force` can remove; `config.json`, the configuration's text, for `exec`; `init`, the
//! process's number and start time, written when the container is complete; `start.sock` as long as the container waits to be
//! started; and `notify`, shown to the container, when there is a NOTIFY_SOCKET. A lock on the directory keeps commands
//! apart. Beside the containers, in `<root>/@seccomp/`, is what [`Cache`](crate::seccomp::Cache) keeps.

mod clock;
mod process;
mod store;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

pub use clock::now_rfc3339;
pub use process::{Identity, ProcessState};
pub use store::{Directory, Store, Unpublished, check_id};

use crate::cgroup;
use crate::plan::{Hooks, IdMaps, NamespaceKind, Plan, SeccompAgent};
use crate::resctrl;

/// The status of a container (runtime.md, "State"); `paused` is what runc adds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made, or left half made by a launcher that died.
    Creating,
    /// Waiting for `start`.
    Created,
    /// Its program runs.
    Running,
    /// Frozen.
    Paused,
    /// Its process is gone.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// The state document of the spec (runtime.md, "State"): what hooks read and `state` prints.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// The spec's version that the configuration names.
    pub oci_version: String,
    /// The container's name.
    pub id: String,
    /// Its first process, while there is one.
    #[serde(default)]
    pub pid: i32,
    /// Where it is in its life.
    pub status: Status,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Those of the configuration.
    #[serde(default)]
    pub annotations: HashMap<String, String>,
}

impl Document {
    /// Before anything is made.
    pub fn of(id: &str, bundle: &Path, spec: &Spec) -> Self {
        Self {
            oci_version: spec.version().clone(),
            id: id.to_owned(),
            pid: 0,
            status: Status::Creating,
            bundle: bundle.to_owned(),
            annotations: spec.annotations().clone().unwrap_or_default(),
        }
    }

    /// The same container at another time.
    #[must_use]
    pub fn at(&self, status: Status, pid: Option<i32>) -> Self {
        Self { status, pid: pid.unwrap_or(0), ..self.clone() }
    }
}

/// What `state.json` keeps.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The spec's part.
    #[serde(flatten)]
    pub document: Document,
    /// The root file system on the host.
    pub rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub created: String,
    /// Who made it.
    pub owner: u32,
    /// Where its cgroup is.
    pub cgroup: Option<cgroup::Record>,
    /// Where its share of caches is.
    #[serde(default)]
    pub resctrl: Option<resctrl::Record>,
    /// Namespaces of its own, which `exec` joins.
    pub namespaces: Vec<NamespaceKind>,
    /// Whether its processes die with the first one, because the pid namespace is its own.
    pub private_pid_namespace: bool,
    /// Id maps of its user namespace.
    pub id_maps: Option<IdMaps>,
    /// Who gets the seccomp listener when the container is started.
    pub seccomp_agent: Option<SeccompAgent>,
    /// Those that run later.
    pub hooks: Hooks,
    /// Whether it was given a NOTIFY_SOCKET.
    #[serde(default)]
    pub notify: bool,
    /// Whether it has the session keyring of who made it.
    #[serde(default)]
    pub no_new_keyring: bool,
}

impl Record {
    /// Of a container about to be made.
    pub fn of(plan: &Plan, spec: &Spec) -> Self {
        let namespaces = NamespaceKind::ALL.into_iter().filter(|kind| plan.namespaces.has_own(*kind));
        Self {
            document: Document::of(&plan.id, &plan.bundle, spec),
            rootfs: plan.inside.rootfs.path.clone(),
            created: now_rfc3339(),
            owner: rustix::process::geteuid().as_raw(),
            cgroup: plan.cgroup.as_ref().map(cgroup::Plan::record),
            resctrl: None,
            namespaces: namespaces.collect(),
            private_pid_namespace: plan.namespaces.makes(NamespaceKind::Pid),
            id_maps: plan.id_maps.clone(),
            seccomp_agent: plan.seccomp_agent.clone(),
            hooks: plan.hooks.clone(),
            notify: false,
            no_new_keyring: !plan.inside.new_keyring,
        }
    }
}
