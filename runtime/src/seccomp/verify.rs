//! Whether a program can be one of [`compile`](super::compile)'s: asked of what comes from a file.

use super::compile::LONGEST_PROGRAM;
use super::program::{AND, JUMP, JUMP_ANY_BIT, JUMP_AT_LEAST, JUMP_EQUAL, LOAD, RETURN};
use crate::sys::seccomp::{Instruction, flag};

/// `sizeof(struct seccomp_data)`.
const DATA: u32 = 64;

/// `SECCOMP_RET_ACTION_FULL` of linux/seccomp.h.
const ACTION: u32 = 0xffff_0000;

/// `SECCOMP_RET_*` of linux/seccomp.h, but for USER_NOTIF: KILL_THREAD, TRAP, ERRNO, TRACE, LOG, ALLOW, KILL_PROCESS.
const ACTIONS: [u32; 7] = [0, 0x3_0000, 0x5_0000, 0x7ff0_0000, 0x7ffc_0000, 0x7fff_0000, 0x8000_0000];

/// Whether a filter without a listener can have been compiled here: no flag but those of profiles, at most 4096
/// instructions, and nothing but aligned loads from `struct seccomp_data`, AND, jumps that end in the program, and
/// returns of known actions, one of them at the end. Jumps only go forwards, so that it ends.
pub(super) fn is_sound(program: &[Instruction], flags: u32) -> bool {
    let known = flag::TSYNC | flag::LOG | flag::SPEC_ALLOW;
    let ends = program.last().is_some_and(|last| last.code == RETURN);
    let sound = |(index, instruction): (usize, &Instruction)| {
        let behind = program.len() - index - 1;
        let reaches = |distance: u32| usize::try_from(distance).is_ok_and(|distance| distance < behind);
        let Instruction { code, jt, jf, k } = *instruction;
        match code {
            LOAD => k < DATA && k.is_multiple_of(4),
            AND => true,
            JUMP => reaches(k),
            JUMP_EQUAL | JUMP_AT_LEAST | JUMP_ANY_BIT => reaches(jt.into()) && reaches(jf.into()),
            RETURN => ACTIONS.contains(&(k & ACTION)),
            _ => false,
        }
    };
    flags & !known == 0 && program.len() <= LONGEST_PROGRAM && ends && program.iter().enumerate().all(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: Instruction = Instruction { code: RETURN, jt: 0, jf: 0, k: 0x7fff_0000 };

    fn with(code: u16, jt: u8, jf: u8, k: u32) -> Vec<Instruction> {
        vec![Instruction { code, jt, jf, k }, ALLOW, ALLOW]
    }

    #[test]
    fn what_a_compiler_never_writes_is_refused() {
        for sound in [
            vec![ALLOW],
            with(LOAD, 0, 0, 60),
            with(JUMP, 0, 0, 1),
            with(JUMP_EQUAL, 1, 1, 7),
            with(RETURN, 0, 0, 0x5_0026),
            vec![ALLOW; LONGEST_PROGRAM],
        ] {
            assert!(is_sound(&sound, 0b111), "{:?}", &sound[..1]);
        }
        for unsound in [
            vec![],
            vec![ALLOW; LONGEST_PROGRAM + 1],
            with(LOAD, 0, 0, 64),
            with(LOAD, 0, 0, 62),
            with(JUMP, 0, 0, 2),
            with(JUMP, 0, 0, u32::MAX),
            with(JUMP_EQUAL, 2, 0, 7),
            with(JUMP_AT_LEAST, 0, 2, 7),
            with(JUMP_ANY_BIT, 0, 255, 7),
            with(RETURN, 0, 0, 0x7fc0_0000),
            with(RETURN, 0, 0, 0x6_0000),
            // BPF_ST, BPF_LDX, BPF_RET | BPF_A, BPF_JGT
            with(0x02, 0, 0, 0),
            with(0x01, 0, 0, 0),
            with(0x16, 0, 0, 0),
            with(0x25, 0, 0, 0),
            vec![ALLOW, Instruction { code: AND, jt: 0, jf: 0, k: 1 }],
        ] {
            assert!(!is_sound(&unsound, 0), "{:?}", unsound.first());
        }
        for unknown in [0b1000, 0b10_0000, 1 << 31] {
            assert!(!is_sound(&[ALLOW], unknown), "{unknown:#b}");
        }
    }
}
