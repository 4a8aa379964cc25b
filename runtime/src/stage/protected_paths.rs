//! `linux.readonlyPaths` and `linux.maskedPaths`, by handles.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::mounts::{attach, clone_mount};
use super::root::Root;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// Covers paths; one empty tmpfs serves all masked directories.
pub(super) struct Protector<'a> {
    root: &'a Root,
    empty: Option<OwnedFd>,
}

impl<'a> Protector<'a> {
    /// For paths below that root.
    pub fn new(root: &'a Root) -> Self {
        Self { root, empty: None }
    }

    /// Makes what is there read-only; nothing there is fine.
    pub fn make_readonly(&mut self, path: &Path) -> Result<()> {
        let during = |error: Error| error.during(format!("make {} read-only", path.display()));
        let Some(place) = self.open(path).map_err(during)? else { return Ok(()) };
        let handle = clone_mount(place.as_fd(), true).step(|| "clone the mount").map_err(during)?;
        let readonly = MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
        mount_setattr(&handle, &readonly, false).step(|| "set the attribute").map_err(during)?;
        attach(&handle, &place).map_err(during)
    }

    /// Hides what is there: a directory becomes empty, anything else /dev/null; nothing there is fine.
    pub fn mask(&mut self, path: &Path) -> Result<()> {
        let during = |error: Error| error.during(format!("mask {}", path.display()));
        let Some(place) = self.open(path).map_err(during)? else { return Ok(()) };
        let stat = rustix::fs::fstat(&place).step(|| "stat").map_err(during)?;
        let cover = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.empty_directory(),
            _ => null_device(),
        };
        let cover = cover.map_err(during)?;
        attach(&cover, &place).map_err(during)?;
        if self.empty.is_none() && FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.empty = Some(cover);
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match self.root.open(path, OFlags::PATH) {
            Ok(place) => Ok(Some(place)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(Error::system("open", errno)),
        }
    }

    fn empty_directory(&self) -> Result<OwnedFd> {
        if let Some(empty) = &self.empty {
            return clone_mount(empty.as_fd(), false).step(|| "clone the empty directory");
        }
        let step = || "make an empty directory";
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).step(step)?;
        rustix::mount::fsconfig_set_string(&context, "size", "0").step(step)?;
        rustix::mount::fsconfig_set_string(&context, "nr_inodes", "2").step(step)?;
        rustix::mount::fsconfig_create(&context).step(step)?;
        let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).step(step)
    }
}

/// The host's, opened before the root is changed, and looked at: an image's /dev/null may be anything
/// (CVE-2025-31133).
fn null_device() -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let handle = rustix::mount::open_tree(CWD, "/dev/null", flags).step(|| "open the host's /dev/null")?;
    let stat = rustix::fs::fstat(&handle).step(|| "stat the host's /dev/null")?;
    let is_null =
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3);
    if !is_null {
        return Err(Error::new(Kind::System, "the host's /dev/null is not the null device 1:3"));
    }
    Ok(handle)
}
