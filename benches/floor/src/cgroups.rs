//! The container's cgroups and the rules for its devices.

use std::ffi::{CStr, CString};
use std::path::Path;

use libc::{AT_FDCWD, O_DIRECTORY, O_PATH, O_WRONLY};

use crate::kernel::{at, call, close, mkdir, must, open, text, write};

/// v1 hierarchies as Debian and systemd mount them; those that are there get a cgroup. Not cpuset: the configuration asks nothing
/// of it, and making one costs more than all the others together.
pub const HIERARCHIES: [&str; 9] =
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

/// The container's cgroups.
pub struct Cgroups {
    /// A directory in each hierarchy.
    pub paths: Vec<CString>,
    /// `tasks` of the v1 ones: the clone writes itself into them. Not `cgroup.procs`, for which the kernel takes a lock that has to
    /// wait for all processors.
    pub tasks: Vec<usize>,
    /// The v2 directory, to clone into.
    pub unified: usize,
    /// Whether there is v2 and nothing else.
    pub pure: bool,
}

pub fn make(name: &str, restrict: bool) -> Cgroups {
    let root = Path::new("/sys/fs/cgroup");
    let pure = call(libc::SYS_access, [at(c"/sys/fs/cgroup/cgroup.controllers"), 0]) == 0;
    let mut cgroups = Cgroups { paths: Vec::new(), tasks: Vec::new(), unified: 0, pure };
    if pure {
        let path = text(&root.join(name));
        mkdir(&path, 0o755);
        cgroups.unified = open(&path, O_PATH | O_DIRECTORY);
        if restrict {
            filter_devices(&path, &SHORTEST);
        }
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
            "devices" => write_device_rules(&path),
            _ => {}
        }
        if hierarchy != "unified" {
            cgroups.tasks.push(open(&text(&directory.join("tasks")), O_WRONLY));
        }
        cgroups.paths.push(path);
    }
    cgroups
}

/// The shortest program that can be one: `r0 = 1; exit` (linux/bpf.h, struct bpf_insn). A real filter costs a little more.
const SHORTEST: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];

/// What the container may do with devices, as [`make`] does it unless it is told not to, and as long as a runtime's rules are.
pub fn restrict(cgroups: &[CString], pure: bool) {
    for path in cgroups {
        if pure {
            filter_devices(path, &filter());
        } else if path.to_bytes().starts_with(b"/sys/fs/cgroup/devices/") {
            write_device_rules(path);
        }
    }
}

/// Removes one. A process that has been waited for may still be on its way out of it.
pub fn remove(path: &CStr) {
    loop {
        let removed = call(libc::SYS_rmdir, [at(path)]);
        if removed != -(libc::EBUSY as isize) {
            must(removed);
            return;
        }
        call(libc::SYS_sched_yield, []);
    }
}

fn write_device_rules(path: &CStr) {
    let directory = Path::new(path.to_str().unwrap_or_default());
    let deny = open(&text(&directory.join("devices.deny")), O_WRONLY);
    write(deny, b"a");
    close(deny);
    let allow = open(&text(&directory.join("devices.allow")), O_WRONLY);
    for rule in DEVICE_RULES {
        write(allow, rule.as_bytes());
    }
    close(allow);
}

/// The default rules as a program of 57 instructions: type, access, major and minor are read, and each rule compares them.
fn filter() -> Vec<u64> {
    let op = |code: u64, to: u64, from: u64, offset: u64, value: u64| {
        code | to << 8 | from << 12 | offset << 16 | value << 32
    };
    const LOAD: u64 = 0x61;
    const UNEQUAL: u64 = 0x56;
    let mut program = vec![
        op(LOAD, 2, 1, 0, 0),
        op(0xbc, 3, 2, 0, 0),
        op(0x54, 2, 0, 0, 0xffff),
        op(0x74, 3, 0, 0, 16),
        op(LOAD, 4, 1, 4, 0),
        op(LOAD, 5, 1, 8, 0),
    ];
    let allow = [op(0xb7, 0, 0, 0, 1), op(0x95, 0, 0, 0, 0)];
    for (major, minor) in [(5, 2), (136, 0), (5, 0), (1, 9), (1, 8), (1, 7), (1, 5), (1, 3)] {
        let more = if major == 136 { 0 } else { 1 };
        program.push(op(UNEQUAL, 2, 0, 3 + more, 2));
        program.push(op(UNEQUAL, 4, 0, 2 + more, major));
        if major != 136 {
            program.push(op(UNEQUAL, 5, 0, 2, minor));
        }
        program.extend(allow);
    }
    for kind in [1, 2] {
        program.extend([op(UNEQUAL, 2, 0, 4, kind), op(0x54, 3, 0, 0, 6), op(UNEQUAL, 3, 0, 2, 0)]);
        program.extend(allow);
    }
    program.extend([op(0xb7, 0, 0, 0, 0), op(0x95, 0, 0, 0, 0)]);
    program
}

/// Loads a program of type CGROUP_DEVICE and attaches it.
fn filter_devices(cgroup: &CStr, program: &[u64]) {
    let license = c"GPL";
    // union bpf_attr for BPF_PROG_LOAD: type CGROUP_DEVICE (15), how many instructions.
    let load: [u64; 16] = [
        15 | (program.len() as u64) << 32,
        program.as_ptr() as u64,
        at(license) as u64,
        0,
        0,
        0,
        0,
        0,
        6 << 32,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    let filter = must(call(libc::SYS_bpf, [5, load.as_ptr() as usize, 128]));
    let directory = open(cgroup, O_DIRECTORY);
    // BPF_PROG_ATTACH: target, program, type CGROUP_DEVICE (6), flag ALLOW_MULTI (2).
    let attach: [u32; 4] = [directory as u32, filter as u32, 6, 2];
    must(call(libc::SYS_bpf, [8, attach.as_ptr() as usize, 16]));
    close(directory);
    close(filter);
}
