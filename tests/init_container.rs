//! `pipkin-init` as PID 1 of a container of `pipkin-runtime`.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;

use pipkin_harness::host;
use pipkin_harness::{Lab, await_true, install, skipped};
use serde_json::json;

/// Forks for ever, in sessions of its own, and is not impressed by TERM.
const BOMB: &str = "trap '' TERM; while :; do busybox setsid sh -c \"$BOMB\" & done 2>/dev/null";

/// It fills all that the container may have, and goes on wherever a process ends; told to stop, the init ends all of it.
#[test]
fn a_fork_bomb_under_a_pids_limit() {
    const LIMIT: u64 = 64;
    if !host::has_controller("pids") {
        return skipped("no pids controller in this view");
    }
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    install(&lab.product_path("pipkin-init"), &bundle.rootfs("/bin/pipkin-init"));
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": LIMIT});
    bundle.config["process"]["env"].as_array_mut().unwrap().push(json!(format!("BOMB={BOMB}")));
    let main_child = "sh -c \"$BOMB\" & while :; do wait; done";
    bundle.args(["/bin/pipkin-init", "--wait=300ms", "--", "sh", "-c", main_child]);
    let container = lab.create(&bundle);
    let namespace = host::namespace(&container.pid().to_string(), "pid");
    let cgroup = host::cgroup_directory(container.pid(), "pids").unwrap();
    let number = |file: &str| -> u64 {
        let text = fs::read_to_string(cgroup.join(file)).unwrap();
        text.trim().trim_start_matches("max ").parse().unwrap()
    };
    assert_eq!(number("pids.max"), LIMIT);
    container.start();
    await_true("the bomb has met the limit often", || number("pids.events") > 2 * LIMIT);

    container.kill("TERM");
    assert_eq!(container.wait(), 143, "{}", container.stderr());
    let said = container.stderr();
    assert!(said.contains("what the main child left does not end: killing it"), "{said}");
    let in_namespace =
        |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|it| it.to_str() == Some(&namespace));
    let left = || {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        pids.filter(|pid| in_namespace(pid)).collect::<Vec<_>>()
    };
    assert_eq!((left(), number("pids.current")), (Vec::new(), 0));
    container.delete();
    assert!(!cgroup.exists());
    assert_eq!(lab.leaks(), "");
}
