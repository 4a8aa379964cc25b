//! How a program travels from launcher to stage: eight bytes for each instruction, as the kernel has them; a profile is a thousand.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use super::Instruction;

pub(super) fn serialize<S: Serializer>(program: &[Instruction], serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for instruction in program {
        let [low, high] = instruction.code.to_ne_bytes();
        bytes.extend_from_slice(&[low, high, instruction.jt, instruction.jf]);
        bytes.extend_from_slice(&instruction.k.to_ne_bytes());
    }
    serializer.serialize_bytes(&bytes)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Instruction>, D::Error> {
    let (whole, rest) = <&[u8]>::deserialize(deserializer)?.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(D::Error::custom("a program of BPF that is cut off"));
    }
    let instruction = |&[low, high, jt, jf, a, b, c, d]: &[u8; 8]| Instruction {
        code: u16::from_ne_bytes([low, high]),
        jt,
        jf,
        k: u32::from_ne_bytes([a, b, c, d]),
    };
    Ok(whole.iter().map(instruction).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::*;

    #[test]
    fn a_program_arrives_as_it_was_sent() {
        let program =
            (0..300).map(|n| Instruction { code: n * 7, jt: n as u8, jf: 255 - n as u8, k: u32::MAX - u32::from(n) });
        let filter = Filter { program: program.collect(), flags: 3, notify: true };
        let bytes = postcard::to_allocvec(&filter).unwrap();
        assert_eq!(postcard::from_bytes::<Filter>(&bytes).unwrap(), filter);
        let cut = [&[7][..], &[0; 7], &[3, 1]].concat();
        assert!(postcard::from_bytes::<Filter>(&cut).is_err());
    }
}
