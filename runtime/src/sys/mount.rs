//! mount_setattr(2), and the filesystem magic numbers that path checks rest on.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// `MOUNT_ATTR_*` and propagation to set and to clear on a mount (`struct mount_attr`, mount_setattr(2)).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MountAttributes {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE` or 0 to leave it.
    pub propagation: u64,
    /// User namespace descriptor for `MOUNT_ATTR_IDMAP`.
    pub user_namespace: u64,
}

/// Changes the mount that `mount` is the root of; with `recursive` all mounts below it too.
pub fn mount_setattr(mount: impl AsFd, attributes: &MountAttributes, recursive: bool) -> Result<(), Errno> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a static empty C string; the structure outlives the call, its layout is that of
    // struct mount_attr (four __u64) and its size is passed with it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    };
    Errno::result(result).map(drop)
}
