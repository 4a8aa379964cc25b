//! A comparison as text for a terminal.

use std::fmt;

use crate::Comparison;

impl fmt::Display for Comparison {
    /// A line for each contender: median, quartiles, extremes, and the ratio to the first contender with its quartiles. "at best" compares
    /// the minima.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} rounds, {}", self.title, self.rounds, self.unit)?;
        let first = self.rows.first();
        let heading = first.map_or(String::new(), |first| format!("times {} (1/4-3/4)", first.name));
        let columns = ["median", "minimum", "1/4", "3/4", "p99"].map(|name| format!("{name:>9}")).join("");
        writeln!(f, "  {:24}{columns}   {heading:>32}  {:>7}", "", "at best")?;
        for row in &self.rows {
            let spread = row.samples.spread();
            let figures = [spread.median, spread.minimum, spread.quarter, spread.three_quarters, spread.p99];
            let figures = figures.map(|figure| format!("{:>9}", short(figure))).join("");
            write!(f, "  {:24}{figures}", row.name)?;
            if let (Some(ratio), Some(first)) = (self.ratio(row), first) {
                let ratio = ratio.spread();
                let pairs = format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.quarter, ratio.three_quarters);
                write!(f, "   {pairs:>32}  {:7.2}", spread.minimum / first.samples.spread().minimum)?;
            }
            writeln!(f)?;
        }
        self.left_out.iter().try_for_each(|(name, why)| writeln!(f, "  {name}: left out: {why}"))
    }
}

/// Three significant digits or more, without an exponent.
pub fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Comparison, Contender};

    #[test]
    fn contenders_take_turns_and_are_compared_with_the_first() {
        let order = std::cell::RefCell::new(String::new());
        let contender = |name: &'static str, figure: f64| {
            let order = &order;
            Contender::new(name, move || {
                order.borrow_mut().push_str(name);
                Ok(figure)
            })
        };
        let absent = Contender::new("absent", || Err("not installed".to_owned()));
        let contenders = vec![contender("a", 2.0), contender("b", 3.0), absent];
        let comparison = Comparison::run("boot", "ms", 4, contenders).unwrap_or_else(|error| panic!("{error}"));
        let order = order.into_inner();
        assert_eq!(order.len(), 10, "{order}: once to warm up, then four rounds");
        for turns in order.as_bytes().chunks(2) {
            assert!(matches!(turns, b"ab" | b"ba"), "{order}");
        }
        let text = comparison.to_string();
        assert!(text.contains("1.50 (1.50-1.50)") && text.contains("absent: left out: not installed"), "{text}");
        assert_eq!(comparison.json()["rows"][1]["times_the_first"]["median"], 1.5);
        assert_eq!(Comparison::from_json(&comparison.json()), Some(comparison));
    }

    #[test]
    fn a_contender_that_fails_later_is_left_out_and_the_first_one_ends_the_comparison() {
        let weak = || {
            let mut left = 3;
            Contender::new("weak", move || {
                left -= 1;
                if left == 0 { Err("tired".to_owned()) } else { Ok(1.0) }
            })
        };
        let strong = |name| Contender::new(name, || Ok(1.0));
        let error = Comparison::run("boot", "ms", 2, vec![weak(), strong("strong")]).err();
        assert_eq!(error.as_deref(), Some("weak failed in round 1: tired"));
        let all = vec![strong("first"), weak(), strong("last")];
        let comparison = Comparison::run("boot", "ms", 3, all).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(comparison.left_out, [("weak".to_owned(), "failed in round 1: tired".to_owned())]);
        let figures = comparison.rows.iter().map(|row| (row.name.as_str(), row.samples.as_slice().len()));
        assert_eq!(figures.collect::<Vec<_>>(), [("first", 3), ("last", 3)]);
    }
}
