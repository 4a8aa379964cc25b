//! `pipkin-init` as the init of container engines: `podman run --init`, and `docker run --init`, which knows it as tini.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::image::Image;
use pipkin_harness::{Enclosure, Program, Running, await_true, host};
use rustix::process::Signal;

/// A shell in front of a program that takes a while to handle TERM: behind an init that ends with the shell it never finishes.
const BEHIND_A_SHELL: &str =
    "sh -c 'trap \"sleep 1; echo handled; exit 0\" TERM; echo ready; while :; do sleep 0.1; done'; true";

/// An engine, and how it is talked to.
struct Engine {
    enclosure: Enclosure,
    client: &'static str,
    words: Vec<String>,
    daemon: Option<Running>,
    /// How containers are run.
    options: Vec<String>,
}

impl Engine {
    fn command(&self, args: &[&str]) -> Program {
        let configuration = self.enclosure.lab().path("containers.conf");
        self.enclosure.program(self.client).env("CONTAINERS_CONF", configuration).args(&self.words).args(args)
    }

    /// A command that must work; its stdout without the last line break.
    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        self.command(args).run().ok().stdout().trim_end().to_owned()
    }

    fn load(&self, name: &str) {
        let image = self.enclosure.lab().file("image.tar", Image::busybox().docker_archive(name));
        self.run(&["load", "--quiet", "--input", image.to_str().unwrap()]);
    }

    /// Runs the program behind a shell, stops it when it is ready, and returns what it said and the exit code.
    fn stopped(&self, image: &str, options: &[&str]) -> (String, String) {
        let own: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let program = [image, "sh", "-c", BEHIND_A_SHELL];
        let id = self.run(&[&["run", "--detach", "--init"], &own[..], options, &program].concat());
        await_true("the program is ready", || self.run(&["logs", &id]).contains("ready"));
        self.run(&["stop", "--time", "60", &id]);
        let said = self.run(&["logs", &id]);
        let code = self.run(&["inspect", "--format", "{{.State.ExitCode}}", &id]);
        self.run(&["rm", &id]);
        (said, code)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for id in self.command(&["ps", "--all", "--quiet"]).run().stdout().lines() {
            self.command(&["rm", "--force", id]).run();
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(Signal::TERM);
            daemon.wait();
        }
        self.enclosure.remove_cgroups(&["conmon", self.enclosure.lab().name()]);
    }
}

#[test]
fn podman_stop_lets_a_handler_behind_a_shell_finish() {
    let Some(enclosure) = Enclosure::new(&["podman", "conmon"]) else { return };
    let lab = enclosure.lab();
    let limit = if host::has_controller("pids") { "" } else { "pids_limit = 0" };
    let ulimits = r#"default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]"#;
    lab.file("containers.conf", format!("[containers]\n{ulimits}\n{limit}\n"));
    let path = |name: &str| lab.path(format!("podman/{name}")).to_str().unwrap().to_owned();
    let words =
        ["--cgroup-manager=cgroupfs", "--events-backend=file", "--runtime", lab.runtime_path().to_str().unwrap()];
    let mut words: Vec<String> = words.map(String::from).into();
    words.extend(
        ["root", "runroot", "tmp"].map(|name| format!("--{name}={}", path(name)).replace("--tmp=", "--tmpdir=")),
    );
    let init = lab.product_path("pipkin-init");
    let options = ["--network=none", "--cgroup-parent", lab.name(), "--init-path", init.to_str().unwrap()];
    let options = options.map(String::from).into();
    let podman = Engine { client: "podman", words, daemon: None, options, enclosure };
    podman.load("localhost/t:latest");
    // The shell's code, whom the signal ended.
    assert_eq!(podman.stopped("localhost/t", &[]), ("ready\nhandled".into(), "143".into()));
}

#[test]
fn docker_knows_it_as_tini_and_a_variable_makes_it_wait() {
    let Some(enclosure) = Enclosure::new(&["dockerd", "docker", "containerd", "iptables"]) else { return };
    let lab = enclosure.lab();
    lab.directory("docker");
    let path = |name: &str| lab.path(format!("docker/{name}")).to_str().unwrap().to_owned();
    // The engine asks it for its version under the name that it has there.
    std::os::unix::fs::symlink(lab.product_path("pipkin-init"), path("docker-init")).unwrap();
    let host = format!("unix://{}", path("socket"));
    let daemon = enclosure
        .program("dockerd")
        .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid"), "--host", &host])
        .args(["--add-runtime", &format!("tested={}", lab.runtime_path().display()), "--default-runtime", "tested"])
        .args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", &format!("/{}", lab.name())])
        .args(["--userland-proxy=false", "--init-path", &path("docker-init")])
        .start();
    // The client that belongs to the daemon, not another that may come first on PATH.
    let client = ["/usr/bin/docker", "docker"].into_iter().find(|path| host::which(path).is_some()).unwrap();
    let words = vec!["--host".into(), host];
    let docker = Engine { client, words, daemon: Some(daemon), options: vec!["--network=none".into()], enclosure };
    await_true("the daemon", || docker.command(&["version"]).run().code() == 0);
    let components = docker.run(&["version", "--format", "{{json .Server.Components}}"]);
    let components: serde_json::Value = serde_json::from_str(&components).unwrap();
    let init = components.as_array().unwrap().iter().find(|it| it["Name"] == "docker-init");
    let init = init.unwrap_or_else(|| panic!("{components}"));
    assert_eq!(init["Version"], "0.19.0", "{init}");
    let info = docker.run(&["info"]);
    assert!(info.contains("Init Binary: ") && info.contains("docker-init"), "{info}");
    docker.load("t:latest");
    // As tini it would end with the shell; the image need not change for what tini does not have.
    let waiting = docker.stopped("t", &["--env", "PIPKIN_INIT_WAIT=30s", "--env", "PIPKIN_INIT_GROUP=1"]);
    assert_eq!(waiting, ("ready\nhandled".into(), "143".into()));
}
