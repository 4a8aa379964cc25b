//! From a graph of tests to a classic BPF program.

use super::graph::{Comparison, Graph, Node, Target, Word};
use crate::sys::seccomp::Instruction;

/// `BPF_LD | BPF_W | BPF_ABS`: load the word at offset k of `struct seccomp_data`.
pub(super) const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
pub(super) const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`: skip k instructions.
pub(super) const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
pub(super) const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGE | BPF_K`.
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
/// `BPF_JMP | BPF_JSET | BPF_K`.
pub(super) const JUMP_ANY_BIT: u16 = 0x45;
/// `BPF_RET | BPF_K`.
pub(super) const RETURN: u16 = 0x06;

/// How far a conditional jump reaches.
const REACH: usize = u8::MAX as usize;

/// The program that starts at `start`.
///
/// It uses loads of number and architecture, AND and jumps by constants only (and arguments where the profile compares
/// them): what the kernel can emulate at load to find the calls that are allowed whatever their arguments, for which it
/// then never runs the filter (`seccomp_is_const_allow`, Linux 5.11).
pub(super) fn assemble(graph: &Graph, start: Target) -> Vec<Instruction> {
    let nodes = graph.nodes();
    let entries = entries(nodes, start);
    let mut assembler = Assembler { reversed: Vec::with_capacity(nodes.len() * 3 / 2), returns: Vec::new() };
    let mut places = vec![Place::default(); nodes.len()];
    for (index, node) in nodes.iter().enumerate().filter(|(index, _)| entries[*index].reached) {
        places[index] = assembler.node(node, entries[index].loads, nodes, &places);
    }
    if let Target::Return(action) = start {
        assembler.push(RETURN, 0, 0, action);
    }
    assembler.reversed.reverse();
    assembler.reversed
}

/// How a node is come to.
#[derive(Clone, Copy, Default)]
struct Entry {
    reached: bool,
    /// From somewhere that has not the node's word in the accumulator.
    loads: bool,
}

fn entries(nodes: &[Node], start: Target) -> Vec<Entry> {
    let mut entries = vec![Entry::default(); nodes.len()];
    if let Target::Node(index) = start {
        entries[index as usize] = Entry { reached: true, loads: true };
    }
    for (index, node) in nodes.iter().enumerate().rev() {
        if !entries[index].reached {
            continue;
        }
        for target in [node.yes, node.no] {
            if let Target::Node(next) = target {
                let entry = &mut entries[next as usize];
                entry.reached = true;
                entry.loads |= nodes[next as usize].test.word != node.test.word;
            }
        }
    }
    entries
}

/// Where a node is, counted from the program's end.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Its first load, or its test when nothing needs to be loaded.
    load: usize,
    /// Its test.
    test: usize,
}

/// Writes the program from its end: all jumps go forwards, so that their targets are there already.
struct Assembler {
    reversed: Vec<Instruction>,
    /// The last place of each return value.
    returns: Vec<(u32, usize)>,
}

impl Assembler {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.reversed.push(Instruction { code, jt, jf, k });
        self.reversed.len() - 1
    }

    fn node(&mut self, node: &Node, loads: bool, nodes: &[Node], places: &[Place]) -> Place {
        let place = |target| match target {
            Target::Node(index) if nodes[index as usize].test.word == node.test.word => places[index as usize].test,
            Target::Node(index) => places[index as usize].load,
            Target::Return(_) => 0,
        };
        let (yes, no) = self.within_reach((node.yes, place(node.yes)), (node.no, place(node.no)));
        let (code, k) = match node.test.comparison {
            Comparison::Equal(value) => (JUMP_EQUAL, value),
            Comparison::AtLeast(bound) => (JUMP_AT_LEAST, bound as u32),
            Comparison::AnyBit(bits) => (JUMP_ANY_BIT, bits),
        };
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        let test = self.push(code, jt, jf, k);
        let load = if loads { self.load(node.test.word) } else { test };
        Place { load, test }
    }

    fn load(&mut self, word: Word) -> usize {
        if word.mask != u32::MAX {
            self.push(AND, 0, 0, word.mask);
        }
        self.push(LOAD, 0, 0, word.offset)
    }

    /// How many instructions the next one would have to skip to get to `place`.
    fn distance(&self, place: usize) -> usize {
        self.reversed.len() - 1 - place
    }

    /// Places that lead to both targets and that the next instruction can jump to.
    fn within_reach(&mut self, yes: (Target, usize), no: (Target, usize)) -> (usize, usize) {
        let mut places = [self.place_of(yes), self.place_of(no)];
        let targets = [yes.0, no.0];
        // What is inserted for one pushes the other further away: go on until both are near.
        while let Some(far) = (0..2).find(|side| self.distance(places[*side]) > REACH) {
            places[far] = match targets[far] {
                Target::Return(action) => self.write_return(action),
                Target::Node(_) => self.push(JUMP, 0, 0, self.distance(places[far]) as u32),
            };
        }
        (places[0], places[1])
    }

    fn place_of(&mut self, (target, place): (Target, usize)) -> usize {
        let Target::Return(action) = target else {
            return place;
        };
        let written = self.returns.iter().find(|(value, _)| *value == action).map(|(_, place)| *place);
        written.unwrap_or_else(|| self.write_return(action))
    }

    fn write_return(&mut self, action: u32) -> usize {
        let place = self.push(RETURN, 0, 0, action);
        match self.returns.iter_mut().find(|(value, _)| *value == action) {
            Some(known) => known.1 = place,
            None => self.returns.push((action, place)),
        }
        place
    }
}
