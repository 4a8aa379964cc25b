//! Figures as they are put into a document: one table of everything, the details of each comparison, what is above the floor,
//! and a chart.

use std::path::Path;

use pipkin_measure::{Comparison, Row, short, svg};
use serde_json::Value;

use super::pieces::{self, ABOVE};
use super::{EACH, LAYOUTS, Options};

/// The columns of the table of everything.
const CONTENDERS: [&str; 5] = ["floor", "pipkin-runtime", "crun", "runc", "youki"];

/// The beginnings of the titles that are in the chart: all would not fit on a page.
const CHART: [&str; 4] = [
    "boot, default configuration, ",
    "boot, default configuration with Docker's seccomp profile",
    "create + start + delete",
    "exec of a static",
];

/// Writes what the options ask for.
pub fn write(options: &Options, documents: &[Value]) {
    let all: Vec<Comparison> = documents.iter().flat_map(comparisons).collect();
    if let Some(file) = &options.markdown {
        let (above, side_by_side): (Vec<_>, Vec<_>) =
            all.iter().partition(|comparison| comparison.title.starts_with(ABOVE));
        let mut text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for (mark, tables) in [
            ("summary", machine(documents) + &summary(&side_by_side)),
            ("details", side_by_side.iter().map(|comparison| details(comparison)).collect()),
            ("above-the-floor", above.iter().map(|comparison| pieces::table(comparison)).collect()),
        ] {
            text = put_into(&text, mark, &tables, file);
        }
        std::fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    if let Some(file) = &options.svg {
        let is_drawn = |comparison: &Comparison| CHART.iter().any(|title| comparison.title.starts_with(title));
        let mut drawn: Vec<Comparison> = all.iter().filter(|comparison| is_drawn(comparison)).cloned().collect();
        if drawn.is_empty() {
            drawn = all;
        }
        std::fs::write(file, svg("pipkin side by side", &drawn))
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

/// What a document of `--json` compares.
pub fn comparisons(document: &Value) -> Vec<Comparison> {
    let comparisons = document["comparisons"].as_array().expect("comparisons");
    comparisons.iter().map(|value| Comparison::from_json(value).expect("a comparison")).collect()
}

/// Replaces what is between the marks `<!-- figures: MARK -->` and `<!-- end -->` of a document.
fn put_into(text: &str, mark: &str, tables: &str, file: &Path) -> String {
    let begin = format!("<!-- figures: {mark} -->\n");
    let parts = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once("<!-- end -->")?.1)));
    let (before, after) = parts.unwrap_or_else(|| panic!("{}: has no {begin:?} with an end", file.display()));
    format!("{before}{begin}\n{}\n\n<!-- end -->{after}", tables.trim())
}

/// A line that names the machine and says how busy it was.
fn machine(documents: &[Value]) -> String {
    let Some(machine) = documents.first().map(|document| &document["machine"]) else { return String::new() };
    let text = |name: &str| machine[name].as_str().unwrap_or_default();
    let load = |document: &Value| {
        let load = document["machine"]["loadavg"].as_str().unwrap_or_default();
        let load: Vec<&str> = load.split(' ').take(3).collect();
        format!("{} after {}", load.join(" "), document["bench"].as_str().unwrap_or_default())
    };
    let loads: Vec<String> = documents.iter().map(load).collect();
    format!(
        "{}, {} processors, Linux {}; load averages {}.\n\n",
        text("processor"),
        machine["processors"],
        text("kernel"),
        loads.join(", ")
    )
}

/// A line for each comparison of several runtimes: medians, and in brackets how many times that of pipkin-runtime (round by round).
fn summary(comparisons: &[&Comparison]) -> String {
    let mut text = String::new();
    for layout in LAYOUTS {
        let heading = layout.trim_start_matches(", ");
        let lines: Vec<String> = comparisons
            .iter()
            .filter_map(|comparison| line(comparison, comparison.title.strip_suffix(layout)?, &CONTENDERS))
            .collect();
        text += &table(heading, &CONTENDERS, &lines);
    }
    // What is measured once has contenders of its own.
    let anywhere: Vec<&&Comparison> = comparisons
        .iter()
        .filter(|comparison| LAYOUTS.iter().all(|layout| !comparison.title.ends_with(layout)))
        .collect();
    if let Some(first) = anywhere.first() {
        let columns: Vec<&str> = first.rows.iter().map(|row| row.name.as_str()).collect();
        let lines: Vec<String> =
            anywhere.iter().filter_map(|comparison| line(comparison, &comparison.title, &columns)).collect();
        text += &table("", &columns, &lines);
    }
    text
}

fn table(heading: &str, columns: &[&str], lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!("| {heading} | {} |\n|---|{}\n{}\n", columns.join(" | "), "---|".repeat(columns.len()), lines.concat())
}

fn line(comparison: &Comparison, title: &str, columns: &[&str]) -> Option<String> {
    let row = |name: &str| comparison.rows.iter().find(|row| row.name == name);
    let own = comparison.rows.iter().find(|row| is_own(row) && columns.contains(&row.name.as_str()))?;
    if comparison.rows.len() < 2 || title.ends_with(EACH) {
        return None;
    }
    let cell = |name: &&str| match row(name) {
        None => String::new(),
        Some(row) if is_own(row) => format!("**{}**", short(row.samples.spread().median)),
        Some(row) => format!("{} ({})", short(row.samples.spread().median), times(row, own)),
    };
    let cells: Vec<String> = columns.iter().map(cell).collect();
    Some(format!("| {title}, {} | {} |\n", comparison.unit, cells.join(" | ")))
}

/// Ours.
fn is_own(row: &Row) -> bool {
    row.name.starts_with("pipkin")
}

/// Two digits say more than noise.
fn times(row: &Row, own: &Row) -> String {
    let ratio = row.samples.divided_by(&own.samples).spread().median;
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.1}") }
}

/// All that is known of a comparison's figures; ratios are to the first contender.
fn details(comparison: &Comparison) -> String {
    let Some(first) = comparison.rows.first() else { return String::new() };
    let mut text = format!(
        "\n| {}, {} | median | quartiles | minimum | p99 | times {} | at best |\n|---|---|---|---|---|---|---|\n",
        comparison.title, comparison.unit, first.name
    );
    // The more of a rate the better.
    let best = |row: &Row| {
        let spread = row.samples.spread();
        if comparison.unit.ends_with("/s") { spread.maximum } else { spread.minimum }
    };
    for row in &comparison.rows {
        let spread = row.samples.spread();
        let [median, quarter, three_quarters, minimum, p99] =
            [spread.median, spread.quarter, spread.three_quarters, spread.minimum, spread.p99].map(short);
        let ratios = comparison.ratio(row).map_or("| | |".to_owned(), |ratio| {
            format!("| {:.2} | {:.2} |", ratio.spread().median, best(row) / best(first))
        });
        text += &format!("| {} | {median} | {quarter} to {three_quarters} | {minimum} | {p99} {ratios}\n", row.name);
    }
    for (name, why) in &comparison.left_out {
        // What programs print can be long, and is no Markdown.
        let why: String = why.lines().next().unwrap_or_default().chars().take(200).collect();
        text += &format!("\n{name} is left out: `{}`\n", why.replace('`', "'"));
    }
    text
}
