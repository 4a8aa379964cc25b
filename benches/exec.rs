//! How long `exec ID true` takes on a running container, side by side with other runtimes and with the kernel's own price
//! (`benches/floor`), on both cgroup layouts.
//!
//! `cargo bench --profile dev --bench exec -- --help`; root; `PIPKIN_BIN_DIR` names the release programs.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can not be set up must stop, and say where")]

#[path = "exec/container.rs"]
mod container;
#[path = "side_by_side/runtimes.rs"]
mod runtimes;
mod side_by_side;

use std::process::Command;

use pipkin_harness::{Bundle, Lab};
use pipkin_measure::{Comparison, Contender};

use container::Container;
use runtimes::{OWN, Runtime, runtimes};
use side_by_side::{Options, milliseconds, pieces};

fn main() {
    side_by_side::run("exec", 100, &[("exec", compare), ("above-the-floor", above_the_floor)]);
}

fn compare(lab: &Lab, options: &Options) -> Vec<Comparison> {
    let bundle = sleeping(lab);
    let all = runtimes(lab, options).into_iter();
    let containers: Vec<Container> = all.map(|runtime| Container::run(lab, runtime, &bundle)).collect();
    let own = &containers[0];
    let mut floor = Command::new(lab.product_path("pipkin-floor"));
    floor.args(["exec", own.pid().expect("a running container"), own.id(), "/bin/true"]);
    let mut contenders = vec![("floor".to_owned(), Contender::new("floor", move || milliseconds(&mut floor)))];
    contenders.extend(containers.iter().map(Container::contender));
    vec![options.compare("exec of a static `true` in a running container", options.rounds, contenders)]
}

fn sleeping(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/sleep", "100000"]);
    bundle.save();
    bundle
}

/// What an `exec` costs more than the floor, piece by piece.
fn above_the_floor(lab: &Lab, options: &Options) -> Vec<Comparison> {
    let bundle = sleeping(lab);
    let slim = |runtime: &Runtime| matches!(runtime.name, OWN | "crun");
    let all = runtimes(lab, options).into_iter().filter(slim);
    let containers: Vec<Container> = all.map(|runtime| Container::run(lab, runtime, &bundle)).collect();
    let own = &containers[0];
    let pid = own.pid().expect("a running container");
    let arguments = ["exec", pid, own.id(), "/bin/true"];
    let mut contenders = pieces::contenders(lab, &pieces::EXEC, &own.runtime.root, &arguments);
    contenders.extend(containers.iter().map(Container::contender));
    contenders.extend(pieces::crun_start());
    vec![options.compare(&format!("{}exec of a static `true`", pieces::ABOVE), options.rounds * 2, contenders)]
}
