//! podman with `pipkin-runtime` in the place of runc.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use pipkin_harness::{COUNTING, Enclosure, Engine, Program, Shared, Terminal, await_true, host, skipped};
use serde_json::{Value, json};

/// Beside what every test of podman needs: no network of others, and containers without cgroups.
const CONFIGURATION: &str = r#"
[engine]
runtime_supports_nocgroup = ["RUNTIME"]
infra_image = "localhost/t"
[network]
network_backend = "netavark"
network_config_dir = "NETWORKS"
"#;

struct Podman(Engine);

impl Deref for Podman {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0
    }
}

fn podman() -> Option<Arc<Podman>> {
    static PODMAN: Shared<Podman> = Shared::new();
    PODMAN.get(Podman::new)
}

impl Podman {
    fn new() -> Option<Self> {
        let enclosure = Enclosure::new(&["podman", "conmon"])?;
        let lab = enclosure.lab();
        let runtime = lab.runtime_path().file_name().unwrap().to_str().unwrap();
        let text = CONFIGURATION.replace("RUNTIME", runtime);
        let text = text.replace("NETWORKS", lab.directory("networks").to_str().unwrap());
        Some(Self(Engine::podman(enclosure, &text)))
    }

    /// The words for a container of the image: `run`, options that every container has here, `options`, image, program.
    fn words<'a>(&'a self, options: &[&'a str], program: &[&'a str]) -> Vec<&'a str> {
        let mut words = vec!["run", "--cgroup-parent", self.lab().name()];
        if !options.iter().any(|option| option.starts_with("--network") || *option == "--pod" || *option == "-p") {
            words.push("--network=none");
        }
        words.extend(options);
        words.push("localhost/t");
        words.extend(program);
        words
    }

    /// `run --rm` in the foreground.
    fn container(&self, options: &[&str], program: &[&str]) -> Program {
        let options: Vec<&str> = ["--rm"].iter().chain(options).copied().collect();
        self.command(&self.words(&options, program))
    }

    /// The probe's report from such a container.
    #[track_caller]
    fn report(&self, options: &[&str]) -> Value {
        serde_json::from_str(&self.container(options, &["/bin/probe"]).run().ok().stdout()).unwrap()
    }
}

#[test]
fn a_container_says_what_it_says_and_ends_as_it_ends() {
    let Some(podman) = podman() else { return };
    assert_eq!(podman.container(&[], &["echo", "hi"]).run().ok().stdout(), "hi\n");
    podman.container(&[], &["sh", "-c", "exit 7"]).run().exits(7);
    let typed = podman.container(&["--interactive"], &["cat"]).input(b"typed\n").run();
    assert_eq!(typed.ok().stdout(), "typed\n");
    // podman reads its reasons from the runtime's words.
    let missing = podman.container(&[], &["no-such-program"]).run().exits(127);
    assert!(missing.stderr().contains("no-such-program"), "{}", missing.all());
    podman.container(&[], &["/etc/passwd"]).run().exits(126);
    let report = podman.report(&[]);
    assert_eq!((&report["pid"], &report["seccomp"]), (&json!(1), &json!(2)));
}

#[test]
fn users_and_rights() {
    let Some(podman) = podman() else { return };
    let report = podman.report(&["--user", "node"]);
    assert_eq!((&report["uid"], &report["groups"]), (&json!([1000, 1000, 1000, 1000]), &json!([1000, 2000])));
    let hardened = ["--read-only", "--cap-drop", "all", "--user", "1000", "--tmpfs", "/tmp"];
    let report = podman.report(&[&hardened[..], &["--security-opt", "no-new-privileges"]].concat());
    assert_eq!((&report["caps"]["bounding"], &report["no_new_privs"]), (&json!([]), &json!(true)));
    let script = "touch /tmp/x && echo fine; touch /y";
    let tried = podman.container(&hardened, &["sh", "-c", script]).run().exits(1);
    assert!(tried.stdout() == "fine\n" && tried.stderr().contains("Read-only file system"), "{}", tried.all());
    let report = podman.report(&["--privileged"]);
    assert!(report["dev"].as_object().unwrap().len() > 30, "{}", report["dev"]);
    let limited = podman.report(&["--ulimit", "nofile=100:200", "--ulimit", "nproc=50:60"]);
    assert_eq!(limited["rlimits"]["RLIMIT_NOFILE"], json!([100, 200]));
}

#[test]
fn an_init_in_front() {
    let Some(podman) = podman() else { return };
    let own = podman.lab().product_path("pipkin-init");
    for init in [own.to_str().unwrap(), "/usr/bin/catatonit"] {
        if !Path::new(init).exists() {
            skipped(&format!("{init} is not installed"));
            continue;
        }
        let report = podman.report(&["--init", "--init-path", init]);
        assert_eq!(report["ppid"], 1, "{init}");
        assert!(report["processes"]["1"].as_str().unwrap().contains("podman-init"), "{init}: {}", report["processes"]);
        podman.container(&["--init", "--init-path", init], &["sh", "-c", "exit 9"]).run().exits(9);
        podman.container(&["--init", "--init-path", init], &["/bin/probe", "die", "15"]).run().exits(143);
    }
}

#[test]
fn a_user_namespace() {
    let Some(podman) = podman() else { return };
    let report = podman.report(&["--uidmap", "0:100000:2000", "--gidmap", "0:200000:2000"]);
    assert_eq!(report["uid_map"], json!([["0", "100000", "2000"]]));
    assert_eq!(report["gid_map"], json!([["0", "200000", "2000"]]));
    assert_eq!(report["uid"], json!([0, 0, 0, 0]));
}

/// Everything that is done to a container between its start and its end.
#[test]
fn the_life_of_a_container() {
    let Some(podman) = podman() else { return };
    let program = "trap 'echo term; exit 9' TERM; echo up; while :; do sleep 0.05; done";
    podman.run(&podman.words(&["--detach", "--name", "life"], &["sh", "-c", program]));
    await_true("its first word", || podman.run(&["logs", "life"]) == "up");

    assert_eq!(podman.run(&["exec", "life", "echo", "in"]), "in");
    podman.command(&["exec", "life", "sh", "-c", "exit 7"]).run().exits(7);
    podman.command(&["exec", "life", "no-such-program"]).run().exits(127);
    assert_eq!(
        podman.run(&["exec", "--user", "node", "--workdir", "/tmp", "life", "sh", "-c", "id -u; pwd"]),
        "1000\n/tmp"
    );
    assert_eq!(podman.run(&["exec", "--env", "A=b c", "life", "sh", "-c", "echo $A"]), "b c");
    podman.run(&["exec", "--detach", "life", "touch", "/tmp/made"]);
    await_true("the file of the detached program", || {
        podman.command(&["exec", "life", "test", "-e", "/tmp/made"]).run().code() == 0
    });

    assert!(podman.run(&["top", "life", "pid", "comm"]).contains("\n1 "));
    assert!(podman.run(&["top", "life", "-o", "pid,comm"]).contains("\n    1 "));
    podman.run(&["pause", "life"]);
    assert_eq!(podman.status("life"), "paused 0");
    podman.command(&["exec", "life", "true"]).run().exits(255);
    podman.run(&["unpause", "life"]);
    assert_eq!(podman.status("life"), "running 0");

    podman.run(&["restart", "--time", "10", "life"]);
    await_true("its second life", || podman.run(&["logs", "life"]) == "up\nterm\nup");
    podman.run(&["kill", "--signal", "TERM", "life"]);
    assert_eq!(podman.run(&["wait", "life"]), "9");
    assert_eq!(podman.status("life"), "exited 9");
    podman.run(&["start", "life"]);
    await_true("its third life", || podman.run(&["logs", "life"]).matches("up").count() == 3);
    podman.run(&["stop", "--time", "10", "life"]);
    assert_eq!(podman.status("life"), "exited 9");
    podman.run(&["rm", "life"]);
}

#[test]
fn a_program_that_does_not_listen_is_killed_in_the_end() {
    let Some(podman) = podman() else { return };
    podman.run(&podman.words(&["--detach", "--name", "deaf"], &["sleep", "1000"]));
    // PID 1 without a handler does not hear TERM.
    podman.run(&["stop", "--time", "1", "deaf"]);
    assert_eq!(podman.status("deaf"), "exited 137");
    podman.run(&["rm", "deaf"]);
}

#[test]
fn a_terminal() {
    let Some(podman) = podman() else { return };
    let (mut terminal, path) = Terminal::open();
    terminal.resize(91, 17);
    let words = podman.words(&["--rm", "--interactive", "--tty", "--name", "tty"], &["sh"]);
    let running = podman.command(&words).start_on(&path);
    terminal.say("until stty size | grep '17 91'; do :; done; tty\n");
    terminal.hear("/dev/pts/0");
    terminal.resize(92, 18);
    terminal.say("until stty size | grep 18; do :; done\n");
    terminal.hear("18 92");

    let (mut second, path) = Terminal::open();
    second.resize(77, 11);
    let exec = podman.command(&["exec", "--interactive", "--tty", "tty", "sh"]).start_on(&path);
    second.say("until stty size | grep 77; do :; done; tty; exit 4\n");
    second.hear("11 77");
    second.hear("/dev/pts/1");
    exec.wait().exits(4);
    terminal.say("exit 3\n");
    running.wait().exits(3);
}

#[test]
fn pods_share_what_pods_share() {
    let Some(podman) = podman() else { return };
    let parent = format!("--cgroup-parent={}", podman.lab().name());
    let infra = ["--infra-command", "/bin/probe sleep", "--network", "none"];
    let pod =
        podman.run(&[&["pod", "create", "--name", "pod", "--share", "net,ipc,uts,pid", &parent], &infra[..]].concat());
    podman.run(&["run", "--detach", "--pod", "pod", "--name", "server", "localhost/t", "httpd", "-f", "-p", "8080"]);
    let shared = ["run", "--rm", "--pod", "pod", "localhost/t"];
    let fetched = ["sh", "-c", "until wget -q -O - http://127.0.0.1:8080/etc/hostname; do sleep 0.05; done"];
    assert_eq!(podman.run(&[&shared[..], &fetched].concat()), "pod");
    let report: Value = serde_json::from_str(&podman.run(&[&shared[..], &["/bin/probe"]].concat())).unwrap();
    let processes: Vec<&str> = report["processes"].as_object().unwrap().values().filter_map(Value::as_str).collect();
    assert!(processes.iter().any(|line| line.contains("httpd")), "{processes:?}");
    assert_eq!(report["hostname"], "pod");
    podman.run(&["pod", "pause", "pod"]);
    podman.run(&["pod", "unpause", "pod"]);
    assert!(podman.run(&["pod", "top", "pod"]).contains("httpd"));
    podman.run(&["pod", "stop", "--time", "0", "pod"]);
    podman.run(&["pod", "rm", "pod"]);
    // podman does not know of the hierarchies without a controller.
    podman.enclosure().remove_cgroups(&[&pod]);
}

#[test]
fn a_published_port() {
    let Some(podman) = podman() else { return };
    if !Path::new("/usr/lib/podman/netavark").exists() {
        return skipped("netavark is not installed");
    }
    let serve = "echo hello > /tmp/index.html; exec httpd -f -p 80 -h /tmp";
    podman.run(&podman.words(&["--detach", "--name", "web", "-p", "18080:80"], &["sh", "-c", serve]));
    let fetch = ["wget", "-q", "-O", "-", "http://127.0.0.1:18080/"];
    await_true("the page", || podman.enclosure().program("busybox").args(fetch).run().stdout() == "hello\n");
    podman.run(&["rm", "--force", "--time", "0", "web"]);
}

#[test]
fn limits_are_set_changed_and_measured() {
    let Some(podman) = podman() else { return };
    if !host::has_controller("memory") || !host::has_controller("pids") || !host::has_controller("cpu") {
        return skipped("the cgroup layout has no memory, pids and cpu controllers");
    }
    let options = ["--detach", "--name", "limits", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "33"];
    podman.run(&podman.words(&options, &["/bin/probe", "sleep"]));
    let limits = || {
        let places = ["memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us", "pids/pids.max", "memory.max", "cpu.max"];
        let files = places.map(|place| format!("/sys/fs/cgroup/{place}")).join(" ");
        podman.run(&["exec", "limits", "sh", "-c", &format!("cat {files} /sys/fs/cgroup/pids.max 2>/dev/null; true")])
    };
    let seen = limits();
    assert!(["67108864", "50000", "33"].iter().all(|limit| seen.contains(limit)), "{seen}");
    podman.run(&["update", "--memory", "128m", "--cpus", "0.7", "limits"]);
    let seen = limits();
    assert!(["134217728", "70000", "33"].iter().all(|limit| seen.contains(limit)), "{seen}");
    let stats = podman.run(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "limits"]);
    // podman itself goes on showing the first limit.
    assert!(stats.starts_with("1 ") && stats.contains("MB"), "{stats}");
    podman.run(&["rm", "--force", "--time", "0", "limits"]);
    let killed = podman.container(&["--memory", "32m"], &["/bin/probe", "alloc", "100"]).run();
    assert_eq!(killed.code(), 137, "{}", killed.all());
}

#[test]
fn without_cgroups() {
    let Some(podman) = podman() else { return };
    if podman.lab().is_peer() {
        return skipped("runc has no --cgroup-manager");
    }
    let report: Value = serde_json::from_str(&podman.run(&[
        "run",
        "--rm",
        "--network=none",
        "--cgroups=disabled",
        "localhost/t",
        "/bin/probe",
    ]))
    .unwrap();
    let cgroups = report["cgroup"].to_string();
    assert!(!cgroups.contains("libpod-") && !cgroups.contains(podman.lab().name()), "{cgroups}");
}

#[test]
fn other_namespaces_and_settings() {
    let Some(podman) = podman() else { return };
    let host = podman.report(&["--network=host", "--pid=host", "--ipc=host", "--uts=host", "--cgroupns=host"]);
    assert_eq!(host["namespaces"]["pid"], json!(host::namespace("self", "pid")));
    assert_eq!(host["namespaces"]["ipc"], json!(host::namespace("self", "ipc")));
    let options =
        ["--sysctl", "net.ipv4.ip_forward=1", "--hostname", "box", "--shm-size", "1m", "--oom-score-adj", "500"];
    let report = podman.report(&options);
    assert_eq!((&report["hostname"], &report["oom_score_adj"]), (&json!("box"), &json!(500)));
    let data = podman.lab().directory("data");
    let volume = format!("{}:/data:ro", data.display());
    let tried = podman.container(&["--volume", &volume], &["touch", "/data/x"]).run().exits(1);
    assert!(tried.stderr().contains("Read-only file system"), "{}", tried.all());
    let mounts = podman.report(&["--systemd=always"]);
    let cgroup = mounts["mounts"].as_array().unwrap().iter().any(|mount| mount["target"] == "/run");
    assert!(cgroup, "a systemd container has its /run");
}

#[test]
fn a_checkpoint_and_a_restore() {
    let Some(podman) = podman() else { return };
    if host::which("criu").is_none_or(|criu| Program::new(criu).arg("check").run().code() != 0) {
        return skipped("no criu that works on this kernel");
    }
    podman.run(&podman.words(&["--detach", "--name", "traveller"], &["sh", "-c", COUNTING]));
    let count = || -> u32 {
        // No file yet is no count yet.
        let said = podman.run(&["exec", "traveller", "sh", "-c", "cat /tmp/count 2>/dev/null || echo 0"]);
        said.trim().parse().unwrap_or_else(|error| panic!("a count, not {said:?}: {error}"))
    };
    await_true("it counts", || count() > 5);
    let before = count();
    podman.run(&["container", "checkpoint", "traveller"]);
    assert!(podman.status("traveller").starts_with("exited"));
    podman.run(&["container", "restore", "traveller"]);
    let after = count();
    assert!(after >= before, "it counts anew: {after} after {before}");
    await_true("it goes on counting", || count() > after);
    assert!(podman.status("traveller").starts_with("running"));
    podman.run(&["rm", "--force", "--time", "0", "traveller"]);
}
