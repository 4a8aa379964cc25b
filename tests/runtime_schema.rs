//! The runtime spec's JSON schema: what `features`, `spec` and `state` print fits it, and its vectors are read as it says.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod schema_support;

use pipkin_harness::Lab;
use schema_support::Schema;
use serde_json::{Value, json};

fn features(lab: &Lab) -> Value {
    serde_json::from_str(&lab.runtime(["features"]).run().ok().stdout()).unwrap()
}

#[test]
fn the_schemas_own_vectors_are_told_apart() {
    let schema = Schema::runtime_spec();
    for (kind, file) in
        [("config", "config-schema.json"), ("features", "features-schema.json"), ("state", "state-schema.json")]
    {
        for (name, text) in schema.vectors(&format!("{kind}/good")) {
            let complaints = schema.complaints(file, &serde_json::from_str(&text).unwrap());
            assert_eq!(complaints, [""; 0], "{name}");
        }
        for (name, text) in schema.vectors(&format!("{kind}/bad")) {
            let document: Result<Value, _> = serde_json::from_str(&text);
            assert!(document.is_err() || !schema.complaints(file, &document.unwrap()).is_empty(), "{name}");
        }
    }
}

#[test]
fn features_spec_and_state_fit_it() {
    let Some(lab) = Lab::root() else { return };
    let schema = Schema::runtime_spec();
    assert_eq!(schema.complaints("features-schema.json", &features(&lab)), [""; 0]);
    let bundle = lab.bundle();
    for options in [&["spec"][..], &["spec", "--rootless"]] {
        let directory = lab.directory(if options.len() == 1 { "spec" } else { "spec-rootless" });
        lab.runtime(options.iter().copied()).arg("--bundle").arg(&directory).run().ok();
        let text = std::fs::read_to_string(directory.join("config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema.complaints("config-schema.json", &config), [""; 0], "{options:?}");
    }
    let container = lab.create(&bundle);
    assert_eq!(schema.complaints("state-schema.json", &container.state()), [""; 0]);
    container.delete_force();
}

/// `plan` reads a configuration as `create` does, finds every problem, and needs no root file system.
fn problems(lab: &Lab, config: &str) -> Vec<String> {
    let directory = lab.directory("vector");
    std::fs::write(directory.join("config.json"), config).unwrap();
    let finished = lab.runtime(["plan", "--bundle", directory.to_str().unwrap()]).run();
    let text = finished.stderr() + &finished.stdout();
    text.lines()
        .filter(|line| line.starts_with("problem: ") || line.starts_with("error: "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn good_configurations_have_no_problem_but_those_of_this_machine() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let schema = Schema::runtime_spec();
    let mut seen = 0;
    for (name, text) in schema.vectors("config/good") {
        // Other systems' configurations have nothing that Linux needs.
        if name.starts_with("freebsd") || name.starts_with("zos") {
            continue;
        }
        seen += 1;
        let allowed = |problem: &String| {
            [
                // The vectors are fragments: a process, a root and a mount namespace are needed to run one.
                "problem: process: is missing",
                "problem: root: is missing",
                "problem: linux.namespaces: a mount namespace is required",
                "problem: linux.netDevices: needs a network namespace",
                // One is of a version before 1.0, and wants memory to be counted as kernels once did.
                "\"0.5.0-dev\" is not supported",
                "problem: linux.resources.memory.useHierarchy",
                // What the machine must have: LSMs, the rdma controller, the resctrl file system.
                "without SELinux",
                "without AppArmor",
                "needs the cgroup controller",
                "problem: linux.intelRdt",
            ]
            .iter()
            .any(|known| problem.contains(known))
        };
        let unexpected: Vec<String> = problems(&lab, &text).into_iter().filter(|problem| !allowed(problem)).collect();
        assert_eq!(unexpected, [""; 0], "{name}");
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn bad_configurations_are_refused_at_the_field_that_is_bad() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let schema = Schema::runtime_spec();
    for (name, text) in schema.vectors("config/bad") {
        let field = match name.as_str() {
            "invalid-json.json" => "key must be a string",
            "linux-hugepage.json" => "linux.resources.hugepageLimits[0].pageSize",
            "linux-netdevice.json" => "linux.netDevices.eth0.name",
            "linux-rdma.json" => "linux.resources.rdma.mlx5_1.hcaHandles",
            // Accepted on purpose: another system's section means nothing on Linux and is not looked at (config.md,
            // "Extensibility": unknown properties are ignored). What is refused is what Linux lacks in it.
            "freebsd-vnet-disable.json" => "linux.namespaces",
            other => panic!("{other} is a new vector"),
        };
        let problems = problems(&lab, &text);
        assert!(problems.iter().any(|problem| problem.contains(field)), "{name}: {problems:?}");
        assert!(!problems.iter().any(|problem| problem.contains("vnet")), "{name}: {problems:?}");
    }
}

/// The spec's table of mount options (config.md, "Linux mount options"), and those that only some runtimes have.
const MOUNT_OPTIONS: &str = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime \
    noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime \
    remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw \
    rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup \
    unbindable idmap ridmap copy-symlink src-nofollow dest-nofollow";

#[test]
fn features_says_what_is_there() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let features = features(&lab);
    let mut options: Vec<&str> = MOUNT_OPTIONS.split_whitespace().collect();
    options.sort_unstable();
    assert_eq!(features["mountOptions"], json!(options));
    assert_eq!(
        features["linux"]["namespaces"],
        json!(["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"])
    );
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    assert_eq!(features["linux"]["netDevices"]["enabled"], true);
    assert_eq!(features["linux"]["memoryPolicy"]["modes"].as_array().unwrap().len(), 7);
    assert_eq!(features["potentiallyUnsafeConfigAnnotations"], json!(["org.systemd.property."]));
    assert_eq!((&features["ociVersionMin"], &features["ociVersionMax"]), (&json!("1.0.0"), &json!("1.3.0")));
    // Each namespace and each hook that it names is accepted.
    let mut config = json!({
        "ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["true"]},
        "linux": {
            "namespaces": [], "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}], "netDevices": {"eth0": {}},
        },
    });
    for kind in features["linux"]["namespaces"].as_array().unwrap() {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": kind}));
    }
    for kind in features["hooks"].as_array().unwrap() {
        config["hooks"][kind.as_str().unwrap()] = json!([{"path": "/bin/true"}]);
    }
    assert_eq!(problems(&lab, &config.to_string()), [""; 0]);
}
