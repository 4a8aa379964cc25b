//! Docker with `pipkin-runtime` in the place of runc.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::ops::Deref;
use std::sync::Arc;

use pipkin_harness::{Enclosure, Engine, Finished, Shared, Terminal, await_true, host, skipped};
use serde_json::{Value, json};

struct Docker(Engine);

impl Deref for Docker {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0
    }
}

fn docker() -> Option<Arc<Docker>> {
    static DOCKER: Shared<Docker> = Shared::new();
    DOCKER.get(|| {
        let enclosure = Enclosure::new(&["dockerd", "docker", "containerd", "iptables"])?;
        let init = enclosure.lab().product_path("pipkin-init");
        Some(Docker(Engine::docker(enclosure, &init)))
    })
}

impl Docker {
    /// `run --rm` in the foreground.
    fn container(&self, options: &[&str], program: &[&str]) -> Finished {
        self.command(&[&["run", "--rm"], options, &["t"], program].concat()).run()
    }

    #[track_caller]
    fn report(&self, options: &[&str]) -> Value {
        serde_json::from_str(&self.container(options, &["/bin/probe"]).ok().stdout()).unwrap()
    }
}

#[test]
fn the_daemon_knows_its_runtime_and_init() {
    let Some(docker) = docker() else { return };
    let format = "{{.DefaultRuntime}} {{json .InitBinary}}";
    let info = docker.run(&["info", "--format", format]);
    assert!(info.starts_with("tested ") && info.contains("pipkin-init"), "{info}");
}

#[test]
fn a_container_says_what_it_says_and_ends_as_it_ends() {
    let Some(docker) = docker() else { return };
    assert_eq!(docker.container(&[], &["echo", "hi"]).ok().stdout(), "hi\n");
    docker.container(&[], &["sh", "-c", "exit 7"]).exits(7);
    let typed = docker.command(&["run", "--rm", "--interactive", "t", "cat"]).input(b"typed\n").run();
    assert_eq!(typed.ok().stdout(), "typed\n");
    let missing = docker.container(&[], &["no-such-program"]).exits(127);
    assert!(missing.stderr().contains("no-such-program"), "{}", missing.all());
    docker.container(&[], &["/etc/passwd"]).exits(126);
    // With Docker's own seccomp profile.
    let report = docker.report(&["--workdir", "/new/directory", "--env", "A=b c"]);
    assert_eq!((&report["pid"], &report["seccomp"]), (&json!(1), &json!(2)));
    assert_eq!((&report["cwd"], &report["env"]["A"]), (&json!("/new/directory"), &json!("b c")));
}

#[test]
fn an_init_in_front() {
    let Some(docker) = docker() else { return };
    let report = docker.report(&["--init"]);
    assert_eq!(report["ppid"], 1);
    assert!(report["processes"]["1"].as_str().unwrap().contains("docker-init"), "{}", report["processes"]);
    docker.container(&["--init"], &["sh", "-c", "exit 9"]).exits(9);
    docker.container(&["--init"], &["/bin/probe", "die", "15"]).exits(143);
}

#[test]
fn users_and_rights() {
    let Some(docker) = docker() else { return };
    let report = docker.report(&["--user", "node"]);
    assert_eq!((&report["uid"], &report["groups"]), (&json!([1000, 1000, 1000, 1000]), &json!([1000, 2000])));
    let hardened = ["--read-only", "--cap-drop", "all", "--user", "1000", "--tmpfs", "/tmp"];
    let report = docker.report(&[&hardened[..], &["--security-opt", "no-new-privileges"]].concat());
    assert_eq!((&report["caps"]["bounding"], &report["no_new_privs"]), (&json!([]), &json!(true)));
    let tried = docker.container(&hardened, &["sh", "-c", "touch /tmp/x && echo fine; touch /y"]).exits(1);
    assert!(tried.stdout() == "fine\n" && tried.stderr().contains("Read-only file system"), "{}", tried.all());
    let limited = docker.report(&["--ulimit", "nofile=100:200", "--device", "/dev/full:/dev/mine"]);
    assert_eq!(limited["rlimits"]["RLIMIT_NOFILE"], json!([100, 200]));
    assert_eq!(limited["dev"]["/dev/mine"]["rdev"], json!([1, 7]));
    let bare = docker.report(&["--security-opt", "seccomp=unconfined"]);
    assert_eq!(bare["seccomp"], 0);
}

/// Everything that is done to a container between its start and its end.
#[test]
fn the_life_of_a_container() {
    let Some(docker) = docker() else { return };
    let program = "trap 'echo term; exit 9' TERM; echo up; while :; do sleep 0.05; done";
    docker.run(&["run", "--detach", "--name", "life", "t", "sh", "-c", program]);
    await_true("its first word", || docker.run(&["logs", "life"]) == "up");

    assert_eq!(docker.run(&["exec", "life", "echo", "in"]), "in");
    docker.command(&["exec", "life", "sh", "-c", "exit 7"]).run().exits(7);
    docker.command(&["exec", "life", "no-such-program"]).run().exits(126);
    let user =
        ["exec", "--user", "node", "--workdir", "/tmp", "--env", "A=b", "life", "sh", "-c", "id -u; pwd; echo $A"];
    assert_eq!(docker.run(&user), "1000\n/tmp\nb");
    docker.run(&["exec", "--detach", "life", "touch", "/tmp/made"]);
    await_true("the file of the detached program", || {
        docker.command(&["exec", "life", "test", "-e", "/tmp/made"]).run().code() == 0
    });
    assert!(docker.run(&["top", "life"]).contains("while :"));
    assert!(docker.run(&["top", "life", "-o", "pid,comm"]).contains(" sh"));
    docker.run(&["pause", "life"]);
    assert_eq!(docker.status("life"), "paused 0");
    docker.command(&["exec", "life", "true"]).run().exits(1);
    docker.run(&["unpause", "life"]);
    assert_eq!(docker.status("life"), "running 0");
    docker.run(&["stats", "--no-stream", "life"]);

    docker.run(&["restart", "--time", "10", "life"]);
    await_true("its second life", || docker.run(&["logs", "life"]) == "up\nterm\nup");
    docker.run(&["kill", "--signal", "TERM", "life"]);
    assert_eq!(docker.run(&["wait", "life"]), "9");
    docker.run(&["start", "life"]);
    await_true("its third life", || docker.run(&["logs", "life"]).matches("up").count() == 3);
    docker.run(&["stop", "--time", "10", "life"]);
    assert_eq!(docker.status("life"), "exited 9");
    docker.run(&["rm", "life"]);
}

#[test]
fn a_program_that_does_not_listen_is_killed_in_the_end() {
    let Some(docker) = docker() else { return };
    docker.run(&["run", "--detach", "--name", "deaf", "t", "sleep", "1000"]);
    docker.run(&["stop", "--time", "1", "deaf"]);
    assert_eq!(docker.status("deaf"), "exited 137");
    docker.run(&["rm", "deaf"]);
}

#[test]
fn a_terminal() {
    let Some(docker) = docker() else { return };
    let (mut terminal, path) = Terminal::open();
    terminal.resize(91, 17);
    let words = ["run", "--rm", "--interactive", "--tty", "--name", "tty", "t", "sh"];
    let running = docker.command(&words).start_on(&path);
    terminal.say("until stty size | grep '17 91'; do :; done; tty\n");
    terminal.hear("/dev/pts/0");
    terminal.resize(92, 18);
    terminal.say("until stty size | grep '18 92'; do :; done; echo resized-$?\n");
    terminal.hear("resized-0");

    let (mut second, path) = Terminal::open();
    second.resize(77, 11);
    let exec = docker.command(&["exec", "--interactive", "--tty", "tty", "sh"]).start_on(&path);
    second.say("until stty size | grep '11 77'; do :; done; tty; exit 4\n");
    second.hear("/dev/pts/1");
    exec.wait().exits(4);
    terminal.say("exit 3\n");
    running.wait().exits(3);
}

#[test]
fn a_published_port_and_a_shared_network() {
    let Some(docker) = docker() else { return };
    let serve = "echo hello > /tmp/index.html; exec httpd -f -p 80 -h /tmp";
    docker.run(&[
        "run",
        "--detach",
        "--name",
        "web",
        "--publish",
        "18080:80",
        "--ipc",
        "shareable",
        "t",
        "sh",
        "-c",
        serve,
    ]);
    let fetch = ["wget", "-q", "-O", "-", "http://127.0.0.1:18080/"];
    await_true("the page", || docker.enclosure().program("busybox").args(fetch).run().stdout() == "hello\n");
    let joined = ["--network", "container:web", "--pid", "container:web", "--ipc", "container:web"];
    let report = docker.report(&joined);
    let processes: Vec<&str> = report["processes"].as_object().unwrap().values().filter_map(Value::as_str).collect();
    assert!(processes.iter().any(|line| line.contains("httpd")), "{processes:?}");
    let fetched = docker.container(&joined, &["wget", "-q", "-O", "-", "http://127.0.0.1/"]).ok();
    assert_eq!(fetched.stdout(), "hello\n");
    docker.run(&["rm", "--force", "web"]);
}

#[test]
fn limits_are_set_changed_and_measured() {
    let Some(docker) = docker() else { return };
    if !host::has_controller("memory") || !host::has_controller("pids") || !host::has_controller("cpu") {
        return skipped("the cgroup layout has no memory, pids and cpu controllers");
    }
    let options =
        ["--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "33", "--cpuset-cpus", "0"];
    docker.run(&[&["run", "--detach", "--name", "limits"], &options[..], &["t", "/bin/probe", "sleep"]].concat());
    let limits = || {
        let places = ["memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us", "pids/pids.max", "memory.max", "cpu.max"];
        let files = places.map(|place| format!("/sys/fs/cgroup/{place}")).join(" ");
        docker.run(&["exec", "limits", "sh", "-c", &format!("cat {files} /sys/fs/cgroup/pids.max 2>/dev/null; true")])
    };
    let seen = limits();
    assert!(["67108864", "50000", "33"].iter().all(|limit| seen.contains(limit)), "{seen}");
    docker.run(&["update", "--memory", "128m", "--memory-swap", "128m", "--cpus", "0.7", "limits"]);
    let seen = limits();
    assert!(["134217728", "70000", "33"].iter().all(|limit| seen.contains(limit)), "{seen}");
    let stats = docker.run(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "limits"]);
    assert!(stats.starts_with("1 ") && stats.contains("128MiB"), "{stats}");
    docker.run(&["rm", "--force", "limits"]);
    docker.command(&["run", "--name", "oom", "--memory", "32m", "t", "/bin/probe", "alloc", "100"]).run().exits(137);
    assert_eq!(docker.run(&["inspect", "--format", "{{.State.OOMKilled}}", "oom"]), "true");
    docker.run(&["rm", "oom"]);
}

#[test]
fn other_namespaces_and_settings() {
    let Some(docker) = docker() else { return };
    let host = docker.report(&["--network=host", "--pid=host", "--ipc=host", "--uts=host", "--cgroupns=host"]);
    assert_eq!(host["namespaces"]["pid"], json!(host::namespace("self", "pid")));
    assert_eq!(host["namespaces"]["ipc"], json!(host::namespace("self", "ipc")));
    let options =
        ["--sysctl", "net.ipv4.ip_forward=1", "--hostname", "box", "--shm-size", "1m", "--oom-score-adj", "500"];
    let report = docker.report(&[&options[..], &["--cgroupns=private"]].concat());
    assert_eq!((&report["hostname"], &report["oom_score_adj"]), (&json!("box"), &json!(500)));
    assert!(!report["cgroup"].to_string().contains(docker.lab().name()), "{}", report["cgroup"]);
    let volume = format!("{}:/data:ro", docker.lab().directory("data").display());
    let tried = docker.container(&["--volume", &volume], &["touch", "/data/x"]).exits(1);
    assert!(tried.stderr().contains("Read-only file system"), "{}", tried.all());
    // The engine looks into a container by `exec`.
    let checked = ["--health-cmd", "test -e /etc/passwd", "--health-interval", "100ms"];
    docker.run(&[&["run", "--detach", "--name", "checked"], &checked[..], &["t", "sleep", "1000"]].concat());
    await_true("a healthy container", || {
        docker.run(&["inspect", "--format", "{{.State.Health.Status}}", "checked"]) == "healthy"
    });
    docker.run(&["rm", "--force", "checked"]);
}
