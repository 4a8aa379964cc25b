//! Measures programs side by side, as `pipkin bench` and the benches do.
//!
//! A machine is never quiet: whatever else it does must hit all contenders alike. So each runs once within a round, in an order
//! that is drawn anew, and they are compared round by round; what is reported is the median of these ratios, with its quartiles.

mod chart;
mod order;
mod place;
mod samples;
mod table;

use std::path::Path;

use serde_json::{Value, json};

pub use chart::svg;
pub use place::in_memory;
pub use samples::{Samples, Spread};
pub use table::short;

/// Something to measure: a name, and a closure that does it once and gives the figure, in the comparison's unit.
pub struct Contender<'a> {
    name: String,
    once: Box<dyn FnMut() -> Result<f64, String> + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender; the closure's error says why it can not take part.
    pub fn new(name: impl Into<String>, once: impl FnMut() -> Result<f64, String> + 'a) -> Self {
        Self { name: name.into(), once: Box::new(once) }
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }
}

/// One measured contender.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// A figure for each round.
    pub samples: Samples,
}

/// Contenders that did the same work in the same rounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What was measured, in a line.
    pub title: String,
    /// Of the figures: `ms`, `us`, `kB`.
    pub unit: String,
    /// How often each contender ran.
    pub rounds: usize,
    /// In the order in which the contenders were given. Ratios are to the first one.
    pub rows: Vec<Row>,
    /// Who could not take part, and why.
    pub left_out: Vec<(String, String)>,
}

impl Comparison {
    /// Lets each contender warm up by one to three runs, which also find those that can not do the work here, and then run `rounds` times in
    /// turn. One that fails later is left out from then on, with all of its figures: they are of runs that others did not have.
    ///
    /// # Errors
    /// When the first contender, whom the others are compared with, fails after it could do the work.
    pub fn run(
        title: impl Into<String>,
        unit: &str,
        rounds: usize,
        contenders: Vec<Contender<'_>>,
    ) -> Result<Self, String> {
        let mut left_out = Vec::new();
        let mut able = Vec::new();
        for mut contender in contenders {
            match (0..(rounds / 5).clamp(1, 3)).try_for_each(|_| (contender.once)().map(drop)) {
                Ok(()) => able.push((contender, Samples::default())),
                Err(error) => left_out.push((contender.name, error)),
            }
        }
        for round in 0..rounds {
            let count = able.len();
            let mut failed = None;
            for at in order::of_round(round, count) {
                let (contender, samples) = &mut able[at];
                match (contender.once)() {
                    Ok(sample) => samples.push(sample),
                    Err(error) => failed = Some((at, format!("failed in round {round}: {error}"))),
                }
            }
            match failed {
                Some((0, error)) => return Err(format!("{} {error}", able[0].0.name)),
                Some((at, error)) => left_out.push((able.remove(at).0.name, error)),
                None => {}
            }
        }
        // Of two that failed in one round the other one has a figure less.
        let complete = |(contender, samples): &(Contender<'_>, Samples)| {
            let complete = samples.as_slice().len() == rounds;
            (!complete).then(|| (contender.name.clone(), "failed once".to_owned()))
        };
        left_out.extend(able.iter().filter_map(complete));
        able.retain(|(_, samples)| samples.as_slice().len() == rounds);
        let rows = able.into_iter().map(|(contender, samples)| Row { name: contender.name, samples }).collect();
        Ok(Self { title: title.into(), unit: unit.to_owned(), rounds, rows, left_out })
    }

    /// The ratio of a row to the first one, round by round; `None` for the first row itself.
    pub fn ratio(&self, row: &Row) -> Option<Samples> {
        let first = self.rows.first().filter(|first| first.name != row.name)?;
        Some(row.samples.divided_by(&first.samples))
    }

    /// What [`Comparison::json`] has written. `None` when something is missing in it.
    pub fn from_json(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let row = |row: &Value| {
            let samples = row["samples"].as_array()?.iter().map(Value::as_f64).collect::<Option<Samples>>()?;
            Some(Row { name: text(&row["name"])?, samples })
        };
        let left_out = |entry: &Value| Some((text(&entry["name"])?, text(&entry["why"])?));
        Some(Self {
            title: text(&value["title"])?,
            unit: text(&value["unit"])?,
            rounds: value["rounds"].as_u64()?.try_into().ok()?,
            rows: value["rows"].as_array()?.iter().map(row).collect::<Option<_>>()?,
            left_out: value["left_out"].as_array()?.iter().map(left_out).collect::<Option<_>>()?,
        })
    }

    /// All of it, samples included.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "samples": row.samples.as_slice(),
                    "spread": row.samples.spread().json(),
                    "times_the_first": self.ratio(row).map(|ratio| ratio.spread().json()),
                })
            })
            .collect();
        json!({
            "title": self.title, "unit": self.unit, "rounds": self.rounds, "rows": rows,
            "left_out": self.left_out.iter().map(|(name, why)| json!({"name": name, "why": why})).collect::<Vec<_>>(),
        })
    }
}

/// A bench's whole result: what was compared, and on which machine.
pub fn document(bench: &str, comparisons: &[Comparison]) -> Value {
    json!({
        "bench": bench, "machine": machine(),
        "comparisons": comparisons.iter().map(Comparison::json).collect::<Vec<_>>(),
    })
}

/// The machine in the words that a reader of the figures needs: kernel, processor, how many, and how busy it is.
pub fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let processor =
        processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let layout = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "v2" } else { "v1 or hybrid" };
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "processor": processor,
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "cgroups": layout,
        "loadavg": read("/proc/loadavg").trim(),
    })
}
