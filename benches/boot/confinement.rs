//! What confinement costs a boot, and how little memory it can be confined to.

use std::fs;
use std::process::{Command, Stdio};

use pipkin_harness::{Bundle, Lab, data_file, host};
use pipkin_measure::{Comparison, Contender};
use serde_json::{Value, json};

use crate::runtimes::{Runtime, runtimes};
use crate::side_by_side::{Options, milliseconds};

/// The default configuration without a profile, with Docker's default profile, and with that when the cache of filters has
/// been emptied; ratios are to the first.
pub fn seccomp(lab: &Lab, options: &Options) -> Option<Comparison> {
    let text = fs::read_to_string(data_file("configs/docker-init-bridge.json")).expect("the test data");
    let docker: Value = serde_json::from_str(&text).expect("JSON");
    let contender = |name: &'static str, bundle: &Bundle, cached: bool| {
        let mut own = runtimes(lab).swap_remove(0);
        if !cached {
            own.root.set_file_name("not-cached");
        }
        let cache = own.root.join("@seccomp");
        let mut command = own.command(["run", "--bundle", bundle.path_text(), lab.name()]);
        let boot = move || {
            if !cached {
                // Not there the first time.
                let _ = fs::remove_dir_all(&cache);
            }
            milliseconds(&mut command)
        };
        (own.name.to_owned(), Contender::new(name, boot))
    };
    let without = crate::default_bundle(lab);
    let mut with = lab.bundle();
    with.config["linux"]["seccomp"] = docker["linux"]["seccomp"].clone();
    with.args(["/bin/true"]);
    with.save();
    let contenders = vec![
        contender("without a profile", &without, true),
        contender("Docker's profile", &with, true),
        contender("Docker's profile, not cached", &with, false),
    ];
    Some(options.compare("boot, with Docker's seccomp profile and without", options.rounds, contenders))
}

/// In KiB: what is tried. Every processor keeps a stock of up to 64 pages, so that finer steps would say nothing.
const STEP: usize = 64;
const LARGEST: usize = 32 * 1024;
const REPETITIONS: usize = 5;

/// Prints a table: the smallest limit, memory and swap together, under which `true` runs each time.
pub fn smallest_memory(lab: &Lab, _: &Options) -> Option<Comparison> {
    if !host::has_controller("memory") {
        println!("\nsmallest memory limit: left out, there is no memory controller in this view");
        return None;
    }
    println!("\nsmallest linux.resources.memory.limit that runs `true` {REPETITIONS} times of {REPETITIONS}, KiB");
    for runtime in runtimes(lab) {
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
    None
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
