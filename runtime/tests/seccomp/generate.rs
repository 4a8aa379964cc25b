//! Random profiles and the calls that are worth asking about.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator};
use serde_json::{Value, json};

/// SplitMix64: small, and the same everywhere for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// What kind of profiles to make.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// `SCMP_CMP_*` to use.
    pub operators: &'static [&'static str],
    /// One rule with one condition for a system call, at most.
    pub single: bool,
    /// All rules of one system call have the same action, so that it makes no difference which is tried first.
    pub one_action: bool,
}

const ACTIONS: [(&str, Option<u32>); 11] = [
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_ERRNO", Some(1)),
    ("SCMP_ACT_ERRNO", Some(38)),
    ("SCMP_ACT_ERRNO", None),
    ("SCMP_ACT_KILL", None),
    ("SCMP_ACT_KILL_PROCESS", None),
    ("SCMP_ACT_LOG", None),
    ("SCMP_ACT_TRACE", Some(7)),
    ("SCMP_ACT_TRAP", None),
];

/// Comparisons for equality first, then those that libseccomp 2.5.4 gets wrong where several rules meet.
pub const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_GE", "SCMP_CMP_GT"];

const VALUES: [u64; 14] = [
    0,
    1,
    2,
    5,
    8,
    0x7e02_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0005,
    0x5_0000_0000,
    0xffff_ffff_0000_0000,
    u64::MAX,
];

/// Calls with a second way in, with private numbers, of one ABI only, at the ends of the tables.
const SPECIAL: [&str; 18] = [
    "socket",
    "accept",
    "send",
    "recvmsg",
    "semop",
    "shmat",
    "semtimedop",
    "socketcall",
    "ipc",
    "set_tls",
    "cacheflush",
    "read",
    "io_setup",
    "personality",
    "clone",
    "mmap2",
    "fcntl64",
    "futex_waitv",
];

/// A random profile for these architectures.
pub fn profile(random: &mut Random, names: &[String], architectures: &[&str], shape: Shape) -> LinuxSeccomp {
    let (default, errno) = random.pick(&ACTIONS);
    let architectures: Vec<&str> = architectures.iter().copied().filter(|_| random.chance(60)).collect();
    let crowd: Vec<&str> = (0..8).map(|_| any_name(random, names)).collect();
    let mut action_of: BTreeMap<&str, (&str, Option<u32>)> = BTreeMap::new();
    let mut syscalls = Vec::new();
    for _ in 0..random.below(30) {
        // Rules with arguments meet on a few system calls; those without are spread.
        let conditional = random.chance(60);
        let count = if conditional { 1 } else { 1 + random.below(60) };
        let mut of_rule: Vec<&str> = Vec::new();
        let mut action = random.pick(&ACTIONS);
        for _ in 0..count {
            let name = if conditional { random.pick(&crowd) } else { any_name(random, names) };
            let family = family(name);
            match action_of.get(family) {
                Some(_) if shape.single && conditional => continue,
                Some(other) if shape.one_action && conditional => action = *other,
                Some(other) if shape.one_action && *other != action => continue,
                _ => {}
            }
            action_of.insert(family, action);
            of_rule.push(name);
        }
        if of_rule.is_empty() {
            continue;
        }
        let mut entry = json!({ "names": of_rule, "action": action.0 });
        if let Some(errno) = action.1 {
            entry["errnoRet"] = errno.into();
        }
        if conditional {
            entry["args"] = (0..if shape.single { 1 } else { 1 + random.below(3) })
                .map(|_| argument(random, shape.operators))
                .collect();
        }
        syscalls.push(entry);
    }
    let mut profile = json!({ "defaultAction": default, "architectures": architectures, "syscalls": syscalls });
    if let Some(errno) = errno {
        profile["defaultErrnoRet"] = errno.into();
    }
    serde_json::from_value(profile).expect("a profile")
}

/// On x86 the socket calls also meet in one, and so do those of System V IPC.
fn family(name: &str) -> &str {
    const SOCKET: [&str; 21] = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
        "socketcall",
    ];
    match name {
        name if SOCKET.contains(&name) => "socketcall",
        "ipc" => "ipc",
        name if ["sem", "shm", "msg"].contains(&&name[..name.len().min(3)]) => "ipc",
        other => other,
    }
}

fn any_name<'n>(random: &mut Random, names: &'n [String]) -> &'n str {
    if random.chance(30) { SPECIAL[random.below(SPECIAL.len())] } else { &names[random.below(names.len())] }
}

fn argument(random: &mut Random, operators: &[&str]) -> Value {
    let operator = random.pick(operators);
    let index = if random.chance(70) { random.below(2) } else { random.below(6) };
    json!({ "index": index, "op": operator, "value": random.pick(&VALUES), "valueTwo": random.pick(&VALUES) })
}

/// For each argument the values on both sides of what the profile's rules compare it with.
pub fn boundaries(profile: &LinuxSeccomp) -> [Vec<u64>; 6] {
    let mut values: [Vec<u64>; 6] = std::array::from_fn(|_| vec![0, u64::MAX]);
    for argument in profile.syscalls().iter().flatten().flat_map(|entry| entry.args().iter().flatten()) {
        values[argument.index()].extend(around(argument));
    }
    for values in &mut values {
        values.sort_unstable();
        values.dedup();
    }
    values
}

fn around(argument: &LinuxSeccompArg) -> Vec<u64> {
    let (value, two) = (argument.value(), argument.value_two().unwrap_or(0));
    const HIGH: u64 = 1 << 32;
    let mut values = vec![value, value.wrapping_sub(1), value.wrapping_add(1), value ^ HIGH, value & 0xffff_ffff];
    values.extend([value.wrapping_add(HIGH), value.wrapping_sub(HIGH), !value]);
    if argument.op() == LinuxSeccompOperator::ScmpCmpMaskedEq {
        values.extend([two & value, two | !value, (two & value) ^ HIGH, (two & value) ^ 1]);
        values.extend((0..64).filter(|bit| value >> bit & 1 == 1).map(|bit| (two & value) ^ (1 << bit)));
    }
    values
}
