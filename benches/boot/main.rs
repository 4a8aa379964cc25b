//! How long a container takes from nothing to nothing: the whole of `run` of a static `true`, side by side with other runtimes and with
//! the kernel's own price (`benches/floor`), in several settings and on both cgroup layouts.
//!
//! `make bench`, or `cargo bench --profile dev --bench boot -- --help`; root; `PIPKIN_BIN_DIR` names the release programs.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can not be set up must stop, and say where")]

mod above_the_floor;
mod at_once;
mod confinement;
mod lifecycle;
mod memory;
#[path = "../side_by_side/runtimes.rs"]
mod runtimes;
#[path = "../side_by_side/mod.rs"]
mod side_by_side;
mod surroundings;

use std::path::PathBuf;
use std::process::Command;

use pipkin_harness::{Bundle, Lab, host};
use pipkin_measure::{Comparison, Contender};
use serde_json::json;

use runtimes::runtimes;
use side_by_side::{Options, Setting, milliseconds};

const SETTINGS: &[Setting] = &[
    ("default", default_configuration),
    ("docker", |lab, options| {
        let (bundle, without) = engine_bundle(lab, "docker-init-bridge.json");
        let title = format!("boot, Docker's configuration with its seccomp profile{without}");
        boot(lab, options, 1, &title, &bundle)
    }),
    ("seccomp", confinement::seccomp),
    ("podman", |lab, options| {
        let (bundle, without) = engine_bundle(lab, "podman-hardened.json");
        boot(lab, options, 2, &format!("boot, podman's hardened configuration{without}"), &bundle)
    }),
    ("userns", |lab, options| {
        let bundle = user_namespace_bundle(lab);
        // Root of the namespace is an ordinary user, whose 200 keys are soon used up: the kernel frees them late.
        let arguments = ["--bundle", bundle.path_text(), "--no-new-keyring"];
        let boot = |runtime: runtimes::Runtime| runtime.run(&arguments, lab.name());
        let title = "boot, default configuration in a user namespace, the caller's session keyring";
        vec![options.compare(title, options.share(2), runtimes(lab, options).into_iter().map(boot).collect())]
    }),
    ("mounts", |lab, options| boot(lab, options, 4, "boot, 200 more mounts", &surroundings::many_mounts(lab))),
    ("rootfs", |lab, options| {
        boot(lab, options, 4, "boot, a root file system of 20,000 files", &surroundings::large_rootfs(lab))
    }),
    ("lifecycle", lifecycle::compare),
    ("at-once-1", |lab, options| at_once::compare(lab, options, 1)),
    ("at-once-10", |lab, options| at_once::compare(lab, options, 10)),
    ("at-once-50", |lab, options| at_once::compare(lab, options, 50)),
    ("crowd", surroundings::in_a_crowd),
    ("memory", memory::report),
    ("smallest-memory", confinement::smallest_memory),
    ("above-the-floor", above_the_floor::compare),
];

fn main() {
    side_by_side::run("boot", 100, SETTINGS);
}

/// Everybody, those included that do less and so cost less; ratios are to the floor.
fn default_configuration(lab: &Lab, options: &Options) -> Vec<Comparison> {
    let bundle = default_bundle(lab);
    let mut contenders = floor(lab, &bundle);
    contenders.extend(runtime_boots(lab, options, &bundle));
    vec![options.compare("boot, default configuration", options.rounds, contenders)]
}

/// `run` of the bundle by every runtime, in that part of the rounds; ratios are to pipkin's.
fn boot(lab: &Lab, options: &Options, part: usize, title: &str, bundle: &Bundle) -> Vec<Comparison> {
    vec![options.compare(title, options.share(part), runtime_boots(lab, options, bundle))]
}

fn runtime_boots<'a>(lab: &'a Lab, options: &Options, bundle: &Bundle) -> Vec<(String, Contender<'a>)> {
    let boot = |runtime: runtimes::Runtime| runtime.run(&["--bundle", bundle.path_text()], lab.name());
    runtimes(lab, options).into_iter().map(boot).collect()
}

/// What costs less because it does less: the floor, bubblewrap, and no container at all.
fn floor<'a>(lab: &Lab, bundle: &Bundle) -> Vec<(String, Contender<'a>)> {
    let rootfs = bundle.rootfs("").to_str().expect("plain words").trim_end_matches('/').to_owned();
    let mut floor = Command::new(lab.product_path("pipkin-floor"));
    floor.args([rootfs.as_str(), lab.name(), "/bin/true"]);
    let mut bare = Command::new(format!("{rootfs}/bin/busybox"));
    bare.arg("true");
    let mut all = vec![("floor", floor), ("no container", bare)];
    if let Some(program) = host::which("bwrap") {
        let mut bubblewrap = Command::new(program);
        bubblewrap.args(["--unshare-all", "--bind", &rootfs, "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"]);
        all.push(("bwrap (no cgroup)", bubblewrap));
    }
    let contender = |(name, mut command): (&str, Command)| {
        (name.to_owned(), Contender::new(name, move || milliseconds(&mut command)))
    };
    all.into_iter().map(contender).collect()
}

/// `runc spec`'s configuration, without a terminal.
pub fn default_bundle(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.save();
    bundle
}

/// An engine's configuration without the limits for which this view has no controllers, for all contenders alike, and what to
/// say of that in the heading.
fn engine_bundle(lab: &Lab, file: &str) -> (Bundle, String) {
    let mut bundle = lab.bundle();
    bundle.engine_configuration(file);
    bundle.config["process"]["terminal"] = json!(false);
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/{}", lab.name()));
    let mut left_out = Vec::new();
    if let Some(resources) = bundle.config["linux"]["resources"].as_object_mut() {
        let controllers = [("memory", "memory"), ("cpu", "cpu"), ("pids", "pids"), ("blockIO", io_controller())];
        for (section, controller) in controllers {
            if !host::has_controller(controller) && resources.remove(section).is_some() {
                left_out.push(section);
            }
        }
    }
    let without = match left_out.as_slice() {
        [] => String::new(),
        sections => format!(" (without {}: no such controllers here)", sections.join(", ")),
    };
    bundle.args(["/bin/true"]);
    bundle.save();
    (bundle, without)
}

/// What limits block devices is called differently on version 2.
fn io_controller() -> &'static str {
    if host::view() == host::View::V2 { "io" } else { "blkio" }
}

fn user_namespace_bundle(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    bundle.add_namespace("user", None);
    bundle.config["linux"]["uidMappings"] = maps.clone();
    bundle.config["linux"]["gidMappings"] = maps;
    let places: [PathBuf; 4] = ["", "proc", "sys", "dev"].map(|place| bundle.rootfs(place));
    for place in places {
        std::os::unix::fs::chown(&place, Some(100_000), Some(100_000)).expect("chown");
    }
    bundle.args(["/bin/true"]);
    bundle.save();
    bundle
}
