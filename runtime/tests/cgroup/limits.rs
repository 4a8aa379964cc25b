//! Limits bite, and figures tell.

use super::*;

#[test]
fn fork_bomb_stops_at_the_limit() {
    let limit = json!({"pids": {"limit": 8}});
    if !is_root() {
        return;
    }
    if !has("pids") {
        return assert_refused("pids", limit, "pids");
    }
    let test = TestCgroup::new("pids", limit);
    // The shell says it on its standard error and ends when a fork fails.
    let output =
        test.run("n=0; while [ $n -lt 30 ]; do n=$((n+1)); echo $n; sleep 1000 </dev/null >/dev/null 2>&1 & done");
    let started = String::from_utf8_lossy(&output.stdout).lines().count();
    assert!(!output.status.success() && (5..=9).contains(&started), "{started} {output:?}");
}

#[test]
fn memory_over_the_limit_is_killed() {
    let limit = json!({"memory": {"limit": 16 << 20}});
    if !is_root() {
        return;
    }
    if !has("memory") {
        return assert_refused("memory", limit, "memory");
    }
    let test = TestCgroup::new("memory", limit);
    // dd has a buffer of the size that it is told.
    let output = test.run("dd if=/dev/zero of=/dev/null bs=8M count=1");
    assert!(output.status.success(), "{output:?}");
    let output = test.run("exec dd if=/dev/zero of=/dev/null bs=64M count=1");
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
}

#[test]
fn cpu_quota_throttles() {
    let limit = json!({"cpu": {"quota": 10_000, "period": 100_000}});
    if !is_root() {
        return;
    }
    if !has("cpu") {
        return assert_refused("cpu", limit, "cpu");
    }
    let test = TestCgroup::new("cpu", limit);
    // A loop that would take all of a processor takes a tenth: by the kernel's figures, however busy the machine is.
    let child = test.spawn("while :; do :; done");
    let figures = || test.cgroup.stats().unwrap().cpu;
    let end = std::time::Instant::now() + PATIENCE;
    while figures().throttling.throttled_periods <= 5 {
        assert!(std::time::Instant::now() < end, "it is never throttled: {:?}", figures());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // Read in this order: there are no fewer periods than those that the time was used in, and a period's rest may be used in
    // the next one.
    let (used, periods) = (figures().usage.total, figures().throttling.periods);
    assert!(used < (periods + 4) * 10_000_000 * 2, "{used} ns in {periods} periods of 100 ms");
    drop(child);
}

#[test]
fn cpuset_is_filled_before_anyone_enters() {
    let limit = json!({"cpu": {"cpus": "0"}});
    if !is_root() {
        return;
    }
    if !has("cpuset") {
        return assert_refused("cpuset", limit, "cpuset");
    }
    let test = TestCgroup::new("cpuset", limit);
    let output = test.run("grep Cpus_allowed_list /proc/self/status");
    assert_eq!(String::from_utf8_lossy(&output.stdout).split_whitespace().last(), Some("0"));
}

#[test]
fn figures_agree_with_the_files() {
    if !is_root() {
        return;
    }
    let test = TestCgroup::new("stats", json!({}));
    let mut child = test.spawn("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 1000 & echo done; wait");
    child.lines().read_line(&mut String::new()).unwrap();
    let stats = test.cgroup.stats().unwrap();
    assert!(stats.cpu.usage.total > 1_000_000, "{:?}", stats.cpu);
    if has("pids") {
        assert_eq!(stats.pids.current, 2);
    }
    if has("memory") {
        assert!(stats.memory.usage.usage > 0 && stats.memory.raw.len() > 20 && stats.memory.usage.max > 0);
    }
    if test.cgroup.clone_into().is_some() && Path::new("/proc/pressure").exists() {
        assert!(stats.cpu.psi.is_some() && stats.memory.psi.is_some() && stats.blkio.psi.is_some());
    }
    // A cgroup that is gone has used nothing.
    test.cgroup.kill().unwrap();
    test.cgroup.remove().unwrap();
    assert_eq!(test.cgroup.stats().unwrap(), pipkin_runtime::cgroup::Stats::default());
}

#[test]
fn tells_of_a_kill_for_want_of_memory() {
    if !is_root() {
        return;
    }
    let limit = json!({"memory": {"limit": 16 << 20}});
    if !has("memory") {
        return assert_refused("oom", limit, "memory");
    }
    let test = TestCgroup::new("oom", limit);
    let watch = test.cgroup.watch_oom().unwrap().expect("there is a memory controller");
    assert_eq!(watch.kills().unwrap(), Some(0));
    let child = test.spawn("dd if=/dev/zero of=/dev/null bs=64M count=1");
    let (fd, events) = watch.poll_on();
    let patience = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut [rustix::event::PollFd::new(&fd, events)], Some(&patience)).unwrap(), 1);
    child.wait_with_output();
    assert_eq!((watch.kills().unwrap(), test.cgroup.oom_kills().unwrap()), (Some(1), Some(1)));
    assert_eq!(test.cgroup.stats().unwrap().memory.event_count.oom_kill, 1);
}

/// Controllers that no test can make use of here: what the files say is what was asked for.
#[test]
fn limits_are_in_the_files_of_their_controllers() {
    if !is_root() {
        return;
    }
    let read = |test: &TestCgroup, name: &str| {
        let path = test.directory(Version::V2).join(name);
        std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    };
    if has("hugetlb") {
        let test = TestCgroup::new("huge", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}));
        for file in ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"] {
            assert_eq!(read(&test, file).as_deref(), Some("4194304"), "{file}");
        }
        update(&test, json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]})).unwrap();
        assert_eq!(read(&test, "hugetlb.2MB.max").as_deref(), Some("2097152"));
        // A kernel has other sizes than this one.
        assert_refused_by_kernel(json!({"hugepageLimits": [{"pageSize": "4KB", "limit": 1}]}), "hugepageLimits[0]");
    }
    if Layout::detect().unwrap().of("io").is_some_and(|io| io.version == Version::V2) {
        let test = TestCgroup::new("weight", json!({"blockIO": {"weight": 500}}));
        let weights = [read(&test, "io.bfq.weight"), read(&test, "io.weight")];
        assert!(
            weights.iter().flatten().any(|w| w == "default 500" || w == "default 4950" || w == "500"),
            "{weights:?}"
        );
        let test = TestCgroup::new(
            "files",
            json!({"unified": {"memory.high": "8388608", "cpu.weight": "7", "pids.max": "33"}}),
        );
        for (file, value) in [("memory.high", "8388608"), ("cpu.weight", "7"), ("pids.max", "33")] {
            assert_eq!(read(&test, file).as_deref(), Some(value), "{file}");
        }
        // There are no such devices and resources here; that it is the kernel who says so shows that it was asked.
        assert_refused_by_kernel(json!({"rdma": {"nodev0": {"hcaHandles": 3, "hcaObjects": 10}}}), "rdma.nodev0");
        assert_refused_by_kernel(json!({"unified": {"misc.max": "nothing 1"}}), "unified.misc.max");
        assert_refused_by_kernel(json!({"unified": {"memory.coffee": "1"}}), "unified.memory.coffee");
    }
    let network = json!({"network": {"classID": 1, "priorities": [{"name": "lo", "priority": 5}]}});
    if Layout::detect().unwrap().of("net_cls").is_none() {
        assert_refused("network", network, "net_cls");
    }
}

#[track_caller]
fn assert_refused_by_kernel(resources: Value, field: &str) {
    let error = TestCgroup::try_new("refused", resources).err().expect("the kernel refuses it").to_string();
    assert!(error.contains(field), "{error}");
    for hierarchy in Layout::detect().unwrap().hierarchies {
        // Parents stay, because they can be somebody else's; that it can be removed shows that nothing is in it.
        let parent = hierarchy.mount_point.join(format!("pipkin-test-{}-refused", std::process::id()));
        if parent.exists() {
            std::fs::remove_dir(&parent).unwrap_or_else(|left| panic!("{parent:?}: {left} after {error}"));
        }
    }
}

#[test]
fn half_a_megabyte_is_enough_to_get_in() {
    if !is_root() || !has("memory") {
        return;
    }
    let test = TestCgroup::new("small", json!({"memory": {"limit": 512 << 10}}));
    let output = test.run("exec /bin/true");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(test.cgroup.oom_kills().unwrap(), Some(0));
}

/// A loop device on a file of four megabytes; both are gone at its end.
struct Disk {
    device: PathBuf,
    file: PathBuf,
}

impl Disk {
    fn new() -> Option<Disk> {
        let file = std::env::temp_dir().join(format!("pipkin-test-disk-{}", std::process::id()));
        std::fs::write(&file, vec![1; 4 << 20]).unwrap();
        let mut disk = Disk { device: PathBuf::new(), file };
        let output = Command::new("losetup").args(["-f", "--show"]).arg(&disk.file).output().ok()?;
        disk.device = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        output.status.success().then_some(disk)
    }

    fn number(&self) -> (u32, u32) {
        let device = std::os::unix::fs::MetadataExt::rdev(&std::fs::metadata(&self.device).unwrap());
        (rustix::fs::major(device), rustix::fs::minor(device))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.device).output();
        let _ = std::fs::remove_file(&self.file);
    }
}

#[test]
fn reading_is_throttled() {
    if !is_root() || !(has("io") || has("blkio")) {
        return;
    }
    let Some(disk) = Disk::new() else { return skipped("no loop device") };
    let (major, minor) = disk.number();
    let limit = json!([{"major": major, "minor": minor, "rate": 2 << 20}]);
    let test = TestCgroup::new("io", json!({"blockIO": {"throttleReadBpsDevice": limit}}));
    let read = format!("dd if={} of=/dev/null bs=64k iflag=direct 2>/dev/null", disk.device.display());
    let start = std::time::Instant::now();
    assert!(test.run(&read).status.success());
    // Four megabytes at two a second, and a little less because of the first, free slice of time.
    assert!(start.elapsed().as_secs_f64() > 1.5, "{:?}", start.elapsed());
    let stats = test.cgroup.stats().unwrap().blkio;
    let bytes = stats
        .io_service_bytes_recursive
        .iter()
        .find(|e| (e.major, e.minor) == (major.into(), minor.into()) && e.op == "Read");
    assert_eq!(bytes.map(|entry| entry.value), Some(4 << 20), "{stats:?}");
}
