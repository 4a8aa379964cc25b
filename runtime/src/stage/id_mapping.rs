//! Maps the ids of a mount, before it is attached anywhere.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::plan::IdMapping;
use crate::sys::mount::{MountAttributes, mount_setattr};

/// Shows the owners of files through a detached mount as the user namespace maps them (mount_setattr(2), Linux 5.12).
pub(crate) fn map_ids(mount: &OwnedFd, mapping: &IdMapping, user_namespace: &OwnedFd) -> Result<()> {
    let attributes = MountAttributes {
        set: libc::MOUNT_ATTR_IDMAP,
        user_namespace: user_namespace.as_fd().as_raw_fd() as u64,
        ..MountAttributes::default()
    };
    mount_setattr(mount, &attributes, mapping.recursive).map_err(|errno| {
        let error = Error::system("map the ids (idmap)", errno);
        match errno {
            Errno::EINVAL => error.remedy("this file system can not be id-mapped on this kernel; leave idmap out"),
            Errno::EPERM => error.remedy("it needs root of the host, and a mount that is not id-mapped already"),
            _ => error,
        }
    })
}
