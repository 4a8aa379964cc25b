//! A procfs that nothing in the container or its image can have prepared.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Context, Result};
use crate::plan::{Inside, Sysctl};

/// A handle on a procfs of this process's namespaces: writes through it reach the real /proc/sys, whatever is mounted
/// over /proc in the container (CVE-2019-16884, CVE-2025-52881).
pub(super) struct Procfs(Option<OwnedFd>);

impl Procfs {
    /// Opened only when the plan has something to write.
    pub fn of_container(inside: &Inside) -> Result<Self> {
        if inside.sysctls.is_empty() {
            return Ok(Self(None));
        }
        let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).step(|| "open a private procfs")?;
        rustix::mount::fsconfig_create(&context).step(|| "make a private procfs")?;
        let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .step(|| "make a private procfs")?;
        Ok(Self(Some(mount)))
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
