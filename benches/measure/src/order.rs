//! Who runs when.

/// The order of a round: drawn, so that nobody always comes after the same one and pays for what that one leaves to be cleaned
/// up (a network namespace takes the kernel milliseconds), but the same whenever it is asked for.
pub fn of_round(round: usize, count: usize) -> Vec<usize> {
    let mut state = round as u64;
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, (next(&mut state) % (last as u64 + 1)) as usize);
    }
    order
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_runs_once_and_comes_after_everybody() {
        const COUNT: usize = 5;
        let mut after = [[0; COUNT]; COUNT];
        for round in 0..1000 {
            let order = of_round(round, COUNT);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
            for pair in order.windows(2) {
                after[pair[1]][pair[0]] += 1;
            }
        }
        // 4 of 5 in a round come after somebody of 20 pairs: 200 times each.
        for (one, before) in after.iter().enumerate() {
            for (other, times) in before.iter().enumerate().filter(|(other, _)| *other != one) {
                assert!((150..250).contains(times), "{one} comes after {other} {times} times");
            }
        }
    }

    #[test]
    fn one_and_none() {
        assert_eq!(of_round(3, 1), [0]);
        assert!(of_round(3, 0).is_empty());
    }
}
