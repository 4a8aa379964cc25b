//! pause, resume, ps, update and events: what engines do with a container while it runs.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;

use pipkin_harness::host::{self, View, view};
use pipkin_harness::{Container, Lab, adopt, await_path, await_true, skipped};
use serde_json::{Value, json};

/// A running container whose program counts in a file as long as it is not frozen.
fn counting(lab: &Lab) -> Container<'_> {
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = json!(false);
    bundle.args(["/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; done > /srv/count"]);
    let count = bundle.rootfs("/srv/count");
    let container = lab.create(&bundle);
    container.start();
    await_path(&count);
    container
}

fn waiting(lab: &Lab) -> Container<'_> {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "signal-wait"]);
    let container = lab.create(&bundle);
    container.start();
    await_true("the program's first word", || container.stdout().contains("ready"));
    container
}

/// The processor time that the process has used, in ticks.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_paused_container_stands_still_until_it_is_resumed() {
    let Some(lab) = Lab::root() else { return };
    let container = counting(&lab);
    container.command("pause", &[], &[]).run().ok();
    assert_eq!(container.status(), "paused");
    let before = ticks(container.pid());
    // Another container counts meanwhile: enough time for this one to have moved if it could.
    let other = counting(&lab);
    await_true("the other one's work", || ticks(other.pid()) > 5);
    assert_eq!(ticks(container.pid()), before);
    container.command("resume", &[], &[]).run().ok();
    assert_eq!(container.status(), "running");
    await_true("work after resume", || ticks(container.pid()) > before + 2);
    other.delete_force();
    container.delete_force();
}

#[test]
fn what_a_paused_container_allows() {
    let Some(lab) = Lab::root() else { return };
    let container = waiting(&lab);
    container.command("resume", &[], &[]).run().exits(1);
    container.command("pause", &[], &[]).run().ok();
    let refused = container.exec(&[], &["/bin/true"]).run().exits(255);
    assert!(refused.stderr().contains("paused"), "{}", refused.all());
    // A frozen process sees a signal when it is thawed; KILL is not made to wait.
    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    container.delete();

    let container = waiting(&lab);
    container.command("pause", &[], &[]).run().ok();
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn ps_lists_the_containers_processes() {
    let Some(lab) = Lab::root() else { return };
    let container = waiting(&lab);
    let pid_file = lab.path("exec.pid");
    let options = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    container.exec(&options, &["/bin/sleep", "1000"]).run().ok();
    let second: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    adopt(second);
    let text = container.command("ps", &["--format", "json"], &[]).run().ok().stdout();
    let mut pids: Vec<i32> = serde_json::from_str(&text).unwrap();
    pids.sort_unstable();
    let mut expected = [container.pid(), second];
    expected.sort_unstable();
    assert_eq!(pids, expected);
    let table = container.command("ps", &[], &[]).run().ok().stdout();
    assert!(table.lines().next().unwrap().contains("PID"), "{table}");
    assert!(table.contains("sleep 1000") && table.contains("signal-wait"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    container.delete_force();
}

#[test]
fn update_changes_limits_of_a_running_container() {
    let Some(lab) = Lab::root() else { return };
    if !["memory", "cpu", "pids"].into_iter().all(host::has_controller) {
        return skipped("no memory, cpu and pids controllers in this view");
    }
    let container = waiting(&lab);
    let [memory, quota, shares] = match view() {
        View::Hybrid => ["memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.shares"],
        View::V2 => ["memory.max", "cpu.max", "cpu.weight"],
    };
    let file = |controller: &str, name: &str| {
        let path = host::cgroup_directory(container.pid(), controller).unwrap().join(name);
        fs::read_to_string(path).unwrap().trim().to_owned()
    };
    let options = ["--memory", "67108864", "--pids-limit", "77", "--cpu-quota", "25000", "--cpu-period", "50000"];
    container.command("update", &options, &[]).run().ok();
    assert_eq!(file("memory", memory), "67108864");
    assert_eq!(file("pids", "pids.max"), "77");
    assert!(file("cpu", quota).starts_with("25000"));

    let resources = json!({"memory": {"limit": 33_554_432}, "cpu": {"shares": 200}, "pids": {"limit": 55}});
    let update = container.command("update", &["--resources", "-"], &[]).input(resources.to_string().as_bytes());
    update.run().ok();
    assert_eq!(file("memory", memory), "33554432");
    // On the curve that runc has since 1.3.2, on the straight line before.
    let converted = if lab.is_peer() { "8" } else { "29" };
    assert_eq!(file("cpu", shares), if view() == View::V2 { converted } else { "200" });
    assert_eq!(file("pids", "pids.max"), "55");
    assert!(file("cpu", quota).starts_with("25000"), "what is not named stays");
    container.delete_force();
}

#[test]
fn update_gives_a_cpuset_to_a_container_that_had_none() {
    let Some(lab) = Lab::root() else { return };
    if !host::has_controller("cpuset") {
        return skipped("no cpuset controller in this view");
    }
    let container = waiting(&lab);
    container.command("update", &["--cpuset-cpus", "0"], &[]).run().ok();
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn events_stats_has_figures_of_the_container() {
    let Some(lab) = Lab::root() else { return };
    let container = waiting(&lab);
    let text = container.command("events", &["--stats"], &[]).run().ok().stdout();
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(event["type"], "stats");
    assert_eq!(event["id"], container.id());
    if host::has_controller("memory") {
        assert!(event["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{event}");
    }
    if host::has_controller("pids") {
        assert_eq!(event["data"]["pids"]["current"], 1, "{event}");
    }
    container.delete_force();
}

/// One process of the container takes too much and is killed; the container goes on, and whoever watches is told.
#[test]
fn events_tell_of_a_kill_for_want_of_memory() {
    let Some(lab) = Lab::root() else { return };
    if !host::has_controller("memory") {
        return skipped("no memory controller in this view");
    }
    let mut bundle = lab.bundle();
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": 33_554_432, "swap": 33_554_432});
    bundle.args(["/bin/probe", "signal-wait"]);
    let container = lab.create(&bundle);
    container.start();
    let mut events = container.command("events", &["--interval", "10ms"], &[]).start();
    events.hear("\"type\":\"stats\"");
    container.exec(&[], &["/bin/probe", "alloc", "256"]).run().exits(137);
    events.hear("\"type\":\"oom\"");
    assert_eq!(container.status(), "running");
    let text = container.command("events", &["--stats"], &[]).run().ok().stdout();
    let event: Value = serde_json::from_str(&text).unwrap();
    assert!(event["data"]["memory"]["usage"]["usage"].as_u64().unwrap() < 33_554_432, "{event}");
    if view() == View::V2 {
        assert!(event["data"]["memory"]["psi"].is_object() || event["data"]["memory"]["PSI"].is_object(), "{event}");
    }
    container.delete_force();
    events.wait();
}

#[test]
fn update_of_shares_needs_a_group_that_is_the_containers() {
    let Some(lab) = Lab::root() else { return };
    let container = waiting(&lab);
    for options in
        [&["--l3-cache-schema", "L3:0=f"][..], &["--mem-bw-schema", "MB:0=20"], &["--mem-bw-schema", "L3:0=f"]]
    {
        container.command("update", options, &[]).run().exits(1);
    }
    container.command("update", &[], &[]).run().ok();
    container.delete_force();
}
