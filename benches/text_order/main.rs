//! Writes `runtime/text.ld`, which puts the functions that `run` and `exec` go through beside each other.
//!
//! A page fault maps 64 KiB of a program's text, and costs more than a microsecond with what is mapped and unmapped. In the order in
//! which the linker finds them, the functions of a boot are spread over all of pipkin-runtime's 2.5 MB. So a few commands of a
//! container's life are followed here, and whatever function they enter is listed: by its section's name, without the
//! numbers that another compiler would choose, so that the list is good for others' builds, too. What the list does not name, or
//! names in vain, only lies somewhere else.
//!
//! `make text-order` builds the program with its symbols and a linker's map, and runs this as root. It needs to be done anew
//! when much has changed; a boot's page faults tell (`perf stat -e page-faults`).
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a tool that can not do its work must stop, and say where")]

mod map;
mod script;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use pipkin_harness::{Bundle, Lab};
use serde_json::json;

use map::Map;
use watch::{Part, Watcher};

/// Of the sections of one pattern: who entered them ([`watch`]), when the first was entered, and how long those are that were
/// entered, and all of them, in bytes.
pub struct Use {
    parts: u8,
    first: usize,
    entered: u64,
    all: u64,
}

fn main() {
    let words: Vec<PathBuf> = std::env::args_os().skip(1).filter(|word| word != "--bench").map(PathBuf::from).collect();
    let [program, map, script] = words.as_slice() else {
        // `cargo bench` starts it among all others.
        println!(
            "text_order PROGRAM MAP SCRIPT: pipkin-runtime with its symbols, the linker's map of it, where the script goes"
        );
        return;
    };
    let lab = Lab::root().expect("root");
    let map = Map::read(map);
    let mut watcher = Watcher::new(&lab, program, &map);
    for v2 in [false, true] {
        watcher.pure_v2 = v2;
        follow_a_life(&lab, &mut watcher);
    }
    let mut seen = BTreeSet::new();
    let mut uses = BTreeMap::<&str, Use>::new();
    for (first, (address, parts)) in watcher.entered().iter().enumerate() {
        let Some(section) = map.section(*address) else { continue };
        let pattern = section.pattern.as_str();
        let one = uses.entry(pattern).or_insert_with(|| Use { parts: 0, first, entered: 0, all: map.length(pattern) });
        one.parts |= parts;
        if seen.insert(section.address) {
            one.entered += section.length;
        }
    }
    let lines = script::lines(&uses);
    std::fs::write(script, script::text(&lines)).expect("write the script");
    let bytes = |length: fn(&Use) -> u64| uses.values().map(length).sum::<u64>() / 1024;
    println!("{} lines, {} KiB entered of {} KiB", lines.len(), bytes(|one| one.entered), bytes(|one| one.all));
}

/// What engines and people do most, the most frequent first.
fn follow_a_life(lab: &Lab, watcher: &mut Watcher<'_>) {
    let plain = bundle(lab, |bundle| bundle.args(["/bin/true"]));
    let docker = bundle(lab, |bundle| {
        bundle.engine_configuration("docker-init-bridge.json");
        bundle.args(["/bin/true"]);
        bundle.config["process"]["terminal"] = json!(false);
        bundle.config["linux"]["cgroupsPath"] = json!(format!("/{}", lab.name()));
        // Not each view has the controllers for the rest.
        let devices = bundle.config["linux"]["resources"]["devices"].take();
        bundle.config["linux"]["resources"] = json!({"devices": devices});
    });
    let mapped = bundle(lab, |bundle| {
        bundle.args(["/bin/true"]);
        bundle.config["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "user"}));
        for maps in ["uidMappings", "gidMappings"] {
            bundle.config["linux"][maps] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        }
    });
    let lasting = bundle(lab, |bundle| bundle.args(["/bin/sleep", "1000"]));
    let id = lab.name();
    let runs = |watcher: &mut Watcher<'_>, bundle: &Bundle, part| {
        watcher.follow(part, &["run", "--bundle", bundle.path_text(), id]);
    };
    runs(watcher, &plain, Part::Run);
    // The first makes the filter, the second finds it.
    runs(watcher, &docker, Part::Other);
    runs(watcher, &docker, Part::Confined);
    watcher.follow(Part::Other, &["create", "--bundle", lasting.path_text(), id]);
    watcher.follow(Part::Other, &["start", id]);
    watcher.follow(Part::Exec, &["exec", id, "/bin/true"]);
    watcher.follow(Part::Other, &["state", id]);
    watcher.follow(Part::Other, &["kill", id, "KILL"]);
    watcher.follow(Part::Other, &["delete", "--force", id]);
    runs(watcher, &mapped, Part::Other);
}

fn bundle(lab: &Lab, change: impl FnOnce(&mut Bundle)) -> Bundle {
    let mut bundle = lab.bundle();
    change(&mut bundle);
    bundle.save();
    bundle
}
