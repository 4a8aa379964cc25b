//! What a process can see of itself and of its container.
//!
//! Everything is read from the kernel at the time of the report. What can not be read is `null`, never a guess.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{AtFlags, Mode};
use rustix::process::{Resource, getrlimit};
use rustix::time::ClockId;
use serde_json::{Map, Value, json};

/// Every fact, one object.
pub fn everything() -> Value {
    // Open descriptors first: reading the rest opens and closes more of them.
    let fds = open_fds();
    let status = fields("/proc/self/status");
    let mut report = json!({
        "pid": std::process::id(),
        "ppid": rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get()),
        "pgid": rustix::process::getpgrp().as_raw_nonzero().get(),
        // 0 when the session's leader is outside of the pid namespace: not a valid `Pid`, so an error here.
        "sid": rustix::process::getsid(None).map_or(0, |pid| pid.as_raw_nonzero().get()),
        "uid": ids(&status, "Uid"),
        "gid": ids(&status, "Gid"),
        "groups": ids(&status, "Groups"),
        "umask": umask(),
        "cwd": std::env::current_dir().ok(),
        "args": std::env::args().collect::<Vec<_>>(),
        "exe": fs::read_link("/proc/self/exe").ok(),
        "env": std::env::vars().collect::<BTreeMap<_, _>>(),
        "env_order": std::env::vars().map(|(name, _)| name).collect::<Vec<_>>(),
        "caps": {
            "inheritable": capabilities(&status, "CapInh"),
            "permitted": capabilities(&status, "CapPrm"),
            "effective": capabilities(&status, "CapEff"),
            "bounding": capabilities(&status, "CapBnd"),
            "ambient": capabilities(&status, "CapAmb"),
        },
        "no_new_privs": number(&status, "NoNewPrivs").map(|value| value == 1),
        "seccomp": number(&status, "Seccomp"),
        "seccomp_filters": number(&status, "Seccomp_filters"),
        "signals_blocked": status.get("SigBlk"),
        "signals_ignored": status.get("SigIgn"),
        "threads": number(&status, "Threads"),
        "rlimits": rlimits(),
        "oom_score_adj": line("/proc/self/oom_score_adj").and_then(|text| text.parse::<i64>().ok()),
        "nice": rustix::process::getpriority_process(None).ok(),
        "hostname": line("/proc/sys/kernel/hostname")
            .or_else(|| rustix::system::uname().nodename().to_str().ok().map(str::to_owned)),
        "domainname": rustix::system::uname().domainname().to_str().ok(),
        "namespaces": namespaces(),
        "uid_map": table("/proc/self/uid_map"),
        "gid_map": table("/proc/self/gid_map"),
        "setgroups": line("/proc/self/setgroups"),
        "cgroup": fs::read_to_string("/proc/self/cgroup").ok().map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()),
        "mounts": mounts(),
        "root_entries": names("/"),
        "dev": dev(),
        "fds": fds,
        "tty": tty(),
        "timens_offsets": table("/proc/self/timens_offsets"),
        "processes": processes(),
        "interfaces": names("/sys/class/net"),
        "boot_clock_ns": clock(ClockId::Boottime),
        "monotonic_clock_ns": clock(ClockId::Monotonic),
    });
    let rest = json!({
        "scheduler": scheduler(),
        "cpus_allowed": status.get("Cpus_allowed_list"),
        "memory_policies": memory_policies(),
        "personality": line("/proc/self/personality"),
        "machine": rustix::system::uname().machine().to_str().ok(),
    });
    if let (Value::Object(report), Value::Object(rest)) = (&mut report, rest) {
        report.extend(rest);
    }
    report
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// A file of `Name: value` lines.
fn fields(path: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect()
}

fn number(status: &BTreeMap<String, String>, name: &str) -> Option<u64> {
    status.get(name)?.parse().ok()
}

fn ids(status: &BTreeMap<String, String>, name: &str) -> Option<Vec<u64>> {
    Some(status.get(name)?.split_whitespace().filter_map(|id| id.parse().ok()).collect())
}

/// A file of columns, split at blanks.
fn table(path: &str) -> Option<Vec<Vec<String>>> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect())
}

fn names(path: &str) -> Option<Vec<String>> {
    let mut names: Vec<String> =
        fs::read_dir(path).ok()?.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Some(names)
}

/// Octal text, as a person writes it.
fn umask() -> String {
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    format!("{:04o}", mask.as_raw_mode())
}

/// Names by capability number (`linux/capability.h`).
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

fn capabilities(status: &BTreeMap<String, String>, name: &str) -> Option<Vec<&'static str>> {
    let bits = u64::from_str_radix(status.get(name)?, 16).ok()?;
    Some(CAPABILITIES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name).collect())
}

/// Soft and hard by name; `null` is "unlimited".
fn rlimits() -> Value {
    let all = [
        ("RLIMIT_AS", Resource::As),
        ("RLIMIT_CORE", Resource::Core),
        ("RLIMIT_CPU", Resource::Cpu),
        ("RLIMIT_DATA", Resource::Data),
        ("RLIMIT_FSIZE", Resource::Fsize),
        ("RLIMIT_LOCKS", Resource::Locks),
        ("RLIMIT_MEMLOCK", Resource::Memlock),
        ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
        ("RLIMIT_NICE", Resource::Nice),
        ("RLIMIT_NOFILE", Resource::Nofile),
        ("RLIMIT_NPROC", Resource::Nproc),
        ("RLIMIT_RSS", Resource::Rss),
        ("RLIMIT_RTPRIO", Resource::Rtprio),
        ("RLIMIT_RTTIME", Resource::Rttime),
        ("RLIMIT_SIGPENDING", Resource::Sigpending),
        ("RLIMIT_STACK", Resource::Stack),
    ];
    let object: Map<String, Value> = all
        .into_iter()
        .map(|(name, resource)| {
            let limit = getrlimit(resource);
            (name.to_owned(), json!([limit.current, limit.maximum]))
        })
        .collect();
    Value::Object(object)
}

/// Inode numbers by the name in `/proc/self/ns`.
fn namespaces() -> BTreeMap<String, Option<String>> {
    names("/proc/self/ns")
        .unwrap_or_default()
        .into_iter()
        .map(|name| {
            let target = fs::read_link(format!("/proc/self/ns/{name}")).ok();
            (name, target.map(|path| path.to_string_lossy().into_owned()))
        })
        .collect()
}

/// `/proc/self/mountinfo`, parsed (proc(5)).
fn mounts() -> Option<Vec<Value>> {
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        Some(json!({
            "root": left.get(3)?, "target": left.get(4)?, "options": left.get(5)?.split(',').collect::<Vec<_>>(),
            "propagation": left.get(6..)?, "type": right.first()?, "source": right.get(1)?,
            "super": right.get(2)?.split(',').collect::<Vec<_>>(),
        }))
    };
    Some(text.lines().filter_map(parse).collect())
}

/// Everything below `/dev`, with types, permissions and device numbers; links with their targets.
fn dev() -> Value {
    let mut entries = Map::new();
    list_dev(Path::new("/dev"), &mut entries);
    Value::Object(entries)
}

fn list_dev(directory: &Path, entries: &mut Map<String, Value>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let kind = metadata.file_type();
        let rdev = metadata.rdev();
        let description = json!({
            "kind": if kind.is_symlink() { "link" } else if kind.is_dir() { "dir" } else if kind.is_char_device() { "char" }
                else if kind.is_block_device() { "block" } else if kind.is_file() { "file" } else { "other" },
            "mode": format!("{:04o}", metadata.mode() & 0o7777),
            "uid": metadata.uid(),
            "gid": metadata.gid(),
            "rdev": [rustix::fs::major(rdev), rustix::fs::minor(rdev)],
            "link": fs::read_link(&path).ok(),
        });
        entries.insert(path.to_string_lossy().into_owned(), description);
        if kind.is_dir() && directory == Path::new("/dev") {
            list_dev(&path, entries);
        }
    }
}

/// Number to target, without the one that lists them.
fn open_fds() -> BTreeMap<String, String> {
    let listed: Vec<(String, Option<String>)> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let target = fs::read_link(entry.path()).ok().map(|path| path.to_string_lossy().into_owned());
            (entry.file_name().to_string_lossy().into_owned(), target)
        })
        .collect();
    let own = format!("/proc/{}/fd", std::process::id());
    listed
        .into_iter()
        .filter_map(|(number, target)| Some((number, target?)))
        .filter(|(_, target)| *target != own)
        .collect()
}

/// The terminal on stdin, if there is one.
fn tty() -> Value {
    let stdin = std::io::stdin();
    if !rustix::termios::isatty(&stdin) {
        return Value::Null;
    }
    let size = rustix::termios::tcgetwinsize(&stdin).ok();
    json!({
        "name": rustix::termios::ttyname(&stdin, Vec::new()).ok().map(|name| name.to_string_lossy().into_owned()),
        "size": size.map(|size| [size.ws_col, size.ws_row]),
        "foreground": rustix::termios::tcgetpgrp(&stdin).ok().map(|pid| pid.as_raw_nonzero().get()),
        "session": rustix::termios::tcgetsid(&stdin).ok().map(|pid| pid.as_raw_nonzero().get()),
        "controlling": rustix::fs::openat(rustix::fs::CWD, "/dev/tty", rustix::fs::OFlags::RDWR, Mode::empty()).is_ok(),
        "console": rustix::fs::statat(rustix::fs::CWD, "/dev/console", AtFlags::empty()).ok()
            .map(|stat| [rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)]),
    })
}

/// Pid to command line of everything in this pid namespace.
fn processes() -> BTreeMap<String, String> {
    names("/proc")
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let command = command.split(|byte| *byte == 0).next().unwrap_or_default();
            Some((pid, std::ffi::OsStr::from_bytes(command).to_string_lossy().into_owned()))
        })
        .collect()
}

/// proc_pid_stat(5), fields 19, 40 and 41: nice value, real-time priority and `SCHED_*`.
fn scheduler() -> Option<Value> {
    let stat = line("/proc/self/stat")?;
    // The name, the second field, may have anything in it but is followed by the last bracket.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
    Some(json!({"nice": field(19), "priority": field(40), "policy": field(41)}))
}

/// What `/proc/self/numa_maps` says about each part of the memory, without repetitions.
fn memory_policies() -> Option<Vec<String>> {
    let text = fs::read_to_string("/proc/self/numa_maps").ok()?;
    let mut policies: Vec<String> = text.lines().filter_map(|l| Some(l.split(' ').nth(1)?.to_owned())).collect();
    policies.sort();
    policies.dedup();
    Some(policies)
}

fn clock(id: ClockId) -> i128 {
    let now = rustix::time::clock_gettime(id);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}
