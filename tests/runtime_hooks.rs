//! `hooks`: all six kinds, their order, what they are told, and what their failure undoes.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;

use pipkin_harness::{Bundle, Lab, install_text};
use serde_json::{Value, json};

/// A script that notes its kind, its state's status, its umask and its blocked signals.
fn script(lab: &Lab, exit: i32) -> String {
    let log = lab.path("hooks.log");
    let text = format!(
        "#!/bin/busybox sh\nstate=$(/bin/busybox cat)\nmask=$(/bin/busybox grep SigBlk /proc/self/status | /bin/busybox cut -f2)\n\
         echo \"$1|$(umask)|$mask|$state\" >> {}\nexit {exit}\n",
        log.display()
    );
    let path = lab.path(format!("hook-{exit}.sh"));
    install_text(&path, text);
    path.to_str().unwrap().to_owned()
}

fn hook(path: &str, kind: &str) -> Value {
    json!([{"path": path, "args": ["hook", kind], "env": ["PATH=/bin"]}])
}

fn log(lab: &Lab) -> Vec<(String, String, String, Value)> {
    let text = fs::read_to_string(lab.path("hooks.log")).unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.splitn(4, '|').map(str::to_owned);
        let mut next = || fields.next().unwrap();
        (next(), next(), next(), serde_json::from_str(&next()).unwrap())
    };
    text.lines().map(line).collect()
}

fn with_hooks(lab: &Lab) -> Bundle {
    let good = script(lab, 0);
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "exit", "0"]);
    bundle.config["hooks"] = json!({
        "prestart": hook(&good, "prestart"),
        "createRuntime": hook(&good, "createRuntime"),
        "createContainer": hook(&good, "createContainer"),
        "poststart": hook(&good, "poststart"),
        "poststop": hook(&good, "poststop"),
    });
    bundle.save();
    bundle
}

#[test]
fn they_run_in_order_with_the_state_and_as_ordinary_processes() {
    let Some(lab) = Lab::root() else { return };
    let bundle = with_hooks(&lab);
    lab.run(&bundle).ok();
    let log = log(&lab);
    let kinds: Vec<&str> = log.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(kinds, ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]);
    for (kind, umask, mask, state) in &log {
        assert_eq!(umask, "0022", "{kind}");
        assert_eq!(mask, "0000000000000000", "{kind}: blocked signals");
        assert_eq!(state["bundle"], json!(bundle.path()), "{kind}");
        assert_eq!(state["status"] == "stopped", kind == "poststop", "{kind}: {state}");
    }
    assert_eq!(lab.leaks(), "");
}

#[test]
fn start_container_hooks_run_inside() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = json!(false);
    let script = "#!/bin/busybox sh\n/bin/busybox cat > /hooked\n";
    install_text(&bundle.rootfs("bin/hook"), script);
    bundle.config["hooks"] = json!({"startContainer": [{"path": "/bin/hook"}]});
    bundle.args(["/bin/busybox", "cat", "/hooked"]);
    bundle.save();
    let state: Value = serde_json::from_str(&lab.run(&bundle).ok().stdout()).unwrap();
    assert_eq!(state["status"], "created");
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_failing_hook_undoes_the_create_and_poststop_hooks_still_run() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let Some(lab) = Lab::root() else { return };
        let mut bundle = with_hooks(&lab);
        bundle.config["hooks"][kind] = hook(&script(&lab, 3), kind);
        bundle.save();
        let finished = lab.run(&bundle).exits(1);
        assert!(lab.is_peer() || finished.stderr().contains(&format!("hooks.{kind}[0]")), "{}", finished.all());
        let log = log(&lab);
        let last = &log.last().unwrap().0;
        assert_eq!(last, "poststop", "{kind}: {log:?}");
        assert!(log.iter().all(|(kind, ..)| kind != "poststart"), "{kind}: {log:?}");
        assert_eq!(lab.leaks(), "");
    }
}

/// Also a hook that never reads its state, however long that is.
#[test]
fn a_hook_has_as_long_as_its_timeout() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["annotations"] = json!({"long": "x".repeat(300_000)});
    bundle.config["hooks"] =
        json!({"createRuntime": [{"path": "/bin/busybox", "args": ["busybox", "sleep", "600"], "timeout": 1}]});
    bundle.args(["/bin/probe", "exit", "0"]);
    bundle.save();
    let finished = lab.run(&bundle).exits(1);
    assert!(lab.is_peer() || finished.stderr().contains("timeout of 1 s"), "{}", finished.all());
    assert_eq!(lab.leaks(), "");
}

/// A person who has started a container and waits for a hook can press Ctrl-C.
#[test]
fn a_run_can_be_interrupted_while_a_hook_runs() {
    for kind in ["createRuntime", "createContainer", "startContainer", "poststart"] {
        let Some(lab) = Lab::root() else { return };
        if lab.is_peer() {
            return; // runc waits for the hook.
        }
        let mut bundle = lab.bundle();
        let started = lab.path("started");
        let inside = kind == "startContainer";
        let (shell, place) =
            if inside { ("/bin/sh", "/srv/started") } else { ("/bin/busybox", started.to_str().unwrap()) };
        bundle.config["root"]["readonly"] = json!(false);
        let script = format!("echo > {place}; exec sleep 600");
        let args = if inside { json!(["sh", "-c", script]) } else { json!(["busybox", "sh", "-c", script]) };
        bundle.config["hooks"] = json!({kind: [{"path": shell, "args": args, "env": ["PATH=/bin:/usr/bin"]}]});
        bundle.args(["/bin/probe", "signal-wait"]);
        bundle.save();
        let mut running = lab.runtime(["run", "--bundle", bundle.path_text(), &lab.id()]).start();
        pipkin_harness::await_path(&if inside { bundle.rootfs("/srv/started") } else { started });
        if kind == "poststart" {
            // Before that PID 1 would not hear it.
            running.hear("ready");
        }
        running.signal(rustix::process::Signal::INT);
        let finished = running.wait();
        if kind == "poststart" {
            // The program runs already: the hook ends, and the signal is the program's.
            assert!(finished.stdout().contains("got SIGINT"), "{}", finished.all());
            assert_eq!(finished.code(), 0, "{}", finished.all());
        } else {
            finished.fails(1, &["interrupted by SIGINT"]);
        }
        assert_eq!(lab.leaks(), "");
    }
}
