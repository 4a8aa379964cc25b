//! Device rules as one eBPF program for a cgroup of version 2.
//!
//! The kernel calls it with a `struct bpf_cgroup_dev_ctx` (access and type in one word, major, minor) for every mknod
//! and open of a device; 1 allows, 0 denies with EPERM.

use super::devices::{Access, DeviceKind, Rules};
use crate::sys::bpf::Instruction;

// linux/bpf_common.h and linux/bpf.h
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const COPY: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const SET: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const JUMP_UNEQUAL: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const JUMP_ANY_BIT: u8 = 0x46; // BPF_JMP32 | BPF_JSET | BPF_K
const JUMP: u8 = 0x05; // BPF_JMP | BPF_JA
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// The kinds of access that are still to be decided.
const WANTED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program that decides as `rules` say.
pub fn compile(rules: &Rules) -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD_WORD, KIND, CONTEXT, 0, 0),
        op(COPY, WANTED, KIND, 0, 0),
        op(AND, KIND, 0, 0, 0xffff),
        op(SHIFT_RIGHT, WANTED, 0, 0, 16),
        op(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        op(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    // The last rule decides, so it is asked first.
    for rule in rules.rules.iter().rev() {
        let verdict = verdict(rule.allow, rule.access);
        let mut conditions = vec![(KIND, if rule.devices.kind == DeviceKind::Block { 1 } else { 2 })];
        conditions.extend(rule.devices.major.map(|major| (MAJOR, major)));
        conditions.extend(rule.devices.minor.map(|minor| (MINOR, minor)));
        let end = conditions.len() + verdict.len();
        for (index, (register, value)) in conditions.into_iter().enumerate() {
            program.push(op(JUMP_UNEQUAL, register, 0, (end - index - 1) as i16, value as i32));
        }
        program.extend(verdict);
    }
    program.extend(answer(rules.allow_others));
    program
}

/// What a rule whose devices match does with the access that is wanted.
fn verdict(allow: bool, access: Access) -> Vec<Instruction> {
    let bits = i32::from(access.bits());
    let mut verdict = Vec::with_capacity(4);
    match (allow, access == Access::ALL) {
        (_, true) => {}
        // Allowed kinds are settled; go on while others are wanted.
        (true, false) => {
            verdict.push(op(AND, WANTED, 0, 0, !bits & 7));
            verdict.push(op(JUMP_UNEQUAL, WANTED, 0, 2, 0));
        }
        (false, false) => {
            verdict.push(op(JUMP_ANY_BIT, WANTED, 0, 1, bits));
            verdict.push(op(JUMP, 0, 0, 2, 0));
        }
    }
    verdict.extend(answer(allow));
    verdict
}

fn answer(allow: bool) -> [Instruction; 2] {
    [op(SET, RESULT, 0, 0, i32::from(allow)), op(EXIT, 0, 0, 0, 0)]
}

fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    let registers = if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
    Instruction { code, registers, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::devices::{Devices, Rule};

    /// Runs a program as the kernel would; `None` for an instruction that the kernel would refuse.
    fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> Option<u64> {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u64; 6];
        let mut at = 0usize;
        loop {
            let Instruction { code, registers: names, offset, immediate } = *program.get(at)?;
            let (to, from) = (usize::from(names & 15), usize::from(names >> 4));
            let word = registers[to] as u32;
            let mut jump = false;
            match code {
                LOAD_WORD if from == usize::from(CONTEXT) => registers[to] = context[offset as usize / 4].into(),
                COPY => registers[to] = u64::from(registers[from] as u32),
                AND => registers[to] = (word & immediate as u32).into(),
                SHIFT_RIGHT => registers[to] = (word >> immediate).into(),
                SET => registers[to] = immediate as u64,
                JUMP_UNEQUAL => jump = word != immediate as u32,
                JUMP_ANY_BIT => jump = word & immediate as u32 != 0,
                JUMP => jump = true,
                EXIT => return Some(registers[0]),
                _ => return None,
            }
            // Forward only, as every kernel's verifier accepts it.
            at += 1 + if jump { usize::try_from(offset).ok()? } else { 0 };
        }
    }

    /// What config-linux.md means: for each kind of access that is wanted the last rule that matches decides.
    fn allowed(rules: &Rules, kind: DeviceKind, access: u32, major: u32, minor: u32) -> bool {
        [1, 2, 4].iter().filter(|bit| access & *bit != 0).all(|bit| {
            let matches = |rule: &&Rule| {
                rule.devices.kind == kind
                    && rule.devices.major.is_none_or(|m| m == major)
                    && rule.devices.minor.is_none_or(|m| m == minor)
                    && u32::from(rule.access.bits()) & bit != 0
            };
            rules.rules.iter().rev().find(matches).map_or(rules.allow_others, |rule| rule.allow)
        })
    }

    #[test]
    fn decides_as_the_rules_say() {
        // A small generator (xorshift) makes rule lists in which everything collides with everything.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below) as u32
        };
        for _ in 0..2000 {
            let number = |n: u32| (n < 3).then_some(n.wrapping_sub(1));
            let list: Vec<Rule> = (0..random(9))
                .map(|_| {
                    let kind = if random(2) == 0 { DeviceKind::Char } else { DeviceKind::Block };
                    let (major, minor) = (number(random(4)), number(random(4)));
                    let access = Access::parse(["r", "w", "m", "rw", "rm", "wm", "rwm"][random(7) as usize]).unwrap();
                    Rule { allow: random(2) == 0, devices: Devices { kind, major, minor }, access }
                })
                .collect();
            let rules = Rules { allow_others: random(2) == 0, rules: list };
            let program = compile(&rules);
            for (code, kind) in [(1, DeviceKind::Block), (2, DeviceKind::Char)] {
                for access in 1..8 {
                    for (major, minor) in [(0, 0), (0, 1), (1, 0), (1, 1), (7, 1), (u32::MAX, 0)] {
                        let verdict = run(&program, code, access, major, minor);
                        let expected = allowed(&rules, kind, access, major, minor);
                        assert_eq!(verdict, Some(expected.into()), "{rules:?} {kind:?} {access} {major}:{minor}");
                    }
                }
            }
        }
    }
}
