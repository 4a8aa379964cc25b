//! Cgroups: where containers are put, what limits do, how everything goes away, on v1 and on v2.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::path::PathBuf;

use pipkin_harness::host::{self, View, view};
use pipkin_harness::{Bundle, Container, Lab, await_true, skipped};
use serde_json::{Value, json};

/// A running container whose program waits.
fn running<'lab>(lab: &'lab Lab, bundle: &mut Bundle) -> Container<'lab> {
    bundle.args(["/bin/probe", "signal-wait"]);
    let container = lab.create(bundle);
    container.start();
    container
}

/// The lab, when this view has the controller; otherwise a SKIPPED line.
fn lab_with(controller: &str) -> Option<Lab> {
    if host::has_controller(controller) {
        return Lab::root();
    }
    skipped(&format!("no {controller} controller in this view"));
    None
}

/// A file of the container's cgroup.
fn file(container: &Container<'_>, controller: &str, name: &str) -> String {
    let path = host::cgroup_directory(container.pid(), controller).unwrap().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

#[test]
fn a_container_has_a_cgroup_of_its_own_in_every_hierarchy() {
    let Some(lab) = Lab::root() else { return };
    let container = running(&lab, &mut lab.bundle());
    let table = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    for line in table.lines() {
        // In the pure-v2 view the v1 hierarchies exist still, but nobody can see them. On v1 a cpuset of its own costs more
        // than all the rest, and is made only when the configuration or `update` asks for one.
        let cpuset = !lab.is_peer() && line.contains(":cpuset:");
        if (view() == View::Hybrid && !cpuset) || line.starts_with("0::") {
            assert!(line.contains(container.id()), "{line}");
        }
    }
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn cgroups_path_is_where_the_container_goes_and_it_is_gone_afterwards() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let parent = format!("/{}-slice", lab.name());
    bundle.config["linux"]["cgroupsPath"] = json!(format!("{parent}/inner/leaf"));
    let container = running(&lab, &mut bundle);
    let controller = if view() == View::V2 { "" } else { "pids" };
    assert_eq!(host::cgroup_of(container.pid(), controller).unwrap(), format!("{parent}/inner/leaf"));
    container.delete_force();
    assert!(host::cgroups_named("leaf").iter().all(|path| !path.to_string_lossy().contains(lab.name())));
    // The parents may have been made by the runtime or by others: they stay, and this test takes them away.
    for cgroup in host::cgroups_named(lab.name()) {
        fs::remove_dir(cgroup).unwrap();
    }
}

#[test]
fn a_cgroup_that_already_exists_is_used_when_it_is_empty() {
    let Some(lab) = Lab::root() else { return };
    let root = if view() == View::V2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
    let existing = PathBuf::from(root).join(lab.name());
    fs::create_dir(&existing).unwrap();
    let mut bundle = lab.bundle();
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/{}", lab.name()));
    bundle.args(["/bin/true"]);
    lab.run(&bundle).ok();
    let _ = fs::remove_dir(existing);
}

#[test]
fn memory_limits() {
    let Some(lab) = lab_with("memory") else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["resources"]["memory"] =
        json!({"limit": 67_108_864, "swap": 100_663_296, "reservation": 33_554_432});
    let container = running(&lab, &mut bundle);
    match view() {
        View::Hybrid => {
            assert_eq!(file(&container, "memory", "memory.limit_in_bytes"), "67108864");
            assert_eq!(file(&container, "memory", "memory.soft_limit_in_bytes"), "33554432");
            let swap = host::cgroup_directory(container.pid(), "memory").unwrap().join("memory.memsw.limit_in_bytes");
            if swap.exists() {
                assert_eq!(file(&container, "memory", "memory.memsw.limit_in_bytes"), "100663296");
            }
        }
        View::V2 => {
            assert_eq!(file(&container, "memory", "memory.max"), "67108864");
            assert_eq!(file(&container, "memory", "memory.low"), "33554432");
            assert_eq!(file(&container, "memory", "memory.swap.max"), "33554432");
        }
    }
    container.delete_force();
}

#[test]
fn a_program_that_takes_more_memory_than_it_may_is_killed() {
    let Some(lab) = lab_with("memory") else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": 33_554_432, "swap": 33_554_432});
    bundle.args(["/bin/probe", "alloc", "8"]);
    lab.run(&bundle).ok();
    bundle.args(["/bin/probe", "alloc", "256"]);
    lab.run(&bundle).exits(137);
    assert_eq!(lab.leaks(), "");
}

/// Also of a stage that joins first and clones then.
#[test]
fn a_memory_limit_that_is_too_small_to_start_is_named() {
    let Some(lab) = lab_with("memory") else { return };
    if lab.is_peer() {
        return;
    }
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    let own = format!("/proc/{}/ns/pid", std::process::id());
    // The smaller the limit, the earlier it is killed, or refused: at any moment of what launcher and stage say to each other.
    for limit in [4096, 20480, 40960, 61440, 81920, 4096, 40960, 81920] {
        for joined in [None, Some(own.as_str())] {
            bundle.add_namespace("pid", joined);
            bundle.config["linux"]["resources"]["memory"] = json!({"limit": limit});
            lab.run(&bundle).fails(1, &["linux.resources.memory.limit"]);
            assert_eq!(lab.leaks(), "", "{limit}, {joined:?}");
        }
    }
}

/// Other runtimes need megabytes, because they enter the limit with all that they are.
#[test]
fn half_a_megabyte_is_enough_to_boot() {
    let Some(lab) = lab_with("memory") else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": 524_288, "swap": 524_288});
    bundle.args(["/bin/true"]);
    if !lab.is_peer() {
        lab.run(&bundle).ok();
    }
    assert_eq!(lab.leaks(), "");
}

#[test]
fn cpu_shares_and_quota() {
    let Some(lab) = lab_with("cpu") else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["resources"]["cpu"] = json!({"shares": 512, "quota": 20_000, "period": 50_000});
    let container = running(&lab, &mut bundle);
    match view() {
        View::Hybrid => {
            assert_eq!(file(&container, "cpu", "cpu.shares"), "512");
            assert_eq!(file(&container, "cpu", "cpu.cfs_quota_us"), "20000");
            assert_eq!(file(&container, "cpu", "cpu.cfs_period_us"), "50000");
        }
        View::V2 => assert_eq!(file(&container, "cpu", "cpu.max"), "20000 50000"),
    }
    container.delete_force();
}

#[test]
fn cpusets() {
    let Some(lab) = lab_with("cpuset") else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["resources"]["cpu"] = json!({"cpus": "0", "mems": "0"});
    let container = running(&lab, &mut bundle);
    assert_eq!(file(&container, "cpuset", "cpuset.cpus"), "0");
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    container.delete_force();
}

#[test]
fn pids_limit() {
    let Some(lab) = lab_with("pids") else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": 10});
    bundle.args(["/bin/probe", "children", "5"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "5\n");
    bundle.args(["/bin/probe", "children", "50"]);
    let finished = lab.run(&bundle).exits(1);
    assert!(finished.stderr().contains("EAGAIN"), "{}", finished.all());
    assert_eq!(finished.stdout(), "9\n", "ten, and the one that counts");
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": -1});
    bundle.args(["/bin/probe", "children", "50"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "50\n");
}

/// With the default rules: a few harmless devices may be used, anything may be made, nothing else opened.
#[test]
fn device_rules() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = json!(false);
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] = json!(["CAP_MKNOD"]);
    }
    let attempt = |bundle: &mut Bundle, script: &str| {
        bundle.args(["/bin/sh", "-c", script]);
        lab.run(bundle)
    };
    // /dev/fuse's number: not among the harmless ones.
    let fuse = "probe mknod /tmp/fuse c 10 229 && probe open /tmp/fuse ro";
    assert!(attempt(&mut bundle, fuse).exits(1).stderr().contains("EPERM"));
    fs::remove_file(bundle.rootfs("/tmp/fuse")).unwrap();
    attempt(&mut bundle, "probe mknod /tmp/zero c 1 5 && probe open /tmp/zero rw").ok();

    // A rule for one device, with some of the rights.
    let rules = bundle.config["linux"]["resources"]["devices"].as_array_mut().unwrap();
    rules.push(json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rm"}));
    attempt(&mut bundle, fuse).ok();
    assert!(attempt(&mut bundle, "probe open /tmp/fuse wo").exits(1).stderr().contains("EPERM"));

    // The last word counts.
    let rules = bundle.config["linux"]["resources"]["devices"].as_array_mut().unwrap();
    rules.push(json!({"allow": false, "type": "c", "major": 10, "minor": 229, "access": "r"}));
    assert!(attempt(&mut bundle, "probe open /tmp/fuse ro").exits(1).stderr().contains("EPERM"));

    // Everything allowed.
    bundle.config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    attempt(&mut bundle, "probe open /tmp/fuse ro").ok();
}

#[test]
fn a_fork_bomb_without_a_pid_namespace_is_killed_as_a_whole() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.share_namespace("pid");
    bundle.args(["/bin/sh", "-c", "for n in $(seq 40); do sleep 1000 & done; echo ready; wait"]);
    let container = lab.create(&bundle);
    container.start();
    await_true("forty children", || container.stdout().contains("ready"));
    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    container.delete_force();
    // Processes only: Debian's runc leaves the cgroup behind here.
    assert!(lab.is_peer() || lab.leaks().is_empty(), "{}", lab.leaks());
    assert!(!lab.leaks().contains("process"), "{}", lab.leaks());
}

#[test]
fn values_that_can_not_be_are_refused_and_leave_nothing() {
    let Some(lab) = Lab::root() else { return };
    let controllers = |name: &str| host::has_controller(name);
    let cases: [(&str, &str, Value, bool); 4] = [
        ("memory", "linux.resources.memory", json!({"limit": 4096}), controllers("memory")),
        ("cpu", "linux.resources.cpu", json!({"quota": 500, "period": 5}), controllers("cpu")),
        ("cpu", "linux.resources.cpu.cpus", json!({"cpus": "4096"}), controllers("cpuset")),
        ("hugepageLimits", "hugepage", json!([{"pageSize": "3MB", "limit": 1}]), false),
    ];
    for (section, text, value, possible) in cases {
        if !possible {
            continue;
        }
        let mut bundle = lab.bundle();
        bundle.config["linux"]["resources"][section] = value;
        bundle.args(["/bin/true"]);
        let finished = lab.run(&bundle);
        assert_ne!(finished.code(), 0, "{}", finished.all());
        if section != "memory" {
            assert!(lab.is_peer() || finished.stderr().contains(text), "{}", finished.all());
        }
        assert_eq!(lab.leaks(), "", "{section}");
    }
}

/// In a view where a controller is missing, a limit that needs it can not be kept: that must not go unsaid.
#[test]
fn a_limit_without_its_controller_is_an_error() {
    let Some(lab) = Lab::root() else { return };
    let cases = [
        ("memory", "memory", json!({"limit": 67_108_864})),
        ("cpu", "cpu", json!({"quota": 50_000, "period": 100_000})),
        ("pids", "pids", json!({"limit": 20})),
    ];
    for (controller, section, value) in cases {
        if host::has_controller(controller) {
            continue;
        }
        let mut bundle = lab.bundle();
        bundle.config["linux"]["resources"][section] = value;
        bundle.args(["/bin/true"]);
        let finished = lab.run(&bundle).exits(1);
        assert!(finished.stderr().contains(controller), "{}", finished.all());
        assert_eq!(lab.leaks(), "");
    }
}

#[test]
fn unified_values_are_written_wherever_there_is_a_unified_hierarchy() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["resources"]["unified"] = json!({"hugetlb.2MB.max": "4194304"});
    if lab.is_peer() && view() == View::Hybrid {
        bundle.args(["/bin/true"]);
        lab.run(&bundle).exits(1);
        return;
    }
    let container = running(&lab, &mut bundle);
    assert_eq!(file(&container, "", "hugetlb.2MB.max"), "4194304");
    container.delete_force();
}
