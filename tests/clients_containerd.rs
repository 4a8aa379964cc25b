//! containerd with `pipkin-runtime` in the place of runc, by its own command `ctr`.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::sync::Arc;

use pipkin_harness::image::Image;
use pipkin_harness::{Enclosure, Finished, Program, Running, Shared, Terminal, await_true, host, skipped};
use serde_json::{Value, json};

const CONFIGURATION: &str = r#"
version = 2
root = "DIR/root"
state = "DIR/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "DIR/socket"
[ttrpc]
address = "DIR/ttrpc"
"#;

/// Ends with 9 when it is told to, from the moment on at which the file is there.
const SERVER: &str = "trap 'exit 9' TERM; : > /tmp/up; while :; do sleep 0.05; done";

/// A daemon with the image `localhost/t` in it.
struct Containerd {
    daemon: Option<Running>,
    enclosure: Enclosure,
}

fn containerd() -> Option<Arc<Containerd>> {
    static CONTAINERD: Shared<Containerd> = Shared::new();
    CONTAINERD.get(Containerd::new)
}

impl Containerd {
    fn new() -> Option<Self> {
        let enclosure = Enclosure::new(&["containerd", "ctr"])?;
        let lab = enclosure.lab();
        let directory = lab.path("containerd");
        let config = lab.file("containerd.toml", CONFIGURATION.replace("DIR", directory.to_str().unwrap()));
        let daemon = enclosure.program("containerd").arg("--config").arg(config).start();
        let containerd = Self { daemon: Some(daemon), enclosure };
        // The socket is there before anybody listens on it.
        await_true("the daemon", || containerd.ctr(&["version"]).run().code() == 0);
        let lab = containerd.enclosure.lab();
        let image = lab.file("image.tar", Image::busybox().docker_archive("localhost/t:latest"));
        containerd.run(&["image", "import", image.to_str().unwrap()]);
        Some(containerd)
    }

    /// `ctr` in a namespace with the lab's name, which is also the name of the parent of its cgroups.
    fn ctr(&self, args: &[&str]) -> Program {
        let lab = self.enclosure.lab();
        let socket = lab.path("containerd/socket");
        let own = ["--address", socket.to_str().unwrap(), "--namespace", lab.name()];
        self.enclosure.program("ctr").args(own).args(args)
    }

    /// A command that must work; its stdout without the last line break.
    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        self.ctr(args).run().ok().stdout().trim_end().to_owned()
    }

    /// The words for a container of the image.
    fn words<'a>(&'a self, id: &'a str, options: &[&'a str], program: &[&'a str]) -> Vec<&'a str> {
        let mut words = vec!["run", "--runc-binary", self.enclosure.lab().runtime_path().to_str().unwrap()];
        words.extend(options);
        words.extend(["localhost/t:latest", id]);
        words.extend(program);
        words
    }

    /// `run --rm` in the foreground.
    fn container(&self, options: &[&str], program: &[&str]) -> Finished {
        let options: Vec<&str> = ["--rm"].iter().chain(options).copied().collect();
        self.ctr(&self.words(&self.enclosure.lab().id(), &options, program)).run()
    }

    #[track_caller]
    fn report(&self, options: &[&str]) -> Value {
        serde_json::from_str(&self.container(options, &["/bin/probe"]).ok().stdout()).unwrap()
    }

    /// `RUNNING`, `PAUSED`, `STOPPED`, or nothing.
    fn status(&self, id: &str) -> String {
        let tasks = self.run(&["task", "ls"]);
        let line = tasks.lines().find(|line| line.split_whitespace().next() == Some(id)).unwrap_or_default();
        line.split_whitespace().last().unwrap_or_default().to_owned()
    }

    /// Waits until [`SERVER`] hears signals.
    fn await_server(&self, id: &str) {
        let look = ["task", "exec", "--exec-id", "up", id, "test", "-e", "/tmp/up"];
        await_true("the server", || self.ctr(&look).run().code() == 0);
    }

    /// Waits for the end of a detached one and removes it: its exit code.
    #[track_caller]
    fn end(&self, id: &str) -> i32 {
        await_true("the end of the task", || self.status(id) == "STOPPED");
        let deleted = self.ctr(&["task", "delete", id]).run().ok();
        self.run(&["container", "delete", id]);
        let said = deleted.stderr();
        said.split("exit code ").nth(1).map_or(0, |code| code.trim_end().trim_end_matches('"').parse().unwrap())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for id in self.ctr(&["task", "ls", "--quiet"]).run().stdout().lines() {
            self.ctr(&["task", "delete", "--force", id]).run();
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(rustix::process::Signal::TERM);
            daemon.wait();
        }
        self.enclosure.remove_cgroups(&[self.enclosure.lab().name()]);
        if !std::thread::panicking() {
            assert_eq!(self.enclosure.states_left(), "");
        }
    }
}

#[test]
fn a_container_says_what_it_says_and_ends_as_it_ends() {
    let Some(containerd) = containerd() else { return };
    assert_eq!(containerd.container(&[], &["echo", "hi"]).ok().stdout(), "hi\n");
    containerd.container(&[], &["sh", "-c", "exit 7"]).exits(7);
    let missing = containerd.container(&[], &["no-such-program"]).exits(1);
    assert!(missing.stderr().contains("no-such-program"), "{}", missing.all());
    let report = containerd.report(&["--env", "A=b c", "--cwd", "/tmp", "--seccomp"]);
    assert_eq!((&report["pid"], &report["seccomp"], &report["cwd"]), (&json!(1), &json!(2), &json!("/tmp")));
    assert_eq!(report["env"]["A"], "b c");
    let report = containerd.report(&["--read-only", "--cap-drop", "CAP_CHOWN", "--net-host"]);
    assert!(!report["caps"]["bounding"].to_string().contains("CAP_CHOWN"), "{}", report["caps"]);
    let tried = containerd.container(&["--read-only"], &["touch", "/x"]).exits(1);
    assert!(tried.stderr().contains("Read-only file system"), "{}", tried.all());
    let mount =
        format!("type=bind,src={},dst=/data,options=rbind:ro", containerd.enclosure.lab().directory("d").display());
    let tried = containerd.container(&["--mount", &mount], &["touch", "/data/x"]).exits(1);
    assert!(tried.stderr().contains("Read-only file system"), "{}", tried.all());
}

/// Everything that is done to a container between its start and its end.
#[test]
fn the_life_of_a_container() {
    let Some(containerd) = containerd() else { return };
    let id = containerd.enclosure.lab().id();
    containerd.run(&containerd.words(&id, &["--detach", "--null-io"], &["sh", "-c", SERVER]));
    containerd.await_server(&id);
    let exec = |exec_id: &str, program: &[&str]| {
        containerd.ctr(&[&["task", "exec", "--exec-id", exec_id, &id], program].concat()).run()
    };
    assert_eq!(exec("e1", &["echo", "in"]).ok().stdout(), "in\n");
    exec("e2", &["sh", "-c", "exit 7"]).exits(7);
    let missing = exec("e3", &["no-such-program"]).exits(1);
    assert!(missing.stderr().contains("no-such-program"), "{}", missing.all());
    let user = ["task", "exec", "--exec-id", "e4", "--user", "1000", "--cwd", "/tmp", &id, "sh", "-c", "id -u; pwd"];
    assert_eq!(containerd.run(&user), "1000\n/tmp");
    containerd.run(&["task", "exec", "--exec-id", "e5", "--detach", &id, "sleep", "1000"]);
    // sh, the sleep, and perhaps the short sleep of sh.
    assert!(containerd.run(&["task", "ps", &id]).lines().count() >= 3);

    containerd.run(&["task", "pause", &id]);
    assert_eq!(containerd.status(&id), "PAUSED");
    containerd.run(&["task", "resume", &id]);
    assert_eq!(containerd.status(&id), "RUNNING");
    let metrics: Value = serde_json::from_str(&containerd.run(&["task", "metrics", "--format", "json", &id])).unwrap();
    assert!(metrics["pids"]["current"].as_u64().is_some_and(|count| count >= 2) || !host::has_controller("pids"));
    containerd.run(&["task", "kill", "--exec-id", "e5", "--signal", "KILL", &id]);
    containerd.run(&["task", "kill", "--signal", "TERM", &id]);
    assert_eq!(containerd.end(&id), 9);
    // What is gone already is no error for an engine that looks for "does not exist" and the like.
    containerd.ctr(&["task", "kill", &id]).run().exits(1);
}

#[test]
fn a_container_with_everything_in_it_is_killed() {
    let Some(containerd) = containerd() else { return };
    let id = containerd.enclosure.lab().id();
    let words = containerd.words(&id, &["--detach", "--null-io"], &["sh", "-c", "sleep 1000 & sleep 1000"]);
    containerd.run(&words);
    containerd.run(&["task", "kill", "--all", "--signal", "KILL", &id]);
    assert_eq!(containerd.end(&id), 137);
    // By force, while it runs.
    containerd.run(&words);
    containerd.ctr(&["task", "delete", "--force", &id]).run().ok();
    containerd.run(&["container", "delete", &id]);
}

#[test]
fn a_terminal() {
    let Some(containerd) = containerd() else { return };
    let (mut terminal, path) = Terminal::open();
    terminal.resize(91, 17);
    let id = containerd.enclosure.lab().id();
    let running = containerd.ctr(&containerd.words(&id, &["--rm", "--tty"], &["sh"])).start_on(&path);
    terminal.say("until stty size | grep '17 91'; do :; done; tty\n");
    terminal.hear("/dev/pts/0");
    terminal.resize(92, 18);
    terminal.say("until stty size | grep '18 92'; do :; done; echo resized-$?\n");
    terminal.hear("resized-0");

    let (mut second, path) = Terminal::open();
    let exec = containerd.ctr(&["task", "exec", "--tty", "--exec-id", "e", &id, "sh"]).start_on(&path);
    second.say("tty; exit 4\n");
    second.hear("/dev/pts/1");
    exec.wait().exits(4);
    terminal.say("exit 3\n");
    running.wait().exits(3);
}

#[test]
fn limits_are_set_changed_and_measured() {
    let Some(containerd) = containerd() else { return };
    if !host::has_controller("memory") || !host::has_controller("cpu") {
        return skipped("the cgroup layout has no memory and cpu controllers");
    }
    let id = containerd.enclosure.lab().id();
    let options = ["--detach", "--null-io", "--memory-limit", "67108864", "--cpus", "0.5"];
    containerd.run(&containerd.words(&id, &options, &["/bin/probe", "sleep"]));
    let metrics = containerd.run(&["task", "metrics", "--format", "json", &id]);
    assert!(metrics.contains("67108864"), "{metrics}");
    containerd.run(&["task", "kill", "--signal", "KILL", &id]);
    assert_eq!(containerd.end(&id), 137);
    let killed = containerd.container(&["--memory-limit", "33554432"], &["/bin/probe", "alloc", "100"]);
    assert_eq!(killed.code(), 137, "{}", killed.all());
}

/// The daemon may be replaced while containers run: it finds them again, and they end as they should.
#[test]
fn containers_outlive_the_daemon() {
    // A daemon of its own, which the other tests do not use.
    let Some(mut containerd) = Containerd::new() else { return };
    let id = containerd.enclosure.lab().id();
    containerd.run(&containerd.words(&id, &["--detach", "--null-io"], &["sh", "-c", SERVER]));
    containerd.await_server(&id);
    let daemon = containerd.daemon.take().unwrap();
    daemon.signal(rustix::process::Signal::KILL);
    daemon.wait();
    let config = containerd.enclosure.lab().path("containerd.toml");
    containerd.daemon = Some(containerd.enclosure.program("containerd").arg("--config").arg(config).start());
    await_true("the new daemon", || containerd.ctr(&["version"]).run().code() == 0);
    assert_eq!(containerd.status(&id), "RUNNING");
    let exec = ["task", "exec", "--exec-id", "e", &id, "echo", "in"];
    assert_eq!(containerd.run(&exec), "in");
    containerd.run(&["task", "kill", "--signal", "TERM", &id]);
    assert_eq!(containerd.end(&id), 9);
}
