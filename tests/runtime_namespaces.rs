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

/// However early the network is needed, it is the container's; and the runtime's own stays what it was for the hooks.
/// Seen failing: without `may_depend_on_network` (`plan/mount.rs`), and with a launcher that stays in the new one
/// (`launch/network.rs`).
#[test]
fn what_shows_a_network_shows_the_containers() {
    let Some(lab) = Lab::root() else { return };
    let log = lab.path("networks");
    let hook = format!(
        r#"pid=$(grep -o '"pid": *[0-9]*' | grep -o '[0-9]*'); readlink /proc/self/ns/net /proc/$pid/ns/net > {}"#,
        log.display()
    );
    for sysfs_at in ["first", "last", "nowhere"] {
        let mut bundle = lab.bundle();
        let mounts = bundle.config["mounts"].as_array_mut().unwrap();
        let sysfs = mounts.iter().position(|mount| mount["type"] == "sysfs").map(|at| mounts.remove(at)).unwrap();
        match sysfs_at {
            "first" => mounts.insert(0, sysfs),
            "last" => mounts.push(sysfs),
            // The cgroups are below it.
            _ => mounts.retain(|mount| mount["type"] != "cgroup"),
        }
        bundle.config["hooks"] =
            json!({"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", hook], "env": ["PATH=/bin:/usr/bin"]}]});
        bundle.args(["/bin/sh", "-c", "ls /sys/class/net; readlink /proc/self/ns/net; cat /proc/net/dev | grep -c :"]);
        let said = lab.run(&bundle).ok().stdout();
        let lines: Vec<&str> = said.lines().collect();
        let networks = std::fs::read_to_string(&log).unwrap();
        let (own, containers) = networks.trim().split_once('\n').unwrap();
        assert_eq!(own, host::namespace("self", "net"), "{sysfs_at}: the hook's");
        assert_ne!(own, containers, "{sysfs_at}");
        if sysfs_at == "nowhere" {
            assert_eq!(lines, [containers, "1"]);
        } else {
            assert_eq!(lines, ["lo", containers, "1"], "{sysfs_at}");
        }
    }
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

const SECOND: i64 = 1_000_000_000;

/// How far the two clocks of a report are ahead of the host's, in seconds; boots take far less than the 60 s of slack.
fn offsets(report: &Value) -> [i64; 2] {
    use rustix::time::{ClockId, clock_gettime};
    [(ClockId::Monotonic, "monotonic_clock_ns"), (ClockId::Boottime, "boot_clock_ns")].map(|(id, field)| {
        let now = clock_gettime(id);
        let host = now.tv_sec * SECOND + now.tv_nsec;
        let ahead = report[field].as_i64().unwrap() - host;
        (ahead + 30 * SECOND).div_euclid(60 * SECOND)
    })
}

/// runc 1.1 knows no time namespaces.
fn time_lab() -> Option<Lab> {
    Lab::root().filter(|lab| !lab.is_peer())
}

#[test]
fn a_time_namespace_has_its_own_clocks() {
    let Some(lab) = time_lab() else { return };
    let mut bundle = lab.bundle();
    bundle.add_namespace("time", None);
    let report = lab.report(&mut bundle);
    assert_ne!(report["namespaces"]["time"], json!(host::namespace("self", "time")));
    assert_eq!(offsets(&report), [0, 0]);
    assert_eq!(report["pid"], 1);

    // In minutes: 20 days and two days; a boot clock can not be moved below 0, so only ahead.
    bundle.config["linux"]["timeOffsets"] =
        json!({"monotonic": {"secs": 172_800}, "boottime": {"secs": 1_728_000, "nanosecs": 500_000_000}});
    let report = lab.report(&mut bundle);
    assert_eq!(offsets(&report), [2880, 28_800]);
    assert_eq!(report["namespaces"]["time"], report["namespaces"]["time_for_children"]);
    assert_eq!(report["pid"], 1);
}

#[test]
fn a_time_namespace_is_joined_by_path_and_by_exec() {
    let Some(lab) = time_lab() else { return };
    let mut bundle = lab.bundle();
    bundle.add_namespace("time", None);
    bundle.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 172_800}});
    bundle.args(["/bin/probe", "signal-wait"]);
    let first = lab.create(&bundle);
    first.start();
    let theirs = json!(host::namespace(&first.pid().to_string(), "time"));
    let report: Value = serde_json::from_str(&first.exec(&[], &["/bin/probe"]).run().ok().stdout()).unwrap();
    assert_eq!((&report["namespaces"]["time"], offsets(&report)), (&theirs, [0, 2880]));

    let mut bundle = lab.bundle();
    bundle.add_namespace("time", Some(&format!("/proc/{}/ns/time", first.pid())));
    let report = lab.report(&mut bundle);
    assert_eq!((&report["namespaces"]["time"], offsets(&report)), (&theirs, [0, 2880]));
    first.delete_force();
}

#[test]
fn a_time_namespace_beside_a_user_namespace_belongs_to_it() {
    let users = [Lab::user(), Lab::user_without_subids()].map(|lab| lab.filter(|lab| !lab.is_peer()));
    for lab in [time_lab()].into_iter().chain(users).flatten() {
        let mut bundle = lab.bundle();
        if lab.as_user().is_none() {
            bundle.add_namespace("user", None);
            let map = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
            bundle.config["linux"]["uidMappings"] = map.clone();
            bundle.config["linux"]["gidMappings"] = map;
        }
        if let Some((user, (uids, _), (gids, _))) =
            lab.as_user().and_then(|user| Some((user, user.subuids?, user.subgids?)))
        {
            // With subordinate ids, which newuidmap(1) maps: it looks at whose the process is.
            let map = |own, first| json!([{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": first, "size": 10}]);
            bundle.config["linux"]["uidMappings"] = map(user.uid, uids);
            bundle.config["linux"]["gidMappings"] = map(user.gid, gids);
        }
        bundle.add_namespace("time", None);
        bundle.config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 172_800}});
        let report = lab.report(&mut bundle);
        assert_eq!(offsets(&report), [2880, 0]);
        assert_ne!(report["namespaces"]["user"], json!(host::namespace("self", "user")));
        assert_eq!((&report["pid"], &report["uid"]), (&json!(1), &json!([0, 0, 0, 0])));
        bundle.args(["/bin/probe", "signal-wait"]);
        let container = lab.create(&bundle);
        container.start();
        let report: Value = serde_json::from_str(&container.exec(&[], &["/bin/probe"]).run().ok().stdout()).unwrap();
        assert_eq!(offsets(&report), [2880, 0]);
        container.delete_force();
    }
}

#[test]
fn wrong_time_offsets_are_refused() {
    let Some(lab) = time_lab() else { return };
    for (namespace, offsets, words) in [
        (false, json!({"monotonic": {"secs": 1}}), ["linux.timeOffsets", "needs a time namespace"]),
        (true, json!({"realtime": {"secs": 1}}), ["linux.timeOffsets[\"realtime\"]", "monotonic, boottime"]),
        (
            true,
            json!({"monotonic": {"nanosecs": 1_000_000_000}}),
            ["linux.timeOffsets.monotonic.nanosecs", "1000000000"],
        ),
        (true, json!({"monotonic": {"secs": -4_000_000_000_i64}}), ["linux.timeOffsets", "before 0"]),
        (true, json!({"boottime": {"secs": i64::MAX}}), ["linux.timeOffsets", "146 years"]),
    ] {
        let mut bundle = lab.bundle();
        bundle.args(["/bin/true"]);
        if namespace {
            bundle.add_namespace("time", None);
        }
        bundle.config["linux"]["timeOffsets"] = offsets.clone();
        let finished = lab.run(&bundle).exits(1);
        for word in words {
            assert!(finished.stderr().contains(word), "{offsets}: {word:?} is not in {}", finished.stderr());
        }
        assert_eq!(lab.leaks(), "", "{offsets}");
    }
}

/// The namespace is kept by a process of its own, in which the container's root is then changed.
#[test]
fn a_mount_namespace_with_a_path_is_joined() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe"]);
    let there = lab.directory("there");
    let keeper = lab.path("keeper");
    // What is mounted in that namespace only can be a source of the container. The keeper stops rather than sleeps:
    // its root changes under it, so from then on it must need no file any more.
    let script = format!(
        "mount -t tmpfs prepared '{0}' && echo inside > '{0}/word' && echo $$ > '{1}.new' && mv '{1}.new' '{1}'; kill -STOP $$",
        there.display(),
        keeper.display()
    );
    let running = lab.program("/usr/bin/unshare").args(["-m", "--propagation", "private", "sh", "-c", &script]).start();
    pipkin_harness::await_path(&keeper);
    let pid = std::fs::read_to_string(&keeper).unwrap().trim().to_owned();
    pipkin_harness::await_true("the keeper has stopped", || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") T ")
    });
    let path = format!("/proc/{pid}/ns/mnt");
    bundle.add_namespace("mount", Some(&path));
    bundle.add_mount("/srv", "bind", &there, &["bind", "ro"]);
    let report = lab.report(&mut bundle);
    assert_eq!(report["namespaces"]["mnt"], json!(host::namespace(&pid, "mnt")));
    assert!(report["root_entries"].as_array().unwrap().contains(&json!("srv")));
    assert!(report["mounts"].as_array().unwrap().iter().any(|mount| mount["source"] == "prepared"), "{report}");

    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.add_namespace("mount", Some("/proc/self/ns/mnt"));
    let finished = lab.run(&bundle).exits(1);
    assert!(finished.stderr().contains("host's mount namespace"), "{}", finished.all());
    running.signal(rustix::process::Signal::KILL);
    running.wait();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn the_names_of_a_uts_namespace_that_is_joined() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let mut bundle = lab.bundle();
    bundle.config["hostname"] = json!("pod");
    bundle.args(["/bin/probe", "signal-wait"]);
    let first = lab.create(&bundle);
    first.start();
    let path = format!("/proc/{}/ns/uts", first.pid());
    // The same name, another one, and none.
    for (hostname, seen) in [(Some("pod"), "pod"), (Some("other"), "other"), (None, "other")] {
        let mut bundle = lab.bundle();
        bundle.add_namespace("uts", Some(&path));
        bundle.config["hostname"] = json!(hostname);
        assert_eq!(lab.report(&mut bundle)["hostname"], seen, "{hostname:?}");
    }
    // A container with a user namespace of its own has no right to set it, and need not.
    let mut bundle = lab.bundle();
    bundle.add_namespace("user", None);
    let map = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    bundle.add_namespace("uts", Some(&path));
    bundle.config["hostname"] = json!("other");
    assert_eq!(lab.report(&mut bundle)["hostname"], "other");
    bundle.config["hostname"] = json!("third");
    let finished = lab.run(&bundle).exits(1);
    assert!(finished.stderr().contains("set the hostname \"third\""), "{}", finished.all());
    // The host's own name is not a container's to change.
    let mut bundle = lab.bundle();
    bundle.add_namespace("uts", Some("/proc/self/ns/uts"));
    bundle.config["hostname"] = json!("pwned");
    let finished = lab.run(&bundle).exits(1);
    assert!(finished.stderr().contains("hostname: not allowed in the host's uts namespace"), "{}", finished.all());
    assert_ne!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "pwned");
    first.delete_force();
}
