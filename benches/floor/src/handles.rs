//! What [`crate::inside::mount_all`] does, as a runtime must do it that trusts no path: each place is opened inside the root file
//! system, and mounts are made apart and moved there.

use std::ffi::{CStr, CString};

use libc::{AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH, S_IFCHR};

use crate::inside::{DEVICES, LINKS, MASKED, READ_ONLY};
use crate::kernel::{at, call, close, must, open};

const AT_RECURSIVE: usize = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: usize = 4;
const MOVE_MOUNT_T_EMPTY_PATH: usize = 0x40;
const OPEN_TREE_CLONE: usize = 1;
const RESOLVE_NO_MAGICLINKS: u64 = 2;
const RESOLVE_IN_ROOT: u64 = 0x10;

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const SAFE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
/// `MOUNT_ATTR__ATIME`, all of which is to be replaced.
const ATIME: u64 = 0x70;

/// All mounts, devices and hidden paths; leaves the root file system as the working directory.
pub fn mount_all(rootfs: &CStr, cgroups: &[CString], pure: bool, before_sysfs: &dyn Fn()) {
    let host = open(c"/", O_PATH | O_DIRECTORY);
    set_attributes(host, AT_RECURSIVE, [0, 0, libc::MS_SLAVE, 0]);
    let root = copy(AT_FDCWD as usize, rootfs, AT_RECURSIVE);
    must(call(libc::SYS_move_mount, [root, at(c""), AT_FDCWD as usize, at(rootfs), MOVE_MOUNT_F_EMPTY_PATH]));
    set_attributes(root, 0, [0, 0, libc::MS_SLAVE, 0]);
    close(host);
    let none: &[(&CStr, Option<&CStr>)] = &[];
    put(make(c"proc", none, 0), must(find(root, c"/proc", O_DIRECTORY)));
    let size = [(c"mode", Some(c"755")), (c"size", Some(c"65536k"))];
    put(
        make(c"tmpfs", &size, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_STRICTATIME),
        known(must(find(root, c"/dev", O_DIRECTORY))),
    );
    let options =
        [(c"newinstance", None), (c"ptmxmode", Some(c"0666")), (c"mode", Some(c"0620")), (c"gid", Some(c"5"))];
    put_new(root, c"pts", || make(c"devpts", &options, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC));
    let size = [(c"mode", Some(c"1777")), (c"size", Some(c"65536k"))];
    put_new(root, c"shm", || make(c"tmpfs", &size, SAFE));
    put_new(root, c"mqueue", || make(c"mqueue", none, SAFE));
    before_sysfs();
    put(make(c"sysfs", none, SAFE | RDONLY), known(must(find(root, c"/sys", O_DIRECTORY))));
    show_cgroups(root, cgroups, pure);
    make_devices(root);
    hide_paths(root);
    set_attributes(root, 0, [RDONLY, 0, 0, 0]);
    close(must(find(root, c"/", O_DIRECTORY)));
    let host = open(c"/", O_PATH | O_DIRECTORY);
    must(call(libc::SYS_fchdir, [root]));
    close(host);
}

/// A place in the root file system, whatever links there are.
fn find(root: usize, path: &CStr, flags: i32) -> isize {
    // struct open_how (openat2(2))
    let how: [u64; 3] = [(O_PATH | O_CLOEXEC | flags) as u64, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS];
    call(libc::SYS_openat2, [root, at(path), how.as_ptr() as usize, 24])
}

/// What kind of file system that is on.
fn known(place: usize) -> usize {
    let mut statfs = [0_u64; 32];
    must(call(libc::SYS_fstatfs, [place, statfs.as_mut_ptr() as usize]));
    place
}

fn make(kind: &CStr, settings: &[(&CStr, Option<&CStr>)], attributes: u64) -> usize {
    let context = must(call(libc::SYS_fsopen, [at(kind), 1]));
    // FSCONFIG_SET_FLAG 0, SET_STRING 1, CMD_CREATE 6
    must(call(libc::SYS_fsconfig, [context, 1, at(c"source"), at(kind), 0]));
    for (key, value) in settings {
        must(call(libc::SYS_fsconfig, [context, usize::from(value.is_some()), at(key), value.map_or(0, at), 0]));
    }
    must(call(libc::SYS_fsconfig, [context, 6, 0, 0, 0]));
    let mount = must(call(libc::SYS_fsmount, [context, 1, attributes as usize]));
    close(context);
    mount
}

fn copy(directory: usize, path: &CStr, flags: usize) -> usize {
    must(call(libc::SYS_open_tree, [directory, at(path), OPEN_TREE_CLONE | O_CLOEXEC as usize | flags]))
}

/// struct mount_attr (mount_setattr(2))
fn set_attributes(mount: usize, flags: usize, attributes: [u64; 4]) {
    let arguments = [mount, at(c""), AT_EMPTY_PATH as usize | flags, attributes.as_ptr() as usize, 32];
    must(call(libc::SYS_mount_setattr, arguments));
}

fn put(mount: usize, place: usize) {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    must(call(libc::SYS_move_mount, [mount, at(c""), place, at(c""), flags]));
    close(place);
    close(mount);
}

/// On a directory of /dev that is not there yet.
fn put_new(root: usize, name: &CStr, make: impl FnOnce() -> usize) {
    let path = CString::new([b"/dev/", name.to_bytes()].concat()).unwrap_or_default();
    find(root, &path, O_DIRECTORY);
    put(make(), known(make_directory(root, c"dev", name)));
}

fn make_directory(root: usize, parent: &CStr, name: &CStr) -> usize {
    let flags = (O_PATH | O_CLOEXEC | O_DIRECTORY | libc::O_NOFOLLOW) as usize;
    let open = |directory: usize, name: &CStr| call(libc::SYS_openat, [directory, at(name), flags, 0]);
    let top = must(open(root, c"."));
    let parent = must(open(top, parent));
    open(parent, name);
    must(call(libc::SYS_mkdirat, [parent, at(name), 0o755]));
    let directory = must(open(parent, name));
    close(top);
    close(parent);
    directory
}

fn show_cgroups(root: usize, cgroups: &[CString], pure: bool) {
    let place = must(find(root, c"/sys/fs/cgroup", O_DIRECTORY));
    let cgroup = |path: &CStr| {
        let mount = copy(AT_FDCWD as usize, path, 0);
        set_attributes(mount, 0, [RDONLY | SAFE, ATIME, 0, 0]);
        mount
    };
    if pure {
        return put(cgroup(&cgroups[0]), place);
    }
    let top = make(c"tmpfs", &[(c"mode", Some(c"755"))], SAFE);
    must(call(libc::SYS_move_mount, [top, at(c""), place, at(c""), MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH]));
    close(place);
    for path in cgroups {
        let hierarchy = path.to_bytes().split(|byte| *byte == b'/').nth(4).unwrap_or_default();
        if hierarchy != b"unified" {
            let name = CString::new(hierarchy).unwrap_or_default();
            must(call(libc::SYS_mkdirat, [top, at(&name), 0o755]));
            let flags = (O_PATH | O_CLOEXEC | O_DIRECTORY | libc::O_NOFOLLOW) as usize;
            put(cgroup(path), must(call(libc::SYS_openat, [top, at(&name), flags, 0])));
        }
    }
    set_attributes(top, 0, [RDONLY, 0, 0, 0]);
    close(top);
}

fn make_devices(root: usize) {
    let directory = must(find(root, c"/dev", O_DIRECTORY));
    let below = |path: &CStr| path.as_ptr() as usize + "dev/".len();
    call(libc::SYS_umask, [0]);
    for (path, major, minor) in DEVICES {
        let device = libc::makedev(major, minor) as usize;
        must(call(libc::SYS_mknodat, [directory, below(path), (S_IFCHR | 0o666) as usize, device]));
    }
    for (target, link) in LINKS {
        must(call(libc::SYS_symlinkat, [at(target), directory, below(link)]));
    }
    close(directory);
}

fn hide_paths(root: usize) {
    for path in READ_ONLY {
        let place = find(root, path, 0);
        if place >= 0 {
            let mount = copy(place as usize, c"", AT_EMPTY_PATH as usize | AT_RECURSIVE);
            set_attributes(mount, 0, [RDONLY, 0, 0, 0]);
            put(mount, place as usize);
        }
    }
    let mut empty = None;
    for path in MASKED {
        let place = find(root, path, 0);
        if place < 0 {
            continue;
        }
        // SAFETY: a stat of zeros is one, and the kernel fills it in.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        must(call(libc::SYS_fstat, [place as usize, &raw mut stat as usize]));
        let is_directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let mount = match (is_directory, empty) {
            (false, _) => copy(AT_FDCWD as usize, c"/dev/null", 0),
            (true, None) => {
                let size = [(c"size", Some(c"0")), (c"nr_inodes", Some(c"2"))];
                *empty.insert(make(c"tmpfs", &size, SAFE | RDONLY))
            }
            (true, Some(first)) => copy(first, c"", AT_EMPTY_PATH as usize),
        };
        let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
        must(call(libc::SYS_move_mount, [mount, at(c""), place as usize, at(c""), flags]));
        if Some(mount) != empty {
            close(mount);
        }
        close(place as usize);
    }
    if let Some(mount) = empty {
        close(mount);
    }
}
