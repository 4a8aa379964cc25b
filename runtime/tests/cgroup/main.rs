//! Cgroups on the real kernel: limits bite, devices are refused, what is frozen stands still, nothing is left.
//!
//! Needs root. Runs on whatever layout it finds; start it also in a view of version 2 alone:
//! `unshare -m sh -c 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"' _ PROGRAM`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a failed test")]

mod delegation;
mod devices;
mod lifecycle;
mod limits;
mod update;

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
struct TestCgroup {
    cgroup: Cgroup,
    parents: Vec<PathBuf>,
}

impl TestCgroup {
    fn new(name: &str, resources: Value) -> TestCgroup {
        TestCgroup::try_new(name, resources).unwrap()
    }

    fn try_new(name: &str, resources: Value) -> Result<TestCgroup> {
        let plan = plan(name, resources).map_err(|problems| problems.into_result().unwrap_err())?;
        Ok(TestCgroup::of(&plan, Cgroup::create(&plan)?))
    }

    fn of(plan: &Plan, cgroup: Cgroup) -> TestCgroup {
        // In every hierarchy, because an update may join one more.
        let path = plan.record().mounts()[0].directory.clone();
        let parent = path.parent().unwrap().file_name().unwrap().to_owned();
        let parents = Layout::detect().unwrap().hierarchies.iter().map(|h| h.mount_point.join(&parent)).collect();
        TestCgroup { cgroup, parents }
    }

    /// All of its device rules.
    fn restrict(&self) {
        self.cgroup.restrict_empty().unwrap();
        self.cgroup.restrict().unwrap();
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

impl Drop for TestCgroup {
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
    let plan =
        Plan::compile("pipkin-test", Some(&linux), &Layout::detect().unwrap(), true, false, false, &mut problems);
    if problems.is_empty() { Ok(plan.expect("this machine has cgroups")) } else { Err(problems) }
}

/// These tests change the machine's cgroups; an ordinary user can not.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("needs root");
    }
    root
}

fn has(controller: &str) -> bool {
    let there = Layout::detect().unwrap().of(controller).is_some();
    let unified = ["cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma"].contains(&controller);
    assert!(there || !unified || !is_complete(), "no controller {controller} in the machine that has everything");
    there
}

/// `make test-vm`: the machine has all that a test may need.
fn is_complete() -> bool {
    std::env::var_os("PIPKIN_TEST_COMPLETE").is_some()
}

/// Says why a test does not run; where everything is there, that is a failure.
fn skipped(why: &str) {
    assert!(!is_complete(), "skipped in the machine that has everything: {why}");
    eprintln!("skipped: {why}");
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

/// Which of r and w the cgroup lets the script do to a node `c MAJOR:MINOR`, made by the script itself. Whether the
/// machine has such a device does not matter: the cgroup is asked first. In /dev, because /tmp may be mounted nodev.
fn access(test: Option<&TestCgroup>, devices: &[(u32, u32)]) -> String {
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

fn libc_ebusy() -> i32 {
    rustix::io::Errno::BUSY.raw_os_error()
}

fn update(test: &TestCgroup, resources: Value) -> Result<()> {
    // As another command does it: found again by the record.
    test.cgroup.record().open().update(&serde_json::from_value(resources).unwrap())
}
