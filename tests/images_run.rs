//! `pipkin run`: what the image says, what the person says instead, and how it ends.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod images;

use std::fs;
use std::sync::OnceLock;

use images::{contents, labs, load, pipkin, shell, store};
use pipkin_harness::image::{Image, Layer};
use pipkin_harness::{Lab, Terminal, host};
use rustix::process::Signal;
use serde_json::{Value, json};

fn base() -> Image {
    static BASE: OnceLock<Image> = OnceLock::new();
    BASE.get_or_init(Image::busybox).clone()
}

/// Busybox as `t`, with this configuration.
#[track_caller]
fn image(lab: &Lab, config: Value, layer: Layer) {
    let mut image = base().layer(layer);
    image.config["config"] = config;
    load(lab, &lab.file("image.tar", image.archive("t:latest"))).run().ok();
}

#[track_caller]
fn plain(lab: &Lab) {
    image(lab, json!({"Cmd": ["/bin/sh"]}), Layer::new());
}

fn is_single(lab: &Lab) -> bool {
    lab.as_user().is_some_and(|user| user.subuids.is_none())
}

#[test]
fn the_built_in_image() {
    for lab in labs() {
        let seen = pipkin(&lab, ["run", "--rm", "--init", "hello"]).run().ok().stdout();
        assert!(seen.contains("PID 1 is pipkin-init"), "{seen}");
        assert!(pipkin(&lab, ["images"]).run().ok().stdout().contains("hello"));
        let before = contents(&lab);
        let again = pipkin(&lab, ["run", "--rm", "hello"]).run().ok().stdout();
        assert!(again.contains("I am 1") || again.contains("pipkin-hello"), "{again}");
        // The second time it was found, nothing is new, and nothing is left of the containers.
        assert_eq!(contents(&lab), before);
        assert!(
            !before
                .iter()
                .any(|name| name.starts_with("containers/") || name.starts_with("tmp/") || name.starts_with("run/")),
            "{before:?}"
        );
    }
}

#[test]
fn entrypoint_and_command() {
    for lab in labs() {
        image(&lab, json!({"Entrypoint": ["/bin/echo", "entry"], "Cmd": ["cmd"]}), Layer::new());
        let said =
            |args: &[&str]| pipkin(&lab, ["run", "--rm"].into_iter().chain(args.iter().copied())).run().ok().stdout();
        assert_eq!(said(&["t"]), "entry cmd\n");
        assert_eq!(said(&["t", "other", "--flag"]), "entry other --flag\n");
        assert_eq!(said(&["--entrypoint", "/bin/echo", "t"]), "\n");
        assert_eq!(said(&["--entrypoint", "", "t", "/bin/echo", "x"]), "x\n");
        image(&lab, json!({}), Layer::new());
        pipkin(&lab, ["run", "--rm", "t"]).run().fails(125, &["neither Entrypoint nor Cmd"]);
    }
}

#[test]
fn environment_and_working_directory() {
    for lab in labs() {
        let outside = lab.directory("outside");
        let layer = Layer::new().symlink("out", outside.to_str().unwrap());
        image(&lab, json!({"Env": ["A=image", "B=image", "PATH=/bin"], "WorkingDir": "/not/yet"}), layer);
        let run = pipkin(
            &lab,
            [
                "run",
                "--rm",
                "-e",
                "B=mine",
                "-e",
                "C",
                "-e",
                "GONE",
                "-e",
                "X=a=b c",
                "t",
                "/bin/sh",
                "-c",
                "pwd; env | sort",
            ],
        );
        let seen = run.env("C", "caller").run().ok().stdout();
        for line in ["/not/yet", "A=image", "B=mine", "C=caller", "X=a=b c", "PATH=/bin", "HOME=/root"] {
            assert!(seen.lines().any(|seen| seen == line), "{line} is not in\n{seen}");
        }
        assert!(!seen.contains("GONE") && !seen.contains("PIPKIN"), "{seen}");
        assert_eq!(
            pipkin(&lab, ["run", "--rm", "-w", "/srv/x", "t", "/bin/sh", "-c", "pwd"]).run().ok().stdout(),
            "/srv/x\n"
        );
        pipkin(&lab, ["run", "--rm", "-w", "srv", "t", "/bin/true"])
            .run()
            .fails(125, &["working directory", "srv", "absolute"]);
        // Through a link that leads out it is made inside (CVE-2026-55686).
        let made = pipkin(&lab, ["run", "--rm", "-w", "/out/made", "t", "/bin/sh", "-c", "pwd"]).run().ok();
        assert_eq!(made.stdout(), format!("{}\n", outside.join("made").display()));
        assert!(!outside.join("made").exists());
        // Nor was anything made at the same place of the machine.
        assert!(!std::path::Path::new("/not/yet").exists());
    }
}

#[test]
fn users_and_groups_are_the_images() {
    for lab in labs() {
        let passwd = "root:x:0:0::/root:/bin/sh\n7777:x:0:0::/:\nnode:x:1000:1001::/home/node:/bin/sh\n";
        let group = "root:x:0:\nnode:x:1001:\nextra:x:44:node\nother:x:45:\n";
        let layer = || Layer::new().file("etc/passwd", 0o644, passwd).file("etc/group", 0o644, group);
        image(&lab, json!({"Cmd": ["/bin/sh"], "User": "node"}), layer());
        let id = |args: &[&str]| {
            let all = ["run", "--rm"].into_iter().chain(args.iter().copied()).chain([
                "t",
                "/bin/sh",
                "-c",
                "echo $(id -u) $(id -g) $(id -G) $HOME",
            ]);
            pipkin(&lab, all).run()
        };
        if is_single(&lab) {
            id(&[]).fails(125, &["user 1000", "newuidmap", "/etc/subuid"]);
            assert_eq!(id(&["-u", "0"]).ok().stdout(), "0 0 0 /root\n");
        } else {
            // The primary group is in the list (CVE-2022-36109).
            assert_eq!(id(&[]).ok().stdout(), "1000 1001 1001 44 /home/node\n");
            assert_eq!(id(&["-u", "1000"]).ok().stdout(), "1000 1001 1001 44 /home/node\n");
            assert_eq!(id(&["-u", "node:other"]).ok().stdout(), "1000 45 45 /home/node\n");
            // A number is never a name (CVE-2016-3697).
            assert_eq!(id(&["-u", "7777"]).ok().stdout(), "7777 0 0 /\n");
            assert_eq!(id(&["-u", "root"]).ok().stdout(), "0 0 0 /root\n");
        }
        for bad in ["nobody", "4294967296", "-1", "2147483648:0", "+0", "00", "1:", ":1", "node:none"] {
            id(&[&format!("--user={bad}")]).fails(125, &["user", bad]);
        }
        // Hostile account files.
        let pipe = Layer::new().fifo("etc/passwd");
        let outside = lab.file("outside-passwd", "outsider:x:0:0::/:\n");
        let link = Layer::new().symlink("etc/passwd", &format!("/../../../../..{}", outside.display()));
        let huge = Layer::new().file("etc/group", 0o644, vec![b'x'; 2 << 20]);
        for (layer, user, word) in [(pipe, "0", "regular"), (link, "outsider", "has no"), (huge, "0", "limit")] {
            image(&lab, json!({"Cmd": ["/bin/sh"], "User": user}), layer);
            pipkin(&lab, ["run", "--rm", "t", "/bin/true"]).run().fails(125, &["/etc/", word]);
        }
    }
}

#[test]
fn exit_codes() {
    for lab in labs() {
        plain(&lab);
        let code = |args: &[&str]| pipkin(&lab, ["run", "--rm"].into_iter().chain(args.iter().copied())).run();
        assert_eq!(code(&["t", "/bin/sh", "-c", "exit 7"]).code(), 7);
        assert_eq!(code(&["--init", "t", "/bin/sh", "-c", "kill -TERM $$"]).code(), 143);
        code(&["t", "no-such-program"]).fails(127, &["no-such-program"]);
        code(&["t", "/etc/passwd"]).fails(126, &["/etc/passwd"]);
        code(&["no-such-image"]).fails(125, &["no-such-image"]);
        code(&["-v", "/no/such/dir:/x", "t", "/bin/true"]).fails(125, &["--volume", "/no/such/dir", "no such file"]);
        code(&["--memory", "lots", "t", "/bin/true"]).fails(125, &["--memory", "lots"]);
        assert_eq!(code(&["--no-such-flag", "t"]).code(), 125);
        assert!(
            !contents(&lab).iter().any(|name| name.starts_with("containers/") || name.starts_with("run/")),
            "{:?}",
            contents(&lab)
        );
    }
}

#[test]
fn signals_reach_the_program() {
    for lab in labs() {
        image(&lab, json!({"Cmd": ["/bin/sh"], "StopSignal": "SIGQUIT"}), Layer::new());
        let program = "trap 'echo usr1; exit 3' USR1; trap 'echo quit; exit 4' QUIT; trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
        for (init, signal, expected, code) in [
            (false, Signal::USR1, "usr1", 3),
            (true, Signal::USR1, "usr1", 3),
            (true, Signal::TERM, "quit", 4),
            (false, Signal::TERM, "quit", 4),
        ] {
            let flags: &[&str] = if init { &["run", "--rm", "--init"] } else { &["run", "--rm"] };
            let mut running = pipkin(&lab, flags.iter().copied().chain(["t", "/bin/sh", "-c", program])).start();
            running.hear("ready");
            running.signal(signal);
            running.hear(expected);
            assert_eq!(running.wait().code(), code, "{init} {signal:?}");
        }
    }
}

#[test]
fn volumes_and_a_read_only_root() {
    for lab in labs() {
        plain(&lab);
        lab.directory("data");
        lab.file("data/file", "mine");
        let data = lab.path("data");
        let ro = format!("{}:/data:ro", data.display());
        let rw = format!("{}:/deep/new/data", data.display());
        let run = pipkin(
            &lab,
            [
                "run",
                "--rm",
                "--read-only",
                "--init",
                "-v",
                &ro,
                "-v",
                &rw,
                "t",
                "/bin/sh",
                "-c",
                "cat /data/file; touch /data/x 2>&1; touch /x 2>&1; echo theirs > /deep/new/data/out; echo done",
            ],
        );
        let seen = run.run().ok().stdout();
        assert!(
            seen.contains("mine") && seen.matches("Read-only file system").count() == 2 && seen.ends_with("done\n"),
            "{seen}"
        );
        assert_eq!(fs::read_to_string(data.join("out")).unwrap(), "theirs\n");
        assert!(!data.join("x").exists());
    }
}

#[test]
fn names_files_and_host_name() {
    for lab in labs() {
        plain(&lab);
        let seen = pipkin(
            &lab,
            [
                "run",
                "--rm",
                "--hostname",
                "box",
                "t",
                "/bin/sh",
                "-c",
                "hostname; cat /etc/hostname; grep -c box /etc/hosts; cat /etc/resolv.conf > /dev/null && echo fine",
            ],
        )
        .run()
        .ok()
        .stdout();
        assert_eq!(seen, "box\nbox\n1\nfine\n");
        pipkin(&lab, ["run", "--rm", "--hostname", "a b", "t", "/bin/true"]).run().fails(125, &["--hostname", "a b"]);
        pipkin(&lab, ["run", "--rm", "--name", "a/b", "t", "/bin/true"]).run().fails(125, &["name", "a/b"]);
        pipkin(&lab, ["run", "--name", "one", "t", "/bin/sh", "-c", "exit 9"]).run().exits(9);
        pipkin(&lab, ["run", "--name", "one", "t", "/bin/true"])
            .run()
            .fails(125, &["one", "there already", "pipkin rm"]);
        let listed = pipkin(&lab, ["ps", "-a"]).run().ok().stdout();
        assert!(listed.contains("exited (9)") && listed.contains("one"), "{listed}");
        pipkin(&lab, ["rm", "one"]).run().ok();
        pipkin(&lab, ["rm", "one"]).run().fails(125, &["one", "no container"]);
    }
}

#[test]
fn a_running_container_is_listed_and_removed_by_force_only() {
    for lab in labs() {
        plain(&lab);
        for keep in [true, false] {
            let flags: &[&str] = if keep { &["run", "--name", "r"] } else { &["run", "--rm", "--name", "r"] };
            let mut running =
                pipkin(&lab, flags.iter().copied().chain(["t", "/bin/sh", "-c", "echo ready; exec sleep 1000"]))
                    .start();
            running.hear("ready");
            assert!(pipkin(&lab, ["ps"]).run().ok().stdout().contains("running"));
            pipkin(&lab, ["rm", "r"]).run().fails(125, &["r", "it runs", "--force"]);
            pipkin(&lab, ["rm", "-f", "r"]).run().ok();
            assert_eq!(running.wait().code(), 137);
            assert_eq!(pipkin(&lab, ["ps", "-aq"]).run().ok().stdout(), "");
            assert_eq!(fs::read_dir(store(&lab).join("containers")).unwrap().count(), 0);
        }
    }
}

#[test]
fn a_killed_pipkin_leaves_nothing_that_rm_can_not_remove() {
    for lab in labs() {
        plain(&lab);
        let mut running =
            pipkin(&lab, ["run", "--rm", "--name", "k", "t", "/bin/sh", "-c", "echo ready; exec sleep 1000"]).start();
        running.hear("ready");
        running.signal(Signal::KILL);
        running.wait();
        pipkin(&lab, ["rm", "-f", "k"]).run().ok();
        assert_eq!(fs::read_dir(store(&lab).join("containers")).unwrap().count(), 0);
        assert_eq!(shell(&lab, "t", "echo fine"), "fine\n");
    }
}

#[test]
fn standard_input_and_a_terminal() {
    for lab in labs() {
        plain(&lab);
        assert_eq!(pipkin(&lab, ["run", "--rm", "-i", "t", "/bin/cat"]).input(b"typed").run().ok().stdout(), "typed");
        assert_eq!(pipkin(&lab, ["run", "--rm", "t", "/bin/cat"]).input(b"typed").run().ok().stdout(), "");
        pipkin(&lab, ["run", "--rm", "-it", "t", "/bin/true"]).input(b"").run().fails(125, &["not a terminal"]);
    }
}

#[test]
fn a_terminal_of_its_own() {
    for lab in labs() {
        plain(&lab);
        let (_terminal, path) = Terminal::open();
        lab.give(&path);
        let file = fs::File::options().read(true).write(true).open(&path).unwrap();
        let seen = pipkin(&lab, ["run", "--rm", "-it", "t", "/bin/sh", "-c", "tty; echo $TERM"])
            .stdin(file)
            .run()
            .ok()
            .stdout();
        assert_eq!(seen.replace('\r', ""), "/dev/pts/0\nxterm\n");
    }
}

#[test]
fn namespaces_are_its_own_but_the_network() {
    for lab in labs() {
        plain(&lab);
        let seen =
            shell(&lab, "t", "for n in cgroup ipc mnt net pid uts user; do echo $n $(readlink /proc/self/ns/$n); done");
        for line in seen.lines() {
            let (kind, namespace) = line.split_once(' ').unwrap();
            let same = namespace == host::namespace("self", kind);
            let expected = kind == "net" || (kind == "user" && lab.as_user().is_none());
            assert_eq!(same, expected, "{line}");
        }
    }
}

#[test]
fn limits_are_set() {
    let Some(lab) = Lab::root() else { return };
    plain(&lab);
    if !host::has_controller("pids") || !host::has_controller("memory") {
        return pipkin_harness::skipped("the cgroup layout has no memory and pids controllers");
    }
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; true";
    let seen = pipkin(
        &lab,
        ["run", "--rm", "--memory", "64m", "--pids-limit", "33", "--cpus", "0.5", "t", "/bin/sh", "-c", script],
    )
    .run()
    .ok()
    .stdout();
    for number in ["67108864", "33", "50000"] {
        assert!(seen.split_whitespace().any(|word| word == number), "{number} is not in {seen}");
    }
}

#[test]
fn nothing_stays_mounted() {
    let Some(lab) = Lab::root() else { return };
    plain(&lab);
    let mut running = pipkin(&lab, ["run", "--name", "m", "t", "/bin/sh", "-c", "echo ready; exec sleep 1000"]).start();
    running.hear("ready");
    // Also while it runs: the root file system is mounted in pipkin's own mount namespace.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(lab.name()), "{mounts}");
    let id = fs::read_dir(store(&lab).join("containers")).unwrap().next().unwrap().unwrap().file_name();
    let id = id.to_str().unwrap();
    assert!(!host::cgroups_named(id).is_empty());
    pipkin(&lab, ["rm", "-f", "m"]).run().ok();
    running.wait();
    assert_eq!(host::cgroups_named(id), [] as [&std::path::Path; 0]);
}

#[test]
fn wishes_of_an_image_that_can_not_be() {
    for lab in labs() {
        let refused = |config: Value, words: &[&str]| {
            image(&lab, config, Layer::new());
            pipkin(&lab, ["run", "--rm", "--init", "t"]).run().fails(125, words);
            assert!(!contents(&lab).iter().any(|name| name.starts_with("containers/")));
        };
        refused(json!({"Cmd": ["/bin/true"], "StopSignal": "SIGNONE"}), &["StopSignal", "SIGNONE"]);
        refused(json!({"Cmd": ["/bin/true"], "WorkingDir": "relative"}), &["working directory", "relative"]);
        refused(
            json!({"Cmd": ["/bin/true"], "WorkingDir": "/etc/passwd"}),
            &["working directory", "/etc/passwd", "not a directory"],
        );
        refused(json!({"Cmd": ["/bin/true"], "User": "no-such-user"}), &["no-such-user"]);
        refused(json!({"Cmd": ["/bin/true"], "Env": ["A=b\u{0}c"]}), &["process.env"]);
        refused(json!({"Cmd": ["/bin/true\u{0}x"]}), &["process.args"]);
        // Upwards is the root, as everywhere.
        image(&lab, json!({"Cmd": ["/bin/sh", "-c", "pwd"], "WorkingDir": "/../../../srv/x"}), Layer::new());
        assert_eq!(pipkin(&lab, ["run", "--rm", "t"]).run().ok().stdout(), "/srv/x\n");
    }
}

/// The kernel does not look for `..` while anything on the machine is renamed (openat2(2), EAGAIN): it is asked again.
/// Seen failing: with a plain openat2(2) in `bundle/process.rs`.
#[test]
fn a_working_directory_upwards_while_others_rename_their_files() {
    let Some(lab) = Lab::root() else { return };
    image(&lab, json!({"Cmd": ["/bin/sh", "-c", "pwd"], "WorkingDir": "/../../../srv/x/../y"}), Layer::new());
    let (one, other) = (lab.file("one", ""), lab.file("other", ""));
    let over = std::sync::atomic::AtomicBool::new(false);
    let mut ran = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, exchange).unwrap();
            }
        });
        ran.extend((0..20).map(|_| pipkin(&lab, ["run", "--rm", "t"]).run()));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for finished in ran {
        assert_eq!(finished.ok().stdout(), "/srv/y\n");
    }
}
