//! Where the time of a boot goes, from what `pipkin-runtime --trace-boot` writes.

use std::path::Path;

use serde_json::{Value, json};

use pipkin_measure::Samples;

use crate::output;

/// One step of a boot, over several boots.
pub struct Step {
    process: String,
    name: String,
    /// Since the launcher's first step, in microseconds.
    begins: Samples,
    lengths: Samples,
}

/// Boots several times and takes the traces together.
///
/// # Errors
/// What `boot` says, or that its trace can not be read.
pub fn measure(rounds: usize, file: &Path, boot: impl Fn() -> Result<(), String>) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    for _ in 0..rounds {
        boot()?;
        let text = std::fs::read_to_string(file).map_err(|cause| format!("{}: {cause}", file.display()))?;
        // A list whose closing bracket is missing.
        let text = format!("{}]", text.trim_end().trim_end_matches(','));
        let events: Vec<Value> = serde_json::from_str(&text).map_err(|cause| format!("{}: {cause}", file.display()))?;
        let number = |event: &Value, key: &str| event[key].as_f64().unwrap_or(0.0);
        let spans = || events.iter().filter(|event| event["ph"] == "X");
        let begin = spans().map(|event| number(event, "ts")).fold(f64::INFINITY, f64::min);
        for event in spans() {
            let (process, name) = (if event["pid"] == 1 { "launcher" } else { "stage" }, &event["name"]);
            let known = steps.iter_mut().find(|step| step.process == process && *name == step.name.as_str());
            let (from, length) = (number(event, "ts") - begin, number(event, "dur"));
            match known {
                Some(step) => {
                    step.begins.push(from);
                    step.lengths.push(length);
                }
                None => steps.push(Step {
                    process: process.to_owned(),
                    name: name.as_str().unwrap_or_default().to_owned(),
                    begins: [from].into_iter().collect(),
                    lengths: [length].into_iter().collect(),
                }),
            }
        }
    }
    steps.sort_by(|one, other| one.begins.spread().median.total_cmp(&other.begins.spread().median));
    Ok(steps)
}

/// Prints the timeline: both processes work at the same time.
pub fn print(name: &str, steps: &[Step]) {
    output::line(format_args!("where the time goes: {name}, medians, us"));
    output::line(format_args!("{:>8} {:>8}  {:10} step", "begins", "takes", "process"));
    for step in steps {
        let (begins, takes) = (step.begins.spread().median, step.lengths.spread().median);
        output::line(format_args!("{begins:8.0} {takes:8.0}  {:10} {}", step.process, step.name));
    }
}

/// The same for other programs.
pub fn json(steps: &[Step]) -> Value {
    let each = steps.iter().map(|step| {
        let (begins, takes) = (step.begins.spread().median, step.lengths.spread().median);
        json!({"process": step.process, "name": step.name, "begins_us": begins, "takes_us": takes})
    });
    each.collect()
}
