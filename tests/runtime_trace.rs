//! `--trace-boot`: the steps of both processes, in order, and nothing of it in the container.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::Lab;
use serde_json::Value;

/// Reads the file as viewers do: a list whose closing bracket may be missing.
fn events(text: &str) -> Vec<Value> {
    serde_json::from_str(&format!("{}]", text.trim_end().trim_end_matches(','))).expect(text)
}

#[test]
fn a_boot_is_traced_in_the_launcher_and_in_the_stage() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe"]);
    bundle.save();
    let file = lab.file("trace.json", "what was there before, and longer than any trace".repeat(1000));
    let finished = lab
        .program(lab.runtime_path())
        .arg("--trace-boot")
        .arg(&file)
        .arg("--root")
        .arg(lab.state_root())
        .args(["run", "--bundle", bundle.path_text(), &lab.id()])
        .run()
        .ok();
    let report: Value = serde_json::from_str(&finished.stdout()).unwrap();
    let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
    assert_eq!(open, ["0", "1", "2"], "the trace stays outside");

    let events = events(&std::fs::read_to_string(file).unwrap());
    for (process, steps) in [
        (1, ["read config.json", "make the plan", "make the cgroup", "remove the state"]),
        (2, ["read the plan", "mount /proc", "pivot_root", "wait for the launcher"]),
    ] {
        let own: Vec<&Value> = events.iter().filter(|event| event["pid"] == process && event["ph"] == "X").collect();
        let place = |name: &str| own.iter().position(|event| event["name"] == name).unwrap_or_else(|| panic!("{name}"));
        let places = steps.map(place);
        assert!(places.is_sorted(), "{steps:?} are at {places:?}");
        let end = |event: &Value| event["ts"].as_f64().unwrap() + event["dur"].as_f64().unwrap();
        for pair in own.windows(2) {
            assert!(end(pair[0]) <= pair[1]["ts"].as_f64().unwrap() + 1.0, "{pair:?} overlap");
        }
    }
}

#[test]
fn a_trace_that_can_not_be_written_is_an_error_before_anything_is_made() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let bundle = lab.bundle();
    bundle.save();
    lab.program(lab.runtime_path())
        .args(["--trace-boot", "/no/such/directory/trace.json", "--root"])
        .arg(lab.state_root())
        .args(["run", "--bundle", bundle.path_text(), &lab.id()])
        .run()
        .fails(1, &["write the trace", "/no/such/directory/trace.json"]);
}
