//! pause, resume, ps, update and events: what engines do with a container while it runs.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;

use pipkin_harness::host::{self, View, view};
use pipkin_harness::{Container, Lab, Program, adopt, await_path, await_true, skipped};
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

/// `events --stats`
fn stats(container: &Container<'_>) -> Value {
    let text = container.command("events", &["--stats"], &[]).run().ok().stdout();
    serde_json::from_str(&text).unwrap()
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
    let started = container.exec(&options, &["/bin/probe", "signal-wait", "second"]).run().ok();
    // Its command line is not there yet when execve(2) has only just begun.
    await_true("the second program's word", || started.stdout().contains("second"));
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
    assert!(table.contains("signal-wait second") && table.contains("signal-wait\n"), "{table}");
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
    let event = stats(&container);
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

/// The figures of a container that stands still are those of its files.
#[test]
fn figures_are_what_the_files_say() {
    let Some(lab) = Lab::root() else { return };
    let container = counting(&lab);
    await_true("some processor time", || ticks(container.pid()) > 2);
    container.command("pause", &[], &[]).run().ok();
    let number = |controller: &str, name: &str| -> Option<u64> {
        let path = host::cgroup_directory(container.pid(), controller)?.join(name);
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let line = |name: &str, key: &str| -> Option<u64> {
        let text = fs::read_to_string(host::cgroup_directory(container.pid(), "")?.join(name)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    };
    let figure = |pointer: &str| stats(&container).pointer(pointer).and_then(Value::as_u64);
    let mut compared = 0;
    let mut same = |pointer: &str, file: &dyn Fn() -> Option<u64>| {
        if let Some(before) = file() {
            // The kernel counts in batches: what a processor holds back may come at any time.
            await_true(pointer, || figure(pointer) == file());
            compared += u32::from(before > 0);
        }
    };
    match view() {
        View::Hybrid => {
            same("/data/cpu/usage/total", &|| number("cpuacct", "cpuacct.usage"));
            same("/data/memory/usage/usage", &|| number("memory", "memory.usage_in_bytes"));
            same("/data/memory/usage/limit", &|| number("memory", "memory.limit_in_bytes"));
            same("/data/memory/usage/max", &|| number("memory", "memory.max_usage_in_bytes"));
            same("/data/memory/kernel/usage", &|| number("memory", "memory.kmem.usage_in_bytes"));
            same("/data/pids/current", &|| number("pids", "pids.current"));
        }
        View::V2 => {
            same("/data/cpu/usage/total", &|| line("cpu.stat", "usage_usec ").map(|micro| micro * 1000));
            same("/data/cpu/usage/user", &|| line("cpu.stat", "user_usec ").map(|micro| micro * 1000));
            same("/data/memory/usage/usage", &|| number("", "memory.current"));
            same("/data/memory/raw/anon", &|| line("memory.stat", "anon "));
            same("/data/pids/current", &|| number("", "pids.current"));
        }
    }
    assert!(compared > 0, "nothing to compare");
    container.delete_force();
}

/// The kernel's own figures, so that it does not matter how busy the machine is: in each period no more than the quota.
#[test]
fn a_quota_is_all_that_a_program_gets() {
    let Some(lab) = Lab::root() else { return };
    if !host::has_controller("cpu") {
        return skipped("no cpu controller in this view");
    }
    let mut bundle = lab.bundle();
    bundle.config["linux"]["resources"]["cpu"] = json!({"quota": 5_000, "period": 50_000});
    bundle.args(["/bin/sh", "-c", "while :; do :; done"]);
    let container = lab.create(&bundle);
    container.start();
    let figure = |name: &str| stats(&container)["data"]["cpu"].pointer(name).and_then(Value::as_u64).unwrap_or(0);
    await_true("throttled periods", || figure("/throttling/throttledPeriods") > 10);
    // Read in this order: there are no fewer periods than those that the time was used in.
    let (used, periods) = (figure("/usage/total"), figure("/throttling/periods"));
    // A period's rest may be used in the next one, and a processor takes its share of the quota in slices of 5 ms.
    assert!(used < (periods + 4) * 5_000_000 * 2, "{used} ns in {periods} periods of 50 ms");
    container.delete_force();
}

/// A loop device that goes away with this.
struct Disk(String);

impl Disk {
    fn new(lab: &Lab) -> Option<Self> {
        let file = lab.file("disk", vec![1; 4 << 20]);
        let made = Program::new("losetup").args(["--find", "--show"]).arg(file).run();
        (made.code() == 0).then(|| Self(made.stdout().trim().to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Program::new("losetup").args(["--detach", &self.0]).run();
    }
}

#[test]
fn reading_from_a_disk_is_throttled() {
    let Some(lab) = Lab::root() else { return };
    let controller = if view() == View::V2 { "io" } else { "blkio" };
    if !host::has_controller(controller) {
        return skipped("no controller of input and output in this view");
    }
    let Some(disk) = Disk::new(&lab) else { return skipped("no loop devices") };
    let number = std::os::unix::fs::MetadataExt::rdev(&fs::metadata(&disk.0).unwrap());
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let mut bundle = lab.bundle();
    let linux = &mut bundle.config["linux"];
    linux["devices"] = json!([{"path": "/dev/disk", "type": "b", "major": major, "minor": minor, "fileMode": 0o600}]);
    let rule = json!({"allow": true, "type": "b", "major": major, "minor": minor, "access": "r"});
    linux["resources"]["devices"].as_array_mut().unwrap().push(rule);
    let limit = json!([{"major": major, "minor": minor, "rate": 2 << 20}]);
    linux["resources"]["blockIO"] = json!({"throttleReadBpsDevice": limit});
    bundle.args(["/bin/dd", "if=/dev/disk", "of=/dev/null", "bs=64k", "iflag=direct"]);
    // Four megabytes at two a second; a first slice of time is free.
    let finished = lab.run(&bundle).ok();
    assert!(finished.took.as_secs_f64() > 1.5, "{:?}", finished.took);

    bundle.args(["/bin/probe", "signal-wait"]);
    let container = lab.create(&bundle);
    container.start();
    let name = if view() == View::V2 { "io.max" } else { "blkio.throttle.read_bps_device" };
    let file = host::cgroup_directory(container.pid(), controller).unwrap().join(name);
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(&format!("{major}:{minor} ")) && text.contains("2097152"), "{text}");
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
    let event = stats(&container);
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
