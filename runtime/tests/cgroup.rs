//! Cgroups on the real kernel: limits bite, devices are refused, what is frozen stands still, nothing is left.
//!
//! Needs root. Runs on whatever layout it finds; start it also in a view of version 2 alone:
//! `unshare -m sh -c 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"' _ PROGRAM`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use oci_spec::runtime::Linux;
use pipkin_runtime::cgroup::{Cgroup, Layout, Plan, Version, enter_through};
use pipkin_runtime::error::{Kind, Problems, Result};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A cgroup of a test: at its end everything in it dies and all of it goes away, also when the test fails.
struct Box_ {
    cgroup: Cgroup,
    parents: Vec<PathBuf>,
}

impl Box_ {
    fn new(name: &str, resources: Value) -> Box_ {
        Box_::try_new(name, resources).unwrap()
    }

    fn try_new(name: &str, resources: Value) -> Result<Box_> {
        let plan = plan(name, resources).map_err(|problems| problems.into_result().unwrap_err())?;
        Ok(Box_::of(&plan, Cgroup::create(&plan)?))
    }

    fn of(plan: &Plan, cgroup: Cgroup) -> Box_ {
        // In every hierarchy, because an update may join one more.
        let path = plan.record().mounts()[0].directory.clone();
        let parent = path.parent().unwrap().file_name().unwrap().to_owned();
        let parents = Layout::detect().unwrap().hierarchies.iter().map(|h| h.mount_point.join(&parent)).collect();
        Box_ { cgroup, parents }
    }

    fn directory(&self, version: Version) -> PathBuf {
        self.cgroup.record().mounts().into_iter().find(|m| m.version == version).unwrap().directory
    }

    /// Runs a shell script in the cgroup and gives its output and status.
    fn run(&self, script: &str) -> Output {
        self.spawn(script).wait_with_output()
    }

    /// Starts a shell script in the cgroup: born in it on version 1, moved before its first command on version 2.
    fn spawn(&self, script: &str) -> Running {
        let doors = self.cgroup.doors().unwrap();
        let script = format!("read go; {script}");
        // A thread that has entered by itself hands its cgroups to its child, and takes nobody else along.
        let child = std::thread::scope(|scope| {
            let start = || {
                enter_through(&doors).unwrap();
                let child = Command::new("/bin/sh")
                    .args(["-c", &script])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn();
                // Out again, or the end of the cgroup could be that of the test.
                leave();
                child.unwrap()
            };
            scope.spawn(start).join().unwrap()
        });
        let running = Running(Some(child));
        self.cgroup.enter_unified(running.pid()).unwrap();
        running.0.as_ref().unwrap().stdin.as_ref().unwrap().write_all(b"\n").unwrap();
        running
    }
}

impl Drop for Box_ {
    fn drop(&mut self) {
        let ended = self.cgroup.kill().and_then(|()| self.cgroup.remove());
        for parent in &self.parents {
            let _ = std::fs::remove_dir(parent);
        }
        if !std::thread::panicking() {
            ended.unwrap();
            assert!(!self.cgroup.exists());
        }
    }
}

struct Running(Option<Child>);

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(self.0.as_ref().unwrap())
    }

    /// All it wrote and how it ended. A test that would hang fails, and its guard ends the rest.
    fn wait_with_output(mut self) -> Output {
        let (done, output) = std::sync::mpsc::channel();
        let child = self.0.take().unwrap();
        std::thread::spawn(move || done.send(child.wait_with_output()));
        output.recv_timeout(PATIENCE).expect("the script ends").unwrap()
    }

    fn lines(&mut self) -> BufReader<std::process::ChildStdout> {
        BufReader::new(self.0.as_mut().unwrap().stdout.take().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The calling thread goes back to the cgroups that the process has.
fn leave() {
    for hierarchy in Layout::detect().unwrap().hierarchies.iter().filter(|h| h.version == Version::V1) {
        let own = hierarchy.own.strip_prefix(&hierarchy.root).unwrap();
        std::fs::write(hierarchy.mount_point.join(own).join("tasks"), "0").unwrap();
    }
}

fn plan(name: &str, resources: Value) -> std::result::Result<Plan, Problems> {
    let path = format!("/pipkin-test-{}-{name}/box", std::process::id());
    let linux: Linux = serde_json::from_value(json!({"cgroupsPath": path, "resources": resources})).unwrap();
    let mut problems = Problems::default();
    let plan = Plan::compile("pipkin-test", Some(&linux), &Layout::detect().unwrap(), true, false, &mut problems);
    if problems.is_empty() { Ok(plan.expect("this machine has cgroups")) } else { Err(problems) }
}

/// These tests change the machine's cgroups; an ordinary user can not.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

fn has(controller: &str) -> bool {
    Layout::detect().unwrap().of(controller).is_some()
}

/// Without the controller the limit is refused before anything is made.
fn assert_refused(name: &str, resources: Value, controller: &str) {
    let problems = plan(name, resources).unwrap_err();
    let text = problems.into_result().unwrap_err().to_string();
    assert!(text.contains(&format!("needs the cgroup controller \"{controller}\"")), "{text}");
}

fn memberships(pid: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).unwrap()
}

#[test]
fn enters_every_hierarchy_and_is_found_again() {
    if !is_root() {
        return;
    }
    let test = Box_::new("enter", json!({}));
    let child = test.spawn("read forever");
    let own = memberships(child.pid());
    for mount in test.cgroup.record().mounts() {
        let line = format!(":{}:/pipkin-test-{}-enter/box", mount.options, std::process::id());
        assert!(own.lines().any(|l| l.ends_with(&line)), "{line} not in\n{own}");
    }
    let text = serde_json::to_string(&test.cgroup.record()).unwrap();
    let again: pipkin_runtime::cgroup::Record = serde_json::from_str(&text).unwrap();
    assert_eq!(again.open().processes().unwrap(), [child.pid()]);
    assert_eq!(again.open().clone_into().is_some(), test.cgroup.clone_into().is_some());
}

#[test]
fn fork_bomb_stops_at_the_limit() {
    let limit = json!({"pids": {"limit": 8}});
    if !is_root() {
        return;
    }
    if !has("pids") {
        return assert_refused("pids", limit, "pids");
    }
    let test = Box_::new("pids", limit);
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
    let test = Box_::new("memory", limit);
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
    let test = Box_::new("cpu", limit);
    // A loop that would take all of a processor takes a tenth; the kernel's clock of the process says so.
    let start = std::time::Instant::now();
    let output = test.run("while :; do :; done & sleep 2; cat /proc/$!/stat; kill -9 $!");
    let wall = start.elapsed().as_secs_f64();
    let stat = String::from_utf8_lossy(&output.stdout).into_owned();
    let ticks: f64 = stat.split(' ').skip(13).take(2).map(|n| n.parse::<f64>().unwrap()).sum();
    let used = ticks / 100.0;
    assert!(used > 0.05 && wall / used > 5.0, "used {used} s of processor in {wall} s");
    assert!(test.cgroup.stats().unwrap().cpu.throttling.throttled_periods > 5);
}

/// Which of r and w the cgroup lets the script do to a node `c MAJOR:MINOR`, made by the script itself. Whether the
/// machine has such a device does not matter: the cgroup is asked first. In /dev, because /tmp may be mounted nodev.
fn access(test: Option<&Box_>, devices: &[(u32, u32)]) -> String {
    let mut script = "d=$(mktemp -d /dev/pipkin-test-XXXXXX); trap 'rm -r $d' EXIT; \
        t() { case $(eval \"$2\" 2>&1) in *permitted*|*denied*) ;; *) echo $1;; esac; }; "
        .to_owned();
    for (major, minor) in devices {
        let node = format!("$d/{major}.{minor}");
        script += &format!("mknod {node} c {major} {minor} && echo {major}:{minor} m; ");
        script += &format!("t '{major}:{minor} r' '(: <{node})'; t '{major}:{minor} w' '(: >{node})'; ");
    }
    let output = match test {
        Some(test) => test.run(&script),
        None => Command::new("/bin/sh").args(["-c", &script]).output().unwrap(),
    };
    String::from_utf8(output.stdout).unwrap().replace('\n', " ")
}

const NULL: (u32, u32) = (1, 3);
const KMSG: (u32, u32) = (1, 11);
const FUSE: (u32, u32) = (10, 229);

#[test]
fn devices_are_denied_unless_listed() {
    if !is_root() {
        return;
    }
    let test = Box_::new(
        "devices",
        json!({"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
        ]}),
    );
    let all = "1:3 m 1:3 r 1:3 w 1:11 m 1:11 r 1:11 w 10:229 m 10:229 r 10:229 w ";
    assert_eq!(access(None, &[NULL, KMSG, FUSE]), all);
    assert_eq!(access(Some(&test), &[NULL, KMSG, FUSE]), all, "nothing is restricted yet");
    test.cgroup.restrict().unwrap();
    // A node may be made of anything, with runc as well; opening it is another matter.
    let listed = "1:3 m 1:3 r 1:3 w 1:11 m 1:11 r 10:229 m ";
    assert_eq!(access(Some(&test), &[NULL, KMSG, FUSE]), listed);
}

#[test]
fn a_later_rule_takes_back_an_earlier_one() {
    if !is_root() {
        return;
    }
    let rules = json!({"devices": [
        {"allow": true, "access": "rwm"},
        {"allow": false, "type": "c", "major": 10, "access": "wm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "w"},
    ]});
    if has("devices") {
        // Version 1 can not hold it, and must not pretend to.
        let text = plan("order", rules).unwrap_err().into_result().unwrap_err().to_string();
        assert!(text.starts_with("linux.resources.devices: ") && text.contains("c 10:229 w"), "{text}");
        return;
    }
    let test = Box_::new("order", rules);
    test.cgroup.restrict().unwrap();
    let expected = "1:11 m 1:11 r 1:11 w 10:229 m 10:229 r 10:229 w 10:1 m 10:1 r ";
    assert_eq!(access(Some(&test), &[KMSG, FUSE, (10, 1)]), expected);
}

#[test]
fn the_frozen_stand_still() {
    if !is_root() {
        return;
    }
    let test = Box_::new("freeze", json!({}));
    let mut child = test.spawn("while :; do echo tick; done");
    let mut lines = child.lines();
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "tick\n");
    assert!(!test.cgroup.is_frozen().unwrap());

    test.cgroup.freeze().unwrap();
    assert!(test.cgroup.is_frozen().unwrap());
    let mut pipe = lines.into_inner();
    rustix::fs::fcntl_setfl(&pipe, rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut rest = [0; 1 << 16];
    while pipe.read(&mut rest).is_ok() {}
    // The pipe is empty and its writer stands: nothing may come within a time in which thousands of lines would.
    let quiet = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let mut wait = [rustix::event::PollFd::new(&pipe, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut wait, Some(&quiet)).unwrap(), 0);

    test.cgroup.thaw().unwrap();
    assert!(!test.cgroup.is_frozen().unwrap());
    let patience = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut wait, Some(&patience)).unwrap(), 1);
}

#[test]
fn kill_ends_all_even_the_frozen_and_the_stubborn() {
    if !is_root() {
        return;
    }
    let test = Box_::new("kill", json!({}));
    let script = "trap '' TERM HUP INT; for i in 1 2 3 4; do sh -c 'trap \"\" TERM; echo up; while :; do sleep 1000; done' & done; wait";
    let mut child = test.spawn(script);
    let mut lines = child.lines();
    for _ in 0..4 {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
    }
    test.cgroup.signal_all(Signal::TERM).unwrap();
    assert!(test.cgroup.processes().unwrap().len() >= 5);
    test.cgroup.freeze().unwrap();
    test.cgroup.kill().unwrap();
    assert_eq!(child.wait_with_output().status.signal(), Some(9));
    test.cgroup.remove().unwrap();
    assert!(!test.cgroup.exists() && test.cgroup.processes().unwrap().is_empty());
    // Everything is safe to repeat.
    test.cgroup.kill().unwrap();
    test.cgroup.remove().unwrap();
    assert!(!test.cgroup.is_frozen().unwrap());
    assert_eq!(test.cgroup.freeze().unwrap_err().kind(), Kind::State);
}

#[test]
fn a_cgroup_in_use_is_refused_and_an_empty_one_taken() {
    if !is_root() {
        return;
    }
    let test = Box_::new("used", json!({}));
    let again = Box_::new("used", json!({}));
    std::mem::forget(again); // The first one removes it.
    let child = test.spawn("read forever");
    let error = Cgroup::create(&plan("used", json!({})).unwrap()).unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
    assert!(error.to_string().contains("has processes in it (1)"), "{error}");
    assert_eq!(test.cgroup.processes().unwrap(), [child.pid()]);
}

#[test]
fn a_refused_limit_leaves_nothing() {
    if !is_root() {
        return;
    }
    // No machine has pages of 3 KB.
    let plan = plan("refused", json!({"hugepageLimits": [{"pageSize": "3KB", "limit": 0}]})).unwrap();
    let error = Cgroup::create(&plan).unwrap_err().to_string();
    assert!(error.starts_with("linux.resources.hugepageLimits[0]: ") && error.contains("hugetlb.3KB."), "{error}");
    for mount in plan.record().mounts() {
        assert!(!mount.directory.exists(), "{mount:?}");
        let _ = std::fs::remove_dir(mount.directory.parent().unwrap());
    }
}

#[test]
fn remove_takes_what_the_container_made_below_and_waits_for_the_dying() {
    if !is_root() {
        return;
    }
    let test = Box_::new("below", json!({}));
    for mount in test.cgroup.record().mounts() {
        std::fs::create_dir_all(mount.directory.join("a/b/c")).unwrap();
        std::fs::create_dir(mount.directory.join("a/d")).unwrap();
    }
    let child = test.spawn("sleep 1000 & sleep 1000 & wait");
    test.cgroup.kill().unwrap();
    // Not reaped by us, still dying perhaps.
    test.cgroup.remove().unwrap();
    assert!(!test.cgroup.exists());
    drop(child);
}

#[test]
fn joins_where_init_has_moved_to() {
    if !is_root() {
        return;
    }
    // A limit on version 2's side makes sure that the cgroup has a controller to hand on.
    let on_v2 = |controller| Layout::detect().unwrap().of(controller).is_some_and(|h| h.version == Version::V2);
    let limit = match (on_v2("pids"), on_v2("hugetlb")) {
        (true, _) => json!({"pids": {"limit": 100}}),
        (_, true) => json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}),
        _ => json!({}),
    };
    let test = match Box_::try_new("beside", limit) {
        // In a container with processes in the topmost cgroup that it sees nothing can be handed down from there.
        Err(error) if error.to_string().contains("can not hand controllers down") => return eprintln!("{error}"),
        other => other.unwrap(),
    };
    let child = test.spawn("read forever");
    let Some(_) = test.cgroup.clone_into() else {
        return test.cgroup.enter_beside(child.pid(), child.pid()).unwrap();
    };
    // As systemd does it: init moves down, and the cgroup hands a controller to its children.
    let own = test.directory(Version::V2);
    std::fs::create_dir(own.join("init")).unwrap();
    std::fs::write(own.join("init/cgroup.procs"), child.pid().as_raw_nonzero().to_string()).unwrap();
    let controllers = std::fs::read_to_string(own.join("cgroup.controllers")).unwrap();
    let Some(controller) = controllers.split_whitespace().next() else {
        return eprintln!("version 2 has no controller here to divide the cgroup with");
    };
    std::fs::write(own.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();

    let visitor = Running(Some(Command::new("sleep").arg("1000").spawn().unwrap()));
    let refused = test.cgroup.enter_unified(visitor.pid()).unwrap_err();
    assert_eq!(refused.errno(), Some(libc_ebusy()), "{refused}");
    test.cgroup.enter_beside(visitor.pid(), child.pid()).unwrap();
    assert!(memberships(visitor.pid()).lines().any(|l| l.starts_with("0::") && l.ends_with("/box/init")));
    assert!(test.cgroup.clone_beside(child.pid()).unwrap().is_some());
    let all = test.cgroup.processes().unwrap();
    assert!(all.contains(&visitor.pid()) && all.contains(&child.pid()));
    // Emptied before the guard takes it away.
    test.cgroup.kill().unwrap();
}

fn libc_ebusy() -> i32 {
    rustix::io::Errno::BUSY.raw_os_error()
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
    let test = Box_::new("cpuset", limit);
    let output = test.run("grep Cpus_allowed_list /proc/self/status");
    assert_eq!(String::from_utf8_lossy(&output.stdout).split_whitespace().last(), Some("0"));
}

#[test]
fn hands_the_cgroup_to_its_owner() {
    if !is_root() {
        return;
    }
    let plan = plan("owner", json!({})).unwrap().owned_by(12345);
    let cgroup = Cgroup::create(&plan).unwrap();
    let test = Box_::of(&plan, cgroup);
    if test.cgroup.clone_into().is_none() {
        return;
    }
    let own = test.directory(Version::V2);
    let uid = |path: &Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    assert_eq!([uid(&own), uid(&own.join("cgroup.procs")), uid(&own.join("cgroup.subtree_control"))], [12345; 3]);
    assert_eq!(uid(&own.join("cgroup.freeze")), 0, "limits stay out of the owner's reach");
}

fn update(test: &Box_, resources: Value) -> Result<()> {
    // As another command does it: found again by the record.
    test.cgroup.record().open().update(&serde_json::from_value(resources).unwrap())
}

#[test]
fn update_changes_memory_and_swap_in_either_direction() {
    if !is_root() {
        return;
    }
    let megabytes = |limit: i64, swap: i64| json!({"memory": {"limit": limit << 20, "swap": swap << 20}});
    if !has("memory") {
        return assert_refused("update", megabytes(16, 32), "memory");
    }
    let test = Box_::new("update", megabytes(16, 32));
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
    let test = Box_::new("update-cpu", json!({"cpu": {"quota": 10_000, "period": 100_000, "burst": 5_000}}));
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
    let test = Box_::new("update-cpuset", json!({}));
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
fn update_replaces_the_device_rules() {
    if !is_root() {
        return;
    }
    let rule = |device: (u32, u32), access: &str| json!({"allow": true, "type": "c", "major": device.0, "minor": device.1, "access": access});
    let deny = json!({"allow": false, "access": "rwm"});
    let test = Box_::new("update-devices", json!({"devices": [deny, rule(KMSG, "r")]}));
    test.cgroup.restrict().unwrap();
    let steps = [
        (json!({"devices": [deny, rule(FUSE, "rw")]}), "1:11 m 10:229 m 10:229 r 10:229 w "),
        (json!({"devices": [deny, rule(KMSG, "w"), rule(FUSE, "w")]}), "1:11 m 1:11 w 10:229 m 10:229 w "),
        (json!({"devices": [{"allow": true, "access": "rwm"}]}), "1:11 m 1:11 r 1:11 w 10:229 m 10:229 r 10:229 w "),
        (json!({"devices": [deny]}), "1:11 m 10:229 m "),
    ];
    for (resources, expected) in steps {
        update(&test, resources.clone()).unwrap();
        assert_eq!(access(Some(&test), &[KMSG, FUSE]), expected, "{resources}");
    }
}

#[test]
fn a_wrong_update_changes_nothing() {
    if !is_root() {
        return;
    }
    let test = Box_::new("update-wrong", json!({}));
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

#[test]
fn figures_agree_with_the_files() {
    if !is_root() {
        return;
    }
    let test = Box_::new("stats", json!({}));
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
    let test = Box_::new("oom", limit);
    let watch = test.cgroup.watch_oom().unwrap().expect("there is a memory controller");
    assert_eq!(watch.kills().unwrap(), Some(0));
    let child = test.spawn("dd if=/dev/zero of=/dev/null bs=64M count=1");
    let (fd, events) = watch.poll_on();
    let patience = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut [rustix::event::PollFd::new(&fd, events)], Some(&patience)).unwrap(), 1);
    child.wait_with_output();
    assert_eq!((watch.kills().unwrap(), test.cgroup.oom_kills().unwrap()), (Some(1), Some(1)));
    assert_eq!(test.cgroup.stats().unwrap().memory.event_count.oom_kill, 1);
}

/// Needs a running systemd on version 2 alone, such as in a container of its own; as an ordinary user, that user's.
#[test]
fn systemd_makes_the_scope_and_forgets_it() {
    let layout = Layout::detect().unwrap();
    let privileged = is_root();
    let user_bus = std::env::var_os("XDG_RUNTIME_DIR").is_some();
    if !layout.is_unified() || !Path::new("/run/systemd/system").exists() || !(privileged || user_bus) {
        return eprintln!("skipped: needs systemd and cgroup version 2 alone");
    }
    let manager = if privileged { "--system" } else { "--user" };
    let reload = || assert!(Command::new("systemctl").args([manager, "daemon-reload"]).status().unwrap().success());
    let show = |unit: &str, property: &str| {
        let output =
            Command::new("systemctl").args([manager, "show", "--value", "-p", property, unit]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let unit = format!("pipkin-test-{}.scope", std::process::id());
    let resources = if has("pids") { json!({"pids": {"limit": 50}}) } else { json!({}) };
    let path = format!(":pipkin-test:{}", std::process::id());
    let linux: Linux = serde_json::from_value(json!({"cgroupsPath": path, "resources": resources})).unwrap();
    let mut problems = Problems::default();
    let annotations = [("org.systemd.property.TimeoutStopSec".to_owned(), "uint64 7".to_owned())].into();
    let plan = Plan::compile("box", Some(&linux), &layout, privileged, true, &mut problems).unwrap();
    let plan = plan.annotated(&annotations, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");

    // Twice, at once: the name is free when `remove` returns.
    for _ in 0..2 {
        let test = Box_ { cgroup: Cgroup::create(&plan).unwrap(), parents: Vec::new() };
        assert_eq!(test.cgroup.record(), plan.record(), "it is where it was planned");
        assert_eq!(Cgroup::create(&plan).unwrap_err().kind(), Kind::Exists);
        let child = test.spawn("read forever");
        assert_eq!(test.cgroup.processes().unwrap().len(), 2, "the child and systemd's stand-in");
        test.cgroup.restrict().unwrap();
        assert_eq!(test.cgroup.processes().unwrap(), [child.pid()]);
        if privileged {
            assert_eq!(access(Some(&test), &[NULL, FUSE]), "1:3 m 1:3 r 1:3 w 10:229 m ");
        }

        reload();
        assert_eq!([show(&unit, "ActiveState"), show(&unit, "Delegate")], ["active", "yes"]);
        assert_eq!(show(&unit, "TimeoutStopUSec"), "7s");
        if has("pids") {
            assert_eq!(show(&unit, "TasksMax"), "50");
            update(&test, json!({"pids": {"limit": 60}})).unwrap();
            reload();
            assert_eq!(show(&unit, "TasksMax"), "60");
            assert_eq!(test.cgroup.stats().unwrap().pids.limit, 60);
        }
        let again = test.cgroup.record().open();
        again.kill().unwrap();
        again.remove().unwrap();
        assert_eq!(show(&unit, "LoadState"), "not-found");
        again.remove().unwrap();
    }
}

#[test]
fn half_a_megabyte_is_enough_to_get_in() {
    if !is_root() || !has("memory") {
        return;
    }
    let test = Box_::new("small", json!({"memory": {"limit": 512 << 10}}));
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
    if !is_root() || !(has("blkio") || has("io")) {
        return;
    }
    let Some(disk) = Disk::new() else { return eprintln!("skipped: no loop device") };
    let (major, minor) = disk.number();
    let limit = json!([{"major": major, "minor": minor, "rate": 2 << 20}]);
    let test = Box_::new("io", json!({"blockIO": {"throttleReadBpsDevice": limit}}));
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

const NOBODY: u32 = 65534;

#[test]
fn an_ordinary_user_has_what_is_delegated() {
    if !is_root() {
        return;
    }
    let plan = plan("rootless", json!({})).unwrap().owned_by(NOBODY);
    let test = Box_::of(&plan, Cgroup::create(&plan).unwrap());
    // The program itself, by a path that needs no permission on the way to it.
    let mut user = Command::new("/proc/self/exe");
    user.args(["--exact", "role_of_the_ordinary_user", "--ignored", "--nocapture"]).uid(NOBODY).gid(NOBODY);
    let user = user.env("PIPKIN_TEST_USER", std::process::id().to_string()).stdin(Stdio::piped());
    let user = Running(Some(user.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()));
    if test.cgroup.clone_into().is_some() {
        // As a session does it: the user's processes are in a cgroup beside those that they make.
        let session = test.directory(Version::V2).join("session");
        std::fs::create_dir(&session).unwrap();
        std::os::unix::fs::chown(session.join("cgroup.procs"), Some(NOBODY), None).unwrap();
        std::fs::write(session.join("cgroup.procs"), user.pid().as_raw_nonzero().to_string()).unwrap();
    }
    user.0.as_ref().unwrap().stdin.as_ref().unwrap().write_all(b"\n").unwrap();
    let output = user.wait_with_output();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// The other side of `an_ordinary_user_has_what_is_delegated`.
#[test]
#[ignore = "started by another test, as an ordinary user"]
fn role_of_the_ordinary_user() {
    let Ok(parent) = std::env::var("PIPKIN_TEST_USER") else { return };
    std::io::stdin().read_line(&mut String::new()).unwrap();
    assert_eq!(rustix::process::geteuid().as_raw(), NOBODY);
    let layout = Layout::detect().unwrap();
    let compile = |linux: &Linux, layout: &Layout| {
        let mut problems = Problems::default();
        let plan = Plan::compile("box", Some(linux), layout, false, false, &mut problems);
        problems.into_result().map(|()| plan)
    };
    let linux = |json: Value| -> Linux { serde_json::from_value(json).unwrap() };

    // What was not delegated: an error with a remedy when it is asked for.
    let elsewhere = linux(json!({"cgroupsPath": format!("/pipkin-test-{parent}-elsewhere")}));
    let error = Cgroup::create(&compile(&elsewhere, &layout).unwrap().unwrap()).unwrap_err().to_string();
    assert!(error.contains("no cgroup is delegated to this user"), "{error}");

    let Some(mut plan) = compile(&linux(json!({})), &layout).unwrap() else {
        return assert!(!layout.is_unified());
    };
    // Nothing asked for and nothing delegated: without a cgroup of its own.
    let mut outside = layout.clone();
    outside.hierarchies[0].own = PathBuf::from("/session.scope");
    let none = Cgroup::create(&compile(&linux(json!({})), &outside).unwrap().unwrap()).unwrap();
    assert!(none.clone_into().is_none() && none.record() == Default::default());
    assert_eq!(none.freeze().unwrap_err().kind(), Kind::State);
    none.kill().and_then(|()| none.remove()).unwrap();

    if has("pids") {
        plan = compile(&linux(json!({"resources": {"pids": {"limit": 5}}})), &layout).unwrap().unwrap();
    }
    let test = Box_::of(&plan, Cgroup::create(&plan).unwrap());
    let child = test.spawn("sleep 1000 & read forever");
    test.cgroup.restrict().unwrap();
    assert!(test.cgroup.processes().unwrap().contains(&child.pid()));
    if has("pids") {
        assert_eq!(test.cgroup.stats().unwrap().pids.limit, 5);
    }
    test.cgroup.freeze().unwrap();
    test.cgroup.kill().unwrap();
    assert_eq!(child.wait_with_output().status.signal(), Some(9));
    test.cgroup.remove().unwrap();
    assert!(!test.cgroup.exists());
}
