//! How long a container takes from nothing to nothing: the whole of `run` of a static `true`, side by side with other runtimes and with
//! the kernel's own price (`benches/floor`), in several settings and on both cgroup layouts.
//!
//! `make bench`, or `cargo bench --profile dev --bench boot -- --help`; root; `PIPKIN_BIN_DIR` names the release programs.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can not be set up must stop, and say where")]

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

use runtimes::{Runtime, runtimes};
use side_by_side::{Options, Setting, milliseconds};

const SETTINGS: &[Setting] = &[
    ("default", default_configuration),
    ("docker", |lab, options| {
        boot(
            lab,
            options,
            "boot, Docker's configuration with its seccomp profile",
            &engine_bundle(lab, "docker-init-bridge.json"),
        )
    }),
    ("podman", |lab, options| {
        boot(lab, options, "boot, podman's hardened configuration", &engine_bundle(lab, "podman-hardened.json"))
    }),
    ("userns", |lab, options| {
        let bundle = user_namespace_bundle(lab);
        // Root of the namespace is an ordinary user, whose 200 keys are soon used up: the kernel frees them late.
        let boot = |runtime| runtime_boot(runtime, &bundle, &["--no-new-keyring", lab.name()]);
        let title = "boot, default configuration in a user namespace, the caller's session keyring";
        Some(options.compare(title, options.rounds, runtimes(lab).into_iter().map(boot).collect()))
    }),
    ("mounts", |lab, options| boot(lab, options, "boot, 200 more mounts", &surroundings::many_mounts(lab))),
    ("rootfs", |lab, options| {
        boot(lab, options, "boot, a root file system of 20,000 files", &surroundings::large_rootfs(lab))
    }),
    ("lifecycle", lifecycle::compare),
    ("at-once-10", |lab, options| at_once::compare(lab, options, 10)),
    ("at-once-50", |lab, options| at_once::compare(lab, options, 50)),
    ("crowd", surroundings::among_a_thousand),
    ("memory", memory::report),
    ("seccomp", confinement::seccomp),
    ("smallest-memory", confinement::smallest_memory),
];

fn main() {
    side_by_side::run("boot", 100, SETTINGS);
}

/// Everybody, those included that do less and so cost less; ratios are to the floor.
fn default_configuration(lab: &Lab, options: &Options) -> Option<Comparison> {
    let bundle = default_bundle(lab);
    let mut contenders = floor(lab, &bundle);
    contenders.extend(runtime_boots(lab, &bundle));
    Some(options.compare("boot, default configuration", options.rounds, contenders))
}

/// `run` of the bundle by every runtime; ratios are to pipkin's.
fn boot(lab: &Lab, options: &Options, title: &str, bundle: &Bundle) -> Option<Comparison> {
    Some(options.compare(title, options.rounds, runtime_boots(lab, bundle)))
}

fn runtime_boots<'a>(lab: &'a Lab, bundle: &'a Bundle) -> Vec<(String, Contender<'a>)> {
    runtimes(lab).into_iter().map(|runtime| runtime_boot(runtime, bundle, &[lab.name()])).collect()
}

/// Milliseconds of `run` of the bundle, the whole program; `last` are the last arguments.
fn runtime_boot<'a>(runtime: Runtime, bundle: &Bundle, last: &[&str]) -> (String, Contender<'a>) {
    let mut command = runtime.command(["run", "--bundle", bundle.path_text()]);
    command.args(last);
    let name = runtime.name;
    (name.to_owned(), Contender::new(name, move || milliseconds(&mut command)))
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

fn engine_bundle(lab: &Lab, file: &str) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.engine_configuration(file);
    bundle.config["process"]["terminal"] = json!(false);
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/{}", lab.name()));
    bundle.drop_limits_without_controller();
    bundle.args(["/bin/true"]);
    bundle.save();
    bundle
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
