//! Memory: at most while a container boots, and what a created and a running container hold of the runtime.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use pipkin_harness::{Bundle, Lab, adopt, host};
use pipkin_measure::Comparison;

use crate::runtimes::{Runtime, runtimes};
use crate::side_by_side::{Options, finish, wait_for_all};

/// In kB, private: what would be free without it.
pub fn report(lab: &Lab, options: &Options) -> Vec<Comparison> {
    let bundle = &super::default_bundle(lab);
    let mut sleeping = lab.bundle();
    sleeping.args(["/bin/sleep", "100000"]);
    sleeping.save();
    type Figure = fn(&Lab, &Runtime, &Bundle) -> Result<u64, String>;
    let all: [(&str, Figure, &Bundle); 3] = [
        ("memory: peak of `run` (resident, its largest process)", peak, bundle),
        ("memory: held by a created container (private)", created, bundle),
        ("memory: held by `run` while its program runs (private)", running, &sleeping),
    ];
    let compare = |(title, figure, bundle): (&str, Figure, &Bundle)| {
        let contender = |runtime: Runtime| {
            runtime.contender(lab.name(), move |runtime| figure(lab, runtime, bundle).map(|figure| figure as f64))
        };
        options.compare_in("kB", title, 5, runtimes(lab, options).into_iter().map(contender).collect())
    };
    all.map(compare).into()
}

/// The largest resident set of any process of `run`, by GNU time (its 1 MB is the least that it can see).
fn peak(lab: &Lab, runtime: &Runtime, bundle: &Bundle) -> Result<u64, String> {
    let time = host::which("time").ok_or("time is not installed (apt-get install time)")?;
    let file = lab.path("peak");
    let mut command = Command::new("timeout");
    // One that hangs is ended with all that it has started, and tried again.
    command.args(["--signal", "KILL", "5"]).arg(time).args(["-f", "%M", "-o"]).arg(&file);
    command.arg(&runtime.path).arg("--root").arg(&runtime.root);
    command.args(["run", "--bundle", bundle.path_text(), lab.name()]).process_group(0);
    let mut last = Ok(());
    for _ in 0..3 {
        last = finish(&mut command);
        if last.is_ok() {
            let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            return text.trim().parse().map_err(|error| format!("{text:?}: {error}"));
        }
        runtime.forget(lab.name());
    }
    Err(last.err().unwrap_or_default())
}

fn created(lab: &Lab, runtime: &Runtime, bundle: &Bundle) -> Result<u64, String> {
    let pid_file = lab.path("pid");
    let pid_text = pid_file.to_str().expect("plain words");
    finish(&mut runtime.command(["create", "--bundle", bundle.path_text(), "--pid-file", pid_text, lab.name()]))?;
    let pid = fs::read_to_string(&pid_file).map_err(|error| format!("{pid_text}: {error}"))?;
    let figure = private(pid.trim());
    // Who does not wait for it keeps it as a zombie, which crun takes for alive.
    adopt(pid.trim().parse().map_err(|error| format!("{pid_text}: {error}"))?);
    finish(&mut runtime.command(["delete", "--force", lab.name()]))?;
    figure
}

/// What stays of `run` itself beside a program in the foreground.
fn running(lab: &Lab, runtime: &Runtime, bundle: &Bundle) -> Result<u64, String> {
    let pid_file = lab.path("running-pid");
    let pid_text = pid_file.to_str().expect("plain words");
    let mut command = runtime.command(["run", "--bundle", bundle.path_text(), "--pid-file", pid_text, lab.name()]);
    let child = command.spawn().map_err(|error| error.to_string())?;
    pipkin_harness::await_true("the container's program runs", || {
        let pid = fs::read_to_string(&pid_file).unwrap_or_default();
        fs::read_to_string(format!("/proc/{}/comm", pid.trim())).is_ok_and(|name| name.trim() == "sleep")
    });
    let figure = private(&child.id().to_string());
    // `run` deletes it as well, and may be the first.
    runtime.forget(lab.name());
    wait_for_all(vec![child], || ());
    figure
}

/// Private memory of a process, kB (proc_pid_smaps(5)).
fn private(pid: &str) -> Result<u64, String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let figures = text.lines().filter(|line| line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:"));
    Ok(figures.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}
