//! What confinement costs a boot, and how little memory it can be confined to.

use std::fs;
use std::process::{Command, Stdio};

use pipkin_harness::{Bundle, Lab, data_file, host};
use pipkin_measure::{Comparison, Contender};
use serde_json::{Value, json};

use crate::runtimes::{Runtime, runtimes};
use crate::side_by_side::{Options, milliseconds_in_a_few_attempts};

/// The default configuration with Docker's default profile: with the caches of filters that some runtimes have, and with these
/// emptied before each run; and what a profile costs pipkin-runtime more than none.
pub fn seccomp(lab: &Lab, options: &Options) -> Vec<Comparison> {
    let text = fs::read_to_string(data_file("configs/docker-init-bridge.json")).expect("the test data");
    let docker: Value = serde_json::from_str(&text).expect("JSON");
    let without = crate::default_bundle(lab);
    let mut with = lab.bundle();
    with.config["linux"]["seccomp"] = docker["linux"]["seccomp"].clone();
    with.args(["/bin/true"]);
    with.save();
    let warm = |runtime: Runtime| runtime.run(&["--bundle", with.path_text()], lab.name());
    let cold = |runtime: Runtime| cold(lab, runtime, &with);
    let all = || runtimes(lab, options).into_iter();
    let own = || all().next().expect("pipkin-runtime is the first");
    vec![
        options.compare(
            "boot, default configuration with Docker's seccomp profile",
            options.rounds,
            all().map(warm).collect(),
        ),
        options.compare(
            "boot, default configuration with Docker's seccomp profile, caches empty",
            options.share(2),
            all().map(cold).collect(),
        ),
        options.compare(
            "boot by pipkin-runtime, with Docker's seccomp profile and without",
            options.rounds,
            vec![
                named("without a profile", own().run(&["--bundle", without.path_text()], lab.name())),
                named("Docker's profile", warm(own())),
                named("Docker's profile, not cached", cold(own())),
            ],
        ),
    ]
}

fn named<'a>(name: &str, (_, contender): (String, Contender<'a>)) -> (String, Contender<'a>) {
    (name.to_owned(), contender.named(name))
}

/// A boot for which the runtime's cache of filters, below a state root of its own, is emptied before.
fn cold<'a>(lab: &'a Lab, mut runtime: Runtime, bundle: &Bundle) -> (String, Contender<'a>) {
    runtime.root.set_file_name(format!("{}-cold", runtime.name));
    // pipkin-runtime's and crun's; the others have none.
    let caches = ["@seccomp", ".cache"].map(|cache| runtime.root.join(cache));
    let mut command = runtime.command(["run", "--bundle", bundle.path_text(), lab.name()]);
    runtime.contender(lab.name(), move |runtime| {
        // Not there the first time.
        caches.iter().for_each(|cache| drop(fs::remove_dir_all(cache)));
        milliseconds_in_a_few_attempts(&mut command, || runtime.forget(lab.name()))
    })
}

/// In KiB: what is tried. Every processor keeps a stock of up to 64 pages, so that finer steps would say nothing.
const STEP: usize = 64;
const LARGEST: usize = 32 * 1024;
const REPETITIONS: usize = 5;

/// Prints a table: the smallest limit, memory and swap together, under which `true` runs each time.
pub fn smallest_memory(lab: &Lab, options: &Options) -> Vec<Comparison> {
    if !host::has_controller("memory") {
        println!("\nsmallest memory limit: left out, there is no memory controller in this view");
        return Vec::new();
    }
    println!("\nsmallest linux.resources.memory.limit that runs `true` {REPETITIONS} times of {REPETITIONS}, KiB");
    for runtime in runtimes(lab, options) {
        // Limits are tried by halves: more than the smallest that works works.
        let (mut fails, mut works) = (0, LARGEST / STEP);
        if !boots(lab, &runtime, works * STEP) {
            println!("  {:24}{:>10}", runtime.name, "none");
            continue;
        }
        while works - fails > 1 {
            let middle = usize::midpoint(fails, works);
            if boots(lab, &runtime, middle * STEP) {
                works = middle;
            } else {
                fails = middle;
            }
        }
        println!("  {:24}{:>10}", runtime.name, works * STEP);
    }
    Vec::new()
}

fn boots(lab: &Lab, runtime: &Runtime, kib: usize) -> bool {
    let mut bundle = lab.bundle();
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": kib * 1024, "swap": kib * 1024});
    bundle.args(["/bin/true"]);
    bundle.save();
    (0..REPETITIONS).all(|_| {
        // One whose helper was killed may wait for it for ever.
        let own = runtime.command(["run", "--bundle", bundle.path_text(), lab.name()]);
        let mut command = Command::new("timeout");
        command.args(["--signal", "KILL", "30"]).arg(own.get_program()).args(own.get_args());
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let worked = status.expect("start timeout").success();
        if !worked {
            let _ = runtime.command(["delete", "--force", lab.name()]).stderr(Stdio::null()).status();
        }
        worked
    })
}
