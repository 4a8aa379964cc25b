//! Hooks: when each runs, where, with what, and what its failure does.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pipkin_harness::{Bundle, Lab, await_true, host};
use serde_json::{Value, json};

const ALL: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that keeps the state it is given, notes its name in `order`, and its mount namespace in `NAME.mnt`.
fn noting(directory: &Path, name: &str) -> Value {
    let place = directory.display();
    // In the container there is the busybox of its root file system, on the host that of the host: both have these.
    let script = format!(
        "cat > {place}/{name}.json; echo {name} >> {place}/order; readlink /proc/self/ns/mnt > {place}/{name}.mnt"
    );
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin", "FROM=config"]}])
}

/// A bundle with noting hooks of all kinds, and the directory of the notes, which has the same name inside.
fn noting_bundle(lab: &Lab) -> (Bundle, PathBuf) {
    let notes = lab.directory("notes");
    fs::set_permissions(&notes, fs::Permissions::from_mode(0o777)).unwrap();
    let mut bundle = lab.bundle();
    bundle.add_mount(notes.to_str().unwrap(), "bind", &notes, &["bind", "rw"]);
    for name in ALL {
        bundle.config["hooks"][name] = noting(&notes, name);
    }
    bundle.args(["/bin/probe", "signal-wait"]);
    (bundle, notes)
}

fn order(notes: &Path) -> Vec<String> {
    fs::read_to_string(notes.join("order")).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn noted(notes: &Path, file: &str) -> String {
    fs::read_to_string(notes.join(file)).unwrap_or_else(|error| panic!("{file}: {error}")).trim().to_owned()
}

#[test]
fn they_run_in_their_order_at_their_time_and_place() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        // runc 1.1 runs poststart hooks at the end of `create`.
        return;
    }
    let (bundle, notes) = noting_bundle(&lab);
    let container = lab.create(&bundle);
    assert_eq!(order(&notes), ["prestart", "createRuntime", "createContainer"]);
    container.start();
    await_true("the program's first word", || container.stdout().contains("ready"));
    assert_eq!(order(&notes)[3..], ["startContainer", "poststart"]);
    let id = container.id().to_owned();
    let pid = container.pid();
    let inside = host::namespace(&pid.to_string(), "mnt");
    container.delete_force();
    assert_eq!(order(&notes), ALL);

    for name in ALL {
        let state: Value = serde_json::from_str(&noted(&notes, &format!("{name}.json"))).unwrap();
        assert_eq!(state["id"], id, "{name}");
        assert_eq!(state["bundle"], json!(bundle.path()), "{name}");
        let status = state["status"].as_str().unwrap();
        let expected = match name {
            "prestart" | "createRuntime" | "createContainer" => "creating",
            "startContainer" => "created",
            "poststart" => "running",
            _ => "stopped",
        };
        assert_eq!(status, expected, "{name}");
        if matches!(name, "prestart" | "createRuntime" | "poststart") {
            assert_eq!(state["pid"], pid, "{name}");
        }
        let in_container = matches!(name, "createContainer" | "startContainer");
        assert_eq!(noted(&notes, &format!("{name}.mnt")) == inside, in_container, "{name}");
    }
}

#[test]
fn their_environment_is_the_configurations() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let file = lab.path("environment");
    let script = format!("env > {}", file.display());
    bundle.config["hooks"]["createRuntime"] =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["FROM=config"]}]);
    bundle.args(["/bin/true"]);
    lab.run(&bundle).ok();
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains("FROM=config\n"), "{text}");
    assert!(!text.contains("PIPKIN_TEST_LAB"), "{text}");
}

#[test]
fn one_that_fails_before_the_start_stops_everything_and_says_which() {
    let Some(lab) = Lab::root() else { return };
    for name in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        let mut bundle = lab.bundle();
        bundle.config["hooks"][name] =
            json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo the reason >&2; exit 3"]}]);
        bundle.args(["/bin/probe", "exit", "0"]);
        let finished = lab.run(&bundle);
        assert_ne!(finished.code(), 0, "{name}: {}", finished.all());
        if !lab.is_peer() {
            for word in [name, "the reason"] {
                assert!(finished.stderr().contains(word), "{name}: {word:?} is not in: {}", finished.stderr());
            }
        }
        assert_eq!(lab.leaks(), "", "{name}");
    }
}

#[test]
fn one_that_hangs_is_ended_at_its_timeout() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["hooks"]["createRuntime"] = json!([{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]);
    bundle.args(["/bin/true"]);
    let finished = lab.run(&bundle);
    assert_ne!(finished.code(), 0, "{}", finished.all());
    assert!(finished.took.as_secs() < 30, "{}", finished.all());
    assert_eq!(lab.leaks(), "");
}

#[test]
fn one_that_fails_at_the_end_does_not_keep_the_container() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["hooks"]["poststop"] = json!([{"path": "/bin/false"}]);
    bundle.args(["/bin/true"]);
    lab.run(&bundle).ok();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn wrong_ones_are_refused() {
    let Some(lab) = Lab::root() else { return };
    for (hook, words) in
        [(json!({"path": "/no/such/hook"}), "/no/such/hook"), (json!({"path": "relative"}), "hooks.createRuntime")]
    {
        let mut bundle = lab.bundle();
        bundle.config["hooks"]["createRuntime"] = json!([hook]);
        bundle.args(["/bin/true"]);
        let finished = lab.run(&bundle).exits(1);
        assert!(lab.is_peer() || finished.stderr().contains(words), "{}", finished.all());
        assert_eq!(lab.leaks(), "");
    }
}

/// What Docker does with its networking: a prestart hook that gets the container's pid and works in its namespaces.
#[test]
fn a_hook_can_prepare_the_containers_network() {
    let Some(lab) = Lab::root() else { return };
    if host::which("ip").is_none() || host::which("nsenter").is_none() {
        return pipkin_harness::skipped("ip and nsenter are not installed");
    }
    let mut bundle = lab.bundle();
    let script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | head -1); exec nsenter --net=/proc/$pid/ns/net ip link add made type veth";
    bundle.config["hooks"]["prestart"] =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}]);
    let report = lab.report(&mut bundle);
    let interfaces = report["interfaces"].as_array().unwrap();
    assert!(interfaces.contains(&json!("made")), "{interfaces:?}");
}
