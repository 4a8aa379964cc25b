//! What `process` in config.json makes of the container's program: credentials, limits, environment, terminal.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::{ConsoleSocket, Lab, Terminal, host, install};
use serde_json::{Value, json};

/// One property: what is set in `process`, and what the probe must then see at which places of its report.
type Row = (&'static str, fn(&mut Value), &'static [(&'static str, fn() -> Value)]);

const ALL_SETS: [&str; 5] = ["bounding", "effective", "permitted", "inheritable", "ambient"];

/// Sets every capability set that is named to the capabilities, and the others to nothing.
fn capabilities(process: &mut Value, sets: &[&str], names: &[&str]) {
    for set in ALL_SETS {
        process["capabilities"][set] = if sets.contains(&set) { json!(names) } else { json!([]) };
    }
}

const ROWS: &[Row] = &[
    (
        "the user's ids are real, effective, saved and file system ids",
        |process| process["user"] = json!({"uid": 1000, "gid": 1001}),
        &[
            ("/uid", || json!([1000, 1000, 1000, 1000])),
            ("/gid", || json!([1001, 1001, 1001, 1001])),
            ("/groups", || json!([])),
            ("/caps/effective", || json!([])),
            ("/caps/permitted", || json!([])),
        ],
    ),
    (
        "additional groups are these and no others",
        |process| process["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 2000, 70000]}),
        &[("/groups", || json!([5, 2000, 70000]))],
    ),
    ("umask", |process| process["user"]["umask"] = json!(0o077), &[("/umask", || json!("0077"))]),
    ("umask 0 is not the default", |process| process["user"]["umask"] = json!(0), &[("/umask", || json!("0000"))]),
    ("the default umask", |_| (), &[("/umask", || json!("0022"))]),
    ("cwd", |process| process["cwd"] = json!("/var/tmp"), &[("/cwd", || json!("/var/tmp"))]),
    ("no_new_privs on", |process| process["noNewPrivileges"] = json!(true), &[("/no_new_privs", || json!(true))]),
    ("no_new_privs off", |process| process["noNewPrivileges"] = json!(false), &[("/no_new_privs", || json!(false))]),
    (
        "no capabilities at all",
        |process| capabilities(process, &[], &[]),
        &[
            ("/caps/bounding", || json!([])),
            ("/caps/effective", || json!([])),
            ("/caps/permitted", || json!([])),
            ("/caps/inheritable", || json!([])),
            ("/caps/ambient", || json!([])),
        ],
    ),
    (
        "each capability set is its own",
        |process| {
            process["capabilities"] = json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
                "permitted": ["CAP_CHOWN", "CAP_KILL"],
                "effective": ["CAP_CHOWN", "CAP_KILL"],
                "inheritable": ["CAP_CHOWN"],
                "ambient": ["CAP_CHOWN"],
            });
        },
        &[
            ("/caps/bounding", || json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"])),
            ("/caps/inheritable", || json!(["CAP_CHOWN"])),
            // With no_new_privs, which the default configuration sets, root's exec gains nothing from the bounding set.
            ("/caps/permitted", || json!(["CAP_CHOWN", "CAP_KILL"])),
            ("/caps/effective", || json!(["CAP_CHOWN", "CAP_KILL"])),
            ("/caps/ambient", || json!(["CAP_CHOWN"])),
        ],
    ),
    (
        "ambient capabilities reach a program of an ordinary user",
        |process| {
            process["user"] = json!({"uid": 1000, "gid": 1000});
            capabilities(process, &ALL_SETS, &["CAP_NET_BIND_SERVICE"]);
        },
        &[
            ("/caps/ambient", || json!(["CAP_NET_BIND_SERVICE"])),
            ("/caps/effective", || json!(["CAP_NET_BIND_SERVICE"])),
        ],
    ),
    (
        "resource limits, soft and hard",
        |process| {
            process["rlimits"] = json!([
                {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_NPROC", "soft": 50, "hard": 60},
                {"type": "RLIMIT_FSIZE", "soft": 1_048_576, "hard": 2_097_152},
                {"type": "RLIMIT_AS", "soft": 4_294_967_296_u64, "hard": 4_294_967_296_u64},
                {"type": "RLIMIT_RTTIME", "soft": 1000, "hard": 2000},
            ]);
        },
        &[
            ("/rlimits/RLIMIT_NOFILE", || json!([100, 200])),
            ("/rlimits/RLIMIT_CORE", || json!([0, 0])),
            ("/rlimits/RLIMIT_NPROC", || json!([50, 60])),
            ("/rlimits/RLIMIT_FSIZE", || json!([1_048_576, 2_097_152])),
            ("/rlimits/RLIMIT_AS", || json!([4_294_967_296_u64, 4_294_967_296_u64])),
            ("/rlimits/RLIMIT_RTTIME", || json!([1000, 2000])),
        ],
    ),
    (
        "the environment is the configuration's and nothing else",
        |process| process["env"] = json!(["A=1", "PATH=/bin", "EMPTY=", "EQUALS=a=b=c"]),
        &[
            ("/env/A", || json!("1")),
            ("/env/EMPTY", || json!("")),
            ("/env/EQUALS", || json!("a=b=c")),
            ("/env/PATH", || json!("/bin")),
            ("/env/PIPKIN_TEST_LAB", || Value::Null),
        ],
    ),
    (
        "HOME comes from the container's passwd when it is not set",
        |process| {
            process["user"] = json!({"uid": 1000, "gid": 1000});
            process["env"] = json!(["PATH=/bin"]);
        },
        &[("/env/HOME", || json!("/home"))],
    ),
    (
        "HOME stays as it is when set",
        |process| process["env"] = json!(["PATH=/bin", "HOME=/srv"]),
        &[("/env/HOME", || json!("/srv"))],
    ),
    ("a higher oom_score_adj", |process| process["oomScoreAdj"] = json!(500), &[("/oom_score_adj", || json!(500))]),
];

#[test]
fn every_property_of_process_reaches_the_program() {
    let Some(lab) = Lab::root() else { return };
    let mut wrong = Vec::new();
    for (name, set, expected) in ROWS {
        let mut bundle = lab.bundle();
        set(&mut bundle.config["process"]);
        let report = lab.report(&mut bundle);
        for (place, value) in *expected {
            let seen = report.pointer(place).cloned().unwrap_or(Value::Null);
            if seen != value() {
                wrong.push(format!("{name}: {place} is {seen}, not {}", value()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_signal_is_blocked_and_none_ignored_but_those_the_caller_ignores() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let report = lab.report(&mut bundle);
    assert_eq!(report["signals_blocked"], "0000000000000000");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    let ignored = |mask: &str| u64::from_str_radix(mask, 16).unwrap();
    // SIGPIPE: the probe is a Rust program and ignores it by itself.
    let allowed = ignored(own) | 1 << 12;
    let seen = ignored(report["signals_ignored"].as_str().unwrap());
    assert_eq!(seen & !allowed, 0, "{seen:x}");
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let args = [
        "/bin/sh",
        "-c",
        "for word; do echo \"[$word]\"; done",
        "sh",
        "",
        "two words",
        "*",
        "ünï",
        "-x",
        "line\nbreak",
    ];
    bundle.args(args);
    let expected = "[]\n[two words]\n[*]\n[ünï]\n[-x]\n[line\nbreak]\n";
    assert_eq!(lab.run(&bundle).ok().stdout(), expected);
}

#[test]
fn the_program_is_looked_up_on_the_containers_path() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let tool = bundle.rootfs("/srv/tool");
    install(&bundle.rootfs("/bin/busybox"), &tool);
    bundle.config["process"]["env"] = json!(["PATH=/nowhere:/srv:/bin"]);
    bundle.config["process"]["args"] = json!(["true"]);
    lab.run(&bundle).ok();
    std::fs::rename(&tool, bundle.rootfs("/srv/echo")).unwrap();
    bundle.config["process"]["args"] = json!(["echo", "found"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "found\n");
}

#[test]
fn nothing_of_the_hosts_open_files_reaches_the_program() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe"]);
    bundle.save();
    // A caller that leaks descriptors on purpose: one low, one just behind the standard ones, one high.
    let command = format!(
        "exec 3</etc/passwd 9</ 200</proc/self/ns/net; exec {} --root {} run --bundle {} {}",
        lab.runtime_path().display(),
        lab.state_root().display(),
        bundle.path_text(),
        lab.id()
    );
    let finished = lab.program("/bin/bash").args(["-c", &command]).run().ok();
    let report: Value = serde_json::from_str(&finished.stdout()).unwrap();
    let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
    assert_eq!(open, ["0", "1", "2"], "{}", report["fds"]);
}

#[test]
fn preserve_fds_passes_that_many_descriptors_on() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/sh", "-c", "cat <&3; cat <&4; ls /proc/self/fd | wc -l"]);
    bundle.save();
    let (three, four) = (lab.file("three", "III\n"), lab.file("four", "IV\n"));
    let command = format!(
        "exec 3<{} 4<{} 5</etc/passwd; exec {} --root {} run --preserve-fds 2 --bundle {} {}",
        three.display(),
        four.display(),
        lab.runtime_path().display(),
        lab.state_root().display(),
        bundle.path_text(),
        lab.id()
    );
    let finished = lab.program("/bin/bash").args(["-c", &command]).run().ok();
    // Five, and the one with which `ls` reads the directory.
    assert_eq!(finished.stdout(), "III\nIV\n6\n");
}

#[test]
fn stdin_reaches_the_program() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/cat"]);
    bundle.save();
    let finished = lab.runtime(["run", "--bundle", bundle.path_text(), &lab.id()]).input(b"from outside\n").run().ok();
    assert_eq!(finished.stdout(), "from outside\n");
}

#[test]
fn a_terminal_is_sent_through_the_console_socket() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["consoleSize"] = json!({"width": 111, "height": 37});
    bundle.args(["/bin/probe"]);
    bundle.save();
    let socket = ConsoleSocket::new(&lab);
    let id = lab.id();
    lab.runtime(["create", "--bundle", bundle.path_text(), "--console-socket", socket.path_text(), &id]).run().ok();
    let mut terminal = socket.receive();
    assert_eq!(terminal.size(), (111, 37));
    terminal.resize(90, 20);
    lab.runtime(["start", &id]).run().ok();
    terminal.hear("}\r\n");
    let report: Value = serde_json::from_str(terminal.hear_all().trim()).unwrap();
    let tty = &report["tty"];
    assert_eq!(tty["name"], "/dev/pts/0", "{tty}");
    assert_eq!(tty["size"], json!([90, 20]));
    assert_eq!(tty["controlling"], true, "{tty}");
    assert_eq!(tty["session"], 1);
    assert_eq!(tty["foreground"], 1);
    assert_eq!(report["fds"].as_object().unwrap().len(), 3);
    assert_eq!(report["dev"]["/dev/console"]["kind"], "char");
    lab.runtime(["delete", "--force", &id]).run().ok();
}

#[test]
fn what_is_typed_and_said_on_a_terminal_passes_through() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["process"]["terminal"] = json!(true);
    bundle.args(["/bin/probe", "tty"]);
    bundle.save();
    let socket = ConsoleSocket::new(&lab);
    let id = lab.id();
    lab.runtime(["create", "--bundle", bundle.path_text(), "--console-socket", socket.path_text(), &id]).run().ok();
    let mut terminal = socket.receive();
    lab.runtime(["start", &id]).run().ok();
    terminal.hear("terminal> ");
    terminal.say("hello\n");
    terminal.hear("heard hello");
    lab.runtime(["delete", "--force", &id]).run().ok();
}

#[test]
fn run_in_the_foreground_joins_the_callers_terminal_to_the_containers() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["process"]["terminal"] = json!(true);
    bundle.args(["/bin/probe", "tty"]);
    bundle.save();
    let (mut terminal, path) = Terminal::open();
    // setsid makes the pseudo-terminal the controlling one, as a login does.
    let command = format!("exec setsid --ctty \"$@\" <>{0} >&0 2>&0", path.display());
    let id = lab.id();
    let words =
        ["-c", &command, "sh", lab.runtime_path().to_str().unwrap(), "--root", lab.state_root().to_str().unwrap()]
            .map(str::to_owned);
    let running = lab.program("/bin/sh").args(words).args(["run", "--bundle", bundle.path_text(), &id]).start();
    terminal.hear("terminal> ");
    terminal.say("typed\n");
    terminal.hear("heard typed");
    drop(path);
    running.wait().ok();
}

#[test]
fn a_terminal_needs_a_console_socket_when_detached_and_a_socket_needs_a_terminal() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["process"]["terminal"] = json!(true);
    bundle.save();
    let create = |options: &[&str]| {
        let words = ["create", "--bundle", bundle.path_text()].into_iter().chain(options.iter().copied());
        let id = lab.id();
        let finished = lab.runtime(words.chain([id.as_str()])).run().exits(1);
        assert_eq!(lab.leaks(), "");
        finished
    };
    create(&[]);
    create(&["--console-socket", lab.path("nobody.sock").to_str().unwrap()]);
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.save();
    let socket = ConsoleSocket::new(&lab);
    let words = ["create", "--bundle", bundle.path_text(), "--console-socket", socket.path_text()];
    let id = lab.id();
    let finished = lab.runtime(words.into_iter().chain([id.as_str()])).run().exits(1);
    assert!(finished.stderr().contains("tty"), "{}", finished.all());
}

#[test]
fn raising_a_hard_limit_without_the_right_to_is_a_clear_error() {
    let Some(lab) = Lab::user() else { return };
    let mut bundle = lab.bundle();
    bundle.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 2_000_000_000}]);
    let finished = lab.run(&bundle).exits(1);
    assert!(lab.is_peer() || finished.stderr().contains("RLIMIT_NOFILE"), "{}", finished.all());
    assert_eq!(lab.leaks(), "");
}

#[test]
fn the_default_capabilities_are_the_configurations_for_an_ordinary_users_root_too() {
    let Some(lab) = Lab::user() else { return };
    let mut bundle = lab.bundle();
    let report = lab.report(&mut bundle);
    let asked = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]);
    assert_eq!(report["caps"]["bounding"], asked);
    assert_eq!(report["caps"]["effective"], asked);
    assert_ne!(report["namespaces"]["user"], json!(host::namespace("self", "user")));
}

/// config.md: what can not be mapped to the kernel, or can not be granted, is a warning and no error.
#[test]
fn capabilities_that_can_not_be_had_are_left_out_with_a_warning() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let mut bundle = lab.bundle();
    capabilities(&mut bundle.config["process"], &ALL_SETS, &["CAP_KILL", "CAP_MOON", "CAP_SYSLOG"]);
    bundle.save();
    bundle.args(["/bin/probe"]);
    bundle.save();
    // A caller that has less than the configuration asks for.
    let root = lab.state_root();
    let id = lab.id();
    let words = ["--bounding-set", "-syslog", "--inh-caps", "-syslog", lab.runtime_path().to_str().unwrap()];
    let words = words.into_iter().chain(["--root", root.to_str().unwrap(), "run", "--bundle", bundle.path_text(), &id]);
    let finished = lab.program("/usr/bin/setpriv").args(words).run().ok();
    let report: Value = serde_json::from_str(&finished.stdout()).unwrap();
    for set in ALL_SETS {
        assert_eq!(report["caps"][set], json!(["CAP_KILL"]), "{set}");
    }
    let warnings = finished.stderr();
    assert!(warnings.contains("unknown capability \"CAP_MOON\" is left out"), "{warnings}");
    assert!(warnings.contains("CAP_SYSLOG can not be granted"), "{warnings}");
    // Inheritable is empty unless it is asked for.
    let mut bundle = lab.bundle();
    bundle.config["process"]["capabilities"].as_object_mut().unwrap().remove("inheritable");
    bundle.config["process"]["capabilities"].as_object_mut().unwrap().remove("ambient");
    let report = lab.report(&mut bundle);
    assert_eq!((&report["caps"]["inheritable"], &report["caps"]["ambient"]), (&json!([]), &json!([])));
}

#[test]
fn the_session_keyring_is_the_containers_own() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["maskedPaths"] = json!([]);
    bundle.args(["/bin/cat", "/proc/keys"]);
    bundle.save();
    let id = lab.id();
    let keys = lab.runtime(["run", "--bundle", bundle.path_text(), &id]).run().ok().stdout();
    assert!(keys.contains(&format!("_ses.{id}")), "{keys}");
}

#[test]
fn a_working_directory_is_made_inside_the_root_only() {
    let Some(lab) = Lab::root() else { return };
    // runc 1.1 makes nothing behind a link that leads nowhere.
    if lab.is_peer() {
        return;
    }
    let outside = lab.directory("outside");
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = json!(false);
    std::os::unix::fs::symlink(&outside, bundle.rootfs("/srv/out")).unwrap();
    bundle.config["process"]["cwd"] = json!("/srv/out/made");
    let report = lab.report(&mut bundle);
    // The link is the container's: its target is below the container's root.
    assert_eq!(report["cwd"], json!(outside.join("made")));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "nothing was made on the host");
    bundle.config["root"]["readonly"] = json!(true);
    bundle.config["process"]["cwd"] = json!("/srv/missing");
    let finished = lab.run(&bundle).exits(1);
    for word in ["process.cwd", "/srv/missing", "read-only"] {
        assert!(finished.stderr().contains(word), "{word}: {}", finished.all());
    }
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_process_without_a_user_is_roots() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["process"].as_object_mut().unwrap().remove("user");
    assert_eq!(lab.report(&mut bundle)["uid"], json!([0, 0, 0, 0]));
    bundle.config["process"]["user"] = json!({"uid": 1000});
    assert_eq!(lab.report(&mut bundle)["gid"], json!([0, 0, 0, 0]));
}
