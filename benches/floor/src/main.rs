//! The kernel's own price of a container, as a program: what `runc spec`'s default configuration asks of the kernel, as bare
//! system calls in the cheapest order that is known, without parsing, checking or reporting anything.
//!
//! `pipkin-floor ROOTFS NAME PROGRAM [ARG…]` makes cgroup NAME, clones into the namespaces (and on v2 into the cgroup), mounts,
//! makes devices, masks paths, pivots, drops capabilities, executes, waits, removes the cgroup, and exits as the program did.
//! It is a yardstick, never a runtime: every name is trusted, and an error only ends it with the number of its line.
#![no_main]

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{
    AT_FDCWD, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, MNT_DETACH, MS_BIND, MS_NODEV,
    MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REC, MS_RELATIME, MS_REMOUNT, MS_SLAVE, MS_STRICTATIME, O_CLOEXEC, O_DIRECTORY,
    O_PATH, O_WRONLY, S_IFCHR,
};

/// v1 hierarchies as Debian and systemd mount them; those that are there get a cgroup. Not cpuset: the configuration asks nothing
/// of it, and making one costs more than all the others together.
const HIERARCHIES: [&str; 9] =
    ["cpu", "cpuacct", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified"];

/// The rules of every runtime for its default devices, in the words of `devices.allow` (cgroup-v1/devices.rst).
const DEVICE_RULES: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 136:* rwm",
    "c 5:2 rwm",
];

const DEVICES: [(&CStr, u32, u32); 6] = [
    (c"dev/null", 1, 3),
    (c"dev/zero", 1, 5),
    (c"dev/full", 1, 7),
    (c"dev/random", 1, 8),
    (c"dev/urandom", 1, 9),
    (c"dev/tty", 5, 0),
];

const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"dev/fd"),
    (c"/proc/self/fd/0", c"dev/stdin"),
    (c"/proc/self/fd/1", c"dev/stdout"),
    (c"/proc/self/fd/2", c"dev/stderr"),
    (c"pts/ptmx", c"dev/ptmx"),
];

const MASKED: [&CStr; 10] = [
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

const READ_ONLY: [&CStr; 5] = [c"proc/bus", c"proc/fs", c"proc/irq", c"proc/sys", c"proc/sysrq-trigger"];

/// CAP_AUDIT_WRITE, CAP_KILL, CAP_NET_BIND_SERVICE: what the default configuration leaves (linux/capability.h).
const CAPABILITIES: [u32; 3] = [29, 5, 10];

/// One system call with up to six arguments; the number of an error is negative, as the kernel returns it.
fn call<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> isize {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: this program is single-threaded, its pointers are to live values, and nothing else reads errno.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 { -(std::io::Error::last_os_error().raw_os_error().unwrap_or(1) as isize) } else { result as isize }
}

/// The result of a system call that must work; otherwise the end, with the line of the caller on stderr.
#[track_caller]
fn must(result: isize) -> usize {
    if result < 0 {
        let line = std::panic::Location::caller().line();
        eprintln!("floor: line {line}: {}", std::io::Error::from_raw_os_error(-result as i32));
        std::process::exit(125);
    }
    result as usize
}

fn at(path: &CStr) -> usize {
    path.as_ptr() as usize
}

#[track_caller]
fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: u64, data: &CStr) {
    must(call(libc::SYS_mount, [at(source), at(target), at(kind), flags as usize, at(data)]));
}

#[track_caller]
fn open(path: &CStr, flags: i32) -> usize {
    must(call(libc::SYS_openat, [AT_FDCWD as usize, at(path), (flags | O_CLOEXEC) as usize, 0]))
}

#[track_caller]
fn write(fd: usize, text: &[u8]) {
    must(call(libc::SYS_write, [fd, text.as_ptr() as usize, text.len()]));
}

#[track_caller]
fn mkdir(path: &CStr, mode: usize) {
    must(call(libc::SYS_mkdirat, [AT_FDCWD as usize, at(path), mode]));
}

fn close(fd: usize) {
    call(libc::SYS_close, [fd]);
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// The container's cgroups.
struct Cgroups {
    /// A directory in each hierarchy.
    paths: Vec<CString>,
    /// `tasks` of the v1 ones: the clone writes itself into them. Not `cgroup.procs`, for which the kernel takes a lock that has to
    /// wait for all processors.
    tasks: Vec<usize>,
    /// The v2 directory, to clone into.
    unified: usize,
    /// Whether there is v2 and nothing else.
    pure: bool,
}

fn make_cgroups(name: &str) -> Cgroups {
    let root = Path::new("/sys/fs/cgroup");
    let pure = call(libc::SYS_access, [at(c"/sys/fs/cgroup/cgroup.controllers"), 0]) == 0;
    let mut cgroups = Cgroups { paths: Vec::new(), tasks: Vec::new(), unified: 0, pure };
    if pure {
        let path = text(&root.join(name));
        mkdir(&path, 0o755);
        cgroups.unified = open(&path, O_PATH | O_DIRECTORY);
        filter_devices(&path);
        cgroups.paths.push(path);
        return cgroups;
    }
    for hierarchy in HIERARCHIES {
        let directory = root.join(hierarchy).join(name);
        let path = text(&directory);
        let made = call(libc::SYS_mkdirat, [AT_FDCWD as usize, at(&path), 0o755]);
        if made == -(libc::ENOENT as isize) {
            continue;
        }
        must(made);
        match hierarchy {
            "unified" => cgroups.unified = open(&path, O_PATH | O_DIRECTORY),
            "devices" => {
                let deny = open(&text(&directory.join("devices.deny")), O_WRONLY);
                write(deny, b"a");
                close(deny);
                let allow = open(&text(&directory.join("devices.allow")), O_WRONLY);
                for rule in DEVICE_RULES {
                    write(allow, rule.as_bytes());
                }
                close(allow);
            }
            _ => {}
        }
        if hierarchy != "unified" {
            cgroups.tasks.push(open(&text(&directory.join("tasks")), O_WRONLY));
        }
        cgroups.paths.push(path);
    }
    cgroups
}

/// Loads and attaches the shortest program that can be one: `return 1`. A real filter costs a little more.
fn filter_devices(cgroup: &CStr) {
    // r0 = 1; exit (linux/bpf.h, struct bpf_insn).
    let program: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];
    let license = c"GPL";
    // union bpf_attr for BPF_PROG_LOAD: type CGROUP_DEVICE (15), two instructions.
    let load: [u64; 16] =
        [15 | 2 << 32, program.as_ptr() as u64, at(license) as u64, 0, 0, 0, 0, 0, 6 << 32, 0, 0, 0, 0, 0, 0, 0];
    let filter = must(call(libc::SYS_bpf, [5, load.as_ptr() as usize, 128]));
    let directory = open(cgroup, O_DIRECTORY);
    // BPF_PROG_ATTACH: target, program, type CGROUP_DEVICE (6), flag ALLOW_MULTI (2).
    let attach: [u32; 4] = [directory as u32, filter as u32, 6, 2];
    must(call(libc::SYS_bpf, [8, attach.as_ptr() as usize, 16]));
    close(directory);
    close(filter);
}

/// Everything between the clone and the program.
fn become_container(rootfs: &CStr, cgroups: &Cgroups, program: &CStr, arguments: &[CString]) -> ! {
    for tasks in &cgroups.tasks {
        write(*tasks, b"0");
    }
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
    mount(c"sysfs", c"sys", c"sysfs", safe | MS_RDONLY, c"");
    mount_cgroups(cgroups);
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
    must(call(libc::SYS_pivot_root, [at(c"."), at(c".")]));
    must(call(libc::SYS_umount2, [at(c"."), MNT_DETACH as usize]));
    must(call(libc::SYS_chdir, [at(c"/")]));
    must(call(libc::SYS_sethostname, [at(c"runc"), 4]));
    raise_loopback();
    drop_privileges();
    let arguments: Vec<usize> = arguments.iter().map(|argument| at(argument)).chain([0]).collect();
    let environment = [at(c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), at(c"TERM=xterm"), 0];
    must(call(libc::SYS_execve, [at(program), arguments.as_ptr() as usize, environment.as_ptr() as usize]));
    std::process::exit(125)
}

fn mount_cgroups(cgroups: &Cgroups) {
    let flags = MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RELATIME;
    if cgroups.pure {
        // The container's own subtree, as it has no cgroup namespace.
        mount(&cgroups.paths[0], c"sys/fs/cgroup", c"", MS_BIND, c"");
        mount(c"", c"sys/fs/cgroup", c"", MS_REMOUNT | MS_BIND | MS_RDONLY | flags, c"");
        return;
    }
    mount(c"tmpfs", c"sys/fs/cgroup", c"tmpfs", flags, c"mode=755");
    for path in &cgroups.paths {
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

fn raise_loopback() {
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
fn drop_privileges() {
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

/// The program's entry: the C one, so that nothing of Rust's start-up is paid for.
#[unsafe(no_mangle)]
extern "C" fn main() -> libc::c_int {
    let arguments: Vec<CString> = std::env::args_os().map(|argument| text(Path::new(&argument))).collect();
    let [_, rootfs, name, words @ ..] = arguments.as_slice() else { return 64 };
    let Some(program) = words.first() else { return 64 };
    let cgroups = make_cgroups(&name.to_string_lossy());
    let namespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;
    let mut flags = namespaces as u64;
    if cgroups.unified != 0 {
        // CLONE_INTO_CGROUP (linux/sched.h).
        flags |= 0x2_0000_0000;
    }
    // struct clone_args (clone3(2)): flags, four of no use here, exit signal, stack, size, tls, set_tid, its size, cgroup.
    let clone: [u64; 11] = [flags, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, 0, 0, cgroups.unified as u64];
    let child = must(call(libc::SYS_clone3, [clone.as_ptr() as usize, size_of_val(&clone)]));
    if child == 0 {
        become_container(rootfs, &cgroups, program, words);
    }
    let mut status: libc::c_int = 0;
    must(call(libc::SYS_wait4, [child, &raw mut status as usize, 0, 0]));
    for path in &cgroups.paths {
        must(call(libc::SYS_rmdir, [at(path)]));
    }
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}
