//! A handle on this very program that can not be written through, from which the stage is started.
//!
//! The stage is visible inside the container as /proc/PID/exe. If that led to the file on the host, a container could
//! overwrite the runtime (CVE-2019-5736).

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mount::OpenTreeFlags;

use crate::error::{Context, Result};
use crate::sys::mount::{MountAttributes, mount_setattr};

const SELF: &str = "/proc/self/exe";

/// A read-only mount of the file, attached nowhere, where that is allowed and enough; else a sealed copy in memory.
///
/// In a container with a user namespace of its own, root may change the attributes of mounts it can reach, so there it
/// is always the copy.
pub(super) fn open(container_has_user_namespace: bool) -> Result<OwnedFd> {
    if !container_has_user_namespace && let Some(mount) = readonly_mount() {
        return Ok(mount);
    }
    sealed_copy()
}

/// `None`: not allowed here, such as for an ordinary user.
fn readonly_mount() -> Option<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, SELF, flags).ok()?;
    let readonly = MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
    mount_setattr(&mount, &readonly, false).ok()?;
    Some(mount)
}

/// memfd_create(2), with every seal.
fn sealed_copy() -> Result<OwnedFd> {
    let step = || "copy pipkin-runtime into sealed memory";
    let source = rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).step(step)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match rustix::fs::memfd_create(crate::stage::NAME, flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 there was no such flag, and every memfd could be executed.
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(crate::stage::NAME, flags),
        other => other,
    }
    .step(step)?;
    while rustix::fs::sendfile(&copy, &source, None, 1 << 30).step(step)? > 0 {}
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).step(step)?;
    Ok(copy)
}
