//! Figures of one contender, and what can be said of them.

use serde_json::{Value, json};

/// The figures of all rounds, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

/// Where the figures lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The smallest: what is left when nothing else disturbs.
    pub minimum: f64,
    /// A quarter of the figures is below.
    pub quarter: f64,
    /// Half of them.
    pub median: f64,
    /// Three quarters.
    pub three_quarters: f64,
    /// 99 of 100.
    pub p99: f64,
    /// The largest.
    pub maximum: f64,
}

impl Samples {
    /// Adds the figure of one more round.
    pub fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// In the order of the rounds.
    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }

    /// Round by round.
    pub fn divided_by(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| own / other).collect())
    }

    /// Order statistics by the nearest rank; all zero when there are no figures.
    pub fn spread(&self) -> Spread {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
            sorted.get(rank).copied().unwrap_or(0.0)
        };
        Spread {
            minimum: at(0.0),
            quarter: at(0.25),
            median: at(0.5),
            three_quarters: at(0.75),
            p99: at(0.99),
            maximum: at(1.0),
        }
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl Spread {
    /// As an object with the fields' names.
    pub fn json(&self) -> Value {
        json!({
            "minimum": self.minimum, "quarter": self.quarter, "median": self.median,
            "three_quarters": self.three_quarters, "p99": self.p99, "maximum": self.maximum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Samples;

    #[test]
    fn order_statistics() {
        let spread = (0..=100).rev().map(f64::from).collect::<Samples>().spread();
        assert_eq!(
            [spread.minimum, spread.quarter, spread.median, spread.three_quarters, spread.p99, spread.maximum],
            [0.0, 25.0, 50.0, 75.0, 99.0, 100.0]
        );
        assert_eq!(Samples::default().spread().median, 0.0);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let (own, other): (Samples, Samples) = ([2.0, 30.0].into_iter().collect(), [1.0, 10.0].into_iter().collect());
        assert_eq!(own.divided_by(&other).as_slice(), [2.0, 3.0]);
    }
}
