//! From a checked profile to a program: decisions by number, then the dispatch over them, for each architecture.

use std::collections::BTreeMap;

use oci_spec::runtime::Arch;

use super::abi::{Abi, Machine, Row, SLOTS, USUAL_CALLS};
use super::condition::{Clause, Condition, Halves, Operator, clauses};
use super::dispatch::{Range, append, tree};
use super::graph::{Graph, Target, Test, Word};
use super::profile::Rule;
use super::program::assemble;
use crate::error::Problems;
use crate::sys::seccomp::Instruction;

/// `BPF_MAXINSNS`: the kernel takes no longer program.
pub(super) const LONGEST_PROGRAM: usize = 4096;
/// No program that fits needs as many nodes: more of them are not even built.
const MOST_NODES: usize = 4 * LONGEST_PROGRAM;

/// `SECCOMP_RET_KILL_THREAD`: for system calls of architectures that the profile does not name, as libseccomp.
const KILL_THREAD: u32 = 0;
/// `SECCOMP_RET_ERRNO | ENOSYS`.
const NOT_IMPLEMENTED: u32 = 0x0005_0000 | libc::ENOSYS as u32;
/// The action part of a `SECCOMP_RET_*` value.
const ACTION: u32 = 0xffff_0000;
/// `SECCOMP_RET_TRACE`, `SECCOMP_RET_LOG`, `SECCOMP_RET_ALLOW`.
const PERMISSIVE: [u32; 3] = [0x7ff0_0000, 0x7ffc_0000, 0x7fff_0000];

/// The program for a profile's rules; `None` with a problem noted when there can be none.
pub(super) fn compile(
    machine: Machine,
    architectures: &[Arch],
    default: u32,
    rules: &[Rule],
    problems: &mut Problems,
) -> Option<Vec<Instruction>> {
    let abis = machine.abis(architectures);
    let mut compiler = Compiler { default, graph: Graph::default(), chains: BTreeMap::new() };
    let mut decisions = Vec::with_capacity(abis.len());
    for abi in abis {
        decisions.push((abi, Decisions::of(abi, default, rules, problems)));
    }
    if !problems.is_empty() {
        return None;
    }
    let mut ranges: Vec<(u32, Vec<Range>)> = Vec::with_capacity(decisions.len());
    for (abi, decisions) in &decisions {
        let architecture = abi.audit_architecture();
        if ranges.last().is_none_or(|(last, _)| *last != architecture) {
            ranges.push((architecture, Vec::with_capacity(SLOTS)));
        }
        if let Some((_, ranges)) = ranges.last_mut() {
            compiler.ranges(*abi, decisions, ranges);
        }
    }
    if let Some((Abi::X86_64, x86_64)) = decisions.first() {
        let x32 = decisions.iter().find(|(abi, _)| *abi == Abi::X32).map(|(_, decisions)| decisions);
        compiler.above_x32(x86_64, x32, &mut ranges[0].1);
    }
    let foreign = Target::Return(KILL_THREAD);
    // The machine's own architecture, the first, is looked for first and so written last.
    let start = ranges.iter().rev().fold(foreign, |others, (architecture, ranges)| {
        let numbers = tree(&mut compiler.graph, ranges);
        compiler.graph.node(Test::equal(Word::ARCHITECTURE, *architecture), numbers, others)
    });
    if compiler.graph.nodes().len() >= MOST_NODES {
        problems.add("linux.seccomp.syscalls", TooLong(None));
        return None;
    }
    let program = assemble(&compiler.graph, start);
    if program.len() > LONGEST_PROGRAM {
        problems.add("linux.seccomp.syscalls", TooLong(Some(program.len())));
        return None;
    }
    Some(program)
}

/// The message for a program that the kernel would not take, with its length where that is known.
struct TooLong(Option<usize>);

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(length) => write!(f, "the filter would have {length} instructions")?,
            None => f.write_str("the filter would have many thousand instructions")?,
        }
        write!(f, ", and the kernel takes {LONGEST_PROGRAM}; use fewer rules with arguments")
    }
}

/// What is to be done about one system call.
#[derive(Clone, Debug)]
enum Decision {
    /// No rule: the default action.
    Default,
    /// A rule without conditions.
    Always(u32),
    /// The list of this index in [`Decisions::clauses`].
    Depends(usize),
}

/// What the rules say about each call of an ABI.
struct Decisions {
    by_slot: Vec<Decision>,
    clauses: Vec<Vec<(Clause, usize)>>,
    /// The largest number that any rule names, even where it says what is the default anyway.
    largest: u32,
}

impl Decisions {
    fn of(abi: Abi, default: u32, rules: &[Rule], problems: &mut Problems) -> Self {
        let mut decisions = Self { by_slot: vec![Decision::Default; SLOTS], clauses: Vec::new(), largest: 0 };
        for rule in rules {
            let alternatives = Alternatives::of(abi, &rule.alternatives);
            for call in &rule.calls {
                if let Some(slot) = abi.slot(call) {
                    decisions.largest = decisions.largest.max(abi.number(slot));
                }
                // runc and crun leave such rules out, which shows where the same call has a rule with conditions.
                if rule.action != default {
                    decisions.add_call(abi, call, rule, &alternatives);
                }
            }
        }
        decisions.refuse_contradictions(problems);
        decisions
    }

    fn add_call(&mut self, abi: Abi, call: &Row, rule: &Rule, alternatives: &Alternatives) {
        if let Some(slot) = abi.slot(call) {
            self.add(slot, rule, alternatives);
        }
        if let Some((slot, number)) = abi.multiplexed(call) {
            self.add(slot, rule, &alternatives.multiplexed(number));
        }
    }

    /// A rule without conditions is the only one that counts, and of several the first, as in libseccomp.
    fn add(&mut self, slot: usize, rule: &Rule, alternatives: &Alternatives) {
        let Alternatives::When(alternatives) = alternatives else {
            if !matches!(self.by_slot[slot], Decision::Always(_)) {
                self.by_slot[slot] = Decision::Always(rule.action);
            }
            return;
        };
        let list = match self.by_slot[slot] {
            Decision::Always(_) => return,
            Decision::Depends(list) => list,
            Decision::Default => {
                self.clauses.push(Vec::new());
                self.by_slot[slot] = Decision::Depends(self.clauses.len() - 1);
                self.clauses.len() - 1
            }
        };
        let clause = |conditions: &Vec<Condition>| Clause { conditions: conditions.clone(), action: rule.action };
        self.clauses[list].extend(alternatives.iter().map(|conditions| (clause(conditions), rule.index)));
    }

    /// Two actions under the same conditions: libseccomp refuses that, too.
    fn refuse_contradictions(&mut self, problems: &mut Problems) {
        for decision in &self.by_slot {
            let Decision::Depends(list) = decision else { continue };
            let list = &mut self.clauses[*list];
            list.sort();
            list.dedup_by(|b, a| a.0 == b.0);
            let same = |pair: &&[(Clause, usize)]| pair[0].0.conditions == pair[1].0.conditions;
            if let Some(pair) = list.windows(2).find(same) {
                let (first, second) = (pair[0].1.min(pair[1].1), pair[0].1.max(pair[1].1));
                let field = format!("linux.seccomp.syscalls[{second}].args");
                if problems.iter().all(|problem| problem.field != field) {
                    problems
                        .add(field, format_args!("the same conditions as in syscalls[{first}], but another action"));
                }
            }
            // The sort above brought equal conditions together; among those of the same precedence the profile's
            // order counts.
            list.sort_by_key(|(_, index)| *index);
            list.sort_by(|a, b| a.0.by_precedence(&b.0));
        }
    }
}

/// When a rule applies on one ABI.
enum Alternatives {
    Always,
    When(Vec<Vec<Condition>>),
}

impl Alternatives {
    fn of(abi: Abi, alternatives: &[Vec<Condition>]) -> Self {
        let on_abi = |condition: &Condition| if abi.is_64_bit() { *condition } else { condition.lower_half() };
        let lists = alternatives.iter().map(|conditions| {
            let kept: Vec<Condition> = conditions.iter().map(on_abi).filter(|c| !c.always_holds()).collect();
            (!kept.is_empty()).then_some(kept)
        });
        match lists.collect::<Option<Vec<_>>>() {
            Some(lists) if !lists.is_empty() => Self::When(lists),
            _ => Self::Always,
        }
    }

    /// The same for a call that is made through another, whose first argument is the number of the call. The arguments
    /// themselves are in memory, out of a filter's sight; libseccomp keeps the conditions on the others all the same.
    fn multiplexed(&self, number: u32) -> Self {
        let call = Condition::new(0, Operator::Equal, number.into());
        let other = |conditions: &Vec<Condition>| {
            let others = conditions.iter().filter(|condition| condition.argument() != 0);
            std::iter::once(call).chain(others.copied()).collect()
        };
        match self {
            Self::Always => Self::When(vec![vec![call]]),
            Self::When(lists) => Self::When(lists.iter().map(other).collect()),
        }
    }
}

struct Compiler {
    default: u32,
    graph: Graph,
    /// Code that is written already, by its rules: system calls with the same rules share it.
    chains: BTreeMap<(Halves, Vec<Clause>), Target>,
}

impl Compiler {
    /// Appends the ranges of an ABI's numbers.
    fn ranges(&mut self, abi: Abi, decisions: &Decisions, ranges: &mut Vec<Range>) {
        let (first, last) = abi.numbers();
        let default = Target::Return(self.default);
        append(ranges, first, default);
        for (slot, decision) in decisions.by_slot.iter().enumerate() {
            let target = match decision {
                Decision::Default => default,
                Decision::Always(action) => Target::Return(*action),
                Decision::Depends(list) => self.chain(abi, &decisions.clauses[*list]),
            };
            if slot == USUAL_CALLS {
                append(ranges, abi.number(USUAL_CALLS - 1) + 1, default);
            }
            append(ranges, abi.number(slot), target);
        }
        append(ranges, abi.number(SLOTS - 1) + 1, default);
        if let Some(newer) = self.newer(decisions)
            && decisions.largest < last
        {
            ranges.truncate(ranges.partition_point(|range| range.first <= decisions.largest));
            append(ranges, decisions.largest + 1, newer);
        }
    }

    /// Calls above the largest one that the profile names are newer than the profile: programs take ENOSYS as a hint to
    /// use an older call, but EPERM as a failure. Nothing of that kind where unknown calls are let through, nor where no
    /// call is known. This is runc's rule.
    fn newer(&self, decisions: &Decisions) -> Option<Target> {
        let permissive = PERMISSIVE.contains(&(self.default & ACTION));
        (decisions.largest != 0 && !permissive).then_some(Target::Return(NOT_IMPLEMENTED))
    }

    /// The rest of the numbers of x86_64's architecture, which x32 shares. Its bit is set in every other quarter of
    /// them. Where the profile does not name x32, its calls are foreign; but -1 is what a tracer writes to skip a call.
    fn above_x32(&self, x86_64: &Decisions, x32: Option<&Decisions>, ranges: &mut Vec<Range>) {
        let default = Target::Return(self.default);
        let unknown = if x32.is_some() { default } else { Target::Return(KILL_THREAD) };
        let newer_x32 = x32.and_then(|decisions| self.newer(decisions));
        if x32.is_none() {
            append(ranges, 0x4000_0000, unknown);
        }
        append(ranges, 0x8000_0000, self.newer(x86_64).unwrap_or(unknown));
        append(ranges, 0xc000_0000, newer_x32.unwrap_or(unknown));
        append(ranges, u32::MAX, newer_x32.unwrap_or(default));
    }

    fn chain(&mut self, abi: Abi, rules: &[(Clause, usize)]) -> Target {
        if self.graph.nodes().len() >= MOST_NODES {
            return Target::Return(self.default);
        }
        let halves = if abi.is_64_bit() { Halves::Both } else { Halves::Lower };
        let rules: Vec<Clause> = rules.iter().map(|(clause, _)| clause.clone()).collect();
        let graph = &mut self.graph;
        let key = (halves, rules);
        match self.chains.get(&key) {
            Some(written) => *written,
            None => {
                let target = clauses(graph, &key.1, halves, Target::Return(self.default));
                self.chains.insert(key, target);
                target
            }
        }
    }
}
