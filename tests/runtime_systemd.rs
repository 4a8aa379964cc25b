//! `--systemd-cgroup`: the container's cgroup is a scope of systemd, and its limits are that scope's properties.
//! They need a running systemd on cgroup version 2 alone, as in `make test-vm`.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::path::Path;

use pipkin_harness::host::{self, View, view};
use pipkin_harness::{Bundle, COUNTING, Container, Lab, Program, adopt, await_true, skipped};
use serde_json::{Value, json};

/// The lab; a SKIPPED line where there is no systemd.
fn lab(of: fn() -> Option<Lab>) -> Option<Lab> {
    if view() != View::V2 || !Path::new("/run/systemd/system").exists() {
        skipped("no systemd on cgroup version 2 alone");
        return None;
    }
    Some(of()?.with_systemd())
}

/// systemctl of the manager that makes this lab's scopes.
fn systemctl(lab: &Lab, args: &[&str]) -> String {
    let manager = if lab.as_user().is_some() { "--user" } else { "--system" };
    lab.program("systemctl").arg(manager).args(args).run().ok().stdout().trim().to_owned()
}

fn show(lab: &Lab, unit: &str, property: &str) -> String {
    systemctl(lab, &["show", "--value", "--property", property, unit])
}

/// With as many limits as this machine has controllers for.
fn limited(lab: &Lab, cgroups_path: &str) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.config["linux"]["cgroupsPath"] = json!(cgroups_path);
    let resources = &mut bundle.config["linux"]["resources"];
    let unified = json!({"memory.high": "50331648"});
    for (controller, section, limits) in [
        ("memory", "memory", json!({"limit": 67_108_864, "swap": 100_663_296, "reservation": 33_554_432})),
        ("memory", "unified", unified),
        ("cpu", "cpu", json!({"shares": 512, "quota": 20_000, "period": 50_000, "cpus": "0", "mems": "0"})),
        ("pids", "pids", json!({"limit": 77})),
        ("io", "blockIO", json!({"weight": 500})),
    ] {
        if host::has_controller(controller) {
            resources[section] = limits;
        }
    }
    bundle.args(["/bin/probe", "signal-wait"]);
    bundle
}

/// What the properties and the files say, one behind the other.
fn assert_limits(lab: &Lab, unit: &str, container: &Container<'_>) {
    let directory = host::cgroup_directory(container.pid(), "").unwrap();
    assert_eq!(show(lab, unit, "Delegate"), "yes");
    for (property, shown, file, written) in [
        ("MemoryMax", "67108864", "memory.max", "67108864"),
        ("MemorySwapMax", "33554432", "memory.swap.max", "33554432"),
        ("MemoryLow", "33554432", "memory.low", "33554432"),
        ("MemoryHigh", "50331648", "memory.high", "50331648"),
        ("CPUQuotaPerSecUSec", "400ms", "cpu.max", "20000 50000"),
        ("CPUQuotaPeriodUSec", "50ms", "cpu.max", "20000 50000"),
        ("AllowedCPUs", "0", "cpuset.cpus", "0"),
        ("AllowedMemoryNodes", "0", "cpuset.mems", "0"),
        ("TasksMax", "77", "pids.max", "77"),
        ("IOWeight", "4950", "", ""),
    ] {
        let controller = if property == "IOWeight" { "io" } else { file.split('.').next().unwrap() };
        if !host::has_controller(controller) {
            continue;
        }
        assert_eq!(show(lab, unit, property), shown, "{property}");
        if !file.is_empty() {
            assert_eq!(fs::read_to_string(directory.join(file)).unwrap().trim(), written, "{file}");
        }
    }
    if host::has_controller("cpu") {
        let weight = fs::read_to_string(directory.join("cpu.weight")).unwrap();
        assert_eq!(show(lab, unit, "CPUWeight"), weight.trim());
    }
}

/// From `create` to `delete`, with the figures of systemd and the kernel compared at each step.
fn life_of_a_scope(lab: &Lab, slice: &str) {
    let bundle = limited(lab, &format!("{slice}:pkt:{}", lab.name()));
    let unit = format!("pkt-{}.scope", lab.name());
    let container = lab.create(&bundle);
    let cgroup = host::cgroup_of(container.pid(), "").unwrap();
    assert!(cgroup.ends_with(&format!("{slice}/{unit}")), "{cgroup}");
    assert_limits(lab, &unit, &container);
    container.start();
    assert_eq!(show(lab, &unit, "ActiveState"), "active");
    // Were the limits not properties, systemd would write its own now.
    systemctl(lab, &["daemon-reload"]);
    assert_limits(lab, &unit, &container);

    if ["memory", "cpu", "pids"].into_iter().all(host::has_controller) {
        update_changes_the_properties(lab, &unit, &container);
    }
    let text = container.command("events", &["--stats"], &[]).run().ok().stdout();
    let event: Value = serde_json::from_str(&text).unwrap();
    let members =
        fs::read_to_string(host::cgroup_directory(container.pid(), "").unwrap().join("cgroup.procs")).unwrap();
    assert_eq!(members.trim(), container.pid().to_string(), "systemd's stand-in has left: {event}");
    assert!(!host::has_controller("pids") || event["data"]["pids"]["current"] == 1, "{event}");
    container.command("pause", &[], &[]).run().ok();
    assert_eq!(container.status(), "paused");
    container.command("resume", &[], &[]).run().ok();
    let finished = container.exec(&[], &["/bin/cat", "/proc/self/cgroup"]).run().ok();
    let init = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert_eq!(finished.stdout(), init, "exec is in the scope, too");
    assert!(init.contains(&unit), "{init}");
    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    container.delete();
    assert_eq!(show(lab, &unit, "LoadState"), "not-found");
    assert_eq!(lab.leaks(), "");
}

fn update_changes_the_properties(lab: &Lab, unit: &str, container: &Container<'_>) {
    let changes = ["--memory", "134217728", "--memory-swap", "134217728", "--pids-limit", "55", "--cpu-quota", "30000"];
    container.command("update", &changes, &[]).run().ok();
    systemctl(lab, &["daemon-reload"]);
    let directory = host::cgroup_directory(container.pid(), "").unwrap();
    let file = |name: &str| fs::read_to_string(directory.join(name)).unwrap().trim().to_owned();
    assert_eq!([file("memory.max"), file("memory.swap.max"), file("pids.max")], ["134217728", "0", "55"]);
    assert!(file("cpu.max").starts_with("30000 "), "{}", file("cpu.max"));
    assert_eq!([show(lab, unit, "MemoryMax"), show(lab, unit, "TasksMax")], ["134217728", "55"]);
}

#[test]
fn a_container_is_a_scope_with_its_limits_as_properties() {
    let Some(lab) = lab(Lab::root) else { return };
    life_of_a_scope(&lab, "machine.slice");
}

#[test]
fn an_ordinary_users_container_is_a_scope_of_the_users_manager() {
    let Some(lab) = lab(Lab::user) else { return };
    life_of_a_scope(&lab, "user.slice");
}

#[test]
fn what_fails_leaves_no_unit() {
    let Some(lab) = lab(Lab::root) else { return };
    let mut bundle = limited(&lab, &format!(":pkt:{}", lab.name()));
    let unit = format!("pkt-{}.scope", lab.name());
    bundle.args(["/bin/true"]);
    lab.run(&bundle).ok();
    assert_eq!(show(&lab, &unit, "LoadState"), "not-found");
    bundle.args(["/bin/no-such-program"]);
    assert_ne!(lab.run(&bundle).code(), 0);
    assert_eq!(show(&lab, &unit, "LoadState"), "not-found");

    // systemd knows no such property.
    bundle.config["annotations"] = json!({"org.systemd.property.NoSuchThing": "true"});
    bundle.args(["/bin/true"]);
    let finished = lab.run(&bundle).fails(1, &["systemd refuses to start", "NoSuchThing"]);
    drop(finished);
    assert_eq!(show(&lab, &unit, "LoadState"), "not-found");
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_name_that_is_taken_is_left_alone() {
    let Some(lab) = lab(Lab::root) else { return };
    let bundle = limited(&lab, &format!(":pkt:{}", lab.name()));
    let container = lab.create(&bundle);
    container.start();
    lab.run(&bundle).fails(1, &["exists"]);
    assert_eq!(container.status(), "running");
    container.delete_force();
}

/// The scope ends with the dumped container, and the restored one has it again.
#[test]
fn a_restored_container_is_in_its_scope() {
    let Some(lab) = lab(Lab::root) else { return };
    if host::which("criu").is_none_or(|criu| Program::new(criu).arg("check").run().code() != 0) {
        return skipped("no criu that works on this kernel");
    }
    let mut bundle = limited(&lab, &format!(":pkt:{}", lab.name()));
    bundle.config["root"]["readonly"] = json!(false);
    bundle.share_namespace("network");
    bundle.args(["/bin/sh", "-c", COUNTING]);
    bundle.save();
    let count = || fs::read_to_string(bundle.rootfs("/tmp/count")).unwrap_or_default().trim().parse().unwrap_or(0);
    let unit = format!("pkt-{}.scope", lab.name());
    let (id, images, pid_file) = (lab.id(), lab.path("images"), lab.path("pid"));
    let bundle_path = bundle.path_text();
    let words = ["--detach", "--bundle", bundle_path, "--pid-file", pid_file.to_str().unwrap()];
    lab.runtime(["run"].into_iter().chain(words).chain([id.as_str()])).run().ok();
    await_true("it counts", || count() > 5);
    let images = ["--image-path", images.to_str().unwrap()];
    lab.runtime(["checkpoint"].into_iter().chain(images).chain([id.as_str()])).run().ok();
    assert_eq!(show(&lab, &unit, "LoadState"), "not-found");
    let before = count();
    assert!(before > 5);

    lab.runtime(["restore"].into_iter().chain(images).chain(words).chain([id.as_str()])).run().ok();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    adopt(pid);
    await_true("it goes on counting", || count() > before);
    assert_eq!(show(&lab, &unit, "ActiveState"), "active");
    let cgroup = host::cgroup_of(pid, "").unwrap();
    assert!(cgroup.ends_with(&format!("/{unit}")), "{cgroup}");
    if host::has_controller("memory") {
        assert_eq!(show(&lab, &unit, "MemoryMax"), "67108864");
    }
    lab.runtime(["delete", "--force", &id]).run().ok();
    assert_eq!(show(&lab, &unit, "LoadState"), "not-found");
    assert_eq!(lab.leaks(), "");
}

/// Needs no systemd: it is refused before anybody is asked.
#[test]
fn annotations_can_not_take_the_scope_over() {
    let Some(lab) = Lab::root() else { return };
    if view() != View::V2 {
        return skipped("the systemd driver is for cgroup version 2 alone");
    }
    let lab = lab.with_systemd();
    for (name, value) in [
        ("Slice", "'-.slice'"),
        ("PIDs", "[1]"),
        ("Delegate", "false"),
        ("Foo.Bar", "true"),
        ("ExecStart=/bin/sh", "true"),
        ("TimeoutStopSec", "'x'\nExecStart=/bin/sh"),
        ("CollectMode", "'a' 'b'"),
    ] {
        let mut bundle = lab.bundle();
        bundle.config["annotations"] = json!({format!("org.systemd.property.{name}"): value});
        bundle.args(["/bin/true"]);
        lab.run(&bundle).fails(1, &[&format!("annotations.org.systemd.property.{name}")]);
    }
    for path in ["/a/b", "a:b", "../a.slice:x:y", "s.slice:x:y/../z", "s.slice:x:", "system.slice:x:y\nz"] {
        let mut bundle = lab.bundle();
        bundle.config["linux"]["cgroupsPath"] = json!(path);
        bundle.args(["/bin/true"]);
        lab.run(&bundle).fails(1, &["linux.cgroupsPath"]);
    }
    assert_eq!(lab.leaks(), "");
}
