//! Everything that will be done, decided before anything is done.
//!
//! [`compile`] turns a configuration and the host's facts into a [`Plan`]: plain data, made without system calls, so
//! that `pipkin-runtime plan` can print it without root and bad input is refused before anything exists that would
//! have to be undone. The launcher carries out the outer part, the stage the [`Inside`] part.

mod describe;
mod devices;
mod hooks;
mod id_mapping;
mod ids;
mod memory_policy;
mod mount;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod number_list;
mod paths;
mod process;
mod scheduling;
mod sysctl;
mod time_offsets;
mod version;

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

pub use devices::{Device, DeviceKind};
pub use hooks::{Hook, Hooks, InsideHooks};
pub use id_mapping::{IdMapping, MappingSource};
pub use ids::{IdMap, IdMaps};
pub use memory_policy::MemoryPolicy;
pub(crate) use memory_policy::{FLAGS as MEMORY_POLICY_FLAGS, MODES as MEMORY_POLICY_MODES};
pub(crate) use mount::CONTEXT;
pub use mount::{Attributes, CgroupView, Mount, MountKind, Parameter, Propagation, SourceLink};
pub use mount_options::MOUNT_OPTIONS;
pub(crate) use mounts::is_protected_proc;
pub(crate) use namespaces::in_initial_user_namespace;
pub use namespaces::{Join, NamespaceKind, Namespaces};
pub use net_devices::NetDevice;
pub use number_list::NumberList;
pub use paths::normalize;
pub use process::{Capabilities, Process, Rlimit, SeccompAgent, Terminal, User, capability_bit};
pub(crate) use process::{
    Surroundings, announce_sockets, compile_process, limit_error, own_capabilities, seccomp_agent,
};
pub(crate) use scheduling::compile_exec_affinity;
pub use scheduling::{ExecAffinity, IoPriority, Scheduler, Scheduling};
pub use sysctl::Sysctl;
pub use time_offsets::{Clock, TimeOffset};

use crate::cgroup;
use crate::error::{Problems, Result};
use crate::{lsm, resctrl, seccomp};

/// What the plan depends on besides the configuration.
#[derive(Clone, Debug)]
pub struct Host {
    /// The cgroup hierarchies that this process sees.
    pub cgroups: cgroup::Layout,
    /// The effective user id.
    pub euid: u32,
    /// Whether this process has all of root's rights over the machine: it is not in a user namespace of its own.
    pub initial_user_namespace: bool,
    /// The capabilities that this process can hand on; bit n is capability n.
    pub capabilities: u64,
    /// The security modules that labels can be set with.
    pub modules: lsm::Modules,
}

impl Host {
    /// Asks the kernel.
    pub fn detect() -> Result<Self> {
        Ok(Self {
            cgroups: cgroup::Layout::detect()?,
            euid: rustix::process::geteuid().as_raw(),
            initial_user_namespace: in_initial_user_namespace(),
            capabilities: process::own_capabilities()?,
            modules: lsm::Modules::detect(),
        })
    }

    /// Root of the machine itself.
    pub fn privileged(&self) -> bool {
        self.euid == 0 && self.initial_user_namespace
    }
}

/// What the caller of the runtime asks for, beside the configuration.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The container's name.
    pub id: &'a str,
    /// The bundle's directory, absolute.
    pub bundle: &'a Path,
    /// Who makes the cgroup, and what happens where it may not be made.
    pub cgroups: cgroup::Driving,
    /// Leave the host's root by moving the new one over it: for a host whose root is an initramfs, where pivot_root(2)
    /// is impossible.
    pub no_pivot: bool,
    /// Leave the caller's session keyring to the container.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on the container's program keeps.
    pub preserve_fds: u32,
    /// How many of them, the first, are sockets of socket activation.
    pub listen_fds: u32,
    /// Start at once (`run`), or when asked to (`create`, `start`).
    pub start: Start,
    /// What `linux.seccomp` has been compiled to before; then the configuration has a stand-in for it.
    pub filter: Option<&'a seccomp::Compiled>,
}

impl<'a> Request<'a> {
    /// Nothing but the usual, and a start on request.
    pub fn new(id: &'a str, bundle: &'a Path, cgroups: cgroup::Driving) -> Self {
        Self {
            id,
            bundle,
            cgroups,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            listen_fds: 0,
            start: Start::OnRequest,
            filter: None,
        }
    }
}

/// When the container's program begins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// As soon as everything is set up.
    AtOnce,
    /// When `start` asks for it.
    OnRequest,
}

/// A whole boot.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Plan {
    /// The container's name.
    pub id: String,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Namespaces to make and to join.
    pub namespaces: Namespaces,
    /// Id maps of a new user namespace.
    pub id_maps: Option<IdMaps>,
    /// Network devices of the host that become the container's.
    pub net_devices: Vec<NetDevice>,
    /// The cgroup, unless the container runs in the caller's.
    pub cgroup: Option<cgroup::Plan>,
    /// Shares of caches and memory bandwidth (`linux.intelRdt`).
    pub resctrl: Option<resctrl::Plan>,
    /// Written by the launcher (`process.oomScoreAdj`).
    pub oom_score_adj: Option<i32>,
    /// Who answers for system calls that the seccomp filter asks about.
    pub seccomp_agent: Option<SeccompAgent>,
    /// Programs to run at the spec's points.
    pub hooks: Hooks,
    /// What happens inside the container.
    pub inside: Inside,
    /// What a person should hear although nothing is wrong.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Flags for the clone3(2) that makes the stage.
    pub(crate) fn clone_flags(&self) -> u64 {
        let later = if self.inside.awaits_network { NamespaceKind::Network.clone_flag() } else { 0 };
        self.namespaces.clone_flags() & !later
    }
}

/// The stage's part: everything it is told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Inside {
    /// The container's name.
    pub id: String,
    /// Namespaces that the stage finds itself in, and those it has to make itself.
    pub namespaces: Namespaces,
    /// Whether the stage must wait for the id maps and become root of its user namespace.
    pub new_user_namespace: bool,
    /// Whether a cgroup namespace is made; its root is the cgroup that the stage was born or put into.
    pub new_cgroup_namespace: bool,
    /// Of the clocks of a new time namespace.
    pub time_offsets: Vec<TimeOffset>,
    /// Whether the launcher moves network devices into the container.
    pub waits_for_devices: bool,
    /// Whether the stage brings `lo` up.
    pub loopback: bool,
    /// Whether the launcher makes the network namespace, and brings `lo` up in it, while the stage works, which joins it later.
    pub awaits_network: bool,
    /// Whether the container gets a session keyring of its own (keyrings(7)).
    pub new_keyring: bool,
    /// The root file system.
    pub rootfs: Rootfs,
    /// What the launcher has opened for a mount, by its place in `mounts`, and under which number: the source of a bind
    /// mount, or for a new file system the user namespace that maps its ids.
    pub opened_sources: Vec<(usize, i32)>,
    /// In order.
    pub steps: Vec<Step>,
    /// Whether the launcher runs hooks before the root is changed.
    pub waits_for_hooks: bool,
    /// Hooks that run inside.
    pub hooks: Option<InsideHooks>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `domainname`.
    pub domainname: Option<String>,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: Vec<Sysctl>,
    /// The container's program.
    pub process: Process,
    /// When it begins.
    pub start: Start,
}

impl Inside {
    /// Adapts the view of the cgroups to what has really been made: without rights that can be less than planned.
    pub(crate) fn show_cgroup(&mut self, record: &cgroup::Record, layout: &cgroup::Layout) {
        for step in &mut self.steps {
            if let Step::Mount(Mount { kind: MountKind::Cgroup(view), .. }) = step {
                view.hierarchies = record.mounts_among(&layout.hierarchies);
            }
        }
    }
}

/// The root file system (`root`, `linux.rootfsPropagation`).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Rootfs {
    /// The directory on the host.
    pub path: PathBuf,
    /// `root.readonly`.
    pub readonly: bool,
    /// How mounts travel between the host and the container while it is set up, and afterwards.
    pub propagation: Propagation,
    /// As [`Request::no_pivot`].
    pub no_pivot: bool,
}

/// One step inside the container; paths are the container's.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A file system or a bind mount.
    Mount(Mount),
    /// A device node.
    Device(Device),
    /// A symbolic link that is made unless something of that name is there.
    Symlink {
        /// Where.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// `linux.readonlyPaths`.
    ReadonlyPath(PathBuf),
    /// `linux.maskedPaths`.
    MaskedPath(PathBuf),
}

/// Decides the whole boot. Pure: no system call, no privilege.
///
/// # Errors
/// One error that names every problem of the configuration.
pub fn compile(request: &Request<'_>, spec: &Spec, host: &Host) -> Result<Box<Plan>> {
    let mut problems = Problems::default();
    let plan = compile_noting(request, spec, host, &mut problems);
    problems.into_result()?;
    plan.ok_or_else(|| crate::error::Error::invalid("config.json", "no process, no root: nothing to run"))
}

/// As [`compile`], but every problem is noted; the plan is there when enough of the configuration is.
pub fn compile_noting(request: &Request<'_>, spec: &Spec, host: &Host, problems: &mut Problems) -> Option<Box<Plan>> {
    version::check(spec.version(), problems);
    if spec.vm().is_some() {
        problems.add("vm", "asks for a virtual machine, and this runtime makes none; remove it");
    }
    let linux = spec.linux().as_ref();
    let namespaces = Namespaces::compile(linux, problems);
    let id_maps = ids::compile(linux, &namespaces, problems);
    let mut warnings = Vec::new();
    let cgroup = compile_cgroup(request, spec, host, &namespaces, id_maps.as_ref(), &mut warnings, problems);
    let resctrl = resctrl::Plan::compile(request.id, linux, problems);
    let (hooks, inside_hooks) = hooks::compile(request, spec, problems);
    let (hostname, domainname) = compile_names(spec, &namespaces, problems);
    let sysctls = sysctl::compile(linux, &namespaces, problems);
    let net_devices = net_devices::compile(linux, &namespaces, problems);
    let time_offsets = time_offsets::compile(linux, &namespaces, problems);
    let rootfs = compile_rootfs(request, spec, problems);
    let surroundings = mounts::Surroundings {
        bundle: request.bundle,
        namespaces: &namespaces,
        layout: &host.cgroups,
        cgroup: cgroup.as_ref().map(cgroup::Plan::record),
        id_maps: id_maps.as_ref(),
    };
    let steps = compile_steps(spec, &surroundings, host, problems);
    let granted = if namespaces.has_own(NamespaceKind::User) { u64::MAX } else { host.capabilities };
    let process = process::compile(request, spec, id_maps.as_ref(), granted, host.modules, &mut warnings, problems);
    let (rootfs, (process, oom_score_adj)) = (rootfs?, process?);
    let starts_hooks = inside_hooks.as_ref().is_some_and(|hooks| !hooks.start_container.is_empty());
    if starts_hooks && process.scheduling.scheduler.is_some_and(|scheduler| scheduler.is_deadline()) {
        let message = "SCHED_DEADLINE forbids to start other programs (sched(7)), and hooks.startContainer are some; use createRuntime hooks";
        problems.add("process.scheduler.policy", message);
    }
    let profile = linux.and_then(|linux| linux.seccomp().as_ref());
    let seccomp_agent = process::seccomp_agent(profile, process.seccomp.as_ref(), problems);
    let awaits_network = host.privileged() && net_devices.is_empty() && namespaces.network_can_come_later();
    Some(Box::new(Plan {
        id: request.id.to_owned(),
        bundle: request.bundle.to_owned(),
        inside: Inside {
            id: request.id.to_owned(),
            new_user_namespace: namespaces.makes(NamespaceKind::User),
            new_cgroup_namespace: namespaces.makes(NamespaceKind::Cgroup),
            time_offsets,
            waits_for_devices: !net_devices.is_empty(),
            loopback: namespaces.makes(NamespaceKind::Network) && !awaits_network,
            awaits_network,
            new_keyring: !request.no_new_keyring,
            namespaces: namespaces.clone(),
            rootfs,
            opened_sources: Vec::new(),
            steps,
            waits_for_hooks: !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty(),
            hooks: inside_hooks,
            hostname,
            domainname,
            sysctls,
            process,
            start: request.start,
        },
        namespaces,
        id_maps,
        net_devices,
        cgroup,
        resctrl,
        oom_score_adj,
        seccomp_agent,
        hooks,
        warnings,
    }))
}

fn compile_rootfs(request: &Request<'_>, spec: &Spec, problems: &mut Problems) -> Option<Rootfs> {
    let Some(root) = spec.root() else {
        problems.add("root", "is missing: the spec requires it on Linux");
        return None;
    };
    if root.path().as_os_str().is_empty() {
        problems.add("root.path", "is empty: name the directory of the root file system");
        return None;
    }
    let propagation = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().clone());
    let propagation = match propagation.as_deref() {
        None | Some("") => Propagation::slave(true),
        Some(name) => Propagation::parse(name).unwrap_or_else(|| {
            problems.add("linux.rootfsPropagation", format!("{name:?} is none of shared, slave, private, unbindable"));
            Propagation::slave(true)
        }),
    };
    let path = request.bundle.join(root.path());
    Some(Rootfs { path, readonly: root.readonly().unwrap_or(false), propagation, no_pivot: request.no_pivot })
}

/// The cgroup, with what annotations ask systemd for, and its owner: who can write to its mount may divide it further
/// (config-linux.md, "Cgroup ownership").
fn compile_cgroup(
    request: &Request<'_>,
    spec: &Spec,
    host: &Host,
    namespaces: &Namespaces,
    id_maps: Option<&IdMaps>,
    warnings: &mut Vec<String>,
    problems: &mut Problems,
) -> Option<cgroup::Plan> {
    let linux = spec.linux().as_ref();
    let privileged = host.privileged();
    let forgiving = request.cgroups.forgiving.unwrap_or(!privileged);
    let systemd = match request.cgroups.manager {
        cgroup::Manager::Cgroupfs => false,
        cgroup::Manager::Systemd => true,
        cgroup::Manager::Disabled => {
            let makes_devices = !namespaces.has_own(NamespaceKind::User) && process::may_make_devices(spec);
            cgroup::Plan::refuse_limits(linux, &host.cgroups, makes_devices, warnings, problems);
            return None;
        }
    };
    let plan = cgroup::Plan::compile(request.id, linux, &host.cgroups, privileged, systemd, forgiving, problems)?;
    let plan = match spec.annotations() {
        Some(annotations) => plan.annotated(annotations, problems),
        None => plan,
    };
    let divisible = namespaces.makes(NamespaceKind::Cgroup) && mounts::writable_cgroup(spec);
    let uid = spec.process().as_ref().map_or(0, |process| process.user().uid());
    let owner = id_maps.map_or(Some(uid), |maps| maps.host_uid(uid)).filter(|owner| *owner != 0);
    Some(match owner {
        Some(owner) if divisible => plan.owned_by(owner),
        _ => plan,
    })
}

/// Mounts, then devices, then the links in /dev, then what is to be read-only and masked.
fn compile_steps(
    spec: &Spec,
    surroundings: &mounts::Surroundings<'_>,
    host: &Host,
    problems: &mut Problems,
) -> Vec<Step> {
    let linux = spec.linux().as_ref();
    let mut mounts = mounts::compile(spec, surroundings, problems);
    if let Some(label) = lsm::compile_mount_label(linux, host.modules, problems) {
        mounts.iter_mut().for_each(|mount| mount.kind.label(&label));
    }
    let makes_dev = mounts::makes_dev(&mounts);
    let mut steps: Vec<Step> = mounts.into_iter().map(Step::Mount).collect();
    if makes_dev {
        steps.extend(devices::compile(linux, problems));
    }
    let paths = |list: Option<&Vec<String>>, field: &str, problems: &mut Problems| -> Vec<PathBuf> {
        let mut checked = Vec::new();
        for (index, path) in list.into_iter().flatten().enumerate() {
            if Path::new(path).is_absolute() {
                checked.push(normalize(Path::new(path)));
            } else {
                problems.add(format!("linux.{field}[{index}]"), format!("{path:?} is not an absolute path"));
            }
        }
        checked
    };
    let readonly = linux.and_then(|linux| linux.readonly_paths().as_ref());
    let masked = linux.and_then(|linux| linux.masked_paths().as_ref());
    steps.extend(paths(readonly, "readonlyPaths", problems).into_iter().map(Step::ReadonlyPath));
    steps.extend(paths(masked, "maskedPaths", problems).into_iter().map(Step::MaskedPath));
    steps
}

fn compile_names(spec: &Spec, namespaces: &Namespaces, problems: &mut Problems) -> (Option<String>, Option<String>) {
    let mut check = |field: &str, value: &Option<String>| -> Option<String> {
        let value = value.clone().filter(|value| !value.is_empty())?;
        if !namespaces.has_own(NamespaceKind::Uts) {
            problems.add(
                field,
                format!("{value:?} can not be set without a uts namespace of its own; add one to linux.namespaces"),
            );
        } else if value.len() > 64 {
            problems.add(field, format!("{value:?} is longer than the kernel's 64 bytes"));
        }
        Some(value)
    };
    (check("hostname", spec.hostname()), check("domainname", spec.domainname()))
}

#[cfg(test)]
pub(crate) mod tests;
