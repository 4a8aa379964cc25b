//! Comparisons as a picture: bars to the medians, whiskers over the middle half.

use std::fmt::Write;

use crate::Comparison;
use crate::table::short;

const LABELS: f64 = 190.0;
const BARS: f64 = 500.0;
const VALUES: f64 = 150.0;
const LINE: f64 = 26.0;
const TITLE: f64 = 44.0;

/// An SVG document with a group of bars for each comparison. It has its own colours for light and for dark pages.
pub fn svg(heading: &str, comparisons: &[Comparison]) -> String {
    let width = LABELS + BARS + VALUES;
    let lines: usize = comparisons.iter().map(|comparison| comparison.rows.len()).sum();
    let height = 50.0 + comparisons.len() as f64 * TITLE + lines as f64 * LINE + 10.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n{STYLE}\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"heading\" x=\"16\" y=\"30\">{}</text>\n",
        escape(heading),
        escape(heading)
    );
    let mut y = 50.0;
    for comparison in comparisons {
        y = group(&mut text, comparison, y);
    }
    text.push_str("</svg>\n");
    text
}

const STYLE: &str = "<style>\n\
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }\n\
    .page { fill: #ffffff }\n\
    .heading { font-size: 17px; font-weight: 600 }\n\
    .title { font-weight: 600 }\n\
    .bar { fill: #9aa4b2 }\n\
    .own { fill: #c2571a }\n\
    .whisker { stroke: #1f2328; stroke-width: 1.5 }\n\
    .value { fill: #59636e }\n\
    @media (prefers-color-scheme: dark) {\n\
    text { fill: #e6edf3 } .page { fill: #0d1117 } .bar { fill: #59636e } .own { fill: #e8833a }\n\
    .whisker { stroke: #e6edf3 } .value { fill: #9198a1 }\n\
    }\n\
    </style>";

/// Draws one comparison below `y` and gives where the next may begin.
fn group(text: &mut String, comparison: &Comparison, y: f64) -> f64 {
    let longest =
        comparison.rows.iter().map(|row| row.samples.spread().three_quarters).fold(f64::MIN_POSITIVE, f64::max);
    let scale = BARS / longest;
    push(text, format_args!("<text class=\"title\" x=\"16\" y=\"{}\">{}</text>", y + 28.0, escape(&comparison.title)));
    let mut top = y + TITLE;
    for row in &comparison.rows {
        let spread = row.samples.spread();
        let class = if row.name.starts_with("pipkin") { "own" } else { "bar" };
        let (middle, bottom) = (top + LINE / 2.0 - 2.0, top + LINE - 8.0);
        push(
            text,
            format_args!(
                "<text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">{}</text>",
                LABELS - 8.0,
                escape(&row.name)
            ),
        );
        push(
            text,
            format_args!(
                "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{top}\" width=\"{:.1}\" height=\"{}\" rx=\"2\"/>",
                spread.median * scale,
                LINE - 6.0
            ),
        );
        let (from, to) = (LABELS + spread.quarter * scale, LABELS + spread.three_quarters * scale);
        push(
            text,
            format_args!(
                "<line class=\"whisker\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>"
            ),
        );
        let ratio = comparison.ratio(row).map_or(String::new(), |ratio| format!(" ({:.2}x)", ratio.spread().median));
        push(
            text,
            format_args!(
                "<text class=\"value\" x=\"{:.1}\" y=\"{bottom}\">{} {}{ratio}</text>",
                to.max(LABELS + spread.median * scale) + 8.0,
                short(spread.median),
                comparison.unit
            ),
        );
        top += LINE;
    }
    top
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string can not fail.
    let _ = writeln!(text, "{line}");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use crate::{Comparison, Contender};

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let contenders = vec![Contender::new("floor", || Ok(1.0)), Contender::new("a <b>", || Ok(2.0))];
        let comparison = Comparison::run("boot", "ms", 3, contenders).unwrap_or_else(|error| panic!("{error}"));
        let svg = super::svg("Boot & more", &[comparison]);
        assert!(svg.contains("width=\"250.0\"") && svg.contains("width=\"500.0\""), "{svg}");
        assert!(svg.contains("Boot &amp; more") && svg.contains("a &lt;b&gt;") && svg.contains("(2.00x)"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 3);
    }
}
