//! Limits of a running container change.

use super::*;

#[test]
fn update_changes_memory_and_swap_in_either_direction() {
    if !is_root() {
        return;
    }
    let megabytes = |limit: i64, swap: i64| json!({"memory": {"limit": limit << 20, "swap": swap << 20}});
    if !has("memory") {
        return assert_refused("update", megabytes(16, 32), "memory");
    }
    let test = TestCgroup::new("update", megabytes(16, 32));
    let child = test.spawn("sleep 1000 </dev/null >/dev/null 2>&1 & read forever");
    for (limit, swap) in [(64, 64), (128, 256), (8, 16), (16, 16)] {
        update(&test, megabytes(limit, swap)).unwrap();
        let stats = test.cgroup.stats().unwrap();
        assert_eq!((stats.memory.usage.limit, stats.memory.swap.limit), ((limit as u64) << 20, (swap as u64) << 20));
    }
    if Layout::detect().unwrap().of("memory").unwrap().version == Version::V1 {
        update(&test, json!({"memory": {"swap": 64 << 20}})).unwrap();
        assert_eq!(test.cgroup.stats().unwrap().memory.swap.limit, 64 << 20);
    }
    let error = update(&test, json!({"memory": {"limit": 1, "checkBeforeUpdate": true}})).unwrap_err();
    assert!(error.kind() == Kind::Invalid && error.to_string().starts_with("memory.limit: 1: "), "{error}");
    update(&test, json!({"memory": {"limit": -1}})).unwrap();
    assert!(test.cgroup.stats().unwrap().memory.swap.limit > 1 << 60);
    drop(child);
}

#[test]
fn update_changes_period_quota_and_burst_in_either_direction() {
    if !is_root() || !has("cpu") {
        return;
    }
    let test = TestCgroup::new("update-cpu", json!({"cpu": {"quota": 10_000, "period": 100_000, "burst": 5_000}}));
    for (quota, period, burst) in [(2_000, 10_000, 1_000), (500_000, 1_000_000, 400_000), (20_000, 50_000, 0)] {
        update(&test, json!({"cpu": {"quota": quota, "period": period, "burst": burst}})).unwrap();
    }
    let mount = test.cgroup.record().mounts().into_iter().find(|m| m.options.split(',').any(|o| o == "cpu"));
    if let Some(mount) = mount {
        let read = |name: &str| std::fs::read_to_string(mount.directory.join(name)).unwrap().trim().to_owned();
        let now = ["cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us"].map(read);
        assert_eq!(now, ["20000", "50000", "0"]);
    }
}

#[test]
fn update_limits_processors_that_were_not_limited() {
    if !is_root() {
        return;
    }
    let test = TestCgroup::new("update-cpuset", json!({}));
    if !has("cpuset") {
        let error = update(&test, json!({"cpu": {"cpus": "0"}})).unwrap_err().to_string();
        return assert!(error.contains("needs the cgroup controller \"cpuset\""), "{error}");
    }
    let mut child = test.spawn("sleep 1000 & echo up; wait");
    child.lines().read_line(&mut String::new()).unwrap();
    update(&test, json!({"cpu": {"cpus": "0"}})).unwrap();
    update(&test, json!({"cpu": {"cpus": "0"}})).unwrap();
    let all = test.cgroup.processes().unwrap();
    assert_eq!(all.len(), 2);
    for pid in all {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
        assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    }
    assert_eq!(test.cgroup.stats().unwrap().cpuset.cpus, [0]);
    // Who joins later joins here, too.
    let output = test.run("grep Cpus_allowed_list /proc/self/status");
    assert_eq!(String::from_utf8_lossy(&output.stdout).split_whitespace().last(), Some("0"));
}

#[test]
fn a_wrong_update_changes_nothing() {
    if !is_root() {
        return;
    }
    let test = TestCgroup::new("update-wrong", json!({}));
    let wrong = [
        (json!({"pids": {"limit": -2}}), "pids.limit: -2"),
        (json!({"memory": {"limit": 100, "swap": 50}}), "memory.swap: 50"),
        (json!({"cpu": {"cpus": "x"}}), "cpu.cpus: \"x\""),
        (json!({"unified": {"../memory.max": "1"}}), "unified.../memory.max: must be CONTROLLER.NAME"),
        (json!({"devices": [{"allow": true, "access": "z"}]}), "devices[0].access: \"z\""),
    ];
    for (resources, text) in wrong {
        let error = update(&test, resources).unwrap_err();
        assert!(error.kind() == Kind::Invalid && error.to_string().contains(text), "{error}");
    }
}
