//! Comparisons of system call arguments, as tests of the 32-bit words that a filter can load.

use std::cmp::Ordering;

use super::graph::{Graph, Outcome, Target, Test, Word};

/// How an argument is compared; the value is unsigned.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// `argument & mask == value`; the value has no bits outside the mask.
    Masked {
        mask: u64,
    },
}

/// One comparison: `argument operator value`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Condition {
    argument: u8,
    operator: Operator,
    value: u64,
}

impl Condition {
    /// `argument` is an index below 6.
    pub fn new(argument: u8, operator: Operator, value: u64) -> Self {
        match operator {
            Operator::Masked { mask: u64::MAX } => Self { argument, operator: Operator::Equal, value },
            Operator::Masked { mask } => Self { argument, operator, value: value & mask },
            _ => Self { argument, operator, value },
        }
    }

    /// Which argument it looks at.
    pub fn argument(self) -> u8 {
        self.argument
    }

    /// The same comparison where only the lower half of an argument counts: what a 32-bit ABI's -1 needs.
    pub fn lower_half(self) -> Self {
        const LOW: u64 = u32::MAX as u64;
        let operator = match self.operator {
            Operator::Masked { mask } if mask & LOW == LOW => Operator::Equal,
            Operator::Masked { mask } => Operator::Masked { mask: mask & LOW },
            other => other,
        };
        Self { operator, value: self.value & LOW, ..self }
    }

    /// Whether it holds for every value, so that it need not be looked at.
    pub fn always_holds(self) -> bool {
        matches!(self.operator, Operator::Masked { mask: 0 })
    }

    /// The order in which libseccomp looks at the rules of one system call: the more particular first.
    fn by_precedence(self, other: Self) -> Ordering {
        let class = |condition: Self| match condition.operator {
            Operator::Equal | Operator::NotEqual | Operator::Masked { .. } => 0,
            Operator::Less | Operator::LessOrEqual => 1,
            Operator::Greater | Operator::GreaterOrEqual => 2,
        };
        let by_value = match class(self) {
            1 => self.value.cmp(&other.value),
            _ => other.value.cmp(&self.value),
        };
        other.argument.cmp(&self.argument).then(class(self).cmp(&class(other))).then(by_value)
    }
}

/// A rule for one system call: when all conditions hold, the kernel does `action`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Clause {
    /// In the order of their arguments, at most one for each.
    pub conditions: Vec<Condition>,
    /// A `SECCOMP_RET_*` value.
    pub action: u32,
}

impl Clause {
    /// The order of [`Condition::by_precedence`], condition by condition; a rule goes before those that extend it.
    pub fn by_precedence(&self, other: &Self) -> Ordering {
        let pairs = self.conditions.iter().zip(&other.conditions);
        let differing = pairs.map(|(a, b)| a.by_precedence(*b)).find(|order| order.is_ne());
        differing.unwrap_or_else(|| self.conditions.len().cmp(&other.conditions.len()))
    }
}

/// The code for the rules of one system call, in this order, and then `otherwise`.
pub(super) fn clauses(graph: &mut Graph, clauses: &[Clause], halves: Halves, otherwise: Target) -> Target {
    clauses.iter().rev().fold(otherwise, |next, clause| {
        let mut writer = Writer { graph, halves, action: Target::Return(clause.action), next, known: Vec::new() };
        writer.all(&clause.conditions)
    })
}

/// Which words of an argument count.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Halves {
    /// All 64 bits.
    Both,
    /// The lower 32.
    Lower,
}

/// Writes one clause. `known` holds the tests passed on the way to the place that is written, with their outcome: what
/// they decide is not tested again, neither in this clause nor in the ones that are tried after it.
struct Writer<'g> {
    graph: &'g mut Graph,
    halves: Halves,
    action: Target,
    next: Target,
    known: Vec<Outcome>,
}

impl Writer<'_> {
    /// The place to go to when the clause does not match.
    fn fail(&self) -> Target {
        self.graph.skip_known(self.next, &self.known)
    }

    fn all(&mut self, conditions: &[Condition]) -> Target {
        let Some((first, rest)) = conditions.split_first() else {
            return self.action;
        };
        let (low, high) = (Word::argument_low(first.argument), Word::argument_high(first.argument));
        let (value_low, value_high) = (first.value as u32, (first.value >> 32) as u32);
        match first.operator {
            Operator::Equal => self.equal([(high, value_high), (low, value_low)], rest),
            Operator::Masked { mask } => {
                self.equal([(high.masked((mask >> 32) as u32), value_high), (low.masked(mask as u32), value_low)], rest)
            }
            Operator::NotEqual => {
                let rest = self.all(rest);
                self.not_equal([(high, value_high), (low, value_low)], rest)
            }
            Operator::Greater => {
                let rest = self.all(rest);
                self.ordered(high, value_high, Test::greater(low, value_low), Side::Above, rest)
            }
            Operator::GreaterOrEqual => {
                let rest = self.all(rest);
                self.ordered(high, value_high, Test::greater_or_equal(low, value_low), Side::Above, rest)
            }
            Operator::LessOrEqual => {
                let rest = self.all(rest);
                self.ordered(high, value_high, Test::greater(low, value_low), Side::Below, rest)
            }
            Operator::Less => {
                let rest = self.all(rest);
                self.ordered(high, value_high, Test::greater_or_equal(low, value_low), Side::Below, rest)
            }
        }
    }

    /// Both words equal, then `rest`.
    fn equal(&mut self, [high, low]: [(Word, u32); 2], rest: &[Condition]) -> Target {
        let high = (self.halves == Halves::Both).then(|| Test::equal(high.0, high.1));
        self.branch(high, |w| w.branch(Some(Test::equal(low.0, low.1)), |w| w.all(rest), |w| w.fail()), |w| w.fail())
    }

    /// Either word different, then `rest`.
    fn not_equal(&mut self, [high, low]: [(Word, u32); 2], rest: Target) -> Target {
        let high = (self.halves == Halves::Both).then(|| Test::equal(high.0, high.1));
        self.branch(
            high,
            |w| w.branch(Some(Test::equal(low.0, low.1)), |w| w.fail(), |w| w.graph.skip_known(rest, &w.known)),
            |w| w.graph.skip_known(rest, &w.known),
        )
    }

    /// `low_test` decides when the upper words are equal, else the upper words do.
    fn ordered(&mut self, high: Word, value_high: u32, low_test: Test, side: Side, rest: Target) -> Target {
        let outcome = |w: &Self, above: bool| match (side, above) {
            (Side::Above, true) | (Side::Below, false) => w.graph.skip_known(rest, &w.known),
            (Side::Above, false) | (Side::Below, true) => w.fail(),
        };
        let lower = |w: &mut Self| w.branch(Some(low_test), |w| outcome(w, true), |w| outcome(w, false));
        if self.halves == Halves::Lower {
            return lower(self);
        }
        self.branch(
            Some(Test::greater(high, value_high)),
            |w| outcome(w, true),
            |w| w.branch(Some(Test::equal(high, value_high)), lower, |w| outcome(w, false)),
        )
    }

    /// A test and what follows on both sides; without a test, or when it is decided already, only the side that counts.
    fn branch(
        &mut self,
        test: Option<Test>,
        yes: impl FnOnce(&mut Self) -> Target,
        no: impl FnOnce(&mut Self) -> Target,
    ) -> Target {
        let Some(test) = test else {
            return yes(self);
        };
        match test.decided(&self.known) {
            Some(true) => return yes(self),
            Some(false) => return no(self),
            None => {}
        }
        // `no` first: what is written later comes earlier in the program, and the matching path should be the short one.
        self.known.push(Outcome { test, holds: false });
        let no = no(self);
        self.known.pop();
        self.known.push(Outcome { test, holds: true });
        let yes = yes(self);
        self.known.pop();
        self.graph.node(test, yes, no)
    }
}

/// On which side of the value an ordered comparison holds.
#[derive(Clone, Copy)]
enum Side {
    Above,
    Below,
}
