//! Which CPUs, how much of them, of the disks and of which memory: `scheduler`, `ioPriority`, `execCPUAffinity`,
//! `memoryPolicy`, `personality`.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::{Bundle, Container, Lab, await_true};
use serde_json::{Value, json};

fn running<'lab>(lab: &'lab Lab, bundle: &mut Bundle) -> Container<'lab> {
    bundle.args(["/bin/probe", "signal-wait"]);
    let container = lab.create(bundle);
    container.start();
    await_true("the program's first word", || container.stdout().contains("ready"));
    container
}

fn exec_report(container: &Container<'_>, options: &[&str]) -> Value {
    let finished = container.exec(options, &["/bin/probe"]).run().ok();
    serde_json::from_str(&finished.stdout()).unwrap_or_else(|error| panic!("{error}: {}", finished.all()))
}

/// runc 1.1 knows none of this.
fn lab() -> Option<Lab> {
    Lab::root().filter(|lab| !lab.is_peer())
}

#[test]
fn the_schedulers_policy_and_its_values() {
    let Some(lab) = lab() else { return };
    for (scheduler, seen) in [
        (json!({"policy": "SCHED_OTHER", "nice": 5}), json!({"policy": 0, "nice": 5, "priority": 0})),
        (json!({"policy": "SCHED_BATCH", "nice": 19}), json!({"policy": 3, "nice": 19, "priority": 0})),
    ] {
        let mut bundle = lab.bundle();
        bundle.config["process"]["scheduler"] = scheduler.clone();
        assert_eq!(lab.report(&mut bundle)["scheduler"], seen, "{scheduler}");
    }
}

/// What has less than the default niceness gets it back in a child.
#[test]
fn the_schedulers_flag_for_children() {
    let Some(lab) = lab() else { return };
    for (flags, child) in [(json!([]), -3), (json!(["SCHED_FLAG_RESET_ON_FORK"]), 0)] {
        let mut bundle = lab.bundle();
        bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -3, "flags": flags});
        bundle.args(["/bin/sh", "-c", "probe; true"]);
        let report: Value = serde_json::from_str(&lab.run(&bundle).ok().stdout()).unwrap();
        assert_eq!(report["scheduler"], json!({"policy": 0, "nice": child, "priority": 0}), "{flags}");
    }
}

/// Whether the kernel lets anybody in a new cgroup be real-time: with `RT_GROUP_SCHED` there is no budget at first.
#[test]
fn a_real_time_policy_works_or_says_what_is_missing() {
    let Some(lab) = lab() else { return };
    let mut bundle = lab.bundle();
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 7});
    bundle.args(["/bin/probe"]);
    let finished = lab.run(&bundle);
    if finished.code() == 0 {
        let report: Value = serde_json::from_str(&finished.stdout()).unwrap();
        let nice = rustix::process::getpriority_process(None).unwrap();
        assert_eq!(report["scheduler"], json!({"policy": 1, "nice": nice, "priority": 7}));
    } else {
        assert!(finished.stderr().contains("process.scheduler: set SCHED_FIFO with priority 7"), "{}", finished.all());
        assert!(finished.stderr().contains("CAP_SYS_NICE"), "{}", finished.all());
        assert_eq!(lab.leaks(), "");
    }
}

#[test]
fn the_io_priority() {
    let Some(lab) = lab() else { return };
    for (class, level, seen) in [
        ("IOPRIO_CLASS_BE", 2, "best-effort: prio 2"),
        ("IOPRIO_CLASS_RT", 3, "realtime: prio 3"),
        ("IOPRIO_CLASS_IDLE", 4, "idle"),
    ] {
        let mut bundle = lab.bundle();
        bundle.config["process"]["ioPriority"] = json!({"class": class, "priority": level});
        bundle.args(["/bin/busybox", "ionice"]);
        assert_eq!(lab.run(&bundle).ok().stdout().trim(), seen);
    }
}

#[test]
fn in_a_user_namespace_too() {
    let Some(lab) = lab() else { return };
    let mut bundle = lab.bundle();
    bundle.add_namespace("user", None);
    let map = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    // Less than 0 is what root of the container has no right to.
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": -3});
    bundle.config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_RT", "priority": 1});
    bundle.args(["/bin/sh", "-c", "busybox ionice; exec probe"]);
    let text = lab.run(&bundle).ok().stdout();
    let (io, report) = text.split_once('\n').unwrap();
    assert_eq!(io, "realtime: prio 1");
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["scheduler"], json!({"policy": 3, "nice": -3, "priority": 0}));
    let container = running(&lab, &mut bundle);
    assert_eq!(exec_report(&container, &[])["scheduler"], json!({"policy": 3, "nice": -3, "priority": 0}));
    container.delete_force();
}

#[test]
fn the_memory_policy() {
    let Some(lab) = lab() else { return };
    // This machine may have no more than one node, which is enough to tell the modes apart.
    for (policy, seen) in [
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "bind=static:0"),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}), "prefer (many):0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        // What it would have anyway: that it is no mistake.
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
    ] {
        let mut bundle = lab.bundle();
        bundle.config["linux"]["memoryPolicy"] = policy.clone();
        let report = lab.report(&mut bundle);
        // The field has a blank in it where there are many.
        let first = seen.split(' ').next().unwrap();
        assert!(
            report["memory_policies"].as_array().unwrap().contains(&json!(first)),
            "{policy}: {}",
            report["memory_policies"]
        );
        let container = running(&lab, &mut bundle);
        let report = exec_report(&container, &[]);
        assert!(report["memory_policies"].as_array().unwrap().contains(&json!(first)), "exec, {policy}");
        container.delete_force();
    }
}

#[test]
fn the_personality() {
    let Some(lab) = lab() else { return };
    for (domain, seen) in [("LINUX32", "00000008"), ("LINUX", "00000000")] {
        let mut bundle = lab.bundle();
        bundle.config["linux"]["personality"] = json!({"domain": domain});
        // The caller's own is another one.
        let other = if domain == "LINUX" { "linux32" } else { "linux64" };
        bundle.args(["/bin/probe"]);
        bundle.save();
        let runtime = [other, lab.runtime_path().to_str().unwrap(), "--root", lab.state_root().to_str().unwrap()]
            .map(str::to_owned);
        let words = ["run", "--bundle", bundle.path_text(), &lab.id()].map(str::to_owned);
        let finished = lab.program("setarch").args(runtime).args(words).run().ok();
        let report: Value = serde_json::from_str(&finished.stdout()).unwrap();
        assert_eq!(report["personality"], seen);
        assert_eq!(report["machine"] == "x86_64", domain == "LINUX" && cfg!(target_arch = "x86_64"), "{domain}");
        let container = running(&lab, &mut bundle);
        assert_eq!(exec_report(&container, &[])["personality"], seen);
        container.delete_force();
    }
}

#[test]
fn an_exec_has_its_cpus_and_the_containers_process_has_all() {
    let Some(lab) = lab() else { return };
    let mut bundle = lab.bundle();
    let all = lab.report(&mut bundle)["cpus_allowed"].clone();
    // The caller's own restriction is not inherited, nor is execCPUAffinity for the container's first process.
    bundle.config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": " 0"});
    bundle.args(["/bin/probe"]);
    bundle.save();
    let runtime = lab.runtime_path().to_str().unwrap().to_owned();
    let root = lab.state_root();
    let words = ["0x1", &runtime, "--root", root.to_str().unwrap(), "run", "--bundle", bundle.path_text()];
    let id = lab.id();
    let finished = lab.program("/usr/bin/taskset").args(words).arg(&id).run().ok();
    let report: Value = serde_json::from_str(&finished.stdout()).unwrap();
    assert_eq!(report["cpus_allowed"], all);

    let container = running(&lab, &mut bundle);
    assert_eq!(exec_report(&container, &[])["cpus_allowed"], "0");
    // An own process document with another one, and one that is empty.
    let mut process = bundle.config["process"].clone();
    process["args"] = json!(["/bin/probe"]);
    for (affinity, seen) in [(json!({"initial": "0"}), &all), (json!({"initial": "", "final": ""}), &all)] {
        process["execCPUAffinity"] = affinity;
        let file = lab.file("process.json", process.to_string());
        let finished = container.command("exec", &["--process", file.to_str().unwrap()], &[]).run().ok();
        let report: Value = serde_json::from_str(&finished.stdout()).unwrap();
        assert_eq!(report["cpus_allowed"], *seen);
    }
    container.delete_force();
}

#[test]
fn an_exec_has_the_scheduling_of_its_own_document_or_the_containers() {
    let Some(lab) = lab() else { return };
    let mut bundle = lab.bundle();
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 4});
    let container = running(&lab, &mut bundle);
    assert_eq!(exec_report(&container, &[])["scheduler"], json!({"policy": 3, "nice": 4, "priority": 0}));
    let mut process = bundle.config["process"].clone();
    process["args"] = json!(["/bin/probe"]);
    process["scheduler"] = json!({"policy": "SCHED_IDLE"});
    let file = lab.file("process.json", process.to_string());
    let options = ["--process", file.to_str().unwrap()];
    let report: Value = serde_json::from_str(&container.command("exec", &options, &[]).run().ok().stdout()).unwrap();
    // The nice value is kept by the kernel, which does not use it for this policy.
    assert_eq!(report["scheduler"]["policy"], 5);
    container.delete_force();
}

#[test]
fn wrong_values_are_refused_by_name_before_anything_is_made() {
    let Some(lab) = lab() else { return };
    let cases: [(&str, &str, Value, &[&str]); 12] = [
        ("process", "scheduler", json!({"policy": "SCHED_MOON"}), &["process.scheduler.policy", "SCHED_MOON"]),
        ("process", "scheduler", json!({"policy": "SCHED_OTHER", "nice": 20}), &["process.scheduler.nice", "20"]),
        ("process", "scheduler", json!({"policy": "SCHED_RR"}), &["process.scheduler.priority", "1 to 99"]),
        ("process", "scheduler", json!({"policy": "SCHED_ISO"}), &["process.scheduler.policy", "SCHED_ISO"]),
        (
            "process",
            "scheduler",
            json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_MOON"]}),
            &["process.scheduler.flags[0]", "SCHED_FLAG_MOON"],
        ),
        ("process", "ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 8}), &["process.ioPriority", "8"]),
        ("process", "ioPriority", json!({"class": "IOPRIO_CLASS_MOON"}), &["process.ioPriority.class", "MOON"]),
        ("process", "execCPUAffinity", json!({"final": "1-x"}), &["process.execCPUAffinity", "1-x"]),
        ("linux", "memoryPolicy", json!({"mode": "MPOL_MOON"}), &["linux.memoryPolicy.mode", "MPOL_MOON"]),
        ("linux", "memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "a"}), &["linux.memoryPolicy.nodes", "a"]),
        (
            "linux",
            "memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "1000"}),
            &["linux.memoryPolicy", "MPOL_BIND of nodes 1000", "has_memory"],
        ),
        ("linux", "personality", json!({"domain": "SOLARIS"}), &["linux.personality.domain", "SOLARIS"]),
    ];
    for (part, field, value, words) in cases {
        let mut bundle = lab.bundle();
        bundle.args(["/bin/true"]);
        bundle.config[part][field] = value.clone();
        let finished = lab.run(&bundle).exits(1);
        for word in words {
            assert!(finished.stderr().contains(word), "{field} {value}: {word:?} is not in: {}", finished.stderr());
        }
        assert_eq!(finished.stderr().trim_end().lines().count(), 1, "{}", finished.all());
        assert_eq!(lab.leaks(), "", "{field} {value}");
    }
}

#[test]
fn an_exec_on_cpus_that_are_not_there_is_a_clear_error() {
    let Some(lab) = lab() else { return };
    let mut bundle = lab.bundle();
    bundle.config["process"]["execCPUAffinity"] = json!({"final": "1000-1003"});
    let container = running(&lab, &mut bundle);
    let finished = container.exec(&[], &["/bin/true"]).run();
    assert_ne!(finished.code(), 0);
    assert!(finished.stderr().contains("process.execCPUAffinity.final: run on CPUs 1000-1003"), "{}", finished.all());
    container.delete_force();
}

#[test]
fn an_ordinary_user_may_have_less_but_not_more() {
    let Some(lab) = Lab::user().filter(|lab| !lab.is_peer()) else { return };
    let mut bundle = lab.bundle();
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 19});
    bundle.config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE"});
    let report = lab.report(&mut bundle);
    assert_eq!(report["scheduler"], json!({"policy": 3, "nice": 19, "priority": 0}));
    for (field, value) in [
        ("scheduler", json!({"policy": "SCHED_OTHER", "nice": -5})),
        ("ioPriority", json!({"class": "IOPRIO_CLASS_RT", "priority": 0})),
    ] {
        let mut bundle = lab.bundle();
        bundle.args(["/bin/true"]);
        bundle.config["process"][field] = value;
        let finished = lab.run(&bundle).exits(1);
        for word in [&format!("process.{field}"), "CAP_SYS_NICE"] {
            assert!(finished.stderr().contains(word), "{word}: {}", finished.all());
        }
        assert_eq!(lab.leaks(), "");
    }
}
