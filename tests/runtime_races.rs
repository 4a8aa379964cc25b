//! Many containers, many times, and several commands on one container at once.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;

use pipkin_harness::{Bundle, Finished, Lab, await_true};

fn waiting(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "sleep"]);
    bundle.save();
    bundle
}

/// What of a whole life could stay: one line for each mount, cgroup, key and file that the machine has.
fn traces(lab: &Lab) -> Vec<String> {
    let own =
        |text: String| text.lines().filter(|line| line.contains(lab.name())).map(str::to_owned).collect::<Vec<_>>();
    let mut traces = own(fs::read_to_string("/proc/self/mountinfo").unwrap());
    traces.extend(own(fs::read_to_string("/proc/keys").unwrap_or_default()));
    traces.extend(pipkin_harness::host::cgroups_named(lab.name()).iter().map(|path| path.display().to_string()));
    for directory in ["/run", "/tmp", "/dev/shm", "/dev/mqueue"] {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        traces.extend(entries.map(|entry| entry.path().display().to_string()).filter(|path| path.contains(lab.name())));
    }
    let below = fs::read_dir(lab.path("")).unwrap().flatten();
    traces.extend(below.map(|entry| entry.path().display().to_string()).filter(|path| !path.ends_with(".pid")));
    traces.extend(
        fs::read_dir(lab.state_root()).into_iter().flatten().flatten().map(|entry| entry.path().display().to_string()),
    );
    traces.sort();
    traces
}

/// Half of them by each of two threads.
#[test]
fn a_thousand_lives_leave_what_was_there_before() {
    let Some(lab) = Lab::root() else { return };
    let bundles = [lab.bundle(), lab.bundle()].map(|mut bundle| {
        bundle.args(["/bin/probe", "exit", "3"]);
        bundle
    });
    let live = |bundle: &Bundle| {
        let container = lab.create(bundle);
        container.start();
        assert_eq!(container.wait(), 3);
        container.delete();
    };
    live(&bundles[0]);
    // Keys are collected a moment after the end of the last who had them.
    await_true("the first one's keyring is gone", || !traces(&lab).iter().any(|trace| trace.contains("keyring")));
    let before = traces(&lab);
    std::thread::scope(|scope| {
        for bundle in &bundles {
            scope.spawn(|| (0..500).for_each(|_| live(bundle)));
        }
    });
    await_true("all keyrings are gone", || !traces(&lab).iter().any(|trace| trace.contains("keyring")));
    assert_eq!(traces(&lab), before);
    assert_eq!(lab.leaks(), "");
}

#[test]
fn fifty_containers_started_at_once_all_work() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/sh", "-c", "echo hello; read line < /proc/self/stat; exit 5"]);
    bundle.save();
    let started: Vec<_> =
        (0..50).map(|_| lab.runtime(["run", "--bundle", bundle.path_text(), &lab.id()]).start()).collect();
    for running in started {
        assert_eq!(running.wait().exits(5).stdout(), "hello\n");
    }
    assert_eq!(lab.leaks(), "");
}

#[test]
fn fifty_programs_at_once_in_one_container() {
    let Some(lab) = Lab::root() else { return };
    let container = lab.create(&waiting(&lab));
    container.start();
    let started: Vec<_> = (0..50)
        .map(|number| container.exec(&[], &["/bin/sh", "-c", &format!("echo {number}; exit {number}")]).start())
        .collect();
    for (number, running) in started.into_iter().enumerate() {
        assert_eq!(running.wait().exits(number as i32).stdout(), format!("{number}\n"));
    }
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

/// Both commands at once, in both orders, on container after container; each may come too late, and says so, but nothing
/// hangs and nothing stays.
#[track_caller]
fn race(prepare: fn(&Lab, &Bundle) -> String, first: &[&str], second: &[&str], judge: impl Fn(&Finished, &Finished)) {
    let Some(lab) = Lab::root() else { return };
    let bundle = waiting(&lab);
    for round in 0..20 {
        let id = prepare(&lab, &bundle);
        let command = |words: &[&str]| {
            let words: Vec<&str> = words.iter().map(|word| if *word == "ID" { id.as_str() } else { word }).collect();
            let words: Vec<&str> =
                words.iter().map(|word| if *word == "BUNDLE" { bundle.path_text() } else { word }).collect();
            lab.runtime(words).start()
        };
        let (one, other) = if round % 2 == 0 {
            let one = command(first);
            (one, command(second))
        } else {
            let other = command(second);
            (command(first), other)
        };
        let (one, other) = (one.wait(), other.wait());
        for finished in [&one, &other] {
            let lines = finished.stderr().lines().count();
            let ended = matches!(finished.code(), 0 | 137);
            assert!(ended || lab.is_peer() || lines == 1, "one line says why: {}", finished.all());
        }
        judge(&one, &other);
        lab.runtime(["delete", "--force", &id]).run().ok();
        assert_eq!(lab.leaks(), "", "{}\n{}", one.all(), other.all());
    }
}

fn created(lab: &Lab, bundle: &Bundle) -> String {
    let id = lab.id();
    lab.runtime(["create", "--bundle", bundle.path_text(), &id]).run().ok();
    id
}

fn running(lab: &Lab, bundle: &Bundle) -> String {
    let id = lab.id();
    lab.runtime(["run", "--detach", "--bundle", bundle.path_text(), &id]).run().ok();
    id
}

fn nothing(lab: &Lab, _: &Bundle) -> String {
    lab.id()
}

fn code_is(finished: &Finished, codes: &[i32]) {
    assert!(codes.contains(&finished.code()), "{}", finished.all());
}

#[test]
fn start_against_delete() {
    race(created, &["start", "ID"], &["delete", "--force", "ID"], |start, delete| {
        code_is(start, &[0, 1]);
        code_is(delete, &[0]);
    });
}

#[test]
fn kill_against_delete() {
    race(running, &["kill", "ID", "KILL"], &["delete", "--force", "ID"], |kill, delete| {
        code_is(kill, &[0, 1]);
        code_is(delete, &[0]);
        let gone = ["does not exist", "not running"];
        assert!(kill.code() == 0 || gone.iter().any(|text| kill.stderr().contains(text)), "{}", kill.all());
    });
}

#[test]
fn exec_against_delete() {
    race(running, &["exec", "ID", "/bin/probe", "exit", "0"], &["delete", "--force", "ID"], |exec, delete| {
        code_is(exec, &[0, 137, 255]);
        code_is(delete, &[0]);
    });
}

#[test]
fn pause_against_delete() {
    race(running, &["pause", "ID"], &["delete", "--force", "ID"], |pause, delete| {
        code_is(pause, &[0, 1]);
        code_is(delete, &[0]);
    });
}

#[test]
fn pause_against_resume() {
    race(running, &["pause", "ID"], &["resume", "ID"], |pause, resume| {
        code_is(pause, &[0]);
        code_is(resume, &[0, 1]);
    });
}

/// What is frozen in the middle of its work goes on when the container does.
#[test]
fn pause_against_exec() {
    let Some(lab) = Lab::root() else { return };
    let container = lab.create(&waiting(&lab));
    container.start();
    for _ in 0..20 {
        let exec = container.exec(&[], &["/bin/probe", "exit", "0"]).start();
        container.command("pause", &[], &[]).run().ok();
        container.command("resume", &[], &[]).run().ok();
        code_is(&exec.wait(), &[0, 255]);
    }
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn update_against_delete() {
    race(running, &["update", "--pids-limit", "-1", "ID"], &["delete", "--force", "ID"], |update, delete| {
        code_is(update, &[0, 1]);
        code_is(delete, &[0]);
    });
}

#[test]
fn create_against_create() {
    race(nothing, &["create", "--bundle", "BUNDLE", "ID"], &["create", "--bundle", "BUNDLE", "ID"], |one, other| {
        assert_eq!(one.code() + other.code(), 1, "one of them has made it:\n{}\n{}", one.all(), other.all());
        let said = format!("{}{}", one.stderr(), other.stderr());
        assert!(said.contains("container with given ID already exists"), "{said}");
    });
}

#[test]
fn list_and_state_against_create_and_delete() {
    let Some(lab) = Lab::root() else { return };
    let bundle = waiting(&lab);
    std::thread::scope(|scope| {
        let coming_and_going = scope.spawn(|| {
            for _ in 0..30 {
                let id = created(&lab, &bundle);
                lab.runtime(["delete", "--force", &id]).run().ok();
            }
        });
        while !coming_and_going.is_finished() {
            let listed = lab.runtime(["list", "--format", "json"]).run();
            // runc's list fails when a container goes while it looks.
            assert!(listed.code() == 0 || lab.is_peer(), "{}", listed.all());
        }
    });
    assert_eq!(lab.leaks(), "");
}
