//! Wrong limits, rules and profiles: each is refused with its field before anything is made.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::path::Path;

use pipkin_harness::host::{self, View, view};
use pipkin_harness::{Lab, data_file, skipped};
use serde_json::{Value, json};

/// What is wrong, the resources, and the words that the error must have.
fn wrong_resources() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let field = |name: &'static str| vec![name];
    vec![
        ("a negative limit", json!({"memory": {"limit": -2}}), field("linux.resources.memory.limit")),
        ("a negative reservation", json!({"memory": {"reservation": -5}}), field("linux.resources.memory.reservation")),
        (
            "swap below memory",
            json!({"memory": {"limit": 67_108_864, "swap": 33_554_432}}),
            vec!["linux.resources.memory.swap", "33554432", "67108864"],
        ),
        ("swap without memory", json!({"memory": {"swap": 33_554_432}}), field("linux.resources.memory.swap")),
        (
            "a reservation above the limit",
            json!({"memory": {"limit": 33_554_432, "reservation": 67_108_864}}),
            field("linux.resources.memory.reservation"),
        ),
        ("swappiness", json!({"memory": {"limit": 67_108_864, "swappiness": 101}}), field("memory.swappiness")),
        ("a limit of kernel memory", json!({"memory": {"kernel": 1_048_576}}), field("memory.kernel")),
        ("negative pids", json!({"pids": {"limit": -5}}), field("linux.resources.pids.limit")),
        ("a quota below the kernel's", json!({"cpu": {"quota": 999}}), field("linux.resources.cpu.quota")),
        ("a negative quota", json!({"cpu": {"quota": -7}}), field("linux.resources.cpu.quota")),
        ("a period of hours", json!({"cpu": {"period": 3_600_000_000_u64}}), field("linux.resources.cpu.period")),
        ("shares", json!({"cpu": {"shares": 1}}), field("linux.resources.cpu.shares")),
        ("a burst above the quota", json!({"cpu": {"quota": 5000, "burst": 6000}}), field("linux.resources.cpu.burst")),
        ("idle", json!({"cpu": {"idle": 2}}), field("linux.resources.cpu.idle")),
        ("no list of processors", json!({"cpu": {"cpus": "3-1"}}), vec!["linux.resources.cpu.cpus", "3-1"]),
        ("a weight", json!({"blockIO": {"weight": 5}}), field("linux.resources.blockIO.weight")),
        (
            "no device number",
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]}}),
            field("linux.resources.blockIO.throttleReadBpsDevice[0]"),
        ),
        (
            "a page size that is a path",
            json!({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}),
            field("linux.resources.hugepageLimits[0].pageSize"),
        ),
        (
            "a network interface that is none",
            json!({"network": {"priorities": [{"name": "a b", "priority": 1}]}}),
            field("linux.resources.network.priorities[0].name"),
        ),
        ("an RDMA device without limits", json!({"rdma": {"mlx5_0": {}}}), field("linux.resources.rdma.mlx5_0")),
        ("a slash in unified", json!({"unified": {"../memory.max": "1"}}), field("linux.resources.unified...")),
        ("a path in unified", json!({"unified": {"pkt/memory.max": "1"}}), field("linux.resources.unified.pkt/")),
        ("dots in unified", json!({"unified": {"memory..max": "1"}}), field("linux.resources.unified.memory..max")),
        ("no controller in unified", json!({"unified": {"tasks": "1"}}), field("linux.resources.unified.tasks")),
        (
            "the core in unified",
            json!({"unified": {"cgroup.procs": "1"}}),
            field("linux.resources.unified.cgroup.procs"),
        ),
        (
            "an unknown controller",
            json!({"unified": {"coffee.max": "1"}}),
            vec!["linux.resources.unified.coffee.max", "coffee"],
        ),
        ("no value in unified", json!({"unified": {"hugetlb.2MB.max": ""}}), field("unified.hugetlb.2MB.max")),
        (
            "a device rule without a right",
            json!({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 3, "access": ""}]}),
            field("linux.resources.devices[0].access"),
        ),
        (
            "a device rule with another right",
            json!({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rx"}]}),
            vec!["linux.resources.devices[0].access", "rx"],
        ),
    ]
}

/// Everything is refused in `create`, with exit code 1 and one line; nothing of it exists afterwards.
#[test]
fn wrong_resources_are_refused_by_field() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    for (name, resources, words) in wrong_resources() {
        let mut bundle = lab.bundle();
        for (key, value) in resources.as_object().unwrap() {
            bundle.config["linux"]["resources"][key] = value.clone();
        }
        bundle.args(["/bin/true"]);
        bundle.save();
        let id = lab.id();
        let finished = lab.runtime(["create", "--bundle", bundle.path_text(), &id]).run();
        assert_eq!(finished.code(), 1, "{name}: {}", finished.all());
        let said = finished.stderr();
        assert_eq!(said.trim_end().lines().count(), 1, "{name}: {said}");
        for word in words {
            assert!(said.contains(word), "{name}: {word:?} is not in {said}");
        }
        assert_eq!(lab.leaks(), "", "{name}");
    }
}

/// The same through `update`: nothing changes, and the container goes on.
#[test]
fn wrong_updates_are_refused_by_field() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "signal-wait"]);
    let container = lab.create(&bundle);
    container.start();
    let directory = host::cgroup_directory(container.pid(), if view() == View::V2 { "" } else { "cpu" }).unwrap();
    let limits = || -> String {
        let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let limit = |path: &&std::path::PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            ["max", "low", "high", "weight", "shares", "quota_us", "period_us"].iter().any(|end| name.ends_with(end))
        };
        files.iter().filter(limit).map(|path| format!("{path:?} {:?}\n", fs::read_to_string(path).ok())).collect()
    };
    let before = limits();
    for (name, resources, words) in wrong_resources() {
        // What is missing in a new cgroup may be there already in an old one.
        if ["swap without memory", "a device rule without a right", "a device rule with another right"].contains(&name)
        {
            continue;
        }
        let update = container.command("update", &["--resources", "-"], &[]);
        let finished = update.input(resources.to_string().as_bytes()).run();
        assert_eq!(finished.code(), 1, "{name}: {}", finished.all());
        let said = finished.stderr();
        for word in words.iter().map(|word| word.trim_start_matches("linux.resources.")) {
            assert!(said.contains(word), "{name}: {word:?} is not in {said}");
        }
        assert_eq!(limits(), before, "{name}");
    }
    assert_eq!(container.status(), "running");
    container.delete_force();
}

/// A deny rule for all devices that comes last takes back every allowance before it: the last word counts.
#[test]
fn of_conflicting_device_rules_the_last_counts() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let nothing = |allow: bool| json!({"allow": allow, "type": "c", "major": 1, "minor": 3, "access": "rwm"});
    // The default devices of the spec are always allowed, so a rule of the configuration can not take them; another can.
    let full = |allow: bool| json!({"allow": allow, "type": "c", "major": 10, "minor": 229, "access": "rw"});
    bundle.config["linux"]["devices"] =
        json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]);
    for (rules, allowed) in [
        (json!([{"allow": false, "access": "rwm"}, full(true)]), true),
        (json!([{"allow": false, "access": "rwm"}, full(true), full(false)]), false),
        (json!([full(true), {"allow": false, "access": "rwm"}]), false),
        (json!([{"allow": true, "access": "rwm"}, full(false), nothing(true)]), false),
        (json!([full(false), {"allow": true, "access": "rwm"}]), true),
    ] {
        bundle.config["linux"]["resources"]["devices"] = rules.clone();
        bundle.args(["/bin/probe", "open", "/dev/fuse", "ro"]);
        let finished = lab.run(&bundle);
        let denied = finished.stderr().contains("EPERM") && finished.code() == 1;
        assert_eq!((finished.code() == 0, denied), (allowed, !allowed), "{rules}: {}", finished.all());
    }
}

/// With a new user namespace nobody may make device nodes: the host's are bound instead.
#[test]
fn devices_of_a_user_namespace_are_the_hosts() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.add_namespace("user", None);
    for kind in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][kind] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    }
    bundle.config["linux"]["devices"] = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]);
    bundle.args([
        "/bin/sh",
        "-c",
        "echo gone > /dev/null && stat -c '%t:%T' /dev/null /dev/kmsg && grep -c ' /dev/null ' /proc/self/mountinfo",
    ]);
    let finished = lab.run(&bundle).ok();
    assert_eq!(finished.stdout(), "1:3\n1:b\n1\n");
}

fn seccomp_profile() -> Value {
    let text = fs::read_to_string(data_file("configs/docker-init-bridge.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["linux"]["seccomp"].clone()
}

/// What a profile can have wrong; unknown system calls are no error (config-linux.md, "Seccomp").
#[test]
fn wrong_profiles_are_refused_by_field() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let rule = |index: u64| json!({"names": ["kill"], "action": "SCMP_ACT_TRAP", "args": [{"index": 1, "value": index, "op": "SCMP_CMP_EQ"}]});
    let profile = |change: &dyn Fn(&mut Value)| {
        let mut profile = seccomp_profile();
        change(&mut profile);
        profile
    };
    let cases: Vec<(&str, Value, &[&str])> = vec![
        (
            "an unknown architecture",
            profile(&|p| p["architectures"] = json!(["SCMP_ARCH_Z80"])),
            &["linux.seccomp.architectures", "SCMP_ARCH_Z80"],
        ),
        ("an unknown action", profile(&|p| p["defaultAction"] = json!("SCMP_ACT_SHRUG")), &["SCMP_ACT_SHRUG"]),
        (
            "an unknown comparison",
            profile(&|p| p["syscalls"][0]["args"] = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_IS"}])),
            &["SCMP_CMP_IS"],
        ),
        (
            "an argument that is none",
            profile(&|p| p["syscalls"][0]["args"] = json!([{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}])),
            &["linux.seccomp.syscalls[0].args[0].index", "6"],
        ),
        (
            "an unknown flag",
            profile(&|p| p["flags"] = json!(["SECCOMP_FILTER_FLAG_HOPE"])),
            &["SECCOMP_FILTER_FLAG_HOPE"],
        ),
        (
            "an error number where none is",
            profile(&|p| p["syscalls"][0]["errnoRet"] = json!(1)),
            &["linux.seccomp.syscalls[0].errnoRet"],
        ),
        (
            "an agent that is missing",
            profile(&|p| p["syscalls"][0]["action"] = json!("SCMP_ACT_NOTIFY")),
            &["linux.seccomp.listenerPath"],
        ),
        (
            "ten thousand rules with arguments",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": (0..10_000).map(rule).collect::<Vec<_>>()}),
            &["linux.seccomp.syscalls", "instructions"],
        ),
    ];
    for (name, profile, words) in cases {
        let mut bundle = lab.bundle();
        bundle.config["linux"]["seccomp"] = profile;
        bundle.args(["/bin/true"]);
        let finished = lab.run(&bundle);
        assert_eq!(finished.code(), 1, "{name}: {}", finished.all());
        let said = finished.stderr();
        assert_eq!(said.trim_end().lines().count(), 1, "{name}: {said}");
        for word in words {
            assert!(said.contains(word), "{name}: {word:?} is not in {said}");
        }
        assert_eq!(lab.leaks(), "", "{name}");
    }
    let mut bundle = lab.bundle();
    bundle.config["linux"]["seccomp"] =
        profile(&|p| p["syscalls"][0]["names"].as_array_mut().unwrap().push(json!("teleport")));
    bundle.args(["/bin/true"]);
    let finished = lab.run(&bundle).ok();
    assert!(finished.stderr().contains("teleport"), "a warning: {}", finished.all());
    // As many rules as there are, when they can share their code.
    let many: Vec<Value> = (0..10_000).map(|_| json!({"names": ["kill"], "action": "SCMP_ACT_ALLOW"})).collect();
    bundle.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many});
    lab.run(&bundle).ok();
}

#[test]
fn shares_of_caches_need_resctrl() {
    let Some(lab) = Lab::root() else { return };
    if Path::new("/sys/fs/resctrl/schemata").exists() {
        return skipped("this machine has resctrl");
    }
    let mut bundle = lab.bundle();
    bundle.config["linux"]["intelRdt"] = json!({"closID": "gold"});
    bundle.args(["/bin/true"]);
    lab.run(&bundle).fails(1, &["linux.intelRdt", "resctrl"]);
    bundle.config["linux"]["intelRdt"] = json!({"closID": "../gold"});
    lab.run(&bundle).fails(1, &["linux.intelRdt.closID", "../gold"]);
    assert_eq!(lab.leaks(), "");
}
