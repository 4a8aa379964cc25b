//! A procfs that nothing in the container or its image can have prepared.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::user;
use crate::error::{Context, Error, Result};
use crate::lsm;
use crate::plan::{Inside, Process, Sysctl};

/// A handle on a procfs of this process's namespaces: writes through it reach the real /proc/sys, whatever is mounted
/// over /proc in the container (CVE-2019-16884, CVE-2025-52881).
pub(super) struct Procfs(Option<OwnedFd>);

impl Procfs {
    /// Opened only when the plan has something to write.
    pub fn of_container(inside: &Inside) -> Result<Self> {
        if inside.sysctls.is_empty() && inside.process.labels.is_empty() {
            return Ok(Self(None));
        }
        Self::open().map(Some).map(Self)
    }

    /// As [`Procfs::of_container`], for one more program.
    pub fn of_process(process: &Process) -> Result<Self> {
        if process.labels.is_empty() {
            return Ok(Self(None));
        }
        Self::open().map(Some).map(Self)
    }

    /// A new instance, attached nowhere. Where that is not allowed (a user namespace without a pid namespace; a runtime
    /// that is confined itself), the one on /proc, if it really is one: what is below it is reached without
    /// crossing a mount.
    fn open() -> Result<OwnedFd> {
        let new = || {
            let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
            rustix::mount::fsconfig_create(&context)?;
            rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        };
        let refused = match new() {
            Ok(mount) => return Ok(mount),
            Err(errno) => Error::system("make a private procfs", errno),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open("/proc", flags, Mode::empty()) {
            Ok(mounted) if Self::is_root(&mounted) => Ok(mounted),
            _ => Err(refused.remedy("and what is mounted on /proc is none")),
        }
    }

    /// The program's labels are set (see [`lsm::set_exec_labels`]).
    pub fn set_exec_labels(&self, process: &Process) -> Result<()> {
        match &self.0 {
            Some(mount) => lsm::set_exec_labels(&process.labels, mount.as_fd()),
            None => Ok(()),
        }
    }

    /// The program gets a session keyring of its own, under its own SELinux label.
    pub fn join_session_keyring(&self, id: &str, process: &Process) -> Result<()> {
        let (Some(mount), Some(label)) = (&self.0, &process.labels.selinux) else {
            return user::join_session_keyring(id);
        };
        lsm::set_key_label(label, mount.as_fd())?;
        user::join_session_keyring(id)?;
        lsm::clear_key_label(mount.as_fd())
    }

    /// Writes below /proc/sys.
    pub fn write_sysctl(&self, sysctl: &Sysctl) -> Result<()> {
        let (path, value) = (&sysctl.path, &sysctl.value);
        let Some(mount) = &self.0 else { return Ok(()) };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file =
            rustix::fs::openat2(mount, format!("sys/{path}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
                .step(|| format!("open the sysctl {}", path.replace('/', ".")))?;
        rustix::io::write(&file, value.as_bytes())
            .step(|| format!("write {value:?} to the sysctl {}", path.replace('/', ".")))?;
        Ok(())
    }

    /// Whether an open file belongs to a procfs (statfs(2)).
    pub fn contains(file: impl std::os::fd::AsFd) -> bool {
        rustix::fs::fstatfs(file).is_ok_and(|statfs| statfs.f_type == libc::PROC_SUPER_MAGIC)
    }

    /// Whether an open directory is the root of a procfs.
    pub fn is_root(file: impl std::os::fd::AsFd) -> bool {
        const PROC_ROOT_INO: u64 = 1;
        Self::contains(file.as_fd()) && rustix::fs::fstat(file).is_ok_and(|stat| stat.st_ino == PROC_ROOT_INO)
    }
}
