//! What happens in the container's namespaces, before its program.

use std::ffi::{CStr, CString};

use libc::{
    AT_FDCWD, MNT_DETACH, MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REC, MS_RELATIME, MS_REMOUNT,
    MS_SLAVE, MS_STRICTATIME, S_IFCHR,
};

use crate::kernel::{at, call, close, mkdir, mount, must};

/// The default devices.
pub const DEVICES: [(&CStr, u32, u32); 6] = [
    (c"dev/null", 1, 3),
    (c"dev/zero", 1, 5),
    (c"dev/full", 1, 7),
    (c"dev/random", 1, 8),
    (c"dev/urandom", 1, 9),
    (c"dev/tty", 5, 0),
];

/// What every container has in /dev beside them.
pub const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"dev/fd"),
    (c"/proc/self/fd/0", c"dev/stdin"),
    (c"/proc/self/fd/1", c"dev/stdout"),
    (c"/proc/self/fd/2", c"dev/stderr"),
    (c"pts/ptmx", c"dev/ptmx"),
];

/// To be hidden.
pub const MASKED: [&CStr; 10] = [
    c"proc/acpi",
    c"proc/asound",
    c"proc/kcore",
    c"proc/keys",
    c"proc/latency_stats",
    c"proc/timer_list",
    c"proc/timer_stats",
    c"proc/sched_debug",
    c"sys/firmware",
    c"proc/scsi",
];

/// To be made read-only.
pub const READ_ONLY: [&CStr; 5] = [c"proc/bus", c"proc/fs", c"proc/irq", c"proc/sys", c"proc/sysrq-trigger"];

/// CAP_AUDIT_WRITE, CAP_KILL, CAP_NET_BIND_SERVICE: what the default configuration leaves (linux/capability.h).
const CAPABILITIES: [u32; 3] = [29, 5, 10];

/// All mounts, devices and hidden paths, by their paths.
pub fn mount_all(rootfs: &CStr, cgroups: &[CString], pure: bool, before_sysfs: &dyn Fn()) {
    mount(c"", c"/", c"", MS_SLAVE | MS_REC, c"");
    mount(rootfs, rootfs, c"", MS_BIND | MS_REC, c"");
    must(call(libc::SYS_chdir, [at(rootfs)]));
    mount(c"proc", c"proc", c"proc", 0, c"");
    mount(c"tmpfs", c"dev", c"tmpfs", MS_NOSUID | MS_STRICTATIME, c"mode=755,size=65536k");
    for directory in [c"dev/pts", c"dev/shm", c"dev/mqueue"] {
        mkdir(directory, 0o755);
    }
    let safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    mount(c"devpts", c"dev/pts", c"devpts", MS_NOSUID | MS_NOEXEC, c"newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount(c"shm", c"dev/shm", c"tmpfs", safe, c"mode=1777,size=65536k");
    mount(c"mqueue", c"dev/mqueue", c"mqueue", safe, c"");
    before_sysfs();
    mount(c"sysfs", c"sys", c"sysfs", safe | MS_RDONLY, c"");
    mount_cgroups(cgroups, pure);
    call(libc::SYS_umask, [0]);
    for (path, major, minor) in DEVICES {
        let device = libc::makedev(major, minor) as usize;
        must(call(libc::SYS_mknodat, [AT_FDCWD as usize, at(path), (S_IFCHR | 0o666) as usize, device]));
    }
    call(libc::SYS_umask, [0o022]);
    for (target, link) in LINKS {
        must(call(libc::SYS_symlinkat, [at(target), AT_FDCWD as usize, at(link)]));
    }
    hide_paths();
    mount(c"", rootfs, c"", MS_BIND | MS_REMOUNT | MS_RDONLY, c"");
}

/// From the mounted root file system, which is the working directory, to its only one.
pub fn pivot() {
    must(call(libc::SYS_pivot_root, [at(c"."), at(c".")]));
    must(call(libc::SYS_umount2, [at(c"."), MNT_DETACH as usize]));
    must(call(libc::SYS_chdir, [at(c"/")]));
}

fn mount_cgroups(cgroups: &[CString], pure: bool) {
    let flags = MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RELATIME;
    if pure {
        // The container's own subtree, as it has no cgroup namespace.
        mount(&cgroups[0], c"sys/fs/cgroup", c"", MS_BIND, c"");
        mount(c"", c"sys/fs/cgroup", c"", MS_REMOUNT | MS_BIND | MS_RDONLY | flags, c"");
        return;
    }
    mount(c"tmpfs", c"sys/fs/cgroup", c"tmpfs", flags, c"mode=755");
    for path in cgroups {
        let hierarchy = path.to_bytes().split(|byte| *byte == b'/').nth(4).unwrap_or_default();
        if hierarchy == b"unified" {
            continue;
        }
        let target = CString::new([b"sys/fs/cgroup/", hierarchy].concat()).unwrap_or_default();
        mkdir(&target, 0o755);
        mount(path, &target, c"", MS_BIND, c"");
        mount(c"", &target, c"", MS_REMOUNT | MS_BIND | MS_RDONLY | flags, c"");
    }
    mount(c"", c"sys/fs/cgroup", c"", MS_REMOUNT | MS_BIND | MS_RDONLY | flags, c"");
}

/// Masks with `/dev/null` or an empty directory, and makes read-only; what is not there needs neither.
fn hide_paths() {
    for path in MASKED {
        let result = call(libc::SYS_mount, [at(c"dev/null"), at(path), 0, MS_BIND as usize, 0]);
        if result == -(libc::ENOTDIR as isize) {
            mount(c"tmpfs", path, c"tmpfs", MS_RDONLY, c"");
        }
    }
    for path in READ_ONLY {
        if call(libc::SYS_mount, [at(path), at(path), 0, (MS_BIND | MS_REC) as usize, 0]) == 0 {
            mount(c"", path, c"", MS_BIND | MS_REMOUNT | MS_RDONLY, c"");
        }
    }
}

/// A new network namespace has nothing but `lo`, which is down.
pub fn raise_loopback() {
    let socket =
        must(call(libc::SYS_socket, [libc::AF_INET as usize, (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as usize, 0]));
    // struct ifreq (netdevice(7)): the name, then the flags.
    let mut request = [0_u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..18].copy_from_slice(&((libc::IFF_UP | libc::IFF_RUNNING) as u16).to_ne_bytes());
    must(call(libc::SYS_ioctl, [socket, libc::SIOCSIFFLAGS as usize, request.as_ptr() as usize]));
    close(socket);
}

/// Limits, the bounding set, the other sets, no_new_privs; a session of its own.
pub fn drop_privileges() {
    let limit: [u64; 2] = [1024, 1024];
    must(call(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as usize, limit.as_ptr() as usize, 0]));
    for capability in (0..=40).filter(|number| !CAPABILITIES.contains(number)) {
        must(call(libc::SYS_prctl, [libc::PR_CAPBSET_DROP as usize, capability as usize, 0, 0, 0]));
    }
    let bits = CAPABILITIES.iter().fold(0, |bits, number| bits | 1 << number);
    let header: [u32; 2] = [0x2008_0522, 0];
    let sets: [u32; 6] = [bits, bits, 0, 0, 0, 0];
    must(call(libc::SYS_capset, [header.as_ptr() as usize, sets.as_ptr() as usize]));
    must(call(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0]));
    must(call(libc::SYS_setsid, []));
}
