//! The file systems a container sees: mounts with their options, devices, masked and read-only paths, the root.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use pipkin_harness::host::{View, view};
use pipkin_harness::{Bundle, Lab};
use serde_json::{Value, json};

/// The uppermost mount at that place in the probe's report.
fn mount<'a>(report: &'a Value, target: &str) -> Option<&'a Value> {
    report["mounts"].as_array().unwrap().iter().rev().find(|mount| mount["target"] == target)
}

/// Its per-mount and per-file-system options.
fn options(mount: &Value) -> Vec<&str> {
    let lists = [&mount["options"], &mount["super"]];
    lists.into_iter().flat_map(|list| list.as_array().unwrap()).map(|option| option.as_str().unwrap()).collect()
}

#[test]
fn every_mount_of_the_default_configuration_is_there_with_its_options() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let report = lab.report(&mut bundle);
    // Target, type, what must be among the options, what must not.
    let expected: [(&str, &str, &[&str], &[&str]); 6] = [
        ("/proc", "proc", &["rw"], &["ro"]),
        ("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"], &["noexec", "relatime"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"], &["ro"]),
        ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "size=65536k"], &["ro"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"], &["ro"]),
        ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"], &[]),
    ];
    for (target, kind, has, has_not) in expected {
        let mount = mount(&report, target).unwrap_or_else(|| panic!("nothing is mounted on {target}"));
        assert_eq!(mount["type"], kind, "{target}");
        let options = options(mount);
        for option in has {
            assert!(options.contains(option), "{target}: {option} is not in {options:?}");
        }
        for option in has_not {
            assert!(!mount["options"].as_array().unwrap().contains(&json!(option)), "{target}: {option} in {mount}");
        }
    }
    let stat = |path: &str| report["dev"][path]["mode"].clone();
    assert_eq!(stat("/dev/shm"), "1777");
}

#[test]
fn the_cgroup_mount_shows_the_containers_own_cgroup_read_only() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let report = lab.report(&mut bundle);
    match view() {
        View::V2 => {
            let mount = mount(&report, "/sys/fs/cgroup").unwrap();
            assert_eq!(mount["type"], "cgroup2");
            assert!(options(mount).contains(&"ro"));
        }
        View::Hybrid => {
            for controller in ["memory", "pids", "cpu", "devices", "freezer", "systemd"] {
                let target = format!("/sys/fs/cgroup/{controller}");
                let mount = mount(&report, &target).unwrap_or_else(|| panic!("nothing is mounted on {target}"));
                assert_eq!(mount["options"].as_array().unwrap()[0], "ro", "{mount}");
            }
        }
    }
    // Its own cgroup, not the machine's: this very process is the only one in it.
    let procs = if view() == View::V2 { "/sys/fs/cgroup/cgroup.procs" } else { "/sys/fs/cgroup/pids/cgroup.procs" };
    bundle.args(["/bin/cat", procs]);
    if view() == View::V2 {
        bundle.add_namespace("cgroup", None);
    }
    assert_eq!(lab.run(&bundle).ok().stdout(), "1\n");
}

#[test]
fn masked_paths_show_nothing_and_read_only_paths_can_not_be_written() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    fs::create_dir(bundle.rootfs("/srv/secret")).unwrap();
    fs::write(bundle.rootfs("/srv/secret/inside"), "x").unwrap();
    fs::write(bundle.rootfs("/srv/key"), "secret").unwrap();
    for path in ["/srv/secret", "/srv/key", "/not/there"] {
        bundle.config["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!(path));
    }
    bundle.config["linux"]["readonlyPaths"].as_array_mut().unwrap().push(json!("/also/not/there"));
    bundle.config["root"]["readonly"] = json!(false);
    bundle.args(["/bin/sh", "-c", "ls -A /srv/secret; cat /srv/key /proc/keys /proc/timer_list; echo done"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "done\n");
    for path in ["/proc/sys/kernel/domainname", "/proc/irq/default_smp_affinity"] {
        bundle.args(["/bin/probe", "open", path, "wo"]);
        assert!(lab.run(&bundle).exits(1).stderr().contains("EROFS"), "{path}");
    }
    // What is masked stays masked for a process that may mount.
    bundle.args(["/bin/probe", "write", "/srv/secret/new", "x"]);
    lab.run(&bundle).exits(1);
}

#[test]
fn the_root_is_read_only_or_not_as_asked() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "create", "/srv/new"]);
    assert!(lab.run(&bundle).exits(1).stderr().contains("EROFS"));
    assert!(!bundle.rootfs("/srv/new").exists());
    bundle.config["root"]["readonly"] = json!(false);
    lab.run(&bundle).ok();
    assert!(bundle.rootfs("/srv/new").exists());
}

#[test]
fn the_default_devices_are_there_and_usable() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let report = lab.report(&mut bundle);
    for (path, major, minor) in [
        ("/dev/null", 1, 3),
        ("/dev/zero", 1, 5),
        ("/dev/full", 1, 7),
        ("/dev/random", 1, 8),
        ("/dev/urandom", 1, 9),
        ("/dev/tty", 5, 0),
    ] {
        let device = &report["dev"][path];
        assert_eq!(device["kind"], "char", "{path}");
        assert_eq!(device["rdev"], json!([major, minor]), "{path}");
        assert_eq!(device["mode"], "0666", "{path}");
        assert_eq!(device["uid"], 0, "{path}");
    }
    for (path, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ] {
        assert_eq!(report["dev"][path]["link"], target, "{path}");
    }
    bundle.args([
        "/bin/sh",
        "-c",
        "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 5 /dev/urandom | wc -c",
    ]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "4\n5\n");
    bundle.args(["/bin/sh", "-c", "echo x > /dev/full"]);
    lab.run(&bundle).exits(1);
}

#[test]
fn devices_of_the_configuration_have_their_type_owner_and_mode() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"]["devices"] = json!([
        {"path": "/dev/own", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 1000, "gid": 5},
        {"path": "/dev/deep/er/block", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600, "uid": 0, "gid": 0},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622, "uid": 0, "gid": 0},
    ]);
    bundle.args(["/bin/stat", "-c", "%n %F %t:%T %a %u:%g", "/dev/own", "/dev/deep/er/block", "/dev/pipe"]);
    assert_eq!(
        lab.run(&bundle).ok().stdout(),
        "/dev/own character special file a:e5 640 1000:5\n\
         /dev/deep/er/block block special file 7:c8 600 0:0\n\
         /dev/pipe fifo 0:0 622 0:0\n"
    );
}

#[test]
fn bind_mounts_of_files_and_directories() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let directory = lab.directory("data");
    fs::write(directory.join("file"), "one\n").unwrap();
    let file = lab.file("single", "two\n");
    // Destinations that do not exist are made.
    bundle.add_mount("/mnt/data", "bind", &directory, &["bind"]);
    bundle.add_mount("/mnt/single", "bind", &file, &["rbind", "ro"]);
    bundle.add_mount("/srv", "none", &directory, &["bind", "ro", "noexec", "nosuid", "nodev"]);
    bundle.args(["/bin/sh", "-c", "cat /mnt/data/file /mnt/single /srv/file; echo new > /mnt/data/written"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "one\ntwo\none\n");
    assert_eq!(fs::read_to_string(directory.join("written")).unwrap(), "new\n");

    for path in ["/mnt/single", "/srv/file"] {
        bundle.args(["/bin/probe", "open", path, "rw"]);
        assert!(lab.run(&bundle).exits(1).stderr().contains("EROFS"), "{path}");
    }
    let report = lab.report(&mut bundle);
    let seen = options(mount(&report, "/srv").unwrap());
    for option in ["ro", "noexec", "nosuid", "nodev"] {
        assert!(seen.contains(&option), "{option} in {seen:?}");
    }
    assert!(options(mount(&report, "/mnt/data").unwrap()).contains(&"rw"));
}

#[test]
fn a_relative_bind_source_is_below_the_bundle() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    fs::write(bundle.path().join("beside"), "beside\n").unwrap();
    bundle.add_mount("/srv/beside", "bind", "beside", &["bind", "ro"]);
    bundle.config["root"]["readonly"] = json!(false);
    bundle.args(["/bin/cat", "/srv/beside"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "beside\n");
}

#[test]
fn tmpfs_with_its_options_and_in_order() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.add_mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec", "mode=1777", "size=1m"]);
    bundle.add_mount("/tmp/inner", "tmpfs", "tmpfs", &["mode=0700", "size=64k"]);
    bundle.args([
        "/bin/sh",
        "-c",
        "stat -c '%a %n' /tmp /tmp/inner; dd if=/dev/zero of=/tmp/big bs=1024 count=2048 2>/dev/null",
    ]);
    let finished = lab.run(&bundle).exits(1);
    assert_eq!(finished.stdout(), "1777 /tmp\n700 /tmp/inner\n");
}

#[test]
fn tmpcopyup_keeps_what_was_there() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    fs::create_dir(bundle.rootfs("/srv/sub")).unwrap();
    fs::write(bundle.rootfs("/srv/sub/file"), "kept\n").unwrap();
    symlink("sub/file", bundle.rootfs("/srv/link")).unwrap();
    bundle.add_mount("/srv", "tmpfs", "tmpfs", &["nosuid", "nodev", "tmpcopyup"]);
    bundle.args(["/bin/sh", "-c", "cat /srv/sub/file /srv/link && echo new > /srv/sub/file"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "kept\nkept\n");
    assert_eq!(fs::read_to_string(bundle.rootfs("/srv/sub/file")).unwrap(), "kept\n");
}

#[test]
fn nothing_the_container_mounts_is_seen_outside() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let names: Vec<Value> = ["CAP_SYS_ADMIN"].map(Value::from).to_vec();
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] = json!(names);
    }
    bundle.args(["/bin/sh", "-c", "mount -t tmpfs none /srv && echo ready && cat"]);
    bundle.save();
    let (reader, writer) = std::io::pipe().unwrap();
    let id = lab.id();
    let mut running = lab.runtime(["run", "--bundle", bundle.path_text(), &id]).stdin(reader).start();
    running.hear("ready");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(lab.name()), "{table}");
    drop(writer);
    running.wait().ok();
}

/// Links in the root file system that point out of it, and what is mounted on them.
#[test]
fn links_in_the_root_file_system_are_followed_inside_it_only() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let outside = lab.directory("outside");
    let source = lab.file("source", "mounted\n");
    symlink(&outside, bundle.rootfs("/srv/absolute")).unwrap();
    symlink("../../../../../../../../../../../..", bundle.rootfs("/srv/up")).unwrap();
    bundle.config["root"]["readonly"] = json!(false);
    bundle.add_mount("/srv/absolute/file", "bind", &source, &["bind"]);
    bundle.add_mount(&format!("/srv/up{}/other", outside.display()), "bind", &source, &["bind"]);
    bundle.add_mount("/srv/absolute/tmp", "tmpfs", "tmpfs", &[]);
    let command = format!("cat {0}/file {0}/other; echo x > {0}/tmp/x", outside.display());
    bundle.args(["/bin/sh", "-c", &command]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "mounted\nmounted\n");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing was made on the host");
}

#[test]
fn proc_and_sys_are_not_mounted_over_links() {
    let Some(lab) = Lab::root() else { return };
    for place in ["proc", "sys"] {
        let mut bundle = lab.bundle();
        fs::remove_dir(bundle.rootfs(place)).unwrap();
        symlink("/srv", bundle.rootfs(place)).unwrap();
        bundle.args(["/bin/true"]);
        lab.run(&bundle).exits(1);
        assert_eq!(lab.leaks(), "", "{place}");
    }
}

#[test]
fn a_working_directory_that_is_missing_is_made_with_the_users_right() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["process"]["cwd"] = json!("/srv/new/deeper");
    let report = lab.report(&mut bundle);
    assert_eq!(report["cwd"], "/srv/new/deeper");
    assert_eq!(fs::metadata(bundle.rootfs("/srv/new/deeper")).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn an_ordinary_users_container_has_devices_and_file_systems_too() {
    let Some(lab) = Lab::user() else { return };
    let mut bundle: Bundle = lab.bundle();
    let report = lab.report(&mut bundle);
    for path in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"] {
        assert_eq!(report["dev"][path]["kind"], "char", "{path}");
    }
    for (target, kind) in
        [("/proc", "proc"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs"), ("/dev/mqueue", "mqueue")]
    {
        assert_eq!(mount(&report, target).unwrap()["type"], kind, "{target}");
    }
    bundle.args(["/bin/sh", "-c", "echo x > /dev/null && head -c 4 /dev/zero | wc -c"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "4\n");
}

#[test]
fn cgroups_are_seen_with_and_without_a_cgroup_namespace() {
    let Some(lab) = Lab::root() else { return };
    let procs = if view() == View::V2 { "/sys/fs/cgroup/cgroup.procs" } else { "/sys/fs/cgroup/pids/cgroup.procs" };
    for (namespace, kind) in [(true, "cgroup"), (false, "cgroup"), (true, "cgroup2"), (false, "cgroup2")] {
        // A mount of type cgroup2 on a machine with both versions is the runtime's to understand; runc 1.1 mounts it as it is.
        if kind == "cgroup2" && (lab.is_peer() || view() == View::Hybrid) {
            continue;
        }
        let mut bundle = lab.bundle();
        bundle.share_namespace("cgroup");
        if namespace {
            bundle.add_namespace("cgroup", None);
        }
        bundle.mount("/sys/fs/cgroup")["type"] = json!(kind);
        bundle.args(["/bin/cat", procs]);
        assert_eq!(lab.run(&bundle).ok().stdout(), "1\n", "namespace: {namespace}, {kind}");
        bundle.args(["/bin/cat", "/proc/self/cgroup"]);
        let own = lab.run(&bundle).ok().stdout();
        assert_eq!(own.lines().all(|line| line.ends_with(":/")), namespace, "{own}");
    }
}

#[test]
fn only_some_files_in_proc_may_be_covered_and_anything_in_sys() {
    let Some(lab) = Lab::root() else { return };
    let file = lab.file("cover", "covered\n");
    for name in ["cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo"] {
        if !std::path::Path::new("/proc").join(name).exists() {
            continue;
        }
        let mut bundle = lab.bundle();
        let place = format!("/proc/{name}");
        bundle.add_mount(&place, "bind", &file, &["bind"]);
        bundle.args(["/bin/cat", &place]);
        assert_eq!(lab.run(&bundle).ok().stdout(), "covered\n", "{name}");
    }
    for name in ["self", "version", "sys/kernel/hostname", "1/status", "sys"] {
        let mut bundle = lab.bundle();
        bundle.add_mount(&format!("/proc/{name}"), "bind", &file, &["bind"]);
        bundle.args(["/bin/true"]);
        lab.run(&bundle).exits(1);
        assert_eq!(lab.leaks(), "", "{name}");
    }
    let mut bundle = lab.bundle();
    bundle.add_mount("/sys/kernel", "tmpfs", "tmpfs", &["size=64k"]);
    bundle.args(["/bin/ls", "/sys/kernel"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "");
    // Over /proc itself only another procfs.
    let mut bundle = lab.bundle();
    bundle.add_mount("/proc", "bind", lab.directory("false-proc"), &["bind"]);
    bundle.args(["/bin/true"]);
    lab.run(&bundle).exits(1);
    assert_eq!(lab.leaks(), "");
}

/// CVE-2025-31133: what masked files are covered with is looked at.
#[test]
fn a_false_null_device_covers_nothing() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.save();
    let script = "mount --bind /etc/hostname /dev/null && exec \"$@\"";
    let root = lab.state_root();
    let id = lab.id();
    let words = ["-m", "--propagation", "private", "sh", "-c", script, "sh", lab.runtime_path().to_str().unwrap()];
    let words = words.into_iter().chain(["--root", root.to_str().unwrap(), "run", "--bundle", bundle.path_text(), &id]);
    let finished = lab.program("/usr/bin/unshare").args(words).run().exits(1);
    assert!(finished.stderr().contains("/dev/null is not the null device"), "{}", finished.all());
    assert_eq!(lab.leaks(), "");
}
