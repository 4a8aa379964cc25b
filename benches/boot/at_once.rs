//! Many boots at the same moment.

use std::cell::RefCell;
use std::process::{Child, Stdio};
use std::time::Instant;

use pipkin_harness::{Bundle, Lab};
use pipkin_measure::{Comparison, Row, Samples};

use crate::runtimes::{Runtime, runtimes};
use crate::side_by_side::{EACH, Options, wait_for_all};

/// Milliseconds from the start of the first of `count` containers until the last one has ended; how many that makes in a second;
/// and how long a single one takes among them, with its tail.
pub fn compare(lab: &Lab, options: &Options, count: usize) -> Vec<Comparison> {
    let bundle = &super::default_bundle(lab);
    let singles: RefCell<Vec<(&'static str, Vec<f64>)>> = RefCell::default();
    let rounds = (options.rounds / count).clamp(5, 40);
    let contender = |runtime: Runtime| {
        let singles = &singles;
        runtime.contender(lab.name(), move |runtime| {
            let each = once(lab, runtime, bundle, count)?;
            let last = each.iter().copied().fold(0.0, f64::max);
            singles.borrow_mut().push((runtime.name, each));
            Ok(last)
        })
    };
    let contenders = runtimes(lab, options).into_iter().map(contender).collect();
    let boots = if count == 1 { "1 boot".to_owned() } else { format!("{count} boots") };
    let title = format!("{boots} at once, until the last has ended");
    let last = options.compare(&title, rounds, contenders);
    let singles = singles.into_inner();
    let throughput = last.rows.iter().map(|row| {
        let per_second = |last: &f64| count as f64 * 1000.0 / last;
        Row { name: row.name.clone(), samples: row.samples.as_slice().iter().map(per_second).collect() }
    });
    let single = last.rows.iter().map(|row| {
        let own = singles.iter().filter(|(name, _)| *name == row.name);
        // The first ones were to warm up.
        let figures: Vec<f64> = own.flat_map(|(_, each)| each).copied().collect();
        let measured = figures.len().saturating_sub(rounds * count);
        Row { name: row.name.clone(), samples: figures[measured..].iter().copied().collect::<Samples>() }
    });
    let derived = |what: &str, unit: &str, rows: Vec<Row>| Comparison {
        title: format!("{boots} at once, {what}{}", options.layout),
        unit: unit.to_owned(),
        rounds,
        rows,
        left_out: Vec::new(),
    };
    let more = [derived("throughput", "containers/s", throughput.collect()), derived(EACH, "ms", single.collect())];
    more.iter().for_each(|comparison| println!("\n{comparison}"));
    // One alone is the boot that has been measured already.
    if count == 1 { more.into_iter().take(1).collect() } else { std::iter::once(last).chain(more).collect() }
}

/// Milliseconds from the start of the first to the end of each, in the order in which they end.
fn once(lab: &Lab, runtime: &Runtime, bundle: &Bundle, count: usize) -> Result<Vec<f64>, String> {
    let started = Instant::now();
    let start = |number: usize| {
        let mut command =
            runtime.command(["run", "--bundle", bundle.path_text(), &format!("{}-{number:02}", lab.name())]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    let children: Vec<Child> = (0..count).map(start).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let mut times = Vec::with_capacity(count);
    let failed = wait_for_all(children, || times.push(started.elapsed().as_secs_f64() * 1000.0));
    if failed > 0 {
        (0..count).for_each(|number| runtime.forget(&format!("{}-{number:02}", lab.name())));
        return Err(format!("{failed} of {count} failed"));
    }
    Ok(times)
}
