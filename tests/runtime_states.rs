//! Every command in every state of a container: the status it exits with, and the state it leaves.
//!
//! The table is what runc 1.1 does: the test passes with it, too (`PIPKIN_TEST_RUNTIME=/usr/sbin/runc`).
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::{Container, Lab, await_true};
use serde_json::Value;

const STATES: [&str; 5] = ["none", "created", "running", "paused", "stopped"];

/// One row: the command line after the flags common to all, `ID` for the container, and for each state the exit status and the state
/// afterwards; `=` is the same state, `gone` none.
type Row = (&'static str, [(i32, &'static str); 5]);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    //                          none        created         running         paused          stopped
    ("state ID",              [(1, "="),   (0, "="),       (0, "="),       (0, "="),       (0, "=")]),
    ("create ID",             [(0, "created"), (1, "="),   (1, "="),       (1, "="),       (1, "=")]),
    ("run --detach ID",       [(0, "running"), (1, "="),   (1, "="),       (1, "="),       (1, "=")]),
    ("start ID",              [(1, "="),   (0, "running"), (1, "="),       (1, "="),       (1, "=")]),
    ("kill ID 0",             [(1, "="),   (0, "="),       (0, "="),       (0, "="),       (1, "=")]),
    ("kill ID KILL",          [(1, "="),   (0, "stopped"), (0, "stopped"), (0, "stopped"), (1, "=")]),
    ("kill --all ID KILL",    [(1, "="),   (0, "stopped"), (0, "stopped"), (0, "stopped"), (0, "=")]),
    ("pause ID",              [(1, "="),   (0, "paused"),  (0, "paused"),  (1, "="),       (1, "=")]),
    ("resume ID",             [(1, "="),   (1, "="),       (1, "="),       (0, "running"), (1, "=")]),
    ("exec ID /bin/true",     [(255, "="), (0, "="),       (0, "="),       (255, "="),     (255, "=")]),
    ("exec ID /bin/false",    [(255, "="), (1, "="),       (1, "="),       (255, "="),     (255, "=")]),
    ("ps ID",                 [(1, "="),   (0, "="),       (0, "="),       (0, "="),       (0, "=")]),
    ("ps --format json ID",   [(1, "="),   (0, "="),       (0, "="),       (0, "="),       (0, "=")]),
    ("events --stats ID",     [(1, "="),   (0, "="),       (0, "="),       (0, "="),       (1, "=")]),
    ("update ID",             [(1, "="),   (0, "="),       (0, "="),       (0, "="),       (1, "=")]),
    ("delete ID",             [(1, "="),   (0, "gone"),    (1, "="),       (1, "="),       (0, "gone")]),
    ("delete --force ID",     [(0, "="),   (0, "gone"),    (0, "gone"),    (0, "gone"),    (0, "gone")]),
    ("list --quiet",          [(0, "="),   (0, "="),       (0, "="),       (0, "="),       (0, "=")]),
];

/// A container brought into the state; `None` for none.
fn brought_to<'lab>(lab: &'lab Lab, state: &str) -> Option<Container<'lab>> {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "signal-wait"]);
    if state == "none" {
        return None;
    }
    let container = lab.create(&bundle);
    if matches!(state, "running" | "paused") {
        container.start();
        await_true("the program's first word", || container.stdout().contains("ready"));
    }
    match state {
        "paused" => drop(container.command("pause", &[], &[]).run().ok()),
        "stopped" => {
            container.kill("KILL");
            container.wait();
        }
        _ => {}
    }
    assert_eq!(container.status(), state);
    Some(container)
}

fn status(lab: &Lab, id: &str) -> String {
    let state = lab.runtime(["state", id]).run();
    if state.code() != 0 {
        return "gone".to_owned();
    }
    let state: Value = serde_json::from_str(&state.stdout()).unwrap();
    state["status"].as_str().unwrap().to_owned()
}

#[test]
fn every_command_in_every_state() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "signal-wait"]);
    bundle.save();
    let mut wrong = Vec::new();
    for (line, cells) in TABLE {
        for (state, (code, after)) in STATES.into_iter().zip(cells) {
            let container = brought_to(&lab, state);
            let id = container.as_ref().map_or_else(|| lab.id(), |container| container.id().to_owned());
            let makes = line.starts_with("create") || line.starts_with("run");
            let words = line.split(' ').map(|word| if word == "ID" { id.as_str() } else { word });
            let words: Vec<&str> = match makes {
                true => words
                    .flat_map(|word| if word == id { vec!["--bundle", bundle.path_text(), word] } else { vec![word] })
                    .collect(),
                false => words.collect(),
            };
            let finished = lab.runtime(words).run();
            let expected = match *after {
                "=" if state == "none" => "gone",
                "=" => state,
                other => other,
            };
            let mut now = status(&lab, &id);
            if expected == "stopped" && now != "stopped" {
                // A kill does not wait for the end.
                await_true("the end", || status(&lab, &id) == "stopped");
                now = "stopped".to_owned();
            }
            if finished.code() != *code || now != expected {
                wrong.push(format!("{state}: {line}: {} and then {now}: {}", finished.code(), finished.all()));
            }
            lab.runtime(["delete", "--force", &id]).run().ok();
            if let Some(container) = container {
                container.is_gone();
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
