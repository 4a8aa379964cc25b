//! What a container is to be: the image's wishes and the person's, as config.json (runtime-spec 1.3; image-spec,
//! conversion.md).

mod files;
mod mounts;
pub mod process;

use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxMemoryBuilder,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, RootBuilder,
    Spec, SpecBuilder, get_default_maskedpaths, get_default_readonly_paths,
};
use pipkin_images::accounts::Account;
use pipkin_images::container::Container;
use pipkin_images::image::Image;
use pipkin_images::rootless;
use pipkin_images::unpack::metadata::{Overlay, Policy};

use crate::failure::{Failure, Result};

pub use mounts::Volume;

/// Cgroup limits that were asked for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<i64>,
    /// Processors' time.
    pub cpus: Option<f64>,
    /// Tasks; -1 for no limit.
    pub pids: Option<i64>,
}

/// Everything that config.json is made from.
pub struct Bundle<'a> {
    /// The container; its directory becomes the bundle.
    pub container: &'a Container,
    /// Its image.
    pub image: &'a Image,
    /// Where its root file system is mounted.
    pub rootfs: &'a Path,
    /// What this process may do.
    pub policy: Policy,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its environment.
    pub environment: process::Environment,
    /// pipkin-init, if the program runs under it.
    pub init: Option<PathBuf>,
    /// `--volume`.
    pub volumes: Vec<Volume>,
    /// Cgroup limits.
    pub limits: Limits,
    /// `--user`.
    pub user: Option<&'a str>,
    /// `--workdir`.
    pub workdir: Option<&'a str>,
    /// `--hostname`.
    pub hostname: Option<&'a str>,
    /// `--read-only`.
    pub read_only: bool,
    /// `--tty`.
    pub terminal: bool,
}

impl Bundle<'_> {
    /// Whether an ordinary user runs this: as root of a user namespace.
    fn rootless(&self) -> bool {
        self.policy.overlay == Overlay::User
    }

    /// The container's host name.
    fn hostname(&self) -> &str {
        self.hostname.unwrap_or(&self.container.record.id[..12])
    }
}

/// Writes config.json and the files it mounts into the container's directory.
///
/// # Errors
/// The image asks for something that does not fit, or a file can not be written.
pub fn write(bundle: &Bundle) -> Result<()> {
    let root = fs::File::open(bundle.rootfs)
        .map_err(|cause| Failure::argument(format!("open {}", bundle.rootfs.display()), cause))?;
    let config = bundle.image.configuration.config();
    let user = bundle.user.or_else(|| config.as_ref().and_then(|config| config.user().as_deref())).unwrap_or("");
    let account = Account::look_up(&root, user)?;
    rootless::check_mapped(account.uid, account.gid)?;
    let workdir = process::working_directory(bundle, &root)?;
    let spec = spec(bundle, &account, &workdir).map_err(|cause| Failure::argument("config.json", cause))?;
    files::write(bundle)?;
    let path = bundle.container.directory.join("config.json");
    spec.save(&path).map_err(|cause| Failure::argument(format!("write {}", path.display()), cause))
}

fn spec(bundle: &Bundle, account: &Account, workdir: &str) -> std::result::Result<Spec, OciSpecError> {
    let mut kinds =
        vec![LinuxNamespaceType::Pid, LinuxNamespaceType::Ipc, LinuxNamespaceType::Uts, LinuxNamespaceType::Mount];
    kinds.push(LinuxNamespaceType::Cgroup);
    let namespaces = kinds.into_iter().map(|kind| LinuxNamespaceBuilder::default().typ(kind).build());
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces.collect::<std::result::Result<Vec<_>, _>>()?)
        .masked_paths(masked_paths())
        .readonly_paths(get_default_readonly_paths());
    if let Some(resources) = resources(bundle)? {
        linux = linux.resources(resources);
    }
    if !bundle.rootless() {
        linux = linux.cgroups_path(format!("/pipkin-{}", bundle.container.record.id));
    }
    SpecBuilder::default()
        .version("1.2.0")
        .root(RootBuilder::default().path(bundle.rootfs).readonly(bundle.read_only).build()?)
        .hostname(bundle.hostname())
        .process(process::process(bundle, account, workdir)?)
        .mounts(mounts::mounts(bundle)?)
        .linux(linux.build()?)
        .build()
}

/// The specification's, and what newer attacks taught (GHSA-7ww5-4wqc-m92c: the power meter tells other programs' secrets).
fn masked_paths() -> Vec<String> {
    let mut paths = get_default_maskedpaths();
    for more in ["/proc/interrupts", "/sys/devices/virtual/powercap"] {
        if !paths.iter().any(|path| path == more) {
            paths.push(more.to_string());
        }
    }
    paths
}

/// Limits, and the device rules: none but the runtime's own devices may be opened, any may be made. An ordinary user
/// can set no device rules, and needs a cgroup only for limits.
fn resources(bundle: &Bundle) -> std::result::Result<Option<LinuxResources>, OciSpecError> {
    const PERIOD: f64 = 100_000.0;
    let limits = bundle.limits;
    let mut resources = LinuxResourcesBuilder::default();
    let mut any = false;
    if !bundle.rootless() {
        let deny = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
        let make = |typ| LinuxDeviceCgroupBuilder::default().allow(true).typ(typ).access("m").build();
        resources = resources.devices(vec![deny, make(LinuxDeviceType::C)?, make(LinuxDeviceType::B)?]);
        any = true;
    }
    if let Some(memory) = limits.memory {
        resources = resources.memory(LinuxMemoryBuilder::default().limit(memory).build()?);
        any = true;
    }
    if let Some(cpus) = limits.cpus {
        let quota = (cpus * PERIOD).round() as i64;
        resources = resources.cpu(LinuxCpuBuilder::default().quota(quota).period(PERIOD as u64).build()?);
        any = true;
    }
    if let Some(pids) = limits.pids {
        resources = resources.pids(LinuxPidsBuilder::default().limit(pids).build()?);
        any = true;
    }
    if any { resources.build().map(Some) } else { Ok(None) }
}
