//! `linux.netDevices`: devices of the host that become the container's, in network namespaces of the tests' own.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::{Bundle, Finished, Lab};
use serde_json::{Value, json};

/// runc 1.1 knows none of this.
fn lab() -> Option<Lab> {
    Lab::root().filter(|lab| !lab.is_peer())
}

/// Runs the bundle in a new network namespace with three pairs of virtual devices, after the script's preparations.
fn run(lab: &Lab, bundle: &Bundle, prepare: &str, afterwards: &str) -> Finished {
    bundle.save();
    let script = format!(
        "set -e\n\
         ip link set lo up\n\
         for n in 0 1 2; do ip link add host$n type veth peer name peer$n; done\n\
         ip link set host0 mtu 1400 address 02:00:00:00:00:07\n\
         ip addr add 10.77.0.2/24 dev host0\n\
         ip addr add 10.78.0.2 peer 10.78.0.1/32 dev host0\n\
         ip addr add 10.79.0.2/24 scope link dev host0\n\
         ip addr add 10.80.0.2/24 valid_lft 1000 preferred_lft 1000 dev host0\n\
         ip addr add fd77::2/64 nodad dev host0\n\
         ip link set host0 up\n\
         {prepare}\n\
         code=0\n\
         '{}' --root '{}' run --bundle '{}' '{}' || code=$?\n\
         {afterwards}\n\
         exit $code",
        lab.runtime_path().display(),
        lab.state_root().display(),
        bundle.path_text(),
        lab.id()
    );
    lab.program("/usr/bin/unshare").args(["-n", "bash", "-c", &script]).run()
}

#[test]
fn a_device_is_moved_renamed_up_and_keeps_its_lasting_addresses() {
    let Some(lab) = lab() else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["netDevices"] = json!({"host0": {"name": "eth0"}, "host1": {}});
    // A kernel parameter of the device can be set: it is there before.
    bundle.config["linux"]["sysctl"] = json!({"net.ipv4.conf.eth0.forwarding": "1"});
    bundle.args([
        "/bin/sh",
        "-c",
        "ip addr show dev eth0; cat /proc/sys/net/ipv4/conf/eth0/forwarding; ip addr show dev host1",
    ]);
    let text = run(&lab, &bundle, "", "ip -o link show").ok().stdout();
    for seen in [
        "eth0@",
        "mtu 1400",
        "02:00:00:00:00:07",
        "inet 10.77.0.2/24",
        "inet 10.78.0.2 peer 10.78.0.1/32",
        "inet6 fd77::2/64 scope global",
        ",UP",
        "\n1\n",
        "host1@",
    ] {
        assert!(text.contains(seen), "{seen} is not in {text}");
    }
    // Of link scope, or only for a while.
    for unseen in ["10.79.0.2", "10.80.0.2"] {
        assert!(!text.contains(unseen), "{unseen} is in {text}");
    }
    // What the configuration does not name is where it was; what was moved is not given back.
    let (_, left) = text.rsplit_once("host1@").unwrap();
    assert!(left.contains("host2@") && !left.contains("host0@"), "{left}");
}

#[test]
fn a_template_gives_the_first_free_name() {
    let Some(lab) = lab() else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["netDevices"] =
        json!({"host0": {"name": "net%d"}, "host1": {"name": "net%d"}, "host2": {"name": "net0"}});
    // In the order of their names on the host: the third takes what the first has taken.
    bundle.args(["/bin/probe"]);
    let finished = run(&lab, &bundle, "", "").exits(1);
    assert!(finished.stderr().contains("linux.netDevices[\"host2\"]"), "{}", finished.all());
    bundle.config["linux"]["netDevices"]["host2"]["name"] = json!("net7");
    let report: Value = serde_json::from_str(&run(&lab, &bundle, "", "").ok().stdout()).unwrap();
    assert_eq!(report["interfaces"], json!(["lo", "net0", "net1", "net7"]));
}

#[test]
fn into_a_namespace_that_is_joined() {
    let Some(lab) = lab() else { return };
    let mut bundle = lab.bundle();
    let path = lab.path("netns");
    bundle.add_namespace("network", Some(path.to_str().unwrap()));
    bundle.config["linux"]["netDevices"] = json!({"host0": {"name": "eth0"}});
    bundle.args(["/bin/sh", "-c", "ip addr show dev eth0"]);
    // A name that begins as the other's does is another name.
    let prepare = format!(
        "exec 3< <(unshare -n sh -c 'ip link add eth00 type veth; echo $$; exec sleep 600')\n\
         read keeper <&3\n\
         ln -s /proc/$keeper/ns/net '{}'",
        path.display()
    );
    let finished = run(&lab, &bundle, &prepare, "kill $keeper").ok();
    assert!(finished.stdout().contains("inet 10.77.0.2/24"), "{}", finished.all());
    // A second time there is one of that name already.
    std::fs::remove_file(&path).unwrap();
    let prepare = prepare.replace("ip link add eth00 type veth", "ip link add eth0 type veth");
    let finished = run(&lab, &bundle, &prepare, "kill $keeper; ip link show host0").exits(1);
    assert!(finished.stderr().contains("has a device \"eth0\" already"), "{}", finished.all());
    assert!(finished.stdout().contains("host0@"), "it was not moved: {}", finished.all());
    assert_eq!(lab.leaks(), "");
}

#[test]
fn in_a_user_namespace_too() {
    let Some(lab) = lab() else { return };
    let mut bundle = lab.bundle();
    bundle.add_namespace("user", None);
    let map = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    bundle.config["linux"]["netDevices"] = json!({"host0": {"name": "eth0"}});
    bundle.args(["/bin/sh", "-c", "ip addr show dev eth0"]);
    let finished = run(&lab, &bundle, "", "").ok();
    assert!(finished.stdout().contains("inet 10.77.0.2/24"), "{}", finished.all());
}

#[test]
fn wrong_devices_are_refused_and_nothing_is_moved() {
    let Some(lab) = lab() else { return };
    let cases: [(Value, bool, &[&str]); 7] = [
        (json!({"moon0": {}}), true, &["linux.netDevices[\"moon0\"]", "no such network device"]),
        // All are looked at before the first is moved.
        (json!({"host0": {}, "moon0": {}}), true, &["linux.netDevices[\"moon0\"]"]),
        (json!({"host0": {"name": "lo"}}), true, &["linux.netDevices[\"host0\"]", "\"lo\" already"]),
        (json!({"host0": {"name": "a/b"}}), true, &["linux.netDevices[\"host0\"]", "a/b"]),
        (json!({"host0": {"name": "x"}, "host1": {"name": "x"}}), true, &["linux.netDevices[\"host1\"].name"]),
        (json!({"host0": {}}), false, &["linux.netDevices", "network namespace of the container's own"]),
        (json!({"lo": {"name": "eth0"}}), true, &["linux.netDevices[\"lo\"]: move it", "for good"]),
    ];
    for (devices, apart, words) in cases {
        let mut bundle = lab.bundle();
        if !apart {
            bundle.share_namespace("network");
        }
        bundle.args(["/bin/true"]);
        bundle.config["linux"]["netDevices"] = devices.clone();
        let finished = run(&lab, &bundle, "", "ip addr show dev host0").exits(1);
        for word in words {
            assert!(finished.stderr().contains(word), "{devices}: {word:?} is not in {}", finished.stderr());
        }
        assert!(finished.stdout().contains("10.77.0.2/24"), "{devices}: {}", finished.all());
        assert_eq!(lab.leaks(), "", "{devices}");
    }
}

#[test]
fn an_ordinary_user_moves_none() {
    let Some(lab) = Lab::user().filter(|lab| !lab.is_peer()) else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.add_namespace("network", None);
    bundle.config["linux"]["netDevices"] = json!({"lo": {"name": "eth0"}});
    let finished = lab.run(&bundle).exits(1);
    for word in ["linux.netDevices", "CAP_NET_ADMIN"] {
        assert!(finished.stderr().contains(word), "{word}: {}", finished.all());
    }
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_container_that_can_not_be_made_gives_them_back_as_they_were() {
    let Some(lab) = lab() else { return };
    for joined in [false, true] {
        let mut bundle = lab.bundle();
        let path = lab.path(format!("netns-{joined}"));
        if joined {
            bundle.add_namespace("network", Some(path.to_str().unwrap()));
        }
        bundle.config["linux"]["netDevices"] = json!({"host0": {"name": "eth0"}, "host1": {"name": "eth1"}});
        bundle.args(["/no/such/program"]);
        let prepare = format!(
            "exec 3< <(unshare -n sh -c 'echo $$; exec sleep 600'); read keeper <&3; ln -s /proc/$keeper/ns/net '{}'",
            path.display()
        );
        let finished = run(&lab, &bundle, &prepare, "kill $keeper; ip addr show");
        assert!(finished.stderr().contains("/no/such/program"), "{}", finished.all());
        let text = finished.stdout();
        for seen in ["host0@", "mtu 1400", "inet 10.77.0.2/24", "inet6 fd77::2/64", "peer0@", "host1@"] {
            assert!(text.contains(seen), "joined: {joined}: {seen} is not in {text}");
        }
        // It was up, the other was not.
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(line(" host0@").contains(",UP"), "{}", line(" host0@"));
        assert!(!line(" host1@").contains(",UP"), "{}", line(" host1@"));
        assert_eq!(lab.leaks(), "");
    }
}
