//! `pipkin bench boot`, from end to end: what it prints and writes, and what it refuses. Never how long anything takes.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::path::Path;

use pipkin_harness::{Lab, Program, install};
use serde_json::Value;

fn bench(lab: &Lab) -> Program {
    lab.product("pipkin").args(["bench", "boot"]).env("TMPDIR", lab.directory("temporary"))
}

/// The names of a comparison's rows, each of which has so many figures above zero.
#[track_caller]
fn rows(comparison: &Value, rounds: usize) -> Vec<&str> {
    assert_eq!(comparison["unit"], "ms");
    assert_eq!(comparison["rounds"], rounds);
    let rows = comparison["rows"].as_array().unwrap();
    for row in rows {
        let samples: Vec<f64> = row["samples"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        assert_eq!(samples.len(), rounds, "{row}");
        assert!(samples.iter().all(|sample| *sample > 0.0), "{row}");
        let spread = ["minimum", "quarter", "median", "three_quarters", "maximum"];
        let spread = spread.map(|name| row["spread"][name].as_f64().unwrap());
        assert!(spread.is_sorted(), "{row}");
    }
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[track_caller]
fn nothing_is_left(lab: &Lab, pid: u32) {
    assert_eq!(lab.leaks(), "");
    assert_eq!(fs::read_dir(lab.path("temporary")).unwrap().count(), 0);
    for memory in ["/run", "/dev/shm"] {
        let state = format!("{memory}/pipkin-bench-{pid}");
        assert!(!Path::new(&state).exists(), "{state}");
    }
}

#[test]
fn two_runtimes_side_by_side_with_a_chart_and_a_timeline() {
    let Some(lab) = Lab::root() else { return };
    let other = lab.path("other-runtime");
    install(&lab.product_path("pipkin-runtime"), &other);
    let (figures, chart) = (lab.path("figures.json"), lab.path("chart.svg"));
    let running = bench(&lab)
        .arg("--runtime")
        .arg(lab.product_path("pipkin-runtime"))
        .arg("--runtime")
        .arg(&other)
        .args(["--runs", "2", "--json"])
        .arg(&figures)
        .arg("--svg")
        .arg(&chart)
        .start();
    let pid = running.pid();
    let said = running.wait().ok().stdout();
    nothing_is_left(&lab, pid);
    let names = ["pipkin-runtime", "other-runtime"];
    let titles = ["run", "create + start + delete"];
    for text in names.iter().chain(&titles).chain(&["where the time goes: pipkin-runtime"]) {
        assert!(said.contains(text), "{text}: {said}");
    }

    let document: Value = serde_json::from_slice(&fs::read(&figures).unwrap()).unwrap();
    assert_eq!(document["bench"], "boot");
    assert!(document["machine"]["kernel"].as_str().is_some_and(|kernel| !kernel.is_empty()), "{document}");
    let comparisons = document["comparisons"].as_array().unwrap();
    assert_eq!(comparisons.iter().map(|comparison| &comparison["title"]).collect::<Vec<_>>(), titles);
    for comparison in comparisons {
        assert_eq!(rows(comparison, 2), names);
        assert_eq!(comparison["left_out"], serde_json::json!([]));
        assert!(comparison["rows"][0]["times_the_first"].is_null(), "{comparison}");
        assert!(comparison["rows"][1]["times_the_first"]["median"].as_f64().is_some_and(|ratio| ratio > 0.0));
    }

    // The one that can be traced, in both of its processes.
    let timelines = document["timelines"].as_array().unwrap();
    assert_eq!(timelines.len(), 1, "{timelines:?}");
    assert_eq!(timelines[0]["name"], "pipkin-runtime");
    let steps = timelines[0]["steps"].as_array().unwrap();
    for (process, name) in [("launcher", "read config.json"), ("stage", "pivot_root"), ("launcher", "remove the state")]
    {
        let there = steps.iter().any(|step| step["process"] == process && step["name"] == name);
        assert!(there, "{process}: {name}: {steps:?}");
    }
    assert!(steps.iter().all(|step| step["takes_us"].as_f64().is_some_and(|takes| takes >= 0.0)), "{steps:?}");

    let chart = fs::read_to_string(&chart).unwrap();
    assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n"), "{chart}");
    for name in names {
        assert_eq!(chart.matches(&format!(">{name}<")).count(), titles.len(), "{name}: {chart}");
    }
}

#[test]
fn a_bundle_of_ones_own_and_a_runtime_that_can_not_take_part() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "exit", "0"]);
    bundle.save();
    let before = fs::read(bundle.path().join("config.json")).unwrap();
    let figures = lab.path("figures.json");
    let running = bench(&lab)
        .args(["--runtime", "/bin/false", "--runtime"])
        .arg(lab.product_path("pipkin-runtime"))
        .args(["--runs", "3", "--bundle", bundle.path_text(), "--json"])
        .arg(&figures)
        .start();
    let pid = running.pid();
    let said = running.wait().ok().stdout();
    nothing_is_left(&lab, pid);
    assert_eq!(fs::read(bundle.path().join("config.json")).unwrap(), before);
    let document: Value = serde_json::from_slice(&fs::read(&figures).unwrap()).unwrap();
    for comparison in document["comparisons"].as_array().unwrap() {
        assert_eq!(rows(comparison, 3), ["pipkin-runtime"]);
        assert_eq!(comparison["left_out"][0]["name"], "false", "{comparison}");
    }
    assert!(said.contains("false: left out"), "{said}");
}

#[test]
fn what_can_not_be_measured_is_refused() {
    let Some(lab) = Lab::root() else { return };
    let empty = lab.directory("empty");
    let empty = empty.to_str().unwrap();
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "exit", "7"]);
    bundle.save();
    let runtime = lab.product_path("pipkin-runtime");
    let runtime = runtime.to_str().unwrap();
    let text = bundle.path_text();
    for (arguments, said) in [
        (vec!["--runtime", "no-such-runtime"], &["--runtime", "no-such-runtime was not found"][..]),
        (vec!["--runtime", "/no/such/runtime"], &["/no/such/runtime was not found"]),
        (vec!["--runs", "0"], &["--runs", "0 is not in 1"]),
        (vec!["--runs", "many"], &["--runs"]),
        (vec!["--runtime", runtime, "--bundle", empty], &["--bundle", "config.json", "No such file"]),
        (vec!["--runtime", runtime, "--bundle", text, "--runs", "1"], &["no runtime could boot the bundle"]),
        (vec!["--runtime", runtime, "--runs", "1", "--json", "/no/such/dir/x"], &["--json", "No such file"]),
    ] {
        let running = bench(&lab).args(&arguments).start();
        let pid = running.pid();
        let finished = running.wait().exits(125);
        for text in said {
            assert!(finished.stderr().contains(text), "{text}: {}", finished.all());
        }
        nothing_is_left(&lab, pid);
    }
}
