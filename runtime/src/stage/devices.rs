//! Device nodes and links, made by handles (CVE-2026-41579: /dev in the image may lead anywhere).

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::mounts::attach;
use super::root::Root;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::{Device, DeviceKind};

/// Makes nodes; keeps the directory of the last one open, since nearly all are in /dev.
pub(super) struct Maker<'a> {
    root: &'a Root,
    /// A user namespace may not make device nodes: the host's are bind-mounted.
    bind: bool,
    directory: Option<(PathBuf, OwnedFd)>,
}

impl<'a> Maker<'a> {
    /// With `bind`, nodes are not made but bind-mounted from the host.
    pub fn new(root: &'a Root, bind: bool) -> Self {
        Self { root, bind, directory: None }
    }

    /// Makes a node, or leaves the one that is there if it is the same device.
    pub fn make(&mut self, device: &Device) -> Result<()> {
        let during = |error: Error| error.during(format!("device {}", device.path.display()));
        let bind = self.bind;
        let (directory, name) = self.directory(&device.path).map_err(during)?;
        let directory = directory.as_fd();
        let (kind, number) = match device.kind {
            DeviceKind::Character { major, minor } => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
            DeviceKind::Block { major, minor } => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
            DeviceKind::Fifo => (FileType::Fifo, 0),
        };
        if !bind || device.kind == DeviceKind::Fifo {
            match rustix::fs::mknodat(directory, &*name, kind, Mode::from_raw_mode(device.mode), number) {
                Ok(()) => return own(directory, &name, device).map_err(during),
                Err(Errno::EXIST) => return check_existing(directory, &name, kind, number).map_err(during),
                // Not allowed here after all, such as in somebody else's user namespace.
                Err(Errno::PERM) => {}
                Err(errno) => return Err(during(Error::system("mknod", errno))),
            }
        }
        self.bind_from_host(device, kind, number).map_err(during)
    }

    /// Makes a symbolic link unless something is there already.
    pub fn link(&mut self, path: &Path, target: &Path) -> Result<()> {
        // Only kernels with it have something to link to.
        if target == Path::new("/proc/kcore") && self.root.open(target, OFlags::PATH).is_err() {
            return Ok(());
        }
        let during = |error: Error| error.during(format!("link {}", path.display()));
        let (directory, name) = self.directory(path).map_err(during)?;
        match rustix::fs::symlinkat(target, directory, &*name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(during(Error::system("symlink", errno))),
        }
    }

    fn directory(&mut self, path: &Path) -> Result<(&OwnedFd, OsString)> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().unwrap_or_default().to_owned();
        if self.directory.as_ref().is_none_or(|(open, _)| open != parent) {
            let opened = self.root.create_directory(parent).on("open", parent)?;
            self.directory = Some((parent.to_owned(), opened));
        }
        match &self.directory {
            Some((_, directory)) => Ok((directory, name)),
            None => Err(Error::system("open the directory", Errno::NOENT)),
        }
    }

    fn bind_from_host(&mut self, device: &Device, kind: FileType, number: u64) -> Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let handle = rustix::mount::open_tree(CWD, &device.path, flags)
            .step(|| format!("bind the host's {}", device.path.display()))?;
        let stat = rustix::fs::fstat(&handle).on("stat the host's", &device.path)?;
        if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_rdev != number {
            return Err(Error::new(
                Kind::Invalid,
                "can not be made here, and the host's node of that name is another device",
            ));
        }
        let target = self.root.create_file(&device.path).on("make the file", &device.path)?;
        attach(&handle, &target)
    }
}

/// The mode is exact already: the stage's umask is 0.
fn own(directory: std::os::fd::BorrowedFd<'_>, name: &std::ffi::OsStr, device: &Device) -> Result<()> {
    if (device.uid, device.gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
    rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).step(|| "chown")
}

fn check_existing(
    directory: std::os::fd::BorrowedFd<'_>,
    name: &std::ffi::OsStr,
    kind: FileType,
    number: u64,
) -> Result<()> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).step(|| "stat")?;
    let found = FileType::from_raw_mode(stat.st_mode);
    if found == kind && (kind == FileType::Fifo || stat.st_rdev == number) {
        return Ok(());
    }
    Err(Error::new(Kind::Invalid, "something else of that name is in the image"))
}
