//! `create`, `start` and `delete` as an engine calls them, instead of one `run`.

use std::fs;
use std::time::Instant;

use pipkin_harness::{Bundle, Lab};
use pipkin_measure::Comparison;
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::runtimes::{Runtime, runtimes};
use crate::side_by_side::{Options, finish};

/// Milliseconds of all three commands, and of the container between them.
pub fn compare(lab: &Lab, options: &Options) -> Vec<Comparison> {
    let bundle = &super::default_bundle(lab);
    let contender = |runtime: Runtime| runtime.contender(lab.name(), move |runtime| once(lab, runtime, bundle));
    let contenders = runtimes(lab, options).into_iter().map(contender).collect();
    vec![options.compare("create + start + delete, default configuration", options.share(2), contenders)]
}

fn once(lab: &Lab, runtime: &Runtime, bundle: &Bundle) -> Result<f64, String> {
    let (id, pid_file) = (lab.name(), lab.path("pid"));
    let pid_text = pid_file.to_str().expect("plain words");
    let started = Instant::now();
    finish(&mut runtime.command(["create", "--bundle", bundle.path_text(), "--pid-file", pid_text, id]))?;
    finish(&mut runtime.command(["start", id]))?;
    let pid = fs::read_to_string(&pid_file).map_err(|error| format!("{pid_text}: {error}"))?;
    // The bench is what an engine's monitor is: the container's parent once its launcher has ended.
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(|| format!("{pid_text}: no pid in it"))?;
    waitpid(Some(pid), WaitOptions::empty()).map_err(|error| format!("wait for {id}: {error}"))?;
    finish(&mut runtime.command(["delete", id]))?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}
