//! From a system call's number to what is to be done about it: a balanced tree over ranges of numbers.

use super::graph::{Graph, Target, Test, Word};

/// All numbers from `first` to the next range's first lead to `target`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub first: u32,
    pub target: Target,
}

/// Appends a range; one that goes on like the last one is joined to it.
pub(super) fn append(ranges: &mut Vec<Range>, first: u32, target: Target) {
    if ranges.last().is_none_or(|last| last.target != target) {
        ranges.push(Range { first, target });
    }
}

/// The tree over `ranges`, which are sorted and begin with number 0.
pub(super) fn tree(graph: &mut Graph, ranges: &[Range]) -> Target {
    balanced(graph, &leaves(ranges))
}

/// Numbers from `first` on that one comparison at most decides.
struct Leaf {
    first: u32,
    target: Target,
    exception: Option<(u32, Target)>,
}

/// Joins three ranges where the middle one is a single number and the outer ones lead to the same place: one comparison
/// for equality does for them, instead of two for order.
fn leaves(mut ranges: &[Range]) -> Vec<Leaf> {
    let mut leaves = Vec::with_capacity(ranges.len());
    while let Some((range, rest)) = ranges.split_first() {
        let Range { first, target } = *range;
        let exception = match rest {
            [middle, last, ..] if last.target == target && last.first - middle.first == 1 => {
                ranges = &rest[2..];
                Some((middle.first, middle.target))
            }
            _ => {
                ranges = rest;
                None
            }
        };
        leaves.push(Leaf { first, target, exception });
    }
    leaves
}

fn balanced(graph: &mut Graph, leaves: &[Leaf]) -> Target {
    match leaves {
        [] => unreachable!("there is a range for number 0"),
        [leaf] => match leaf.exception {
            Some((number, target)) => graph.node(Test::equal(Word::NUMBER, number), target, leaf.target),
            None => leaf.target,
        },
        _ => {
            let (lower, upper) = leaves.split_at(leaves.len() / 2);
            let at_least = Test::greater_or_equal(Word::NUMBER, upper[0].first);
            let upper = balanced(graph, upper);
            let lower = balanced(graph, lower);
            graph.node(at_least, upper, lower)
        }
    }
}
