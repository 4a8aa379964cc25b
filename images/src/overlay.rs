//! A container's root file system: its image's layers and its own writable one, joined by the kernel's overlay
//! (Documentation/filesystems/overlayfs.rst).

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::container::Container;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::store::Store;
use crate::unpack::metadata::Overlay;

/// Gives this process mounts of its own, so that a container's root file system disappears with the `pipkin run` that
/// mounted it, however that ends. Mounts that the machine makes later still arrive.
///
/// # Errors
/// `unshare(2)`, `mount(2)`: not the right privileges.
pub fn private_mounts() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).step(|| "unshare the mount namespace")?;
    let recursive = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", recursive).step(|| "make the mounts of this namespace slaves")
}

/// Mounts the root file system of `container` at its `merged` directory and answers that.
///
/// A `throwaway` container's files are not synced (overlay's `volatile`): else the end of every container would wait for
/// the whole file system of the store.
///
/// # Errors
/// A layer is missing, or the kernel refuses the overlay.
pub fn mount(store: &Store, container: &Container, overlay: Overlay, throwaway: bool) -> Result<PathBuf> {
    let mut lowers = Vec::new();
    for layer in container.record.layers.iter().rev() {
        let layer = Digest::parse(layer)?;
        lowers.push(open(&store.layer_path(&layer).join("diff"))?);
        if store.layer(&layer)?.opaque_root {
            break;
        }
    }
    let upper = container.directory.join("upper");
    // The root directory's own mode and owner come from the topmost layer, which is the upper one.
    match_root(&upper, &lowers, overlay)?;
    let parts =
        Parts { lowers, upper: open(&upper)?, work: open(&container.directory.join("work"))?, overlay, throwaway };
    let target = container.directory.join("merged");
    match parts.mount_by_handles(&target) {
        // Before Linux 6.13 overlay takes no handles.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::BADF) => parts.mount_by_names(&target),
        result => result,
    }
    .map_err(|errno| Error::system(format!("mount overlay at {}", target.display()), errno).remedy(hint(errno)))?;
    Ok(target)
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM | Errno::ACCESS => {
            "overlay in a user namespace needs Linux 5.11, and its mount must not be forbidden here"
        }
        Errno::INVAL => {
            "the store must be on a file system that can hold overlay's upper layer (not another overlay or NFS): choose one with --root"
        }
        Errno::NODEV => "this kernel has no overlay",
        _ => "see dmesg",
    }
}

/// Gives a fresh upper directory the mode and owner of the image's root.
fn match_root(upper: &Path, lowers: &[OwnedFd], overlay: Overlay) -> Result<()> {
    let Some(top) = lowers.first() else { return Ok(()) };
    let stat = rustix::fs::fstat(top).step(|| "examine the topmost layer")?;
    let handle = File::open(upper).on("open", upper)?;
    let owner = rustix::fs::fchown(
        &handle,
        Some(rustix::fs::Uid::from_raw(stat.st_uid)),
        Some(rustix::fs::Gid::from_raw(stat.st_gid)),
    );
    match owner {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::PERM) if overlay == Overlay::User => {}
        Err(errno) => return Err(errno).on("chown", upper),
    }
    rustix::fs::fchmod(&handle, Mode::from_raw_mode(stat.st_mode & 0o7777)).on("chmod", upper)
}

fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .on("open", path)
}

/// What an overlay is made of; layers topmost first.
struct Parts {
    lowers: Vec<OwnedFd>,
    upper: OwnedFd,
    work: OwnedFd,
    overlay: Overlay,
    throwaway: bool,
}

impl Parts {
    /// By the new mount API: no limit on the number and names of layers.
    fn mount_by_handles(&self, target: &Path) -> rustix::io::Result<()> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let fs = context.as_fd();
        fsconfig_set_string(fs, "source", "overlay")?;
        for lower in &self.lowers {
            fsconfig_set_fd(fs, "lowerdir+", lower)?;
        }
        fsconfig_set_fd(fs, "upperdir", &self.upper)?;
        fsconfig_set_fd(fs, "workdir", &self.work)?;
        if self.overlay == Overlay::User {
            fsconfig_set_flag(fs, "userxattr")?;
        }
        if self.throwaway {
            fsconfig_set_flag(fs, "volatile")?;
        }
        fsconfig_create(fs)?;
        let mount = fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    }

    /// By mount(2), whose options must fit a page: names of handles are short and need no escaping.
    fn mount_by_names(&self, target: &Path) -> rustix::io::Result<()> {
        let name = |handle: &OwnedFd| format!("/proc/self/fd/{}", handle.as_raw_fd());
        let lowers: Vec<String> = self.lowers.iter().map(name).collect();
        let mut options =
            format!("lowerdir={},upperdir={},workdir={}", lowers.join(":"), name(&self.upper), name(&self.work));
        if self.overlay == Overlay::User {
            options.push_str(",userxattr");
        }
        if self.throwaway {
            options.push_str(",volatile");
        }
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), Some(options.as_c_str()))
    }
}
