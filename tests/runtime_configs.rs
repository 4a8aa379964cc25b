//! Configurations that real engines have written boot as they are; only what names another machine's files is replaced.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::host::{View, view};
use pipkin_harness::{Bundle, ConsoleSocket, Lab, await_true, host};
use serde_json::{Value, json};

/// The bundle with an engine's configuration, the probe as its program, and names that only this lab has.
fn engine_bundle(lab: &Lab, file: &str) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.engine_configuration(file);
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/{}-{}", lab.name(), file.trim_end_matches(".json")));
    let args = bundle.config["process"]["args"].as_array().unwrap();
    // An engine's init stays in front.
    let init: Vec<Value> = args.iter().take_while(|arg| *arg != "true").filter(|_| args.len() > 1).cloned().collect();
    let with_init = init.first().is_some_and(|init| init.as_str().unwrap().ends_with("-init"));
    let front = if with_init { init } else { Vec::new() };
    bundle.config["process"]["args"] = front.into_iter().chain([json!("/bin/probe")]).collect();
    if view() == View::V2 {
        bundle.drop_limits_without_controller();
    }
    bundle
}

/// What every one of them must show: its own answers, at these places of the probe's report.
#[track_caller]
fn boots(file: &str, expected: &[(&str, Value)]) {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = engine_bundle(&lab, file);
    bundle.config["process"]["terminal"] = json!(false);
    let config = bundle.config.clone();
    let finished = lab.run(&bundle).ok();
    let report: Value =
        serde_json::from_str(&finished.stdout()).unwrap_or_else(|error| panic!("{file}: {error}\n{}", finished.all()));
    assert_eq!(report["pid"], 1, "{file}");
    assert_eq!(
        report["no_new_privs"],
        config["process"].get("noNewPrivileges").cloned().unwrap_or(json!(false)),
        "{file}"
    );
    assert_eq!(report["uid"][0], config["process"]["user"]["uid"], "{file}");
    assert_eq!(report["cwd"], config["process"]["cwd"], "{file}");
    for mount in config["mounts"].as_array().unwrap() {
        let mounted = report["mounts"].as_array().unwrap().iter().any(|seen| {
            let (seen, asked) = (seen["target"].as_str().unwrap(), mount["destination"].as_str().unwrap());
            // On v1 the cgroup mount is a directory of them.
            seen == asked || (asked == "/sys/fs/cgroup" && seen.starts_with(asked))
        });
        assert!(mounted, "{file}: {} is not mounted", mount["destination"]);
    }
    for (place, value) in expected {
        assert_eq!(report.pointer(place), Some(value), "{file}: {place}");
    }
    assert_eq!(lab.leaks(), "", "{file}");
}

#[test]
fn runc_spec() {
    boots("runc-spec-default.json", &[("/hostname", json!("runc")), ("/rlimits/RLIMIT_NOFILE", json!([1024, 1024]))]);
}

#[test]
fn podman_default() {
    boots("podman-default.json", &[("/hostname", json!("ef00f3773f87")), ("/umask", json!("0022"))]);
}

#[test]
fn podman_hardened() {
    boots("podman-hardened.json", &[("/caps/effective", json!([])), ("/groups", json!([1000]))]);
}

#[test]
fn podman_privileged() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = engine_bundle(&lab, "podman-privileged.json");
    // Everything the machine that wrote it could do; CAP_SYS_RESOURCE and the like may be missing here, which is a warning,
    // but an error to runc 1.1.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim().to_owned();
    let bounding = u64::from_str_radix(&bounding, 16).unwrap();
    if lab.is_peer() && bounding >> 24 & 1 == 0 {
        for set in bundle.config["process"]["capabilities"].as_object_mut().unwrap().values_mut() {
            set.as_array_mut().unwrap().retain(|name| name != "CAP_SYS_RESOURCE");
        }
    }
    let report = lab.report(&mut bundle);
    assert!(report["dev"].as_object().unwrap().len() > 100, "its 102 devices");
    assert!(report["caps"]["effective"].as_array().unwrap().len() > 35);
}

#[test]
fn podman_with_a_user_namespace() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = engine_bundle(&lab, "podman-userns.json");
    for path in ["", "proc", "sys", "dev", "run", "etc"] {
        std::os::unix::fs::chown(bundle.rootfs(path), Some(100_000), Some(100_000)).unwrap();
    }
    let report = lab.report(&mut bundle);
    assert_eq!(report["uid_map"], json!([["0", "100000", "65536"]]));
    assert_eq!(report["dev"]["/dev/null"]["kind"], "char");
}

#[test]
fn podman_with_a_terminal() {
    let Some(lab) = Lab::root() else { return };
    let bundle = engine_bundle(&lab, "podman-tty.json");
    bundle.save();
    let (socket, id) = (ConsoleSocket::new(&lab), lab.id());
    lab.runtime(["create", "--bundle", bundle.path_text(), "--console-socket", socket.path_text(), &id]).run().ok();
    let terminal = socket.receive();
    lab.runtime(["start", &id]).run().ok();
    let report: Value = serde_json::from_str(terminal.hear_all().trim()).unwrap();
    assert_eq!(report["tty"]["controlling"], true);
    lab.runtime(["delete", "--force", &id]).run().ok();
}

#[test]
fn containerd_default() {
    boots("containerd-default.json", &[("/groups", json!([0])), ("/rlimits/RLIMIT_NOFILE", json!([1024, 1024]))]);
}

#[test]
fn containerd_with_seccomp_and_memory() {
    boots("containerd-seccomp-memory.json", &[("/groups", json!([0]))]);
}

#[test]
fn kubernetes_sandbox_and_a_container_in_its_namespaces() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = engine_bundle(&lab, "kubernetes-cri-sandbox.json");
    bundle.args(["/bin/probe", "signal-wait"]);
    let sandbox = lab.create(&bundle);
    sandbox.start();
    await_true("its program's first word", || sandbox.stdout().contains("ready"));
    let mut bundle = engine_bundle(&lab, "kubernetes-cri-container.json");
    for (kind, name) in [("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("network", "net")] {
        bundle.add_namespace(kind, Some(&format!("/proc/{}/ns/{name}", sandbox.pid())));
    }
    let report = lab.report(&mut bundle);
    assert_eq!(report["oom_score_adj"], 1000);
    for name in ["pid", "ipc", "uts", "net"] {
        assert_eq!(report["namespaces"][name], json!(host::namespace(&sandbox.pid().to_string(), name)), "{name}");
    }
    assert_eq!(report["processes"]["1"], "/bin/probe");
    sandbox.delete_force();
}

#[test]
fn docker_with_init_on_a_bridge() {
    boots("docker-init-bridge.json", &[("/hostname", json!("927ef51a29f5"))]);
}

#[test]
fn docker_hardened() {
    boots("docker-hardened.json", &[("/caps/effective", json!([])), ("/groups", json!([1000]))]);
}

#[test]
fn runc_spec_rootless_as_an_ordinary_user() {
    let Some(lab) = Lab::user_without_subids() else { return };
    let report = lab.report(&mut lab.bundle());
    assert_eq!(report["uid"], json!([0, 0, 0, 0]));
    assert_eq!(report["hostname"], "runc");
}

/// All of them compile to a plan, without root and without a bundle's root file system being touched.
#[test]
fn every_configuration_has_a_plan() {
    let Some(lab) = Lab::user() else { return };
    if lab.is_peer() {
        return;
    }
    let configs = pipkin_harness::data_file("configs");
    for entry in std::fs::read_dir(configs).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let mut bundle = lab.bundle();
        bundle.engine_configuration(&name);
        if view() == View::V2 {
            bundle.drop_limits_without_controller();
        }
        bundle.save();
        let finished = lab.runtime(["plan", "--format", "json", "--bundle", bundle.path_text()]).run().ok();
        let plan: Value = serde_json::from_str(&finished.stdout()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(plan.is_object(), "{name}");
    }
}

/// A new file there needs a test here that boots it.
#[test]
fn every_configuration_is_booted_by_a_test() {
    let booted = include_str!("runtime_configs.rs");
    for entry in std::fs::read_dir(pipkin_harness::data_file("configs")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        // The default of `Lab::bundle` for an ordinary user.
        assert!(booted.contains(&format!("\"{name}\"")) || name == "runc-spec-rootless.json", "{name}");
    }
}
