//! Wrong input: one line that names the field, the value and the cause; runc's exit code; nothing left behind.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use pipkin_harness::{Bundle, Finished, Lab, install, install_text};
use serde_json::json;

/// What is done to a good bundle, and which words the error must contain.
type Case = (&'static str, fn(&mut Bundle), &'static [&'static str]);

/// What is wrong with a refusal, which should be: exit code 1, one line with the words, and the machine as before.
fn complaint(lab: &Lab, finished: &Finished, words: &[&str]) -> Option<String> {
    let stderr = finished.stderr();
    let leaks = lab.leaks();
    if finished.code() != 1 {
        return Some(finished.all());
    }
    if !leaks.is_empty() {
        return Some(format!("left behind: {leaks}"));
    }
    if lab.is_peer() {
        return None;
    }
    if stderr.trim_end().lines().count() != 1 || !finished.stdout().is_empty() {
        return Some(format!("an error is one line on stderr: {}", finished.all()));
    }
    let missing = words.iter().find(|word| !stderr.to_lowercase().contains(&word.to_lowercase()))?;
    Some(format!("{missing:?} is not in: {stderr}"))
}

#[track_caller]
fn refused(lab: &Lab, finished: Finished, words: &[&str], name: &str) {
    if let Some(complaint) = complaint(lab, &finished, words) {
        panic!("{name}: {complaint}");
    }
}

const CASES: &[Case] = &[
    ("no ociVersion", |b| drop(b.config.as_object_mut().unwrap().remove("ociVersion")), &["ociVersion"]),
    ("an ociVersion of the future", |b| b.config["ociVersion"] = json!("2.0.0"), &["ociVersion", "2.0.0"]),
    ("an ociVersion that is none", |b| b.config["ociVersion"] = json!("one"), &["ociVersion", "one"]),
    ("no root", |b| drop(b.config.as_object_mut().unwrap().remove("root")), &["root"]),
    ("a root that is missing", |b| b.config["root"]["path"] = json!("elsewhere"), &["root.path", "elsewhere"]),
    ("no process", |b| drop(b.config.as_object_mut().unwrap().remove("process")), &["process"]),
    ("no args", |b| b.config["process"]["args"] = json!([]), &["process.args"]),
    ("no such executable", |b| b.args(["/no/such/program"]), &["/no/such/program"]),
    ("no such executable on PATH", |b| b.args(["no-such-program"]), &["no-such-program"]),
    ("a directory as executable", |b| b.args(["/srv"]), &["/srv"]),
    ("a file that may not be executed", |b| b.args(["/etc/passwd"]), &["/etc/passwd", "ermission"]),
    ("a relative cwd", |b| b.config["process"]["cwd"] = json!("srv"), &["process.cwd", "srv"]),
    (
        "a cwd that can not be made",
        |b| b.config["process"]["cwd"] = json!("/etc/passwd/below"),
        &["cwd", "/etc/passwd/below"],
    ),
    ("a cwd that is a file", |b| b.config["process"]["cwd"] = json!("/etc/passwd"), &["cwd", "/etc/passwd"]),
    (
        "a bind source that is missing",
        |b| b.add_mount("/mnt/x", "bind", "/no/such/source", &["bind"]),
        &["mounts[7]", "/no/such/source"],
    ),
    ("a mount without a place", |b| b.add_mount("", "tmpfs", "tmpfs", &[]), &["mounts[7].destination"]),
    ("an unknown file system", |b| b.add_mount("/srv", "nofs", "none", &[]), &["/srv", "nofs"]),
    (
        "id maps that overlap",
        |b| {
            b.add_namespace("user", None);
            let map = json!([
                {"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 5, "hostID": 2000, "size": 10}
            ]);
            b.config["linux"]["uidMappings"] = map.clone();
            b.config["linux"]["gidMappings"] = map;
        },
        &["linux.uidMappings"],
    ),
    ("a user namespace without maps", |b| b.add_namespace("user", None), &["linux.uidMappings"]),
    (
        "maps without a user namespace",
        |b| b.config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]),
        &["linux.uidMappings"],
    ),
    (
        "a namespace twice",
        |b| b.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "pid"})),
        &["linux.namespaces", "pid"],
    ),
    (
        "an unknown namespace",
        |b| b.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "moon"})),
        &["moon"],
    ),
    (
        "a namespace path of nothing",
        |b| b.add_namespace("network", Some("/run/netns/pkt-no-such")),
        &["linux.namespaces", "/run/netns/pkt-no-such"],
    ),
    (
        "a namespace path of another kind",
        |b| b.add_namespace("network", Some("/proc/self/ns/uts")),
        &["linux.namespaces", "/proc/self/ns/uts"],
    ),
    ("a hostname without its namespace", |b| b.share_namespace("uts"), &["hostname"]),
    ("no mount namespace", |b| b.share_namespace("mount"), &["linux.namespaces", "mount"]),
    (
        "an unknown resource limit",
        |b| b.config["process"]["rlimits"] = json!([{"type": "RLIMIT_MOON", "soft": 1, "hard": 1}]),
        &["process.rlimits", "RLIMIT_MOON"],
    ),
    (
        "a soft limit above the hard one",
        |b| b.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 10}]),
        &["process.rlimits", "20"],
    ),
    (
        "an oom_score_adj out of range",
        |b| b.config["process"]["oomScoreAdj"] = json!(5000),
        &["process.oomScoreAdj", "5000"],
    ),
    (
        "a masked path that is relative",
        |b| b.config["linux"]["maskedPaths"] = json!(["proc/keys"]),
        &["linux.maskedPaths"],
    ),
    (
        "a deadline, and hooks that it would keep from starting",
        |b| {
            b.config["process"]["scheduler"] = json!({"policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 20_000_000, "period": 20_000_000});
            b.config["hooks"] = json!({"startContainer": [{"path": "/bin/true"}]});
        },
        &["process.scheduler.policy", "hooks.startContainer"],
    ),
    (
        "a device of no type",
        |b| b.config["linux"]["devices"] = json!([{"path": "/dev/x", "type": "x", "major": 1, "minor": 3}]),
        &["linux.devices"],
    ),
];

#[test]
fn every_wrong_configuration_is_refused_with_the_fields_name() {
    let Some(lab) = Lab::root() else { return };
    // What runc 1.1 lets pass, or where it fails later than at `create`.
    let passes_in_runc: &[&str] = &[
        "no ociVersion",
        "an ociVersion of the future",
        "an ociVersion that is none",
        "id maps that overlap",
        "a relative cwd",
        "no mount namespace",
        "a mount without a place",
        "maps without a user namespace",
        "a soft limit above the hard one",
        "a masked path that is relative",
        "a user namespace without maps",
    ];
    let mut complaints = Vec::new();
    for (name, change, words) in CASES {
        if lab.is_peer() && passes_in_runc.contains(name) {
            continue;
        }
        let mut bundle = lab.bundle();
        bundle.args(["/bin/true"]);
        change(&mut bundle);
        let run = lab.run(&bundle);
        let create = lab.runtime(["create", "--bundle", bundle.path_text(), &lab.id()]).run();
        let wrong = [run, create].iter().find_map(|finished| complaint(&lab, finished, words));
        complaints.extend(wrong.map(|complaint| format!("{name}: {complaint}")));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn config_json_that_can_not_be_read() {
    let Some(lab) = Lab::root() else { return };
    let bundle = lab.bundle();
    let run = || lab.runtime(["run", "--bundle", bundle.path_text(), &lab.id()]).run();
    refused(&lab, run(), &["config.json", "no such file"], "missing");
    for (name, text) in [
        ("empty", ""),
        ("cut off", r#"{"ociVersion": "1.0.0", "process": {"#),
        ("not JSON", "hello"),
        ("a wrong type", r#"{"ociVersion": "1.0.0", "root": {"path": 7}}"#),
    ] {
        bundle.save_text(text);
        refused(&lab, run(), &["config.json"], name);
    }
    bundle.save_text("[]");
    refused(&lab, run(), &[], "not an object");
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    fs::create_dir(bundle.path().join("config.json")).unwrap();
    refused(&lab, run(), &["config.json"], "a directory");
}

#[test]
fn a_bundle_that_is_not_there() {
    let Some(lab) = Lab::root() else { return };
    let finished = lab.runtime(["run", "--bundle", "/no/such/bundle", &lab.id()]).run();
    refused(&lab, finished, &["/no/such/bundle"], "missing");
}

#[test]
fn a_root_file_system_that_is_a_symbolic_link_or_a_file() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    let elsewhere = lab.path("elsewhere");
    fs::rename(bundle.rootfs(""), &elsewhere).unwrap();
    symlink(&elsewhere, bundle.path().join("rootfs")).unwrap();
    refused(&lab, lab.run(&bundle), &["root.path", "symbolic link"], "a link");
    fs::remove_file(bundle.path().join("rootfs")).unwrap();
    fs::write(bundle.path().join("rootfs"), "").unwrap();
    refused(&lab, lab.run(&bundle), &["root.path"], "a file");
}

#[test]
fn an_executable_whose_interpreter_is_missing_says_which() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let script = bundle.rootfs("/srv/script");
    install_text(&script, "#!/opt/none/python3 -u\nprint()\n");
    bundle.args(["/srv/script"]);
    refused(&lab, lab.run(&bundle), &["/srv/script", "/opt/none/python3"], "an interpreter");
    // A dynamic program of the host, without its loader.
    install(Path::new("/usr/bin/env"), &bundle.rootfs("/srv/dynamic"));
    bundle.args(["/srv/dynamic"]);
    refused(&lab, lab.run(&bundle), &["/srv/dynamic", "/ld-linux"], "a loader");
    install_text(&script, "no program at all");
    bundle.args(["/srv/script"]);
    refused(&lab, lab.run(&bundle), &["/srv/script"], "no format");
}

#[test]
fn an_unreachable_state_root() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.save();
    let file = lab.file("file", "");
    let finished = lab
        .program(lab.runtime_path())
        .arg("--root")
        .arg(file.join("below"))
        .args(["run", "--bundle", bundle.path_text(), &lab.id()])
        .run();
    refused(&lab, finished, &[file.to_str().unwrap()], "a file as root");
}

#[test]
fn wrong_command_lines() {
    let Some(lab) = Lab::root() else { return };
    for words in
        [&["no-such-command"][..], &["create"], &["kill"], &["run", "--no-such-flag", "id"], &["state"], &["start"]]
    {
        let finished = lab.runtime(words.iter().copied()).run();
        assert!(finished.code() != 0 && finished.code() < 128, "{}", finished.all());
        assert_eq!(lab.leaks(), "");
    }
}

#[test]
fn arguments_that_are_not_utf_8() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return; // runc takes them, and finds no such container.
    }
    let odd = std::ffi::OsStr::from_bytes(b"x\xff");
    let run = |words: &[&str]| lab.runtime(words.iter().copied()).arg(odd).run();
    for words in [&["run"][..], &["kill"], &["state"], &["exec", "nobody", "true"]] {
        refused(&lab, run(words), &["\\xff"], words[0]);
    }
    // A file's name may be anything.
    lab.program(lab.runtime_path()).arg("--root").arg(lab.path(odd)).args(["list", "-q"]).run().ok();
}

#[test]
fn an_error_goes_to_the_log_as_well() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/no/such/program"]);
    bundle.save();
    let log = lab.path("log.json");
    lab.program(lab.runtime_path())
        .args(["--log", log.to_str().unwrap(), "--log-format", "json", "--root"])
        .arg(lab.state_root())
        .args(["run", "--bundle", bundle.path_text(), &lab.id()])
        .run()
        .exits(1);
    let text = fs::read_to_string(log).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error", "{text}");
    assert!(last["msg"].as_str().unwrap().contains("/no/such/program"), "{text}");
    assert!(last["time"].is_string(), "{text}");
}

/// The machine's log is a socket at a place of its own: here one in a mount namespace that has nothing else there.
#[test]
fn the_machines_log() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let id = lab.id();
    let state = |log: &str, top: &str, prepare: &str| {
        let script = format!("mount -t tmpfs tmpfs {top} && {prepare} && exec \"$@\"");
        let unshare = ["-m", "--propagation", "private", "/bin/sh", "-c", &script, "sh"];
        let runtime = lab.program("/usr/bin/unshare").args(unshare).arg(lab.runtime_path());
        runtime.args(["--log", log, "--root"]).arg(lab.state_root()).args(["state", &id]).run()
    };
    state("journald:x", "/run", "true").fails(1, &["open the log /run/systemd/journal/socket", "no such file"]);
    let field = "PRIORITY=3\nSYSLOG_IDENTIFIER\n\x06\0\0\0\0\0\0\0engine\nMESSAGE\n";
    for (log, top, place, begin) in [
        ("journald:engine", "/run", "/run/systemd/journal/socket", field),
        ("syslog:engine", "/dev", "/dev/log", "<27>engine["),
    ] {
        let socket = lab.path(format!("{}.socket", &top[1..]));
        let listener = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
        listener.set_read_timeout(Some(pipkin_harness::DEADLINE)).unwrap();
        let prepare = format!("mkdir -p $(dirname {place}) && ln -s '{}' {place}", socket.display());
        state(log, top, &prepare).fails(1, &["does not exist"]);
        let mut bytes = [0; 4096];
        let length = listener.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        assert!(text.starts_with(begin) && text.contains("does not exist"), "{text:?}");
    }
    assert_eq!(lab.leaks(), "");
}

#[test]
fn how_much_is_logged() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.config["process"]["capabilities"]["bounding"] = serde_json::json!(["CAP_NOT_YET"]);
    bundle.save();
    for (flags, levels) in [
        (&["--log-level", "error"][..], &[][..]),
        (&[], &["warning"]),
        (&["--log-level=warning"], &["warning"]),
        (&["--log-level", "debug"], &["debug", "warning"]),
        (&["--log-level", "error", "--debug"], &["debug", "warning"]),
    ] {
        let log = lab.path(format!("file-{}", lab.id()));
        let file = format!("file:{}", log.display());
        let words = ["--log", &file, "--log-format", "json", "--root"];
        let run = lab.program(lab.runtime_path()).args(words).arg(lab.state_root()).args(flags.iter().copied());
        run.args(["run", "--bundle", bundle.path_text(), &lab.id()]).run().ok();
        let text = fs::read_to_string(log).unwrap_or_default();
        let level =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["level"].as_str().unwrap().to_owned();
        let mut seen: Vec<String> = text.lines().map(level).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, levels, "{flags:?}: {text}");
    }
}

#[test]
fn an_ordinary_user_gets_the_same_errors() {
    let Some(lab) = Lab::user() else { return };
    for (name, change, words) in CASES {
        if !["no args", "no such executable", "a bind source that is missing", "a namespace twice"].contains(name) {
            continue;
        }
        let mut bundle = lab.bundle();
        bundle.args(["/bin/true"]);
        change(&mut bundle);
        refused(&lab, lab.run(&bundle), words, name);
    }
}
