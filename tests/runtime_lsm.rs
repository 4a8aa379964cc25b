//! Labels of Linux security modules. Where the kernel has no AppArmor (all of these tests run in the emulated machine of
//! `make test`) only the refusals are tested.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::path::Path;

use pipkin_harness::{Bundle, Lab, Program, adopt, await_true, host, skipped};
use serde_json::{Value, json};

fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

/// The lab, where profiles can be loaded; otherwise a SKIPPED line.
fn lab_with_apparmor() -> Option<Lab> {
    if has_apparmor() {
        return Lab::root();
    }
    skipped("this kernel has no AppArmor");
    None
}

/// A profile that is loaded as long as this is there.
struct Profile {
    name: String,
    text: String,
}

impl Profile {
    /// Allows everything but writing files named `denied`.
    fn load(name: String) -> Self {
        let rules = "file, capability, network, mount, umount, remount, pivot_root, signal, ptrace, unix, change_profile, deny /**/denied w,";
        let text = format!("profile {name} flags=(attach_disconnected) {{ {} }}\n", rules.replace(", ", ",\n"));
        parser("--replace", &text);
        Self { name, text }
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        parser("--remove", &self.text);
    }
}

fn parser(action: &str, text: &str) {
    Program::new("apparmor_parser").args([action, "--skip-cache", "--quiet"]).input(text.as_bytes()).run().ok();
}

/// Says its profile, and whether it can write a file that the profile denies.
const SCRIPT: &str = "cat /proc/self/attr/current; : > /tmp/allowed && (: > /tmp/denied) 2>&1";

fn confined(lab: &Lab, profile: &str) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.config["process"]["apparmorProfile"] = json!(profile);
    bundle.config["root"]["readonly"] = json!(false);
    bundle.args(["/bin/sh", "-c", SCRIPT]);
    bundle
}

/// The profile of a process of the host.
fn profile_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current")).unwrap().trim().to_owned()
}

#[test]
fn a_program_runs_under_its_profile() {
    let Some(lab) = lab_with_apparmor() else { return };
    let profile = Profile::load(lab.name().to_owned());
    let mut bundle = confined(&lab, &profile.name);
    let enforced = format!("{} (enforce)", profile.name);
    for no_new_privileges in [false, true] {
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let finished = lab.run(&bundle);
        let said = finished.stdout();
        assert!(finished.code() != 0 && said.starts_with(&enforced), "{}", finished.all());
        assert!(said.to_lowercase().contains("denied"), "{}", finished.all());
    }
    // With a user namespace, and as an ordinary user in it.
    bundle.add_namespace("user", None);
    for kind in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][kind] = json!([{"containerID": 0, "hostID": 100_000, "size": 2000}]);
    }
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    bundle.config["root"]["readonly"] = json!(true);
    bundle.add_mount("/tmp", "tmpfs", "tmpfs", &["mode=1777"]);
    let finished = lab.run(&bundle);
    assert!(finished.stdout().starts_with(&enforced), "{}", finished.all());
    assert!(finished.stdout().to_lowercase().contains("denied"), "{}", finished.all());

    // Without a profile, and with the word for none, the same program may.
    for nothing in ["", "unconfined"] {
        let finished = lab.run(&confined(&lab, nothing)).ok();
        assert!(finished.stdout().starts_with("unconfined"), "{}", finished.all());
    }
}

#[test]
fn an_ordinary_users_container_runs_under_a_profile() {
    if !has_apparmor() {
        return skipped("this kernel has no AppArmor");
    }
    let Some(lab) = Lab::user() else { return };
    let profile = Profile::load(lab.name().to_owned());
    let finished = lab.run(&confined(&lab, &profile.name));
    assert!(finished.stdout().starts_with(&profile.name), "{}", finished.all());
}

#[test]
fn exec_is_behind_the_containers_wall_unless_it_names_another() {
    let Some(lab) = lab_with_apparmor() else { return };
    let profile = Profile::load(lab.name().to_owned());
    let other = Profile::load(format!("{}-other", lab.name()));
    let mut bundle = confined(&lab, &profile.name);
    bundle.args(["/bin/probe", "signal-wait"]);
    let container = lab.create(&bundle);
    container.start();
    await_true("the program's first word", || container.stdout().contains("ready"));
    assert_eq!(profile_of(container.pid()), format!("{} (enforce)", profile.name));
    let said = |name: &str| format!("{name} (enforce)");
    let finished = container.exec(&[], &["/bin/sh", "-c", SCRIPT]).run();
    assert!(finished.stdout().starts_with(&said(&profile.name)), "{}", finished.all());
    assert!(finished.stdout().to_lowercase().contains("denied"), "{}", finished.all());
    for (label, expected) in
        [(json!(null), &profile.name), (json!(""), &profile.name), (json!(other.name), &other.name)]
    {
        let mut process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["cat", "/proc/self/attr/current"],
            "env": ["PATH=/bin"]});
        if !label.is_null() {
            process["apparmorProfile"] = label;
        }
        let file = lab.file("process.json", process.to_string());
        let finished = container.exec(&["--process", file.to_str().unwrap()], &[]).run().ok();
        assert_eq!(finished.stdout().trim(), said(expected));
    }
    // The flag is the last word, also over a document that says something else; a word for none takes the wall away.
    let current = ["cat", "/proc/self/attr/current"];
    let finished = container.exec(&["--apparmor", &other.name], &current).run().ok();
    assert_eq!(finished.stdout().trim(), said(&other.name));
    let finished = container.exec(&["--apparmor", &other.name, "--user", "1000:1000"], &current).run().ok();
    assert_eq!(finished.stdout().trim(), said(&other.name));
    let finished = container.exec(&["--apparmor", "unconfined"], &current).run().ok();
    assert_eq!(finished.stdout().trim(), "unconfined");
    let finished = container.exec(&["--apparmor", "no-such-profile"], &["/bin/true"]).run();
    assert!(finished.code() != 0 && finished.stderr().contains("no-such-profile"), "{}", finished.all());
    // SELinux is another module, and not there.
    let finished = container.exec(&["--process-label", "system_u:system_r:container_t:s0"], &["/bin/true"]).run();
    assert!(finished.code() != 0 && finished.stderr().contains("SELinux"), "{}", finished.all());
    assert_eq!(container.status(), "running");
    container.delete_force();
}

/// CVE-2019-16884, CVE-2025-52881: the label must not go into a file that the container has put over its /proc.
#[test]
fn a_prepared_proc_does_not_take_the_label() {
    let Some(lab) = lab_with_apparmor() else { return };
    let profile = Profile::load(lab.name().to_owned());
    let mut bundle = confined(&lab, &profile.name);
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
    }
    bundle.config["linux"]["readonlyPaths"] = json!([]);
    bundle.config["linux"]["maskedPaths"] = json!([]);
    let fake = "mkdir -p /proc/self/attr/apparmor /proc/1/attr && : > /proc/self/attr/exec && : > /proc/self/attr/apparmor/exec";
    for cover in [
        format!("mount -t tmpfs tmpfs /proc && {fake}"),
        "mount --bind /proc/self/sched /proc/self/attr/exec && mount --bind /proc/self/sched /proc/self/attr/apparmor/exec".to_owned(),
        "mount --bind /dev/null /proc/1/attr/exec; mount --bind /sys /proc".to_owned(),
    ] {
        let script = format!("({cover}) && echo covered; exec probe signal-wait");
        bundle.args(["/bin/sh", "-c", &script]);
        let container = lab.create(&bundle);
        container.start();
        await_true("the cover", || container.stdout().contains("ready"));
        assert!(container.stdout().contains("covered"), "{cover}: {}", container.stderr());
        let pid_file = lab.path("exec.pid");
        let options = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
        let started = container.exec(&options, &["/bin/probe", "signal-wait", "second"]).run().ok();
        // `exec` returns when execve(2) can not fail any more; the label comes with its last step.
        await_true("the second program's word", || started.stdout().contains("second"));
        let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        adopt(pid);
        assert_eq!(profile_of(pid), format!("{} (enforce)", profile.name), "{cover}");
        container.delete_force();
    }
}

#[test]
fn a_restored_container_is_behind_its_wall() {
    let Some(lab) = lab_with_apparmor() else { return };
    if host::which("criu").is_none_or(|criu| Program::new(criu).arg("check").run().code() != 0) {
        return skipped("no criu that works on this kernel");
    }
    let profile = Profile::load(lab.name().to_owned());
    let mut bundle = confined(&lab, &profile.name);
    bundle.share_namespace("network");
    bundle.args(["/bin/sh", "-c", "until [ -e /tmp/go ]; do sleep 0.01; done; (: > /tmp/denied) && exit 3; exit 7"]);
    bundle.save();
    let (id, images, pid_file) = (lab.id(), lab.path("images"), lab.path("pid"));
    let words = ["--detach", "--bundle", bundle.path_text(), "--pid-file", pid_file.to_str().unwrap()];
    lab.runtime(["run"].into_iter().chain(words).chain([id.as_str()])).run().ok();
    let images = ["--image-path", images.to_str().unwrap()];
    lab.runtime(["checkpoint"].into_iter().chain(images).chain([id.as_str()])).run().ok();
    let restored = lab
        .runtime(["restore"].into_iter().chain(images).chain(words[1..].iter().copied()).chain([id.as_str()]))
        .start();
    await_true("it runs", || lab.runtime(["state", &id]).run().stdout().contains("\"running\""));
    let state: Value = serde_json::from_str(&lab.runtime(["state", &id]).run().ok().stdout()).unwrap();
    let pid = state["pid"].as_i64().unwrap() as i32;
    assert_eq!(profile_of(pid), format!("{} (enforce)", profile.name));
    fs::write(bundle.rootfs("/tmp/go"), "").unwrap();
    restored.wait().exits(7);
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_profile_that_is_not_loaded_is_refused_at_create() {
    let Some(lab) = lab_with_apparmor() else { return };
    let bundle = confined(&lab, "no-such-profile");
    bundle.save();
    let id = lab.id();
    let finished = lab.runtime(["create", "--bundle", bundle.path_text(), &id]).run();
    finished.fails(1, &["process.apparmorProfile", "no-such-profile", "apparmor_parser"]);
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_label_without_its_module_is_refused_and_nothing_is_made() {
    let Some(lab) = Lab::root() else { return };
    let selinux = Path::new("/sys/fs/selinux").exists();
    let cases = [
        ("/process/apparmorProfile", "process.apparmorProfile", "AppArmor", has_apparmor()),
        ("/process/selinuxLabel", "process.selinuxLabel", "SELinux", selinux),
        ("/linux/mountLabel", "linux.mountLabel", "SELinux", selinux),
    ];
    for (pointer, field, module, there) in cases {
        if there {
            continue;
        }
        let mut bundle = lab.bundle();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        bundle.config.pointer_mut(parent).unwrap()[name] = json!("system_u:system_r:container_t:s0:c1,c2");
        bundle.args(["/bin/true"]);
        lab.run(&bundle).fails(1, &[field, module]);
        assert_eq!(lab.leaks(), "");
    }
    // exec, in a container without a label: by document and by flag.
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "signal-wait"]);
    let container = lab.create(&bundle);
    container.start();
    for (field, flag, module, there) in [
        ("apparmorProfile", "--apparmor", "AppArmor", has_apparmor()),
        ("selinuxLabel", "--process-label", "SELinux", selinux),
    ] {
        if there {
            continue;
        }
        let mut process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"]});
        process[field] = json!("x");
        let file = lab.file("process.json", process.to_string());
        for options in [["--process", file.to_str().unwrap()], [flag, "x"]] {
            let words: &[&str] = if options[0] == flag { &["/bin/true"] } else { &[] };
            let finished = container.exec(&options, words).run();
            let said = finished.stderr();
            assert!(finished.code() != 0 && said.contains(&format!("process.{field}")), "{}", finished.all());
            assert!(said.contains(module), "{said}");
        }
    }
    assert_eq!(container.status(), "running");
    container.delete_force();
}
