//! Classic BPF as the kernel runs it on system calls, in Rust: what a filter decides without being loaded.

use pipkin_runtime::seccomp::Instruction;

/// `struct seccomp_data` of linux/seccomp.h, on a little-endian machine.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Call {
    pub number: u32,
    pub architecture: u32,
    pub arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            8 | 12 => 0,
            16..64 if offset.is_multiple_of(8) => self.arguments[(offset as usize - 16) / 8] as u32,
            16..64 if offset.is_multiple_of(4) => (self.arguments[(offset as usize - 16) / 8] >> 32) as u32,
            _ => panic!("the kernel takes no load from offset {offset}"),
        }
    }
}

/// The action, and how many instructions it took.
pub fn run(program: &[Instruction], call: &Call) -> (u32, usize) {
    let (mut accumulator, mut at, mut steps) = (0u32, 0usize, 0usize);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        steps += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => accumulator = call.word(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x45 => at += jump(accumulator & k != 0),
            0x06 => return (k, steps),
            other => panic!("instruction {other:#x} is none that a filter needs"),
        }
    }
}

/// What the kernel checks before it takes a program: known instructions, jumps that end inside, a return at the end.
pub fn check(program: &[Instruction]) {
    assert!((1..=4096).contains(&program.len()));
    for (at, instruction) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        match instruction.code {
            0x20 => assert!(instruction.k < 64 && instruction.k.is_multiple_of(4)),
            0x54 | 0x06 => {}
            0x05 => assert!((instruction.k as usize) < left),
            0x15 | 0x25 | 0x35 | 0x45 => assert!(usize::from(instruction.jt.max(instruction.jf)) < left),
            other => panic!("instruction {other:#x}"),
        }
    }
    assert_eq!(program[program.len() - 1].code, 0x06);
}
