//! Many boots at the same moment.

use std::process::{Child, Stdio};
use std::time::Instant;

use pipkin_harness::{Bundle, Lab};
use pipkin_measure::{Comparison, Contender};

use crate::runtimes::{Runtime, runtimes};
use crate::side_by_side::Options;

/// Milliseconds from the start of the first of `count` containers until the last one has ended: the slowest one's time, and the throughput.
pub fn compare(lab: &Lab, options: &Options, count: usize) -> Option<Comparison> {
    let bundle = &super::default_bundle(lab);
    let mut contenders = Vec::new();
    for runtime in runtimes(lab) {
        contenders
            .push((runtime.name.to_owned(), Contender::new(runtime.name, move || once(lab, &runtime, bundle, count))));
    }
    let title = format!("{count} boots at once until the last has ended, default configuration");
    Some(options.compare(&title, (options.rounds / count).max(5), contenders))
}

fn once(lab: &Lab, runtime: &Runtime, bundle: &Bundle, count: usize) -> Result<f64, String> {
    let started = Instant::now();
    let start = |number: usize| {
        let mut command =
            runtime.command(["run", "--bundle", bundle.path_text(), &format!("{}-{number:02}", lab.name())]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    let children: Vec<Child> = (0..count).map(start).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let failed =
        children.into_iter().filter_map(|mut child| child.wait().ok()).filter(|status| !status.success()).count();
    if failed > 0 {
        return Err(format!("{failed} of {count} failed"));
    }
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}
