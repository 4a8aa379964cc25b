//! `make run`: the built-in image boots by the real path, for root and for ordinary users.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::{Finished, Lab, host};

fn run(lab: &Lab, flags: &[&str]) -> Finished {
    let program = lab.product("pipkin").arg("--root").arg(lab.path("store"));
    program.args(["run", "--rm"]).args(flags).arg("hello").run().ok()
}

/// The value behind the label in hello's report.
fn fact(report: &str, label: &str) -> String {
    let line = report.lines().find(|line| line.trim_start().starts_with(label));
    let line = line.unwrap_or_else(|| panic!("{label:?} is not in:\n{report}"));
    line.trim_start().trim_start_matches(label).trim().to_owned()
}

#[track_caller]
fn boots(lab: &Lab) {
    for round in ["made", "found in the store"] {
        let finished = run(lab, &["--init"]);
        let report = finished.stdout();
        assert_eq!(finished.stderr(), "", "{round}");
        assert!(fact(&report, "process").contains("PID 1 is pipkin-init"), "{round}: {report}");
        let namespaces = fact(&report, "namespaces");
        let own = namespaces.split(';').next().unwrap();
        for kind in ["ipc", "mnt", "pid", "uts"] {
            assert!(own.contains(kind), "{round}: {kind}: {namespaces}");
        }
        assert_eq!(own.contains("user"), lab.as_user().is_some(), "{round}: {namespaces}");
        assert!(fact(&report, "started in").contains(" us"), "{report}");
        assert_eq!(lab.leaks(), "", "{round}");
    }
    let images = lab.product("pipkin").arg("--root").arg(lab.path("store")).arg("images").run().ok().stdout();
    assert_eq!(images.lines().filter(|line| line.starts_with("hello")).count(), 1, "{images}");
}

#[test]
fn as_root() {
    let Some(lab) = Lab::root() else { return };
    boots(&lab);
}

#[test]
fn as_an_ordinary_user_with_subordinate_ids() {
    let Some(lab) = Lab::user() else { return };
    boots(&lab);
}

#[test]
fn as_an_ordinary_user_with_one_id() {
    let Some(lab) = Lab::user_without_subids() else { return };
    boots(&lab);
}

#[test]
fn limits_are_what_the_program_sees() {
    let Some(lab) = Lab::root() else { return };
    if !host::has_controller("memory") || !host::has_controller("pids") || !host::has_controller("cpu") {
        return pipkin_harness::skipped("no memory, pids or cpu controller in this view");
    }
    let flags = ["--memory", "64m", "--pids-limit", "50", "--cpus", "0.5", "--hostname", "pot", "--read-only"];
    let report = run(&lab, &flags).stdout();
    assert_eq!(fact(&report, "host name"), "pot");
    assert!(fact(&report, "memory").contains("64"), "{report}");
    assert!(fact(&report, "processes").contains("50"), "{report}");
    assert!(fact(&report, "cpu").contains("0.5"), "{report}");
}
