//! Mounts by handles: the file system is made first, then attached to a place that was opened inside the root.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::copy_up;
use super::id_mapping::map_ids;
use super::procfs::Procfs;
use super::root::{Root, path_of};
use crate::cgroup::{CgroupMount, Version};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::{Attributes, CONTEXT, CgroupView, Mount, MountKind, Parameter, SourceLink};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// What is still to be done to a mount when everything is mounted.
pub(super) struct Unfinished<'a> {
    mount: &'a Mount,
    handle: OwnedFd,
}

impl Unfinished<'_> {
    /// Sets the attributes that had to wait.
    pub fn finish(self) -> Result<()> {
        let set = |attributes, recursive| set_attributes(&self.handle, attributes, recursive);
        set(self.mount.attributes, false).and_then(|()| set(self.mount.recursive_attributes, true)).map_err(|error| {
            error.during(format!("mounts[{}]: {}", self.mount.index, self.mount.destination.display()))
        })
    }
}

/// Carries out one entry of `mounts`; `received` are the bind mounts' sources that the launcher has opened.
pub(super) fn mount<'a>(
    root: &Root,
    mount: &'a Mount,
    received: &mut Vec<(usize, OwnedFd)>,
) -> Result<Option<Unfinished<'a>>> {
    let during = |error: Error| error.during(format!("mounts[{}]: mount {}", mount.index, mount.destination.display()));
    let taken = received.iter().position(|(index, _)| *index == mount.index).map(|at| received.swap_remove(at).1);
    let handle = match &mount.kind {
        MountKind::Filesystem { filesystem, source, parameters, copy_up } => {
            new_filesystem(root, mount, filesystem, source, parameters, *copy_up, taken)
        }
        MountKind::Bind { source, recursive, link } => {
            let opened = taken.map_or_else(|| open_source(source, *recursive, *link), Ok).map_err(during)?;
            let kind = file_type(&opened).map_err(during)?;
            if kind == FileType::Symlink && *link == SourceLink::Copy {
                return copy_link(root, mount, &opened).map(|()| None).map_err(during);
            }
            bind(root, mount, opened, kind)
        }
        MountKind::Remount { parameters } => remount(root, mount, parameters),
        MountKind::Cgroup(view) => cgroups(root, mount, view),
    };
    let handle = handle.map_err(during)?;
    if let Some(propagation) = mount.propagation {
        let attributes = MountAttributes { propagation: propagation.kind, ..MountAttributes::default() };
        mount_setattr(&handle, &attributes, propagation.recursive)
            .step(|| format!("make it {}", propagation.name()))
            .map_err(during)?;
    }
    let waits = matches!(&mount.kind, MountKind::Filesystem { filesystem, .. } if filesystem == "tmpfs")
        && (mount.attributes.set & libc::MOUNT_ATTR_RDONLY != 0 || !mount.recursive_attributes.is_empty());
    if waits {
        return Ok(Some(Unfinished { mount, handle }));
    }
    if !matches!(mount.kind, MountKind::Bind { .. }) {
        set_attributes(&handle, mount.recursive_attributes, true).map_err(during)?;
    }
    Ok(None)
}

fn new_filesystem(
    root: &Root,
    mount: &Mount,
    filesystem: &str,
    source: &str,
    parameters: &[Parameter],
    copy_up: bool,
    id_map: Option<OwnedFd>,
) -> Result<OwnedFd> {
    let existing = match filesystem {
        "tmpfs" => root.open(&mount.destination, OFlags::PATH | OFlags::DIRECTORY).ok(),
        _ => None,
    };
    let mode = existing.as_ref().map(|covered| tmpfs_mode(parameters, covered)).transpose()?.flatten();
    let target = match (existing, filesystem) {
        (Some(existing), _) => existing,
        (None, "proc" | "sysfs") => open_kernel_directory(root, &mount.destination, filesystem)?,
        (None, _) => open_directory(root, &mount.destination)?,
    };
    let parameters = parameters.iter().chain(&mode);
    // It takes no context= (selinux(8)); its root is labelled instead.
    let context = parameters.clone().find_map(|parameter| parameter.context()).filter(|_| filesystem == "mqueue");
    let parameters = parameters.filter(|parameter| context.is_none() || parameter.context().is_none());
    if mount.destination != Path::new("/proc") && Procfs::contains(&target) {
        check_below_proc(&target, &mount.destination)?;
    }
    let handle = if parameters.clone().any(Parameter::is_classic) && id_map.is_none() {
        return classic_mount(root, mount, filesystem, source, parameters, &target);
    } else {
        make_filesystem(filesystem, source, parameters, at_first(filesystem, mount.attributes))?
    };
    if copy_up {
        let covered = root.open(&mount.destination, OFlags::RDONLY | OFlags::DIRECTORY);
        let covered = covered.on("open", &mount.destination)?;
        copy_up::copy(covered, &handle).map_err(|error| error.during("tmpcopyup"))?;
    }
    if let (Some(mapping), Some(id_map)) = (&mount.id_mapping, id_map) {
        map_ids(&handle, mapping, &id_map)?;
    }
    if let Some(context) = context {
        label(&handle, context)?;
    }
    attach(&handle, &target)?;
    Ok(handle)
}

/// Sets the SELinux context of a file system's root.
fn label(handle: &OwnedFd, context: &str) -> Result<()> {
    let step = || format!("linux.mountLabel: label its root {context:?}");
    let top = rustix::fs::openat(handle, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(top.step(step)?, "security.selinux", context.as_bytes(), flags).step(step)
}

/// A tmpfs is filled before it becomes read-only: by a copy, by mount points and devices in it.
fn at_first(filesystem: &str, attributes: Attributes) -> Attributes {
    match filesystem {
        "tmpfs" => Attributes { set: attributes.set & !libc::MOUNT_ATTR_RDONLY, clear: attributes.clear },
        _ => attributes,
    }
}

/// mount(2), for what fsconfig(2) does not take: values of more than 255 bytes, such as the lower directories of an
/// overlay, and `MS_I_VERSION`. The place is named by its descriptor.
fn classic_mount<'a>(
    root: &Root,
    mount: &Mount,
    filesystem: &str,
    source: &str,
    parameters: impl Iterator<Item = &'a Parameter>,
    target: &OwnedFd,
) -> Result<OwnedFd> {
    // A context may have commas in it (categories), and is quoted then.
    let text = |parameter: &Parameter| match parameter.context() {
        Some(context) => format!("{CONTEXT}=\"{context}\""),
        None => parameter.to_string(),
    };
    let (versions, parameters): (Vec<_>, Vec<_>) = parameters.partition(|parameter| parameter.is_i_version());
    let data = parameters.into_iter().map(text).collect::<Vec<_>>().join(",");
    let place = format!("/proc/self/fd/{}", target.as_raw_fd());
    let mut flags = nix::mount::MsFlags::empty();
    flags.set(nix::mount::MsFlags::MS_I_VERSION, !versions.is_empty());
    nix::mount::mount(Some(source), place.as_str(), Some(filesystem), flags, Some(data.as_str()))
        .step(|| format!("make a {filesystem} with {data}"))?;
    let handle = root.open(&mount.destination, OFlags::PATH).on("open", &mount.destination)?;
    set_attributes(&handle, mount.attributes, false)?;
    Ok(handle)
}

/// A tmpfs without `mode=` gets that of the directory that it covers, as with other runtimes; where there was none, the
/// kernel's default, 1777.
fn tmpfs_mode(parameters: &[Parameter], target: &OwnedFd) -> Result<Option<Parameter>> {
    let given = |parameter: &Parameter| matches!(parameter, Parameter::Value { key, .. } if key == "mode");
    if parameters.iter().any(given) {
        return Ok(None);
    }
    let mode = rustix::fs::fstat(target).step(|| "stat the directory below")?.st_mode & 0o7777;
    Ok(Some(Parameter::Value { key: "mode".to_owned(), value: format!("{mode:o}") }))
}

/// A new instance, attached nowhere (fsopen(2), fsmount(2)).
fn make_filesystem<'a>(
    filesystem: &str,
    source: &str,
    parameters: impl Iterator<Item = &'a Parameter>,
    attributes: Attributes,
) -> Result<OwnedFd> {
    let context = rustix::mount::fsopen(filesystem, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| {
        let error = Error::system(format!("open the file system {filesystem}"), errno);
        if errno == Errno::NODEV { error.remedy("this kernel does not have it") } else { error }
    })?;
    let explain = |errno: Errno, what: String| {
        let error = explained(&context, errno, what);
        match (filesystem, errno) {
            ("proc" | "sysfs" | "mqueue", Errno::PERM) => error.remedy(format!(
                "in a user namespace {filesystem} needs a new {} namespace beside it",
                match filesystem {
                    "proc" => "pid",
                    "sysfs" => "network",
                    _ => "ipc",
                }
            )),
            ("devpts", Errno::INVAL) => error.remedy("is its gid= mapped in linux.gidMappings?"),
            _ => error,
        }
    };
    rustix::mount::fsconfig_set_string(&context, "source", source)
        .map_err(|errno| explain(errno, format!("{filesystem}: set the source {source:?}")))?;
    configure(&context, parameters, |errno, what| explain(errno, format!("{filesystem}: {what}")))?;
    rustix::mount::fsconfig_create(&context).map_err(|errno| explain(errno, format!("make a {filesystem}")))?;
    let flags = MountAttrFlags::from_bits_retain(attributes.set as u32);
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
        .map_err(|errno| explain(errno, format!("make a mount of {filesystem}")))
}

/// Sets the options of a file system that is being made or changed.
fn configure<'a>(
    context: &OwnedFd,
    parameters: impl Iterator<Item = &'a Parameter>,
    explain: impl Fn(Errno, String) -> Error,
) -> Result<()> {
    for parameter in parameters {
        let set = match parameter {
            Parameter::Flag(key) => rustix::mount::fsconfig_set_flag(context, key.as_str()),
            Parameter::Value { key, value } => {
                rustix::mount::fsconfig_set_string(context, key.as_str(), value.as_str())
            }
        };
        set.map_err(|errno| explain(errno, format!("option {parameter}")))?;
    }
    Ok(())
}

/// An error of a file system, with its own words if it has some.
fn explained(context: &OwnedFd, errno: Errno, what: String) -> Error {
    let error = Error::system(what, errno);
    match kernel_message(context) {
        Some(message) => error.remedy(message),
        None => error,
    }
}

/// What the file system itself says went wrong (fsconfig(2): messages are read from the context).
fn kernel_message(context: &OwnedFd) -> Option<String> {
    let mut buffer = [0; 512];
    let length = rustix::io::read(context, &mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    // "e message": an error; w and i are warnings and information.
    text.strip_prefix("e ").map(|text| text.trim_end().to_owned())
}

/// A detached mount of a part of the host's file systems.
pub(crate) fn open_source(source: &Path, recursive: bool, link: SourceLink) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, link != SourceLink::Follow);
    rustix::mount::open_tree(CWD, source, flags).step(|| format!("bind mount source {}", source.display()))
}

fn file_type(handle: &OwnedFd) -> Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(handle).step(|| "stat the source")?.st_mode))
}

/// `copy-symlink`: a link of the host is made once more in the container; one that says the same may be there already.
fn copy_link(root: &Root, mount: &Mount, link: &OwnedFd) -> Result<()> {
    let target = rustix::fs::readlinkat(link, "", Vec::new()).step(|| "read the source, a symbolic link")?;
    let (parent, name) = root.parent(&mount.destination).on("make the directory of", &mount.destination)?;
    let made = rustix::fs::symlinkat(&target, &parent, &*name);
    if made == Err(Errno::EXIST)
        && rustix::fs::readlinkat(&parent, &*name, Vec::new()).is_ok_and(|present| present == target)
    {
        return Ok(());
    }
    made.step(|| format!("make a link to {}", target.to_string_lossy()))
}

/// `remount`: what is mounted there, by its own handle.
fn remount(root: &Root, mount: &Mount, parameters: &[Parameter]) -> Result<OwnedFd> {
    let place = root.open(&mount.destination, OFlags::PATH).on("open", &mount.destination)?;
    if !parameters.is_empty() {
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        let context = rustix::mount::fspick(&place, "", flags).step(|| "take the file system up")?;
        configure(&context, parameters.iter(), |errno, what| explained(&context, errno, what))?;
        rustix::mount::fsconfig_reconfigure(&context)
            .map_err(|errno| explained(&context, errno, "change the file system".to_owned()))?;
    }
    set_attributes(&place, mount.attributes, false)?;
    Ok(place)
}

fn bind(root: &Root, mount: &Mount, handle: OwnedFd, kind: FileType) -> Result<OwnedFd> {
    let covered = mount.destination_nofollow.then(|| root.open(&mount.destination, OFlags::PATH | OFlags::NOFOLLOW));
    let target = match (covered, kind) {
        (Some(Ok(covered)), _) => covered,
        (_, FileType::Directory) => open_directory(root, &mount.destination)?,
        _ => open_file(root, &mount.destination)?,
    };
    check_proc(&handle, &target, &mount.destination)?;
    set_attributes(&handle, mount.attributes, false)?;
    set_attributes(&handle, mount.recursive_attributes, true)?;
    attach(&handle, &target)?;
    Ok(handle)
}

/// Over /proc only another procfs; inside it only a few files, wherever the image's links lead (CVE-2019-16884).
fn check_proc(source: &OwnedFd, target: &OwnedFd, destination: &Path) -> Result<()> {
    if !Procfs::contains(target) && destination != Path::new("/proc") {
        return Ok(());
    }
    if destination == Path::new("/proc") {
        if Procfs::is_root(source) {
            return Ok(());
        }
        return Err(Error::new(Kind::Invalid, "only a procfs may be mounted on /proc (CVE-2019-16884)"));
    }
    check_below_proc(target, destination)
}

/// A place inside a procfs must be one of the few that may be covered.
fn check_below_proc(target: &OwnedFd, destination: &Path) -> Result<()> {
    let real = path_of(target.as_fd()).step(|| "look up the mount point")?;
    let real = Path::new(&real).to_string_lossy().into_owned();
    let below = real.find("/proc/").map(|start| Path::new(&real[start..]).to_owned());
    if below.is_none_or(|path| crate::plan::is_protected_proc(&path)) {
        return Err(Error::new(
            Kind::Invalid,
            format!(
                "{} leads into /proc, to {real}: that may not be mounted over (CVE-2019-16884)",
                destination.display()
            ),
        ));
    }
    Ok(())
}

/// /proc and /sys must be what they seem: a link in the image could put them elsewhere (CVE-2019-19921).
fn open_kernel_directory(root: &Root, path: &Path, filesystem: &str) -> Result<OwnedFd> {
    match root.open_without_links(path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => open_directory(root, path),
        Err(Errno::LOOP | Errno::NOTDIR) => Err(Error::new(
            Kind::Invalid,
            format!(
                "{filesystem} must be mounted on an ordinary directory, but {} is a symbolic link or a file in the root file system",
                path.display()
            ),
        )),
        other => other.on("open", path),
    }
}

fn open_directory(root: &Root, path: &Path) -> Result<OwnedFd> {
    root.create_directory(path).on("make the directory", path)
}

fn open_file(root: &Root, path: &Path) -> Result<OwnedFd> {
    let file = root.create_file(path).on("make the file", path)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).on("stat", path)?.st_mode);
    if kind == FileType::Directory {
        return Err(Error::new(Kind::Invalid, format!("{} is a directory, the source is a file", path.display())));
    }
    Ok(file)
}

fn set_attributes(handle: &OwnedFd, attributes: Attributes, recursive: bool) -> Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    let wanted = MountAttributes { set: attributes.set, clear: attributes.clear, ..MountAttributes::default() };
    mount_setattr(handle, &wanted, recursive).map_err(|errno| {
        let error = Error::system(format!("set the attributes{attributes}"), errno);
        match errno {
            nix::errno::Errno::EINVAL if attributes.set & libc::MOUNT_ATTR_NOSYMFOLLOW != 0 => {
                error.remedy("nosymfollow needs Linux 5.14; leave it out")
            }
            _ => error,
        }
    })
}

/// Attaches a mount to an open file or directory.
pub(super) fn attach(handle: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(handle, "", target, "", flags).step(|| "attach it (move_mount)")
}

/// A mount of what is open, attached nowhere.
pub(super) fn clone_mount(file: BorrowedFd<'_>, recursive: bool) -> std::result::Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(file, "", flags)
}

/// The container's cgroups: on a unified host one mount, else one per hierarchy on a small tmpfs.
fn cgroups(root: &Root, mount: &Mount, view: &CgroupView) -> Result<OwnedFd> {
    let target = open_kernel_directory(root, &mount.destination, "cgroup")?;
    if let [only] = view.hierarchies.as_slice()
        && only.name.is_empty()
    {
        let handle = cgroup_hierarchy(only, view.namespace, mount.attributes)?;
        attach(&handle, &target)?;
        return Ok(handle);
    }
    let attributes = Attributes {
        set: (mount.attributes.set & !libc::MOUNT_ATTR_RDONLY)
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOEXEC,
        clear: mount.attributes.clear,
    };
    let mode = Parameter::Value { key: "mode".to_owned(), value: "755".to_owned() };
    let context = view.context.clone().map(|value| Parameter::Value { key: CONTEXT.to_owned(), value });
    let tmpfs = make_filesystem("tmpfs", "tmpfs", [Some(mode), context].iter().flatten(), attributes)?;
    attach(&tmpfs, &target)?;
    for hierarchy in &view.hierarchies {
        let name = hierarchy.name.as_str();
        let handle = cgroup_hierarchy(hierarchy, view.namespace, mount.attributes)?;
        rustix::fs::mkdirat(&tmpfs, name, rustix::fs::Mode::from_raw_mode(0o755)).on("make the directory", name)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::openat(&tmpfs, name, flags, rustix::fs::Mode::empty()).on("open", name)?;
        attach(&handle, &place).map_err(|error| error.during(format!("cgroup hierarchy {name}")))?;
        // A hierarchy of several controllers is found under each one's name, too.
        for controller in name.split(',').filter(|controller| *controller != name) {
            match rustix::fs::symlinkat(name, &tmpfs, controller) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::system(format!("link {controller} to {name}"), errno)),
            }
        }
    }
    set_attributes(&tmpfs, mount.attributes, false)?;
    Ok(tmpfs)
}

fn cgroup_hierarchy(hierarchy: &CgroupMount, namespace: bool, attributes: Attributes) -> Result<OwnedFd> {
    // What the container shares with others it must not change (CVE-2023-25809).
    let readonly = Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0 };
    if !namespace {
        let path = &hierarchy.directory;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let handle =
            rustix::mount::open_tree(CWD, path, flags).step(|| format!("bind the cgroup {}", path.display()))?;
        set_attributes(&handle, attributes, false)?;
        if hierarchy.shared {
            set_attributes(&handle, readonly, false)?;
        }
        return Ok(handle);
    }
    match hierarchy.version {
        Version::V2 => make_filesystem("cgroup2", "cgroup", std::iter::empty(), attributes),
        Version::V1 => {
            let mut parameters: Vec<Parameter> = Vec::new();
            for option in hierarchy.options.split(',') {
                match option.split_once('=') {
                    Some((key, value)) => {
                        // A named hierarchy without controllers is asked for by "none".
                        parameters.push(Parameter::Flag("none".to_owned()));
                        parameters.push(Parameter::Value { key: key.to_owned(), value: value.to_owned() });
                    }
                    None => parameters.push(Parameter::Flag(option.to_owned())),
                }
            }
            make_filesystem("cgroup", "cgroup", parameters.iter(), attributes)
        }
    }
}
