//! Who the program is and what it may do: ids, groups, capabilities, keyring.

use std::ffi::CString;

use nix::errno::Errno;
use rustix::fs::{Gid, Uid};

use crate::error::{Context, Error, Result};
use crate::plan::{Capabilities, User};
use crate::sys::process as sys;

/// The container gets a session keyring of its own; a kernel or a filter that has no keyrings needs none.
pub(super) fn join_session_keyring(id: &str) -> Result<()> {
    let name = CString::new(format!("_ses.{id}")).map_err(|_| Error::invalid("id", "has a NUL in it"))?;
    match sys::join_session_keyring(&name) {
        Ok(_) | Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        // A user's quota of keys may be full (keyrings(7)); the caller's keyring must not be seen instead.
        Err(errno) => Err(Error::system("join a session keyring", errno)
            .remedy("is kernel.keys.maxkeys reached? see /proc/key-users")),
    }
}

/// Drops what the bounding set does not have, and becomes the user with all permitted capabilities kept, none of them
/// in force unless it is root: see [`limit_capabilities`].
pub(super) fn become_user(user: &User, capabilities: &Capabilities) -> Result<()> {
    for number in 0..64 {
        let bit = 1 << number;
        if capabilities.bounding & bit != 0 {
            continue;
        }
        match sys::drop_bounding(number) {
            Ok(()) => {}
            // Beyond the kernel's last capability.
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(Error::system(format!("drop capability {number} from the bounding set"), errno)),
        }
    }
    rustix::thread::set_keep_capabilities(true).step(|| "keep capabilities over the change of user")?;
    let groups: Vec<Gid> = user.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_groups(&groups)?;
    let gid = Gid::from_raw(user.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).step(|| format!("become group {}", user.gid))?;
    let uid = Uid::from_raw(user.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).step(|| format!("become user {}", user.uid))
}

fn set_groups(groups: &[Gid]) -> Result<()> {
    match rustix::thread::set_thread_groups(groups) {
        Ok(()) => Ok(()),
        // A user namespace with one mapped id denies setgroups, and there are no groups to drop (user_namespaces(7)).
        Err(rustix::io::Errno::PERM) if groups.is_empty() => Ok(()),
        Err(errno) => {
            let list: Vec<u32> = groups.iter().map(|gid| gid.as_raw()).collect();
            let error = Error::system(format!("set the supplementary groups {list:?}"), errno);
            Err(match errno {
                rustix::io::Errno::PERM => error.remedy("a user namespace without newgidmap allows none"),
                _ => error,
            })
        }
    }
}

/// The change to another user than root has put all capabilities out of force, but they are still permitted.
pub(super) fn put_permitted_in_force() -> Result<()> {
    let step = || "put the permitted capabilities in force";
    let mut sets = rustix::thread::capabilities(None).step(step)?;
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets).step(step)
}

/// The last step before the program: exactly the configured sets (capabilities(7)).
pub(super) fn limit_capabilities(capabilities: &Capabilities) -> Result<()> {
    sys::set_capabilities(capabilities.effective, capabilities.permitted, capabilities.inheritable).map_err(
        |errno| {
            let error = Error::system("set the capabilities", errno);
            if errno == Errno::EPERM {
                error.remedy("the configuration asks for capabilities that this process does not have itself")
            } else {
                error
            }
        },
    )?;
    for number in (0..64).filter(|number| capabilities.ambient & (1 << number) != 0) {
        sys::raise_ambient(number).step(|| format!("raise capability {number} in the ambient set"))?;
    }
    Ok(())
}
