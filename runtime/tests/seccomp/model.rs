//! What a profile means, said as plainly as possible: a list of rules for each number, tried one after the other.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator};

use crate::interpreter::Call;
use crate::{Arch2, Reference};

/// The rules of a profile by architecture and number.
pub struct Model {
    default: u32,
    rules: BTreeMap<(Arch2, u32), Vec<Rule>>,
    known: Vec<Arch2>,
}

#[derive(Clone)]
struct Rule {
    /// All of them must hold.
    arguments: Vec<LinuxSeccompArg>,
    action: u32,
    half: bool,
}

impl Model {
    /// `archs`: the machine's own architecture first, then its compatible ones.
    pub fn new(reference: &mut Reference, profile: &LinuxSeccomp, archs: &[Arch]) -> Self {
        let default = profile.default_action().as_u32(profile.default_errno_ret());
        let listed = profile.architectures().clone().unwrap_or_default();
        let archs: Vec<Arch> =
            archs[..1].iter().chain(archs[1..].iter().filter(|a| listed.contains(a))).copied().collect();
        let known = archs.iter().map(|arch| Arch2::of(*arch)).collect();
        let mut model = Self { default, rules: BTreeMap::new(), known };
        for arch in archs {
            for entry in profile.syscalls().iter().flatten() {
                let action = entry.action().as_u32(entry.errno_ret());
                if action == default {
                    continue;
                }
                let half = !matches!(arch, Arch::ScmpArchX86_64 | Arch::ScmpArchAarch64);
                for arguments in alternatives(entry.args().as_deref().unwrap_or_default()) {
                    let mut rule = Rule { arguments, action, half };
                    rule.normalize();
                    for name in entry.names() {
                        model.add(reference, arch, name, &rule);
                    }
                }
            }
        }
        model.rules.values_mut().for_each(|rules| rules.sort_by(Rule::by_precedence));
        model
    }

    fn add(&mut self, reference: &mut Reference, arch: Arch, name: &str, rule: &Rule) {
        if let Some(number) = reference.number(arch, name) {
            self.rules.entry((Arch2::of(arch), number)).or_default().push(rule.clone());
        }
        if let Some((number, call)) = multiplexed(arch, name) {
            let mut rule = rule.clone();
            rule.arguments.retain(|argument| argument.index() != 0);
            let first = LinuxSeccompArgBuilder::default().index(0usize).op(LinuxSeccompOperator::ScmpCmpEq).value(call);
            let first = first.build().expect("an argument");
            rule.arguments.insert(0, first);
            self.rules.entry((Arch2::of(arch), number)).or_default().push(rule);
        }
    }

    /// The decision: of a rule without conditions, else of the most particular rule that matches.
    pub fn decide(&self, call: &Call) -> u32 {
        let arch = Arch2::of_call(call);
        let x32_is_foreign = arch.architecture == Arch::ScmpArchX86_64 as u32
            && !self.known.contains(&Arch2::of(Arch::ScmpArchX32))
            && call.number >= 0x4000_0000;
        let native = self.known.iter().any(|known| known.architecture == arch.architecture);
        if !native || (x32_is_foreign && call.number != u32::MAX) {
            return 0;
        }
        let Some(rules) = self.rules.get(&(arch, call.number)) else {
            return self.default;
        };
        let always = rules.iter().find(|rule| rule.always());
        let matching = always.or_else(|| rules.iter().find(|rule| rule.matches(call)));
        matching.map_or(self.default, |rule| rule.action)
    }
}

impl Rule {
    /// libseccomp's order: later arguments first, equality before order, tighter bounds and larger values first, and
    /// what has fewer conditions before what goes on from there.
    fn by_precedence(&self, other: &Self) -> Ordering {
        let class = |a: &LinuxSeccompArg| match a.op() {
            LinuxSeccompOperator::ScmpCmpLt | LinuxSeccompOperator::ScmpCmpLe => 1,
            LinuxSeccompOperator::ScmpCmpGt | LinuxSeccompOperator::ScmpCmpGe => 2,
            _ => 0,
        };
        let value = |a: &LinuxSeccompArg| match a.op() {
            LinuxSeccompOperator::ScmpCmpMaskedEq => a.value_two().unwrap_or(0) & a.value() & self.mask(),
            _ => a.value() & self.mask(),
        };
        for (a, b) in self.arguments.iter().zip(&other.arguments) {
            let by_value = if class(a) == 1 { value(a).cmp(&value(b)) } else { value(b).cmp(&value(a)) };
            let order = b.index().cmp(&a.index()).then(class(a).cmp(&class(b))).then(by_value);
            if order.is_ne() {
                return order;
            }
        }
        self.arguments.len().cmp(&other.arguments.len())
    }

    /// Leaves out what is always true.
    fn normalize(&mut self) {
        let mask = self.mask();
        self.arguments.retain(|a| a.op() != LinuxSeccompOperator::ScmpCmpMaskedEq || a.value() & mask != 0);
        self.arguments.sort_by_key(|a| a.index());
    }

    fn mask(&self) -> u64 {
        if self.half { 0xffff_ffff } else { u64::MAX }
    }

    fn always(&self) -> bool {
        self.arguments.is_empty()
    }

    fn matches(&self, call: &Call) -> bool {
        let mask = self.mask();
        self.arguments.iter().all(|argument| {
            let (actual, value) = (call.arguments[argument.index()] & mask, argument.value() & mask);
            match argument.op() {
                LinuxSeccompOperator::ScmpCmpNe => actual != value,
                LinuxSeccompOperator::ScmpCmpLt => actual < value,
                LinuxSeccompOperator::ScmpCmpLe => actual <= value,
                LinuxSeccompOperator::ScmpCmpEq => actual == value,
                LinuxSeccompOperator::ScmpCmpGe => actual >= value,
                LinuxSeccompOperator::ScmpCmpGt => actual > value,
                LinuxSeccompOperator::ScmpCmpMaskedEq => {
                    actual & value == argument.value_two().unwrap_or(0) & mask & value
                }
            }
        })
    }
}

fn alternatives(arguments: &[LinuxSeccompArg]) -> Vec<Vec<LinuxSeccompArg>> {
    let repeated = arguments.iter().enumerate().any(|(i, a)| arguments[..i].iter().any(|b| b.index() == a.index()));
    if repeated { arguments.iter().map(|a| vec![*a]).collect() } else { vec![arguments.to_vec()] }
}

fn multiplexed(arch: Arch, name: &str) -> Option<(u32, u64)> {
    const SOCKETCALL: [&str; 20] = [
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
    ];
    const IPC: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    if arch != Arch::ScmpArchX86 {
        return None;
    }
    let socket = SOCKETCALL.iter().position(|call| *call == name).map(|index| (102, index as u64 + 1));
    socket.or_else(|| IPC.iter().find(|(call, _)| *call == name).map(|(_, call)| (117, *call)))
}
