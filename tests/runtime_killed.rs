//! Killed at every system call: whatever the launcher or the stage was about to do, one `delete --force` and nothing is left.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::cell::Cell;
use std::fs::{self, File};
use std::process::{Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use pipkin_harness::{Bundle, Lab};
use serde_json::json;

/// Which process is killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Victim {
    /// The command itself.
    Launcher,
    /// The process that it makes to set the container up.
    Stage,
}

/// How a command ended that was to be killed, or its first child, when it made its `nth` system call.
#[derive(Debug, Eq, PartialEq)]
enum End {
    /// It made fewer: this is its exit code.
    Untouched(i32),
    /// The launcher was killed.
    Killed,
    /// The stage was killed; the launcher's exit code.
    WithoutStage(i32),
}

/// Runs the program and kills the victim as it enters the system call with that number, counted from 0.
///
/// Nothing is traced but the victim, so that everybody else works at his own speed meanwhile.
fn run_until(lab: &Lab, arguments: &[&str], victim: Victim, nth: usize) -> End {
    let mut options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    if victim == Victim::Stage {
        options |= Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    }
    let launcher = stopped_before_exec(lab, arguments);
    ptrace::seize(launcher, options).unwrap();
    kill(launcher, Signal::SIGCONT).unwrap();
    let (mut prey, mut entering, mut calls, mut done) = (None, false, 0, false);
    loop {
        // Only what this thread has started or traces: other tests wait for theirs.
        let status = waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)).unwrap();
        let pid = status.pid().unwrap();
        match status {
            WaitStatus::Exited(_, code) if pid == launcher => {
                return if done { End::WithoutStage(code) } else { End::Untouched(code) };
            }
            WaitStatus::Signaled(_, signal, _) if pid == launcher => {
                assert!(done && victim == Victim::Launcher && signal == Signal::SIGKILL, "{status:?}");
                return End::Killed;
            }
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {}
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) if victim == Victim::Launcher && prey.is_none() => {
                // The next stop is the end of execve(2).
                (prey, entering) = (Some(pid), false);
                ptrace::syscall(pid, None).unwrap();
            }
            // The first stop of a traced child; a container's first process is the first one.
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_STOP)
                if victim == Victim::Stage && pid != launcher && prey.is_none() =>
            {
                (prey, entering) = (Some(pid), true);
                ptrace::syscall(pid, None).unwrap();
            }
            WaitStatus::PtraceSyscall(_) => {
                if entering && calls == nth {
                    done = true;
                    kill(pid, Signal::SIGKILL).unwrap();
                    continue;
                }
                calls += usize::from(entering);
                entering = !entering;
                let _ = ptrace::syscall(pid, None);
            }
            WaitStatus::Stopped(_, signal) => go_on(pid, prey, Some(signal)),
            _ => go_on(pid, prey, None),
        }
    }
}

/// Lets a tracee go on; it may be gone already.
fn go_on(pid: Pid, prey: Option<Pid>, signal: Option<Signal>) {
    let _ = if prey == Some(pid) { ptrace::syscall(pid, signal) } else { ptrace::cont(pid, signal) };
}

/// A shell that stops, and will become the program when it is continued.
#[allow(clippy::zombie_processes, reason = "waited for by the tracer, with waitpid")]
fn stopped_before_exec(lab: &Lab, arguments: &[&str]) -> Pid {
    let said = |name: &str| File::create(lab.path(name)).unwrap();
    let child = Command::new("/bin/sh")
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(lab.runtime_path())
        .arg("--root")
        .arg(lab.state_root())
        .args(arguments)
        .env("PIPKIN_TEST_LAB", lab.name())
        .stdin(Stdio::null())
        .stdout(said("stdout"))
        .stderr(said("stderr"))
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    pid
}

/// What killed launchers leave behind are children of the test, of its first thread: as long as nobody waits for them they
/// keep their keyrings.
fn reap_orphans() {
    let first = std::process::id();
    let children = fs::read_to_string(format!("/proc/self/task/{first}/children")).unwrap();
    for pid in children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())) {
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}

fn stderr(lab: &Lab) -> String {
    fs::read_to_string(lab.path("stderr")).unwrap()
}

fn waiting(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "sleep"]);
    bundle
}

/// One that sets up more: a user namespace, hooks, seccomp.
fn elaborate(lab: &Lab) -> Bundle {
    let mut bundle = waiting(lab);
    bundle.add_namespace("user", None);
    bundle.config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    bundle.config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    bundle.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]});
    let hook = json!([{"path": "/bin/true"}]);
    bundle.config["hooks"] = json!({"createRuntime": hook, "poststart": hook, "poststop": hook});
    for path in ["", "proc", "sys", "dev"] {
        std::os::unix::fs::chown(bundle.rootfs(path), Some(100_000), Some(100_000)).unwrap();
    }
    bundle
}

/// `delete --force` succeeds and nothing of the container is left.
#[track_caller]
fn delete(lab: &Lab, id: &str, when: &str) {
    let deleted = lab.runtime(["delete", "--force", id]).run();
    assert_eq!(deleted.code(), 0, "{when}: {}", deleted.all());
    assert_eq!(lab.leaks(), "", "{when}");
}

/// Kills at call after call until the command makes no more of them; `prepare` and `judge` come before and after each.
fn at_every_call(
    lab: &Lab,
    victim: Victim,
    command: impl Fn(&str) -> Vec<String>,
    prepare: impl Fn(&str),
    judge: impl Fn(&str, &End, &str),
) {
    for nth in 0.. {
        let id = lab.id();
        prepare(&id);
        let words = command(&id);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let end = run_until(lab, &words, victim, nth);
        reap_orphans();
        judge(&id, &end, &format!("{victim:?} killed at call {nth} of {words:?}, {end:?}, {}", stderr(lab)));
        if let End::Untouched(code) = end {
            assert_eq!(code, 0, "{}", stderr(lab));
            assert!(nth > 20, "{victim:?} of {words:?} made only {nth} system calls: was the right process traced?");
            return;
        }
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn creates(bundle_of: fn(&Lab) -> Bundle, victim: Victim) {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        // runc leaves cgroups and processes behind.
        return;
    }
    let bundle = bundle_of(&lab);
    bundle.save();
    let tried = Cell::new(0);
    let create = |id: &str| words(["create", "--bundle", bundle.path_text(), id]);
    let judge = |id: &str, end: &End, when: &str| {
        match *end {
            // Nobody but the launcher itself could clean up, and it has.
            End::WithoutStage(1) => assert_eq!(lab.leaks(), "", "{when}"),
            End::Untouched(code) | End::WithoutStage(code) => assert_eq!(code, 0, "{when}"),
            End::Killed => {}
        }
        delete(&lab, id, when);
        // The name can be used again: tried now and then, since it takes as long as everything else together.
        tried.set(tried.get() + 1);
        if *end == End::Killed && tried.get() % 5 == 0 {
            let again = lab.runtime(["create", "--bundle", bundle.path_text(), id]).run();
            assert_eq!(again.code(), 0, "{when}: {}", again.all());
            lab.runtime(["delete", "--force", id]).run().ok();
        }
    };
    at_every_call(&lab, victim, create, |_| {}, judge);
}

#[test]
fn create() {
    creates(waiting, Victim::Launcher);
}

#[test]
fn create_of_an_elaborate_container() {
    creates(elaborate, Victim::Launcher);
}

#[test]
fn stage_of_create() {
    creates(waiting, Victim::Stage);
}

#[test]
fn run_in_the_foreground() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "exit", "0"]);
    bundle.save();
    let run = |id: &str| words(["run", "--bundle", bundle.path_text(), id]);
    at_every_call(&lab, Victim::Launcher, run, |_| {}, |id, _, when| delete(&lab, id, when));
}

/// The filter is kept while the container is made: whoever comes next finds it complete, or tidies up and writes it.
#[test]
fn run_with_a_new_seccomp_profile() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let mut bundle = lab.bundle();
    bundle.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]});
    bundle.args(["/bin/probe", "exit", "0"]);
    bundle.save();
    let cache = lab.state_root().join("@seccomp");
    let left = Cell::new(0);
    let names =
        || -> Vec<_> { fs::read_dir(&cache).into_iter().flatten().flatten().map(|one| one.file_name()).collect() };
    let run = |id: &str| words(["run", "--bundle", bundle.path_text(), id]);
    let prepare = |_: &str| drop(fs::remove_dir_all(&cache));
    let judge = |id: &str, _: &End, when: &str| {
        left.set(left.get() + usize::from(names().iter().any(|name| name == "new")));
        lab.runtime(["delete", "--force", id]).run().ok();
        lab.run(&bundle).ok();
        assert_eq!(names().len(), 1, "{when}: {:?}", names());
        assert_eq!(lab.leaks(), "", "{when}");
    };
    at_every_call(&lab, Victim::Launcher, run, prepare, judge);
    assert!(left.get() > 0, "it was never killed while it wrote");
}

#[test]
fn start() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let bundle = waiting(&lab);
    bundle.save();
    let prepare = |id: &str| drop(lab.runtime(["create", "--bundle", bundle.path_text(), id]).run().ok());
    let judge = |id: &str, _: &End, when: &str| {
        // Created still, or running: never something in between.
        let state = lab.runtime(["state", id]).run();
        let known = ["\"created\"", "\"running\""].iter().any(|status| state.stdout().contains(status));
        assert!(known, "{when}: {}", state.all());
        delete(&lab, id, when);
    };
    at_every_call(&lab, Victim::Launcher, |id| words(["start", id]), prepare, judge);
}

#[test]
fn delete_by_force() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let bundle = waiting(&lab);
    bundle.save();
    let prepare = |id: &str| drop(lab.runtime(["run", "--detach", "--bundle", bundle.path_text(), id]).run().ok());
    let judge = |id: &str, _: &End, when: &str| delete(&lab, id, when);
    at_every_call(&lab, Victim::Launcher, |id| words(["delete", "--force", id]), prepare, judge);
}

/// A killed `exec` or `kill` leaves a container that goes on working, and that can be deleted as any other.
#[test]
fn exec_and_kill() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let bundle = waiting(&lab);
    let container = lab.create(&bundle);
    container.start();
    let id = container.id();
    let judge = |_: &str, _: &End, when: &str| {
        let state = lab.runtime(["state", id]).run();
        assert!(state.stdout().contains("\"running\""), "{when}: {}", state.all());
    };
    let exec = |_: &str| words(["exec", id, "/bin/probe", "exit", "0"]);
    at_every_call(&lab, Victim::Launcher, exec, |_| {}, judge);
    at_every_call(
        &lab,
        Victim::Stage,
        exec,
        |_| {},
        |_, end, when| {
            judge("", end, when);
            // Killed at its very end it has done all that it was there for.
            assert!(matches!(end, End::Untouched(0) | End::WithoutStage(0 | 255)), "{when}");
        },
    );
    at_every_call(&lab, Victim::Launcher, |_| words(["kill", id, "CONT"]), |_| {}, judge);
    container.exec(&[], &["/bin/probe", "exit", "5"]).run().exits(5);
    container.delete_force();
}
