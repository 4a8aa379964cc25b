//! The root file system becomes the root.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::root::Root;
use crate::error::{Context, Error, Result};
use crate::plan::{Propagation, Rootfs};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// Cuts this mount namespace off the host's, and mounts the root file system on itself, which pivot_root(2) wants.
pub(super) fn open_rootfs(rootfs: &Rootfs) -> Result<Root> {
    let top = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .step(|| "open the host's root")?;
    let path = &rootfs.path;
    let set = |propagation| MountAttributes { propagation, ..MountAttributes::default() };
    // What is mounted here must not appear on the host, but for what is below bind mounts that are asked to be shared.
    let cut = match rootfs.propagation.kind {
        libc::MS_PRIVATE | libc::MS_UNBINDABLE => libc::MS_PRIVATE,
        _ => libc::MS_SLAVE,
    };
    if rootfs.propagation.kind == libc::MS_SHARED {
        let parent = mount_below(path)?;
        mount_setattr(&parent, &set(libc::MS_PRIVATE), false).on("make private the mount with", path)?;
    } else {
        mount_setattr(&top, &set(cut), true).step(|| "cut the host's mounts off")?;
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree =
        rustix::mount::open_tree(CWD, path, flags).step(|| format!("open the root file system {}", path.display()))?;
    rustix::mount::move_mount(&tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step(|| format!("mount the root file system {}", path.display()))?;
    // pivot_root(2) takes no shared one; of a mount that is cut off already this makes nothing new.
    mount_setattr(&tree, &set(libc::MS_SLAVE), false).step(|| "make the root file system's mount a slave")?;
    Ok(Root::from(tree))
}

/// The mount that a path is in: the first directory upwards that is another mount's than its parent (statx(2)).
fn mount_below(path: &Path) -> Result<OwnedFd> {
    let open = |path: &Path| {
        let file = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let file = file.on("open", path)?;
        let stat = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).on("stat", path)?;
        Ok((file, stat.stx_mnt_id))
    };
    let path = std::fs::canonicalize(path).on("look up", path)?;
    let (mut file, mount) = open(&path)?;
    for parent in path.ancestors().skip(1) {
        let (upper, other) = open(parent)?;
        if other != mount {
            break;
        }
        file = upper;
    }
    Ok(file)
}

/// `root.readonly`: once all mount points are made.
pub(super) fn make_readonly(root: &Root, rootfs: &Rootfs) -> Result<()> {
    if !rootfs.readonly {
        return Ok(());
    }
    let readonly = MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
    mount_setattr(root, &readonly, false).step(|| "make the root file system read-only")
}

/// `process.cwd` is made where it is missing, inside the root only (as runc does; CVE-2024-45310).
pub(super) fn create_working_directory(root: &Root, path: &Path) -> Result<()> {
    match root.create_directory(path) {
        // It may be a directory that only the program's user may see.
        Ok(_) | Err(rustix::io::Errno::ACCESS) => Ok(()),
        Err(errno) => {
            let error = Error::system(format!("make the working directory {} (process.cwd)", path.display()), errno);
            Err(match errno {
                rustix::io::Errno::ROFS => error.remedy("it is not in the image and the root file system is read-only"),
                _ => error,
            })
        }
    }
}

/// pivot_root(2), without a directory for the old root, which is left at once; or, where that is impossible,
/// [`move_over_root`].
pub(super) fn change_root(root: &Root, rootfs: &Rootfs) -> Result<()> {
    if rootfs.no_pivot {
        move_over_root(root)?;
        return set_final_propagation(root, rootfs.propagation);
    }
    let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .step(|| "open the host's root")?;
    rustix::process::fchdir(root).step(|| "change into the root file system")?;
    rustix::process::pivot_root(".", ".")
        .step(|| format!("pivot_root into {}", rootfs.path.display()))
        .map_err(|error| error.remedy("an initramfs as the host's root does not allow it; --no-pivot does without"))?;
    if rootfs.propagation.kind == libc::MS_SHARED {
        // Else the host would lose its mounts, too.
        let slave = MountAttributes { propagation: libc::MS_SLAVE, ..MountAttributes::default() };
        mount_setattr(&old, &slave, true).step(|| "make the old root a slave")?;
    }
    drop(old);
    // The old root now lies over the new one; "." is the new one, and the old one is what is mounted on it.
    rustix::mount::unmount(".", UnmountFlags::DETACH).step(|| "leave the host's root")?;
    rustix::process::chdir("/").step(|| "change into the new root")?;
    set_final_propagation(root, rootfs.propagation)
}

/// `--no-pivot`: the new root is mounted over the old one, as switch_root(8) does, and made the root of this process by
/// chroot(2).
///
/// The old root stays below, out of reach of paths. A proc or sysfs of the host in it would still count as visible when a
/// container makes a user namespace and mounts its own (mount_namespaces(7)), without what masks the host's: they go.
fn move_over_root(root: &Root) -> Result<()> {
    rustix::process::fchdir(root).step(|| "change into the root file system")?;
    detach_host_kernel_mounts()?;
    rustix::mount::move_mount(root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step(|| "--no-pivot: move the root file system over the host's root")?;
    rustix::process::chroot(".").step(|| "--no-pivot: chroot into the root file system")?;
    rustix::process::chdir("/").step(|| "change into the new root")
}

/// Takes every whole proc and sysfs outside of the current directory away, the last mounted first.
fn detach_host_kernel_mounts() -> Result<()> {
    let table = "/proc/self/mountinfo";
    let text = std::fs::read_to_string(table).on("read", table)?;
    let cwd = rustix::process::getcwd(Vec::new()).step(|| "look up the root file system")?;
    let below = format!("{}/", cwd.to_string_lossy());
    // proc_pid_mountinfo(5): number, parent, device, root, mount point, options, optional fields, "-", type.
    let is_kernels = |line: &&str| {
        line.split_once(" - ").is_some_and(|(_, rest)| matches!(rest.split(' ').next(), Some("proc" | "sysfs")))
    };
    for line in text.lines().rev().filter(is_kernels) {
        let mut fields = line.split(' ').skip(3);
        let (Some("/"), Some(place)) = (fields.next(), fields.next()) else { continue };
        if place.starts_with(&below) {
            continue;
        }
        let step = || format!("--no-pivot: take the host's {place} away");
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mount = match rustix::fs::open(place, flags, Mode::empty()) {
            // Below another one that is gone already.
            Err(Errno::NOENT) => continue,
            other => other.step(step)?,
        };
        // Else the host would lose it, too.
        let slave = MountAttributes { propagation: libc::MS_SLAVE, ..MountAttributes::default() };
        mount_setattr(&mount, &slave, true).step(step)?;
        drop(mount);
        match rustix::mount::unmount(place, UnmountFlags::DETACH) {
            Ok(()) => {}
            // Locked to its place, because it came from another user namespace: covered it is as good as gone.
            Err(Errno::INVAL | Errno::PERM) => {
                rustix::mount::mount("tmpfs", place, "tmpfs", MountFlags::RDONLY, None).step(step)?;
            }
            Err(errno) => return Err(Error::system(step(), errno)),
        }
    }
    Ok(())
}

/// `linux.rootfsPropagation` as the container shall see it.
fn set_final_propagation(root: &Root, propagation: Propagation) -> Result<()> {
    if propagation == Propagation::slave(true) {
        return Ok(());
    }
    let attributes = MountAttributes { propagation: propagation.kind, ..MountAttributes::default() };
    mount_setattr(root, &attributes, propagation.recursive)
        .step(|| format!("set linux.rootfsPropagation {}", propagation.name()))
}
