//! Namespaces: made, shared, joined; host names; id maps.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::{Lab, host};
use serde_json::{Value, json};

/// The type in config.json and its name in `/proc/PID/ns`.
const TYPES: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("user", "user"),
];

#[test]
fn namespaces_that_are_listed_are_new_and_the_others_are_the_callers() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.add_namespace("cgroup", None);
    let report = lab.report(&mut bundle);
    for (kind, name) in TYPES {
        let same = report["namespaces"][name] == json!(host::namespace("self", name));
        assert_eq!(same, kind == "user", "{kind}");
    }
    assert_eq!(report["pid"], 1);
    assert_eq!(report["interfaces"], json!(["lo"]));
    assert!(report["cgroup"].as_array().unwrap().iter().all(|line| line.as_str().unwrap().ends_with(":/")), "{report}");
}

#[test]
fn a_namespace_that_is_not_listed_is_shared() {
    let Some(lab) = Lab::root() else { return };
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        let mut bundle = lab.bundle();
        bundle.share_namespace(kind);
        if kind == "uts" {
            bundle.config.as_object_mut().unwrap().remove("hostname");
        }
        let report = lab.report(&mut bundle);
        assert_eq!(report["namespaces"][name], json!(host::namespace("self", name)), "{kind}");
    }
}

#[test]
fn a_namespace_with_a_path_is_joined() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "signal-wait"]);
    let first = lab.create(&bundle);
    first.start();
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        let mut bundle = lab.bundle();
        bundle.add_namespace(kind, Some(&format!("/proc/{}/ns/{name}", first.pid())));
        if kind == "uts" {
            bundle.config.as_object_mut().unwrap().remove("hostname");
        }
        let report = lab.report(&mut bundle);
        let theirs = host::namespace(&first.pid().to_string(), name);
        assert_eq!(report["namespaces"][name], json!(theirs), "{kind}");
        assert_eq!(report["pid"] == 1, kind != "pid", "{kind}");
    }
    assert_eq!(first.status(), "running", "the one that was joined lives on");
    first.delete_force();
}

#[test]
fn host_and_domain_name() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["hostname"] = json!("pot");
    let supports_domainname = !lab.is_peer();
    if supports_domainname {
        bundle.config["domainname"] = json!("kitchen.example");
    }
    let report = lab.report(&mut bundle);
    assert_eq!(report["hostname"], "pot");
    if supports_domainname {
        assert_eq!(report["domainname"], "kitchen.example");
    }
    assert_ne!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "pot");
}

#[test]
fn the_loopback_interface_is_up() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/sh", "-c", "ip addr show lo"]);
    let text = lab.run(&bundle).ok().stdout();
    assert!(text.contains("UP") && text.contains("127.0.0.1"), "{text}");
}

#[test]
fn a_user_namespace_with_many_ids_made_by_root() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.add_namespace("user", None);
    bundle.config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}, {"containerID": 1000, "hostID": 300_000, "size": 10}]);
    bundle.config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 65_536}]);
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 7, "additionalGids": [8]});
    std::os::unix::fs::chown(bundle.rootfs("/"), Some(200_000), Some(200_000)).unwrap();
    let report = lab.report(&mut bundle);
    assert_eq!(report["uid_map"], json!([["0", "200000", "1000"], ["1000", "300000", "10"]]));
    assert_eq!(report["gid_map"], json!([["0", "200000", "65536"]]));
    assert_eq!(report["uid"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(report["groups"], json!([8]));
    assert_eq!(report["setgroups"], "allow");
    assert_ne!(report["namespaces"]["user"], json!(host::namespace("self", "user")));
}

#[test]
fn an_ordinary_user_maps_subordinate_ids() {
    let Some(lab) = Lab::user() else { return };
    let user = lab.as_user().unwrap().clone();
    let ((uids, count), (gids, _)) = (user.subuids.unwrap(), user.subgids.unwrap());
    let mut bundle = lab.bundle();
    bundle.config["linux"]["uidMappings"] = json!([
        {"containerID": 0, "hostID": user.uid, "size": 1}, {"containerID": 1, "hostID": uids, "size": count}
    ]);
    bundle.config["linux"]["gidMappings"] = json!([
        {"containerID": 0, "hostID": user.gid, "size": 1}, {"containerID": 1, "hostID": gids, "size": count}
    ]);
    // runc 1.1 sets no additional groups for an ordinary user, even where newgidmap allows them.
    let groups = if lab.is_peer() { json!([]) } else { json!([2000]) };
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": groups});
    let report = lab.report(&mut bundle);
    assert_eq!(report["uid"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(report["groups"], groups);
    assert_eq!(report["uid_map"][1], json!(["1", uids.to_string(), count.to_string()]));
}

#[test]
fn a_user_without_subordinate_ids_can_not_map_them() {
    let Some(lab) = Lab::user_without_subids() else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["uidMappings"]
        .as_array_mut()
        .unwrap()
        .push(json!({"containerID": 1, "hostID": 100_000, "size": 10}));
    bundle.config["linux"]["gidMappings"]
        .as_array_mut()
        .unwrap()
        .push(json!({"containerID": 1, "hostID": 100_000, "size": 10}));
    let finished = lab.run(&bundle).exits(1);
    assert!(lab.is_peer() || finished.stderr().contains("100000"), "{}", finished.all());
    assert_eq!(lab.leaks(), "");
}

#[test]
fn sysctls_are_set_in_the_containers_namespaces_only() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let before = std::fs::read_to_string(path).unwrap();
    bundle.config["linux"]["sysctl"] =
        json!({"net.ipv4.ip_unprivileged_port_start": "7", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "11"});
    bundle.args(["/bin/cat", path, "/proc/sys/kernel/shm_rmid_forced", "/proc/sys/fs/mqueue/msg_max"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "7\n1\n11\n");
    assert_eq!(std::fs::read_to_string(path).unwrap(), before);
}

#[test]
fn sysctls_of_the_host_are_refused() {
    let Some(lab) = Lab::root() else { return };
    for (name, share) in [
        ("kernel.panic", None),
        ("vm.swappiness", None),
        ("net.ipv4.ip_forward", Some("network")),
        ("kernel.shmmax", Some("ipc")),
        ("net.ipv4/../../kernel.panic", None),
        ("net..ipv4", None),
    ] {
        let mut bundle = lab.bundle();
        if let Some(kind) = share {
            bundle.share_namespace(kind);
        }
        bundle.config["linux"]["sysctl"] = json!({ name: "1" });
        bundle.args(["/bin/true"]);
        let finished = lab.run(&bundle).exits(1);
        assert!(lab.is_peer() || finished.stderr().contains("linux.sysctl"), "{name}: {}", finished.all());
        assert_eq!(lab.leaks(), "");
    }
}

#[test]
fn the_caller_stays_in_its_own_namespaces() {
    let Some(lab) = Lab::root() else { return };
    let before: Vec<String> = TYPES.iter().map(|(_, name)| host::namespace("self", name)).collect();
    let mut bundle = lab.bundle();
    let _: Value = lab.report(&mut bundle);
    let after: Vec<String> = TYPES.iter().map(|(_, name)| host::namespace("self", name)).collect();
    assert_eq!(before, after);
}
