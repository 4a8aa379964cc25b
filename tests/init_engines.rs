//! `pipkin-init` as the init of container engines: `podman run --init`, and `docker run --init`, which knows it as tini.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::{Enclosure, Engine, await_true};

/// A shell in front of a program that takes a while to handle TERM: behind an init that ends with the shell it never finishes.
const BEHIND_A_SHELL: &str =
    "sh -c 'trap \"sleep 1; echo handled; exit 0\" TERM; echo ready; while :; do sleep 0.1; done'; true";

/// Runs the program behind a shell, stops it when it is ready, and returns what it said and the exit code.
fn stopped(engine: &Engine, image: &str, options: &[&str]) -> (String, String) {
    let program = [image, "sh", "-c", BEHIND_A_SHELL];
    let id = engine.run(&[&["run", "--detach", "--init", "--network=none"], options, &program].concat());
    await_true("the program is ready", || engine.run(&["logs", &id]).contains("ready"));
    engine.run(&["stop", "--time", "60", &id]);
    let said = engine.run(&["logs", &id]);
    let status = engine.status(&id);
    engine.run(&["rm", &id]);
    (said, status)
}

#[test]
fn podman_stop_lets_a_handler_behind_a_shell_finish() {
    let Some(enclosure) = Enclosure::new(&["podman", "conmon"]) else { return };
    let podman = Engine::podman(enclosure, "");
    let init = podman.lab().product_path("pipkin-init");
    let options = ["--cgroup-parent", podman.lab().name(), "--init-path", init.to_str().unwrap()];
    // The shell's code, whom the signal ended.
    assert_eq!(stopped(&podman, "localhost/t", &options), ("ready\nhandled".into(), "exited 143".into()));
}

#[test]
fn docker_knows_it_as_tini_and_a_variable_makes_it_wait() {
    let Some(enclosure) = Enclosure::new(&["dockerd", "docker", "containerd", "iptables"]) else { return };
    // The engine asks it for its version under the name that it has there.
    let init = enclosure.lab().path("docker-init");
    std::os::unix::fs::symlink(enclosure.lab().product_path("pipkin-init"), &init).unwrap();
    let docker = Engine::docker(enclosure, &init);
    let components = docker.run(&["version", "--format", "{{json .Server.Components}}"]);
    let components: serde_json::Value = serde_json::from_str(&components).unwrap();
    let init = components.as_array().unwrap().iter().find(|it| it["Name"] == "docker-init");
    let init = init.unwrap_or_else(|| panic!("{components}"));
    assert_eq!(init["Version"], "0.19.0", "{init}");
    let info = docker.run(&["info"]);
    assert!(info.contains("Init Binary: ") && info.contains("docker-init"), "{info}");
    // As tini it would end with the shell; the image need not change for what tini does not have.
    let waiting = stopped(&docker, "t", &["--env", "PIPKIN_INIT_WAIT=30s", "--env", "PIPKIN_INIT_GROUP=1"]);
    assert_eq!(waiting, ("ready\nhandled".into(), "exited 143".into()));
}
