//! A filter as a graph of yes-or-no tests, before it has addresses.
//!
//! A node can only lead to nodes that exist already, so the graph has no loop and the order in which the nodes were
//! made, backwards, is an order in which a BPF program (all of whose jumps go forwards) can hold them.

/// A place in the graph.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Target {
    /// The decision is made: a `SECCOMP_RET_*` value.
    Return(u32),
    /// The node of this index.
    Node(u32),
}

/// Four bytes of `struct seccomp_data`, under a mask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Word {
    /// In bytes from the start of the structure.
    pub offset: u32,
    /// The bits that count.
    pub mask: u32,
}

impl Word {
    /// The system call's number.
    pub const NUMBER: Self = Self { offset: 0, mask: u32::MAX };
    /// `AUDIT_ARCH_*`.
    pub const ARCHITECTURE: Self = Self { offset: 4, mask: u32::MAX };

    /// The lower half of an argument, on a little-endian machine.
    pub fn argument_low(index: u8) -> Self {
        Self { offset: 16 + 8 * u32::from(index), mask: u32::MAX }
    }

    /// The upper half of an argument, on a little-endian machine.
    pub fn argument_high(index: u8) -> Self {
        Self { offset: 20 + 8 * u32::from(index), mask: u32::MAX }
    }

    /// Only these bits of it.
    pub fn masked(self, mask: u32) -> Self {
        Self { mask, ..self }
    }
}

/// What a test compares a word with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    /// With this value, which has no bits outside the word's mask.
    Equal(u32),
    /// With a lower bound; up to 2^32, which no word reaches.
    AtLeast(u64),
    /// One of these bits is set.
    AnyBit(u32),
}

/// A question about a word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Test {
    pub word: Word,
    pub comparison: Comparison,
    /// Whether the answer is to be turned round.
    inverted: bool,
}

impl Test {
    fn new(word: Word, comparison: Comparison) -> Self {
        Self { word, comparison, inverted: false }
    }

    /// `word == value`. Under a mask, where one jump on bits can say it, it is said so: the loaded word stays whole.
    pub fn equal(word: Word, value: u32) -> Self {
        let whole = word.masked(u32::MAX);
        match word.mask {
            u32::MAX => Self::new(word, Comparison::Equal(value)),
            mask if value == 0 => Self { inverted: true, ..Self::new(whole, Comparison::AnyBit(mask)) },
            mask if value == mask && mask.is_power_of_two() => Self::new(whole, Comparison::AnyBit(mask)),
            _ => Self::new(word, Comparison::Equal(value)),
        }
    }

    /// `word > value`.
    pub fn greater(word: Word, value: u32) -> Self {
        Self::new(word, Comparison::AtLeast(u64::from(value) + 1))
    }

    /// `word >= value`.
    pub fn greater_or_equal(word: Word, value: u32) -> Self {
        Self::new(word, Comparison::AtLeast(u64::from(value)))
    }

    /// The answer, if it follows from answers that are known.
    pub fn decided(self, known: &[Outcome]) -> Option<bool> {
        if let Comparison::AnyBit(0) = self.comparison {
            return Some(self.inverted);
        }
        let (mut least, mut most) = (0, u64::from(u32::MAX));
        for Outcome { test, holds } in known.iter().filter(|outcome| outcome.test.word == self.word) {
            let holds = *holds != test.inverted;
            match test.comparison {
                same if same == self.comparison => return Some(holds != self.inverted),
                Comparison::Equal(value) if holds && test.word.mask == u32::MAX => {
                    (least, most) = (value.into(), value.into());
                }
                Comparison::AtLeast(bound) if holds => least = least.max(bound),
                Comparison::AtLeast(bound) => most = most.min(bound.saturating_sub(1)),
                Comparison::Equal(_) | Comparison::AnyBit(_) => {}
            }
        }
        let answer = match self.comparison {
            Comparison::Equal(value) if self.word.mask != u32::MAX || (least..=most).contains(&value.into()) => {
                (self.word.mask == u32::MAX && least == most).then_some(true)
            }
            Comparison::Equal(_) => Some(false),
            Comparison::AtLeast(bound) if least >= bound => Some(true),
            Comparison::AtLeast(bound) if most < bound => Some(false),
            Comparison::AnyBit(bits) if least == most => Some(least & u64::from(bits) != 0),
            Comparison::AtLeast(_) | Comparison::AnyBit(_) => None,
        };
        answer.map(|answer| answer != self.inverted)
    }
}

/// A test and its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub test: Test,
    pub holds: bool,
}

/// A test and where each answer leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub test: Test,
    pub yes: Target,
    pub no: Target,
}

/// All nodes, in the order they were made.
#[derive(Default)]
pub(super) struct Graph(Vec<Node>);

impl Graph {
    /// Adds a test; none where both answers lead to the same place.
    pub fn node(&mut self, test: Test, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let (yes, no) = if test.inverted { (no, yes) } else { (yes, no) };
        self.0.push(Node { test: Test { inverted: false, ..test }, yes, no });
        Target::Node(self.0.len() as u32 - 1)
    }

    /// Goes on from a place as far as known answers lead.
    pub fn skip_known(&self, mut place: Target, known: &[Outcome]) -> Target {
        while let Target::Node(index) = place {
            let node = &self.0[index as usize];
            match node.test.decided(known) {
                Some(true) => place = node.yes,
                Some(false) => place = node.no,
                None => break,
            }
        }
        place
    }

    /// The nodes, in the order they were made.
    pub fn nodes(&self) -> &[Node] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: Word = Word { offset: 16, mask: u32::MAX };

    fn outcome(test: Test, holds: bool) -> Outcome {
        Outcome { test, holds }
    }

    #[test]
    fn tests_that_can_have_one_answer_only_are_decided() {
        assert_eq!(Test::greater(WORD, u32::MAX).decided(&[]), Some(false));
        assert_eq!(Test::greater_or_equal(WORD, 0).decided(&[]), Some(true));
        assert_eq!(Test::equal(WORD.masked(0), 0).decided(&[]), Some(true));
        assert_eq!(Test::equal(WORD, 0).decided(&[]), None);
    }

    #[test]
    fn answers_follow_from_what_is_known() {
        let at_most_0 = outcome(Test::greater(WORD, 0), false);
        assert_eq!(Test::equal(WORD, 0).decided(&[at_most_0]), Some(true));
        assert_eq!(Test::equal(WORD, 1).decided(&[at_most_0]), Some(false));
        let is_6 = outcome(Test::equal(WORD, 6), true);
        assert_eq!(Test::greater(WORD, 5).decided(&[is_6]), Some(true));
        assert_eq!(Test::greater(WORD, 6).decided(&[is_6]), Some(false));
        assert_eq!(Test::equal(WORD.masked(1), 0).decided(&[is_6]), Some(true));
        let no_bit = outcome(Test::equal(WORD.masked(12), 0), true);
        assert_eq!(Test::equal(WORD.masked(12), 0).decided(&[no_bit]), Some(true));
        assert_eq!(Test::equal(WORD.masked(4), 0).decided(&[no_bit]), None);
        let other_word = outcome(Test::equal(Word { offset: 20, ..WORD }, 6), true);
        assert_eq!(Test::equal(WORD, 6).decided(&[other_word]), None);
    }
}
