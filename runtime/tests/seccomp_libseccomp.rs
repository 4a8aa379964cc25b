//! The programs of `pipkin_runtime::seccomp` decide as libseccomp's do, in the way runc uses it.
//!
//! Both programs are run by an interpreter for all system call numbers and architectures, and around all values that a
//! profile compares arguments with: for the profiles of real engines, and for random ones of fixed seeds.

#![allow(clippy::expect_used, reason = "a failed expectation is a failed test")]

#[path = "seccomp/configurations.rs"]
mod configurations;
#[path = "seccomp/generate.rs"]
mod generate;
#[path = "seccomp/interpreter.rs"]
mod interpreter;
#[path = "seccomp/model.rs"]
mod model;
#[path = "seccomp/oracle.rs"]
#[allow(dead_code, reason = "shared with the bench")]
mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use generate::{OPERATORS, Random, Shape};
use interpreter::Call;
use model::Model;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction};
use oracle::{Oracle, Setup, UNKNOWN};
use pipkin_runtime::error::{Problem, Problems};
use pipkin_runtime::seccomp::{Instruction, Machine, compile_for};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;
const X32_BIT: u32 = 0x4000_0000;
const ENOSYS: u32 = 0x0005_0026;

/// libseccomp, and what it said about names.
struct Reference {
    oracle: Oracle,
    numbers: BTreeMap<(u32, String), Option<u32>>,
    x86_headers: BTreeMap<String, u32>,
}

impl Reference {
    fn start() -> Self {
        let header = std::fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/unistd_32.h").unwrap_or_default();
        let define = |line: &str| {
            let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        };
        let x86_headers = header.lines().filter_map(define).collect();
        Self { oracle: Oracle::start(), numbers: BTreeMap::new(), x86_headers }
    }

    fn knows(&mut self, name: &str) -> bool {
        self.oracle.resolve(Arch::ScmpArchX86_64 as u32, name) != UNKNOWN
    }

    /// The number of a system call; the direct one on x86, where libseccomp's API tells the one through socketcall.
    fn number(&mut self, arch: Arch, name: &str) -> Option<u32> {
        let key = (arch as u32, name.to_owned());
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let resolved = u32::try_from(self.oracle.resolve(arch as u32, name)).ok();
        let direct = if arch == Arch::ScmpArchX86 { self.x86_headers.get(name).copied() } else { None };
        let number = resolved.or(direct);
        self.numbers.insert(key, number);
        number
    }

    /// runc's addition: calls above the largest that a profile names get ENOSYS. By architecture and x32 bit.
    fn largest(&mut self, profile: &LinuxSeccomp, native: Arch) -> BTreeMap<Arch2, u32> {
        let permissive =
            [LinuxSeccompAction::ScmpActAllow, LinuxSeccompAction::ScmpActLog, LinuxSeccompAction::ScmpActTrace];
        let mut largest = BTreeMap::new();
        if permissive.contains(&profile.default_action()) {
            return largest;
        }
        let listed = profile.architectures().iter().flatten().copied().chain([native]);
        for arch in listed.collect::<Vec<_>>() {
            let names = profile.syscalls().iter().flatten().flat_map(|entry| entry.names());
            let most = names.filter_map(|name| self.number(arch, name)).max();
            if let Some(most) = most.filter(|most| *most != 0) {
                largest.insert(Arch2::of(arch), most);
            }
        }
        largest
    }
}

/// What a call can be told apart by before its number is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Arch2 {
    architecture: u32,
    x32: bool,
}

impl Arch2 {
    fn of(arch: Arch) -> Self {
        match arch {
            Arch::ScmpArchX32 => Self { architecture: X86_64, x32: true },
            other => Self { architecture: other as u32, x32: false },
        }
    }

    fn of_call(call: &Call) -> Self {
        Self { architecture: call.architecture, x32: call.architecture == X86_64 && call.number & X32_BIT != 0 }
    }
}

/// Both programs for one profile, and where the profile looks at arguments.
struct Comparison {
    ours: Vec<Instruction>,
    theirs: Vec<Instruction>,
    model: Model,
    largest: BTreeMap<Arch2, u32>,
    by_argument: BTreeSet<(Arch2, u32)>,
}

impl Comparison {
    fn with_enosys(&self, call: &Call, decision: u32) -> u32 {
        match self.largest.get(&Arch2::of_call(call)) {
            Some(largest) if call.number > *largest => ENOSYS,
            _ => decision,
        }
    }

    /// Whether libseccomp's decision is the same as ours, which must be what the profile means.
    fn check(&self, call: &Call, label: &dyn std::fmt::Display) -> bool {
        let (decision, _) = interpreter::run(&self.ours, call);
        let meant = self.with_enosys(call, self.model.decide(call));
        assert_eq!(decision, meant, "{label}: {call:x?}: ours {decision:#x}, meant {meant:#x}");
        decision == self.with_enosys(call, interpreter::run(&self.theirs, call).0)
    }
}

const ALL_X86: [Arch; 3] = [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
const ALL_ARM: [Arch; 2] = [Arch::ScmpArchAarch64, Arch::ScmpArchArm];

fn archs(machine: Machine) -> &'static [Arch] {
    match machine {
        Machine::X86_64 => &ALL_X86,
        Machine::Aarch64 => &ALL_ARM,
    }
}

/// `None` when one of them refuses the profile for its contradictions.
fn programs(reference: &mut Reference, machine: Machine, profile: &LinuxSeccomp) -> Option<Comparison> {
    let setup = Setup { foreign: machine == Machine::Aarch64, binary_tree: false };
    let theirs = match reference.oracle.compile(&for_oracle(machine, profile), setup) {
        Ok(theirs) => theirs,
        Err(refused) => {
            assert!([libc::EEXIST, libc::ETIMEDOUT].contains(&refused.errno), "{refused:?} for {profile:?}");
            return None;
        }
    };
    let mut problems = Problems::default();
    let compiled = compile_for(machine, profile, &mut problems);
    let Some((filter, _)) = compiled else {
        // libseccomp overlooks it where a third rule hides both.
        let contradiction = |problem: &Problem| problem.message.contains("the same conditions");
        assert!(problems.iter().all(contradiction), "{problems:?} for {profile:?}");
        return None;
    };
    interpreter::check(&filter.program);
    let largest = reference.largest(profile, archs(machine)[0]);
    let mut by_argument = BTreeSet::new();
    for arch in archs(machine) {
        for entry in profile.syscalls().iter().flatten() {
            let conditional = entry.args().as_ref().is_some_and(|args| !args.is_empty());
            for name in entry.names().iter().filter(|_| conditional) {
                by_argument.extend(reference.number(*arch, name).map(|number| (Arch2::of(*arch), number)));
            }
        }
    }
    // socketcall and ipc.
    by_argument.extend([102, 117].map(|number| (Arch2::of(Arch::ScmpArchX86), number)));
    let model = Model::new(reference, profile, archs(machine));
    Some(Comparison { ours: filter.program, theirs, model, largest, by_argument })
}

/// libseccomp has to be told both architectures of aarch64 by name, as it runs on x86_64.
fn for_oracle(machine: Machine, profile: &LinuxSeccomp) -> LinuxSeccomp {
    let mut profile = profile.clone();
    if machine == Machine::Aarch64 {
        let mut architectures = profile.architectures().clone().unwrap_or_default();
        architectures.push(Arch::ScmpArchAarch64);
        profile.set_architectures(Some(architectures));
    }
    profile
}

fn numbers() -> Vec<u32> {
    let usual = 0..1100;
    let x32 = X32_BIT - 2..X32_BIT + 1100;
    let arm = 0xf0000 - 1..0xf0000 + 20;
    usual.chain(arm).chain(x32).chain([0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX]).collect()
}

/// Asks both programs about everything; the calls where libseccomp's decision is not what the profile means.
fn compare(
    comparison: &Comparison,
    profile: &LinuxSeccomp,
    random: &mut Random,
    label: &dyn std::fmt::Display,
) -> Vec<Call> {
    let values = generate::boundaries(profile);
    let mut deviations = Vec::new();
    let mut ask = |call: Call| {
        if !comparison.check(&call, label) {
            deviations.push(call);
        }
    };
    for architecture in [X86_64, X86, AARCH64, ARM, 0, 0xc000_00f3] {
        for number in numbers() {
            let call = Call { number, architecture, arguments: [0; 6] };
            ask(call);
            ask(Call { arguments: [u64::MAX; 6], ..call });
            if comparison.by_argument.contains(&(Arch2::of_call(&call), number)) {
                let combinations = combinations(&values, random, architecture == X86);
                combinations.into_iter().for_each(|arguments| ask(Call { arguments, ..call }));
            }
        }
    }
    deviations
}

/// Boundary values of each argument: each pair of two arguments, and a random crowd.
fn combinations(values: &[Vec<u64>; 6], random: &mut Random, multiplexed: bool) -> Vec<[u64; 6]> {
    let mut first = values[0].clone();
    if multiplexed {
        first.extend(0..26);
    }
    let values: [&[u64]; 6] = std::array::from_fn(|index| if index == 0 { &first[..] } else { &values[index][..] });
    let mut calls: Vec<[u64; 6]> = Vec::new();
    for zero in values[0] {
        calls.extend(values[1].iter().map(|one| {
            std::array::from_fn(|index| match index {
                0 => *zero,
                1 => *one,
                _ => random.pick(values[index]),
            })
        }));
    }
    calls.extend((0..400).map(|_| std::array::from_fn(|index| random.pick(values[index]))));
    calls
}

/// Without the names that this libseccomp is too old for.
fn without_unknown(reference: &mut Reference, profile: &LinuxSeccomp) -> (LinuxSeccomp, Vec<String>) {
    let mut profile = profile.clone();
    let mut unknown = Vec::new();
    let mut syscalls = profile.syscalls().clone().unwrap_or_default();
    for entry in &mut syscalls {
        let (known, newer) = entry.names().iter().cloned().partition(|name| reference.knows(name));
        entry.set_names(known);
        unknown.extend::<Vec<String>>(newer);
    }
    syscalls.retain(|entry| !entry.names().is_empty());
    profile.set_syscalls(Some(syscalls));
    (profile, unknown)
}

#[test]
fn the_numbers_are_those_of_libseccomp() {
    let mut reference = Reference::start();
    let rules = |name: &str, arch: Arch| {
        let profile = serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": [arch],
            "syscalls": [{ "names": [name], "action": "SCMP_ACT_TRAP" }],
        });
        serde_json::from_value::<LinuxSeccomp>(profile).expect("a profile")
    };
    let table = include_str!("../src/seccomp/table.rs").lines().filter_map(|line| line.trim().strip_prefix("row(\""));
    let names: Vec<&str> = table.filter_map(|row| row.split('"').next()).collect();
    assert!(names.len() > 500);
    let (mut newer, mut different) = (BTreeSet::new(), BTreeSet::new());
    for (machine, archs) in [(Machine::X86_64, &ALL_X86[..]), (Machine::Aarch64, &ALL_ARM[..])] {
        for arch in archs {
            for name in &names {
                if !reference.knows(name) {
                    newer.insert(*name);
                    continue;
                }
                let (filter, _) =
                    compile_for(machine, &rules(name, *arch), &mut Problems::default()).expect("a program");
                let architecture = Arch2::of(*arch).architecture;
                let trapped = |number: &u32| {
                    let call = Call { number: *number, architecture, arguments: [0; 6] };
                    Arch2::of_call(&call) == Arch2::of(*arch) && interpreter::run(&filter.program, &call).0 == 0x3_0000
                };
                let ours: Vec<u32> = numbers().into_iter().filter(trapped).collect();
                let theirs: Vec<u32> = reference.number(*arch, name).into_iter().collect();
                if ours != theirs {
                    println!("{name} on {arch}: ours {ours:?}, libseccomp {theirs:?}");
                    different.insert(*name);
                }
            }
        }
    }
    println!("not in this libseccomp: {newer:?}");
    // The kernel's headers have the first on x32, and the second on ARM as another name of arm_sync_file_range.
    assert_eq!(different, BTreeSet::from(["map_shadow_stack", "sync_file_range2"]));
}

#[test]
fn real_profiles_decide_as_with_libseccomp() {
    let mut reference = Reference::start();
    let mut random = Random(1);
    for (name, profile) in configurations::all() {
        let (profile, newer) = without_unknown(&mut reference, &profile);
        let comparison = programs(&mut reference, Machine::X86_64, &profile).expect("libseccomp takes it");
        assert_eq!(compare(&comparison, &profile, &mut random, &name), []);
        println!(
            "{name}: {} instructions, libseccomp {}; left out: {newer:?}",
            comparison.ours.len(),
            comparison.theirs.len()
        );
        let mut profile = profile;
        profile.set_architectures(Some(ALL_ARM.to_vec()));
        let comparison = programs(&mut reference, Machine::Aarch64, &profile).expect("libseccomp takes it");
        assert_eq!(compare(&comparison, &profile, &mut random, &format!("{name} on aarch64")), []);
    }
}

/// Compares random profiles; how many libseccomp took, and how many of those it decides in another way somewhere.
fn random_profiles(machine: Machine, shape: Shape, seeds: std::ops::Range<u64>) -> (usize, usize) {
    let mut reference = Reference::start();
    let all = configurations::all().into_iter().flat_map(|(_, profile)| profile.syscalls().clone().unwrap_or_default());
    let mut names: Vec<String> = all.flat_map(|entry| entry.names().clone()).collect();
    names.sort();
    names.dedup();
    names.retain(|name| reference.knows(name));
    let architectures: Vec<String> = archs(machine).iter().map(Arch::to_string).collect();
    let architectures: Vec<&str> = architectures.iter().map(String::as_str).collect();
    let (mut compared, mut deviating) = (0, 0);
    for seed in seeds.clone() {
        let mut random = Random(seed);
        let profile = generate::profile(&mut random, &names, &architectures, shape);
        if let Some(comparison) = programs(&mut reference, machine, &profile) {
            let label = format!("seed {seed}, {}", serde_json::to_string(&profile).expect("JSON"));
            let deviations = compare(&comparison, &profile, &mut random, &label);
            if let Some(call) = deviations.first() {
                println!("libseccomp decides in another way: seed {seed}, {call:x?}");
                deviating += 1;
            }
            compared += 1;
        }
    }
    println!("{machine:?}, seeds {seeds:?}, {shape:?}: {compared} profiles compared, {deviating} deviate");
    (compared, deviating)
}

/// Comparisons for equality: the ones that profiles use.
const EQUALITY: &[&str] = OPERATORS.split_at(2).0;

const EQUAL: &[&str] = OPERATORS.split_at(1).0;

#[test]
fn rules_that_meet_decide_as_with_libseccomp() {
    let shape = Shape { operators: EQUALITY, single: false, one_action: true };
    let (compared, deviating) = random_profiles(Machine::X86_64, shape, 0..100);
    assert!(compared > 90 && deviating == 0);
    let (compared, deviating) = random_profiles(Machine::Aarch64, shape, 1000..1050);
    assert!(compared > 45 && deviating == 0);
}

#[test]
fn rules_that_contradict_each_other_have_the_precedence_of_libseccomp() {
    // libseccomp refuses many of them. (With masks its order depends on the upper halves alone; we compare whole values.)
    let shape = Shape { operators: EQUAL, single: false, one_action: false };
    let (compared, deviating) = random_profiles(Machine::X86_64, shape, 2000..2150);
    assert!(compared > 50 && deviating == 0);
}

#[test]
fn single_comparisons_of_all_kinds_decide_as_with_libseccomp() {
    let shape = Shape { operators: &OPERATORS, single: true, one_action: false };
    let (compared, deviating) = random_profiles(Machine::X86_64, shape, 3000..3100);
    assert!(compared > 70 && deviating == 0);
    let (compared, deviating) = random_profiles(Machine::Aarch64, shape, 4000..4050);
    assert!(compared > 45 && deviating == 0);
}

#[test]
fn comparisons_of_all_kinds_decide_as_the_profile_says() {
    // Where rules with ordered comparisons, or with "not equal", meet on one argument, libseccomp 2.5.4 mixes them up:
    // of `kill: arg0 < 0xffffffff` and `kill: arg0 < 0x100000005` it forgets that 0xffffffff is below the second.
    let shape = Shape { operators: &OPERATORS, single: false, one_action: true };
    let (compared, deviating) = random_profiles(Machine::X86_64, shape, 5000..5150);
    assert!(compared > 100 && deviating < compared);
    let (compared, deviating) = random_profiles(Machine::Aarch64, shape, 6000..6050);
    assert!(compared > 30 && deviating < compared);
}
