//! A comparison as text for a terminal.

use std::fmt;

use crate::{Comparison, machine};

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

/// A table in Markdown for each comparison, under a line that names the machine; ratios are to the first contender.
pub fn markdown(comparisons: &[Comparison]) -> String {
    let machine = machine();
    let field = |name: &str| machine[name].as_str().unwrap_or_default().to_owned();
    let load = field("loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let mut text = format!(
        "{}, {} processors, Linux {}; load averages at the end {}.\n",
        field("processor"),
        machine["processors"],
        field("kernel"),
        load.join(", ")
    );
    for comparison in comparisons {
        text.push_str(&table(comparison));
    }
    text
}

fn table(comparison: &Comparison) -> String {
    let Some(first) = comparison.rows.first() else { return String::new() };
    let mut text = format!(
        "\n| {}, {} | median | quartiles | minimum | times {} | at best |\n|---|---|---|---|---|---|\n",
        comparison.title, comparison.unit, first.name
    );
    for row in &comparison.rows {
        let spread = row.samples.spread();
        let [median, quarter, three_quarters, minimum] =
            [spread.median, spread.quarter, spread.three_quarters, spread.minimum].map(short);
        let ratios = comparison.ratio(row).map_or("| | |".to_owned(), |ratio| {
            format!("| {:.2} | {:.2} |", ratio.spread().median, spread.minimum / first.samples.spread().minimum)
        });
        text.push_str(&format!("| {} | {median} | {quarter} to {three_quarters} | {minimum} {ratios}\n", row.name));
    }
    text
}

/// Three significant digits or more, without an exponent.
pub(crate) fn short(figure: f64) -> String {
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
        assert_eq!(order.into_inner(), "ababbaabba");
        let text = comparison.to_string();
        assert!(text.contains("1.50 (1.50-1.50)") && text.contains("absent: left out: not installed"), "{text}");
        assert_eq!(comparison.json()["rows"][1]["times_the_first"]["median"], 1.5);
        let table = crate::markdown(std::slice::from_ref(&comparison));
        assert!(
            table.contains("| boot, ms |") && table.contains("\n| a | 2.00 | 2.00 to 2.00 | 2.00 | | |\n"),
            "{table}"
        );
        assert!(table.contains("\n| b | 3.00 | 3.00 to 3.00 | 3.00 | 1.50 | 1.50 |\n"), "{table}");
        assert_eq!(Comparison::from_json(&comparison.json()), Some(comparison));
    }

    #[test]
    fn a_contender_that_fails_later_ends_the_comparison() {
        let mut left = 3;
        let fails = Contender::new("weak", move || {
            left -= 1;
            if left == 0 { Err("tired".to_owned()) } else { Ok(1.0) }
        });
        let error = Comparison::run("boot", "ms", 2, vec![fails]).err();
        assert_eq!(error.as_deref(), Some("weak failed in round 1: tired"));
    }
}
