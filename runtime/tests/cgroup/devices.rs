//! Devices are refused unless they are listed.

use super::*;

#[test]
fn devices_are_denied_unless_listed() {
    if !is_root() {
        return;
    }
    let test = TestCgroup::new(
        "devices",
        json!({"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
        ]}),
    );
    let all = "1:3 m 1:3 r 1:3 w 1:11 m 1:11 r 1:11 w 10:229 m 10:229 r 10:229 w ";
    assert_eq!(access(None, &[NULL, KMSG, FUSE]), all);
    assert_eq!(access(Some(&test), &[NULL, KMSG, FUSE]), all, "nothing is restricted yet");
    test.restrict();
    // A node may be made of anything, with runc as well; opening it is another matter.
    let listed = "1:3 m 1:3 r 1:3 w 1:11 m 1:11 r 10:229 m ";
    assert_eq!(access(Some(&test), &[NULL, KMSG, FUSE]), listed);
}

#[test]
fn a_later_rule_takes_back_an_earlier_one() {
    if !is_root() {
        return;
    }
    let rules = json!({"devices": [
        {"allow": true, "access": "rwm"},
        {"allow": false, "type": "c", "major": 10, "access": "wm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "w"},
    ]});
    if has("devices") {
        // Version 1 can not hold it, and must not pretend to.
        let text = plan("order", rules).unwrap_err().into_result().unwrap_err().to_string();
        assert!(text.starts_with("linux.resources.devices: ") && text.contains("c 10:229 w"), "{text}");
        return;
    }
    let test = TestCgroup::new("order", rules);
    test.restrict();
    let expected = "1:11 m 1:11 r 1:11 w 10:229 m 10:229 r 10:229 w 10:1 m 10:1 r ";
    assert_eq!(access(Some(&test), &[KMSG, FUSE, (10, 1)]), expected);
}

#[test]
fn update_replaces_the_device_rules() {
    if !is_root() {
        return;
    }
    let rule = |device: (u32, u32), access: &str| json!({"allow": true, "type": "c", "major": device.0, "minor": device.1, "access": access});
    let deny = json!({"allow": false, "access": "rwm"});
    let test = TestCgroup::new("update-devices", json!({"devices": [deny, rule(KMSG, "r")]}));
    test.restrict();
    let steps = [
        (json!({"devices": [deny, rule(FUSE, "rw")]}), "1:11 m 10:229 m 10:229 r 10:229 w "),
        (json!({"devices": [deny, rule(KMSG, "w"), rule(FUSE, "w")]}), "1:11 m 1:11 w 10:229 m 10:229 w "),
        (json!({"devices": [{"allow": true, "access": "rwm"}]}), "1:11 m 1:11 r 1:11 w 10:229 m 10:229 r 10:229 w "),
        (json!({"devices": [deny]}), "1:11 m 10:229 m "),
    ];
    for (resources, expected) in steps {
        update(&test, resources.clone()).unwrap();
        assert_eq!(access(Some(&test), &[KMSG, FUSE]), expected, "{resources}");
        if Layout::detect().unwrap().is_unified() {
            let programs = pipkin_runtime::sys::bpf::attached(test.cgroup.clone_into().unwrap()).unwrap();
            let everything = resources["devices"][0]["allow"] == true;
            assert_eq!(programs.len(), usize::from(!everything), "replaced, and none left over: {resources}");
        }
    }
}
