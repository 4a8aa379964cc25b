//! Many at once, launchers that are killed, commands that race.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::time::Duration;

use pipkin_harness::{Bundle, Lab, await_path, await_true};
use rustix::process::Signal;

fn waiting(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "signal-wait"]);
    bundle.save();
    bundle
}

#[test]
fn twenty_creates_of_one_id_make_one_container() {
    let Some(lab) = Lab::root() else { return };
    let bundle = waiting(&lab);
    let id = lab.id();
    let started: Vec<_> =
        (0..20).map(|_| lab.runtime(["create", "--bundle", bundle.path_text(), &id]).start()).collect();
    let codes: Vec<i32> = started.into_iter().map(|running| running.wait().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 0 | 1)), "{codes:?}");
    lab.runtime(["start", &id]).run().ok();
    lab.runtime(["delete", "--force", &id]).run().ok();
}

#[test]
fn many_deletes_of_one_container_leave_nothing() {
    let Some(lab) = Lab::root() else { return };
    let bundle = waiting(&lab);
    let id = lab.id();
    lab.runtime(["create", "--bundle", bundle.path_text(), &id]).run().ok();
    lab.runtime(["start", &id]).run().ok();
    let started: Vec<_> = (0..8).map(|_| lab.runtime(["delete", "--force", &id]).start()).collect();
    let codes: Vec<i32> = started.into_iter().map(|running| running.wait().code()).collect();
    assert!(codes.contains(&0), "{codes:?}");
    assert!(lab.is_peer() || codes.iter().all(|code| *code == 0), "what is gone already is as good: {codes:?}");
    assert_eq!(lab.leaks(), "");
}

#[test]
fn two_starts_start_it_once() {
    let Some(lab) = Lab::root() else { return };
    let container = lab.create(&waiting(&lab));
    let started: Vec<_> = (0..8).map(|_| container.command("start", &[], &[]).start()).collect();
    let codes: Vec<i32> = started.into_iter().map(|running| running.wait().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    await_true("the program's word", || container.stdout().contains("ready"));
    assert_eq!(container.stdout(), "ready\n");
    container.delete_force();
}

#[test]
fn delete_during_create_leaves_nothing() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        // runc does not see a container whose create is under way.
        return;
    }
    let bundle = waiting(&lab);
    for step in 0..20_u32 {
        let id = lab.id();
        let create = lab.runtime(["create", "--bundle", bundle.path_text(), &id]).start();
        std::thread::sleep(Duration::from_micros(u64::from(step) * 400));
        let delete = lab.runtime(["delete", "--force", &id]).start();
        let (create, delete) = (create.wait(), delete.wait());
        assert!(matches!(create.code(), 0 | 1 | 137), "{}", create.all());
        assert!(matches!(delete.code(), 0 | 1), "{}", delete.all());
        lab.runtime(["delete", "--force", &id]).run().ok();
        assert_eq!(lab.leaks(), "");
    }
}

#[test]
fn a_killed_foreground_run_leaves_what_delete_force_removes() {
    let Some(lab) = Lab::root() else { return };
    let bundle = waiting(&lab);
    let id = lab.id();
    let mut running = lab.runtime(["run", "--bundle", bundle.path_text(), &id]).start();
    running.hear("ready");
    running.signal(Signal::KILL);
    running.wait().exits(137);
    lab.runtime(["delete", "--force", &id]).run().ok();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_container_outlives_a_caller_that_is_gone() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let marker = bundle.rootfs("/srv/ready");
    bundle.config["root"]["readonly"] = serde_json::json!(false);
    bundle.args(["/bin/probe", "ready-wait", "/srv/ready"]);
    bundle.save();
    let id = lab.id();
    // The caller's stdout is closed when it ends; the container's is the same pipe.
    let script = format!(
        "{} --root {} run --detach --bundle {} {id} >/dev/null 2>&1 </dev/null",
        lab.runtime_path().display(),
        lab.state_root().display(),
        bundle.path_text()
    );
    lab.program("/bin/sh").args(["-c", &script]).run().ok();
    await_path(&marker);
    let state = lab.runtime(["state", &id]).run().ok().stdout();
    assert!(state.contains("\"running\""), "{state}");
    lab.runtime(["delete", "--force", &id]).run().ok();
}
