//! `plan`: what a configuration would do, in order, without doing any of it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::{Bundle, Lab};
use serde_json::{Value, json};

/// Asks for one of everything.
fn ask_for_everything(bundle: &mut Bundle) {
    for kind in ["time", "user", "network"] {
        bundle.add_namespace(kind, None);
    }
    let map = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    let linux = &mut bundle.config["linux"];
    linux["uidMappings"] = map.clone();
    linux["gidMappings"] = map.clone();
    linux["timeOffsets"] = json!({"boottime": {"secs": 5}});
    linux["netDevices"] = json!({"eth7": {"name": "net%d"}});
    linux["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0-1,3"});
    linux["personality"] = json!({"domain": "LINUX32"});
    linux["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    let process = &mut bundle.config["process"];
    process["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
    process["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 4});
    bundle.config["domainname"] = json!("kitchen.example");
    bundle.config["mounts"].as_array_mut().unwrap().extend([
        json!({"destination": "/srv/a", "source": "/data", "options": ["rbind", "ridmap", "rro"]}),
        json!({"destination": "/srv/b", "source": "/link", "options": ["bind", "copy-symlink"]}),
        json!({"destination": "/srv/c", "type": "tmpfs", "options": ["nosymfollow"]}),
        json!({"destination": "/srv/c", "options": ["remount", "size=1m", "noexec"]}),
    ]);
}

const LINES: [&str; 14] = [
    "make new namespaces: user, pid, network, ipc, uts, ",
    "map user ids: 0 of the container are 200000 of the host, 1000 in all",
    "move the network device eth7 as net%d into the container",
    "move the clock boottime 5.000000000 s",
    "bind with all below /data on /srv/a, with all below: ro, ids mapped with all below user 0 as 200000 (1000 in all)",
    "bind /link on /srv/b, or copy it if it is a link,",
    "mount tmpfs on /srv/c nosymfollow",
    "change the mount on /srv/c size=1m noexec",
    "set domainname kitchen.example",
    "write \"1\" to /proc/sys/net/ipv4/ip_forward",
    "schedule as SCHED_BATCH with nice 7",
    "set the I/O priority idle, level 4",
    "take memory by MPOL_BIND of nodes 0-1,3",
    "set the personality 8",
];

#[test]
fn every_step_is_told_in_order_to_anybody() {
    for lab in [Lab::root(), Lab::user()].into_iter().flatten().filter(|lab| !lab.is_peer()) {
        let mut bundle = lab.bundle();
        ask_for_everything(&mut bundle);
        bundle.save();
        let text = lab.runtime(["plan", "--bundle", bundle.path_text()]).run().ok().stdout();
        let mut rest = text.as_str();
        for line in LINES {
            let (_, after) = rest.split_once(line).unwrap_or_else(|| panic!("{line:?} is not in its place in\n{text}"));
            rest = after;
        }
        let json = lab.runtime(["plan", "--format", "json", "--bundle", bundle.path_text()]).run().ok().stdout();
        let plan: Value = serde_json::from_str(&json).unwrap();
        assert!(json.contains("\"eth7\"") && plan.is_object(), "{json}");
        assert_eq!(lab.leaks(), "");
    }
}

#[test]
fn every_problem_is_found_at_once() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let mut bundle = lab.bundle();
    ask_for_everything(&mut bundle);
    bundle.share_namespace("time");
    bundle.share_namespace("network");
    bundle.config["process"]["scheduler"]["nice"] = json!(99);
    bundle.config["process"]["ioPriority"]["priority"] = json!(99);
    bundle.config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_LOCAL", "nodes": "1"});
    bundle.config["linux"]["personality"]["flags"] = json!(["MOON"]);
    bundle.config["mounts"].as_array_mut().unwrap().push(json!({"destination": "/x", "options": ["remount"]}));
    bundle.save();
    let finished = lab.runtime(["plan", "--bundle", bundle.path_text()]).run().exits(1);
    let text = finished.all();
    for field in [
        "linux.timeOffsets: needs a time namespace",
        "linux.netDevices: needs a network namespace",
        "linux.sysctl[\"net.ipv4.ip_forward\"]",
        "process.scheduler.nice: 99",
        "process.ioPriority.priority: 99",
        "linux.memoryPolicy.nodes: 1",
        "linux.personality.flags: \"MOON\"",
        "mounts[11].options",
    ] {
        assert!(text.contains(field), "{field} is not in\n{text}");
    }
}
