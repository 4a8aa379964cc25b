//! podman without root, with `pipkin-runtime` in the place of runc.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::ops::Deref;
use std::sync::Arc;

use pipkin_harness::{Enclosure, Engine, Program, Shared, Terminal, await_true};
use serde_json::{Value, json};

struct Podman(Engine);

impl Deref for Podman {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0
    }
}

fn podman() -> Option<Arc<Podman>> {
    static PODMAN: Shared<Podman> = Shared::new();
    PODMAN.get(|| {
        let enclosure = Enclosure::of_user(&["podman", "conmon", "newuidmap", "slirp4netns"])?;
        Some(Podman(Engine::podman(enclosure, "")))
    })
}

impl Podman {
    fn container(&self, options: &[&str], program: &[&str]) -> Program {
        let network = if options.contains(&"--network") { &[][..] } else { &["--network", "none"] };
        self.command(&[&["run", "--rm"], network, options, &["localhost/t"], program].concat())
    }

    #[track_caller]
    fn report(&self, options: &[&str]) -> Value {
        serde_json::from_str(&self.container(options, &["/bin/probe"]).run().ok().stdout()).unwrap()
    }
}

#[test]
fn a_container_says_what_it_says_and_ends_as_it_ends() {
    let Some(podman) = podman() else { return };
    let user = podman.lab().as_user().unwrap().clone();
    let report = podman.report(&[]);
    let (first, count) = user.subuids.unwrap();
    let map = json!([["0", user.uid.to_string(), "1"], ["1", first.to_string(), count.to_string()]]);
    assert_eq!((&report["uid_map"], &report["pid"], &report["seccomp"]), (&map, &json!(1), &json!(2)));
    podman.container(&[], &["sh", "-c", "exit 7"]).run().exits(7);
    podman.container(&[], &["no-such-program"]).run().exits(127);
    assert_eq!(podman.report(&["--user", "1000"])["uid"][0], 1000);
    assert_eq!(podman.report(&["--userns", "keep-id"])["uid"][0], user.uid);
    let hardened = ["--read-only", "--cap-drop", "all", "--user", "1000", "--tmpfs", "/tmp"];
    let tried = podman.container(&hardened, &["sh", "-c", "touch /tmp/x && echo fine; touch /y"]).run().exits(1);
    assert!(tried.stdout() == "fine\n" && tried.stderr().contains("Read-only file system"), "{}", tried.all());
    let init = podman.lab().product_path("pipkin-init");
    let report = podman.report(&["--init", "--init-path", init.to_str().unwrap()]);
    assert!(report["processes"]["1"].as_str().unwrap().contains("podman-init"), "{}", report["processes"]);
}

#[test]
fn the_life_of_a_container() {
    let Some(podman) = podman() else { return };
    let program = "trap 'echo term; exit 9' TERM; echo up; while :; do sleep 0.05; done";
    podman.run(&["run", "--detach", "--name", "life", "--network", "none", "localhost/t", "sh", "-c", program]);
    await_true("its first word", || podman.run(&["logs", "life"]) == "up");
    assert_eq!(podman.run(&["exec", "life", "echo", "in"]), "in");
    podman.command(&["exec", "life", "sh", "-c", "exit 7"]).run().exits(7);
    assert_eq!(podman.run(&["exec", "--user", "node", "life", "id", "-u"]), "1000");
    assert!(podman.run(&["top", "life", "pid", "comm"]).contains("\n1 "));
    let (mut terminal, path) = Terminal::open();
    podman.lab().give(&path);
    let exec = podman.command(&["exec", "--interactive", "--tty", "life", "sh"]).start_on(&path);
    terminal.say("tty; exit 4\n");
    terminal.hear("/dev/pts/0");
    exec.wait().exits(4);
    podman.run(&["restart", "--time", "10", "life"]);
    await_true("its second life", || podman.run(&["logs", "life"]) == "up\nterm\nup");
    podman.run(&["stop", "--time", "10", "life"]);
    assert_eq!(podman.run(&["inspect", "--format", "{{.State.ExitCode}}", "life"]), "9");
    podman.run(&["rm", "life"]);
}

#[test]
fn pods_and_a_network() {
    let Some(podman) = podman() else { return };
    podman.run(&["pod", "create", "--name", "pod", "--network", "none"]);
    podman.run(&["run", "--detach", "--pod", "pod", "localhost/t", "httpd", "-f", "-p", "8080"]);
    let fetch = "until wget -q -O - http://127.0.0.1:8080/etc/hostname; do sleep 0.05; done";
    assert_eq!(podman.run(&["run", "--rm", "--pod", "pod", "localhost/t", "sh", "-c", fetch]), "pod");
    podman.run(&["pod", "rm", "--force", "--time", "0", "pod"]);
    let interfaces = podman.report(&["--network", "slirp4netns"])["interfaces"].clone();
    assert_eq!(interfaces, json!(["lo", "tap0"]));
}
