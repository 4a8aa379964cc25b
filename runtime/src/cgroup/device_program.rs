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
