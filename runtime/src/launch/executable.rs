//! A handle on this very program that can not be written through, from which the stage is started.
//!
//! The stage is visible inside the container as /proc/PID/exe. If that led to the file on the host, a container could
//! overwrite the runtime (CVE-2019-5736).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mount::OpenTreeFlags;

use crate::error::{Context, Result};
use crate::sys::mount::{MountAttributes, mount_setattr};

const SELF: &str = "/proc/self/exe";

/// What the stage is started from.
pub(super) struct Executable {
    /// To be executed.
    pub file: OwnedFd,
    /// Its mount, when it is on one.
    pub mount: Option<Mount>,
}

/// The descriptor of open_tree(2).
///
/// As long as it is open anywhere, whoever has a handle on the mount, such as /proc/PID/exe of the stage, and is root of any user
/// namespace can make the mount writable again by mount_setattr(2). When it is closed the mount is in no mount namespace any more:
/// the kernel then changes, clones and attaches it for nobody. So it is closed before anybody in a container can see the stage.
///
/// The close waits for a grace period of RCU (0.1 ms), which whoever can do it beside something else need not wait for.
pub(super) struct Mount(OwnedFd);

impl Mount {
    /// In the child of a clone, which has a copy of the descriptor, too: the launcher's is then the last.
    pub fn close_copy(&self) {
        crate::sys::process::close_copy(self.0.as_fd());
    }
}

/// The file on a read-only mount that nobody can change, where that is allowed; else a sealed copy in memory.
///
/// Who `becomes_another_user` before it is executed, as in a user namespace, must be allowed to.
pub(super) fn open(becomes_another_user: bool) -> Result<Executable> {
    let opened = on_readonly_mount();
    match opened.filter(|(file, _)| !becomes_another_user || is_open_to_everybody(file)) {
        Some((file, mount)) => Ok(Executable { file, mount: Some(mount) }),
        None => sealed_copy().map(|file| Executable { file, mount: None }),
    }
}

/// To read as well: the kernel hides a program that may not be read even from itself (proc(5), "dumpable").
fn is_open_to_everybody(file: &OwnedFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::ROTH | Mode::XOTH))
}

/// `None`: not allowed here, such as for an ordinary user.
fn on_readonly_mount() -> Option<(OwnedFd, Mount)> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, SELF, flags).ok()?;
    let readonly = MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
    mount_setattr(&mount, &readonly, false).ok()?;
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    Some((file, Mount(mount)))
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
