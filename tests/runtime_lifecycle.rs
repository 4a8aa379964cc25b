//! create, start, state, kill, delete, list, run: what each does in each state of a container.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::os::unix::fs::MetadataExt;

use pipkin_harness::{Bundle, Lab, await_path, await_true, host, install};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A bundle whose container waits for a signal and then exits 0.
fn waiting(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "signal-wait"]);
    bundle
}

#[test]
fn a_container_goes_from_created_to_running_to_stopped_to_nothing() {
    let Some(lab) = Lab::root() else { return };
    let container = lab.create(&waiting(&lab));

    let created = container.state();
    assert_eq!(created["status"], "created");
    assert_eq!(created["id"], container.id());
    assert_eq!(created["pid"], container.pid());
    assert_eq!(container.stdout(), "", "nothing of the container runs before start");

    container.start();
    await_true("the program's first word", || container.stdout() == "ready\n");
    assert_eq!(container.status(), "running");

    container.kill("TERM");
    assert_eq!(container.wait(), 0);
    assert_eq!(container.stdout(), "ready\ngot SIGTERM\n");
    let stopped = container.state();
    assert_eq!(stopped["status"], "stopped");
    assert!(stopped["pid"].as_i64().unwrap_or(0) == 0, "a stopped container has no process: {stopped}");

    let id = container.id().to_owned();
    container.delete();
    let gone = lab.runtime(["state", &id]).run().exits(1);
    assert!(gone.stderr().contains("does not exist"), "{}", gone.all());
}

#[test]
fn state_has_what_the_specification_asks_for() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = waiting(&lab);
    bundle.config["annotations"] = json!({"org.example.colour": "green", "empty": ""});
    let container = lab.create(&bundle);
    let state = container.state();
    assert_eq!(state["bundle"], json!(bundle.path()));
    assert_eq!(state["annotations"]["org.example.colour"], "green");
    assert_eq!(state["annotations"]["empty"], "");
    let version = state["ociVersion"].as_str().unwrap_or_default();
    assert!(version.starts_with("1."), "ociVersion {version:?}");
    container.delete_force();
}

#[test]
fn every_command_in_a_state_that_does_not_allow_it_fails_and_changes_nothing() {
    let Some(lab) = Lab::root() else { return };
    let container = lab.create(&waiting(&lab));
    let refused = |verb: &str, rest: &[&str], text: &str| {
        let finished = container.command(verb, &[], rest).run().exits(if verb == "exec" { 255 } else { 1 });
        assert!(lab.is_peer() || finished.stderr().contains(text), "{verb}: {}", finished.all());
    };

    container.start();
    await_true("the program's first word", || container.stdout().contains("ready"));
    refused("start", &[], "running");
    refused("delete", &[], "running");
    assert_eq!(container.status(), "running");

    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    refused("start", &[], "stopped");
    refused("exec", &["/bin/true"], "stopped");
    refused("kill", &["TERM"], "not running");
    container.delete();
}

#[test]
fn a_created_container_can_be_killed_and_deleted_without_ever_running() {
    let Some(lab) = Lab::root() else { return };
    let container = lab.create(&waiting(&lab));
    container.kill("KILL");
    assert_eq!(container.wait(), 137);
    assert_eq!(container.status(), "stopped");
    assert_eq!(container.stdout(), "");
    container.delete();
}

#[test]
fn unknown_ids_do_not_exist() {
    let Some(lab) = Lab::root() else { return };
    for command in [&["state", "nobody"][..], &["start", "nobody"], &["kill", "nobody", "TERM"], &["delete", "nobody"]]
    {
        let finished = lab.runtime(command.iter().copied()).run().fails(1, &["does not exist"]);
        assert_eq!(finished.stdout(), "");
    }
    lab.runtime(["exec", "nobody", "true"]).run().fails(255, &["does not exist"]);
    // To force the deletion of what is not there is to be done already.
    lab.runtime(["delete", "--force", "nobody"]).run().ok();
}

#[test]
fn an_id_can_be_taken_once_and_again_after_deletion() {
    let Some(lab) = Lab::root() else { return };
    let bundle = waiting(&lab);
    let container = lab.create(&bundle);
    let id = container.id().to_owned();
    let again = lab.runtime(["create", "--bundle", bundle.path_text(), &id]).run().exits(1);
    assert!(again.stderr().contains("exist") || lab.is_peer(), "{}", again.all());
    assert_eq!(container.status(), "created", "the first one is untouched");
    container.delete_force();

    let short = lab.runtime(["run", "--bundle", bundle.path_text(), &id]).start();
    drop(short);
    lab.runtime(["delete", "--force", &id]).run().ok();
}

#[test]
fn ids_that_could_leave_the_state_root_are_refused() {
    let Some(lab) = Lab::root() else { return };
    let bundle = waiting(&lab);
    bundle.save();
    let long = "x".repeat(1025);
    for id in ["", ".", "..", "../escape", "a/b", "/absolute", "with space", "new\nline", "ä", long.as_str()] {
        let finished = lab.runtime(["create", "--bundle", bundle.path_text(), id]).run().exits(1);
        assert_eq!(finished.stdout(), "", "{id:?}");
        assert_eq!(lab.leaks(), "", "{id:?}");
    }
}

#[test]
fn run_passes_exit_codes_and_signals_on() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    for (args, code) in
        [(["exit", "0"], 0), (["exit", "7"], 7), (["exit", "255"], 255), (["die", "9"], 137), (["die", "6"], 134)]
    {
        bundle.args(["/bin/sh", "-c", "/bin/probe \"$@\"; code=$?; exit $code", "sh", args[0], args[1]]);
        lab.run(&bundle).exits(code);
    }
    // PID 1 can not kill itself with a signal, so the host does.
    bundle.args(["/bin/probe", "sleep"]);
    bundle.save();
    let id = lab.id();
    let pid_file = lab.path("run.pid");
    let running =
        lab.runtime(["run", "--bundle", bundle.path_text(), "--pid-file", pid_file.to_str().unwrap(), &id]).start();
    await_path(&pid_file);
    await_true("the container runs", || {
        let state = lab.runtime(["state", &id]).run();
        serde_json::from_str::<Value>(&state.stdout()).is_ok_and(|state| state["status"] == "running")
    });
    lab.runtime(["kill", &id, "KILL"]).run().ok();
    running.wait().exits(137);
}

#[test]
fn run_in_the_foreground_forwards_signals() {
    let Some(lab) = Lab::root() else { return };
    let bundle = waiting(&lab);
    bundle.save();
    for (signal, name) in
        [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT"), (Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1")]
    {
        let mut running = lab.runtime(["run", "--bundle", bundle.path_text(), &lab.id()]).start();
        running.hear("ready");
        running.signal(signal);
        running.hear(&format!("got {name}"));
        running.wait().ok();
    }
}

#[test]
fn run_deletes_the_container_at_its_end() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    for _ in 0..3 {
        lab.run(&bundle).ok();
        assert_eq!(lab.leaks(), "");
    }
}

#[test]
fn run_detached_returns_at_once_and_leaves_a_running_container() {
    let Some(lab) = Lab::root() else { return };
    let bundle = waiting(&lab);
    bundle.save();
    let id = lab.id();
    let finished = lab.runtime(["run", "--detach", "--bundle", bundle.path_text(), &id]).run().ok();
    await_true("the program's first word", || finished.stdout().contains("ready"));
    let state: Value = serde_json::from_str(&lab.runtime(["state", &id]).run().ok().stdout()).unwrap();
    assert_eq!(state["status"], "running");
    lab.runtime(["kill", &id, "15"]).run().ok();
    await_true("the end", || finished.stdout().contains("got SIGTERM"));
    await_true("deletion after the end", || lab.runtime(["delete", &id]).run().code() == 0);
}

#[test]
fn kill_takes_names_and_numbers() {
    let Some(lab) = Lab::root() else { return };
    let bundle = waiting(&lab);
    for (signal, name) in [("TERM", "SIGTERM"), ("SIGUSR1", "SIGUSR1"), ("12", "SIGUSR2"), ("hup", "SIGHUP")] {
        let container = lab.create(&bundle);
        container.start();
        await_true("the program's first word", || container.stdout().contains("ready"));
        container.kill(signal);
        assert_eq!(container.wait(), 0);
        assert!(container.stdout().contains(name), "{}", container.stdout());
        container.delete();
    }
    let container = lab.create(&bundle);
    for signal in ["NOSUCH", "-3", "65536"] {
        container.command("kill", &[], &["--", signal]).run().exits(1);
    }
    assert_eq!(container.status(), "created");
    container.delete_force();
}

#[test]
fn delete_force_ends_a_running_container_with_all_of_its_processes() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/sh", "-c", "sleep 1000 & sleep 1000 & echo ready; wait"]);
    let container = lab.create(&bundle);
    container.start();
    await_true("the shell's word", || container.stdout().contains("ready"));
    let pid = container.pid();
    container.delete_force();
    assert!(!host::is_alive(pid));
    assert_eq!(lab.leaks(), "");
}

#[test]
fn delete_force_ends_every_process_of_a_container_without_its_own_pid_namespace() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.share_namespace("pid");
    bundle.args(["/bin/sh", "-c", "sleep 1000 & sleep 1000 & echo ready; wait"]);
    let container = lab.create(&bundle);
    container.start();
    await_true("the shell's word", || container.stdout().contains("ready"));
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn list_shows_every_container() {
    let Some(lab) = Lab::root() else { return };
    let empty = lab.runtime(["list", "--format", "json"]).run().ok().stdout();
    assert!(matches!(empty.trim(), "null" | "[]"), "{empty}");
    let bundle = waiting(&lab);
    let first = lab.create(&bundle);
    let second = lab.create(&bundle);
    second.start();

    let table = lab.runtime(["list"]).run().ok().stdout();
    let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert!(table.lines().any(|line| line.contains(first.id()) && line.contains("created")), "{table}");
    assert!(table.lines().any(|line| line.contains(second.id()) && line.contains("running")), "{table}");

    let mut ids: Vec<String> =
        lab.runtime(["list", "--quiet"]).run().ok().stdout().lines().map(str::to_owned).collect();
    ids.sort();
    assert_eq!(ids, [first.id(), second.id()]);

    let entries: Value = serde_json::from_str(&lab.runtime(["list", "--format", "json"]).run().ok().stdout()).unwrap();
    let entry = entries.as_array().unwrap().iter().find(|entry| entry["id"] == first.id()).unwrap();
    assert_eq!(entry["pid"], first.pid());
    assert_eq!(entry["status"], "created");
    assert_eq!(entry["bundle"], json!(bundle.path()));
    assert_eq!(entry["owner"], "root");
    first.delete_force();
    second.delete_force();
}

#[test]
fn pid_file_names_the_containers_first_process() {
    let Some(lab) = Lab::root() else { return };
    let container = lab.create(&waiting(&lab));
    assert_eq!(container.state()["pid"], container.pid());
    let namespace = host::namespace(&container.pid().to_string(), "pid");
    assert_ne!(namespace, host::namespace("self", "pid"));
    container.delete_force();
}

#[test]
fn spec_writes_a_configuration_that_runs() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    lab.runtime(["spec", "--bundle", bundle.path_text()]).run().ok();
    lab.runtime(["spec", "--bundle", bundle.path_text()]).run().exits(1);
    let text = std::fs::read_to_string(bundle.path().join("config.json")).unwrap();
    bundle.config = serde_json::from_str(&text).unwrap();
    assert_eq!(bundle.config["process"]["args"], json!(["sh"]));
    bundle.config["process"]["terminal"] = json!(false);
    let report = lab.report(&mut bundle);
    assert_eq!(report["pid"], 1);
}

#[test]
fn an_ordinary_user_runs_a_container() {
    let Some(lab) = Lab::user() else { return };
    let mut bundle = lab.bundle();
    let report = lab.report(&mut bundle);
    assert_eq!(report["pid"], 1);
    assert_eq!(report["uid"], json!([0, 0, 0, 0]));
    let uid = lab.as_user().unwrap().uid.to_string();
    assert_eq!(report["uid_map"], json!([["0", uid, "1"]]));
    assert_eq!(report["setgroups"], "deny");
}

/// Whoever keeps $XDG_RUNTIME_DIR tidy leaves alone what is sticky.
#[test]
fn an_ordinary_users_states_are_kept() {
    let Some(lab) = Lab::user().filter(|lab| !lab.is_peer()) else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.save();
    lab.program(lab.runtime_path()).args(["run", "--bundle", bundle.path_text(), &lab.id()]).run().ok();
    let root = lab.path("run/pipkin");
    assert_eq!(std::fs::metadata(&root).unwrap().mode() & 0o7777, 0o1700, "{}", root.display());
}

#[test]
fn an_ordinary_user_has_the_whole_lifecycle() {
    let Some(lab) = Lab::user_without_subids() else { return };
    let container = lab.create(&waiting(&lab));
    assert_eq!(container.status(), "created");
    container.start();
    await_true("the program's first word", || container.stdout().contains("ready"));
    container.exec(&[], &["/bin/probe", "exit", "3"]).run().exits(3);
    container.kill("TERM");
    assert_eq!(container.wait(), 0);
    container.delete();
}

/// A status must not be taken from anything that the container can choose, such as its program's name.
#[test]
fn a_program_can_not_choose_its_containers_status_by_its_name() {
    let Some(lab) = Lab::root() else { return };
    for name in ["pipkin-created", "pipkin-stage"] {
        let mut bundle = lab.bundle();
        let program = format!("/bin/{name}");
        install(&bundle.rootfs("/bin/probe"), &bundle.rootfs(&program));
        bundle.args([&program, "signal-wait"]);
        let container = lab.create(&bundle);
        assert_eq!(container.status(), "created", "{name}");
        container.start();
        await_true("the program's first word", || container.stdout().contains("ready"));
        assert_eq!(container.status(), "running", "{name}");
        container.exec(&[], &["/bin/true"]).run().ok();
        container.kill("TERM");
        assert_eq!(container.wait(), 0, "{name}");
        assert_eq!(container.status(), "stopped", "{name}");
        container.delete();
    }
}
