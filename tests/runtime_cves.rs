//! One test for each weakness that container runtimes have had and that no other test file has as its subject.
//!
//! "Seen failing" names what was taken out of the runtime, once, to see the test fail.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pipkin_harness::{Bundle, Lab, Program};
use rustix::fs::{CWD, RenameFlags};
use serde_json::{Value, json};

/// A configuration without the tmpfs on /dev: the image's own directory is used, which an attacker has filled.
fn image_with_its_own_dev(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    let below = |mount: &Value| mount["destination"].as_str().unwrap().starts_with("/dev");
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| !below(mount));
    bundle.config["root"]["readonly"] = json!(false);
    bundle
}

/// CVE-2016-9962: nobody in the container looks into the stage before it is the program.
/// Seen failing: with the stage made dumpable again before it waits. (Without `PR_SET_DUMPABLE` in `stage/mod.rs` alone the
/// kernel does the same, when the stage becomes the program's user.)
#[test]
fn the_stage_can_not_be_looked_into() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let user_namespace = |bundle: &mut Bundle, path: Option<&str>| {
        bundle.add_namespace("user", path);
        if path.is_none() {
            bundle.config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
            bundle.config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        }
        for path in ["", "proc", "sys", "dev"] {
            chown(bundle.rootfs(path), Some(100_000), Some(100_000)).unwrap();
        }
    };
    let every: Value = serde_json::from_str::<Value>(
        &fs::read_to_string(pipkin_harness::data_file("configs/podman-privileged.json")).unwrap(),
    )
    .unwrap()["process"]["capabilities"]
        .clone();
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "sleep"]);
    user_namespace(&mut bundle, None);
    bundle.config["process"]["capabilities"] = every;
    let attacker = lab.create(&bundle);
    attacker.start();

    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "sleep"]);
    user_namespace(&mut bundle, Some(&format!("/proc/{}/ns/user", attacker.pid())));
    bundle.add_namespace("pid", Some(&format!("/proc/{}/ns/pid", attacker.pid())));
    let victim = lab.create(&bundle);
    let inner = fs::read_to_string(format!("/proc/{}/status", victim.pid())).unwrap();
    let inner = inner
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .unwrap()
        .split_whitespace()
        .last()
        .unwrap()
        .to_owned();
    for file in ["exe", "root", "cwd", "fd", "environ", "ns/mnt"] {
        let script =
            format!("ls -l /proc/{inner}/{file}/ 2>&1; cat /proc/{inner}/{file} 2>&1; readlink /proc/{inner}/{file}");
        let said = attacker.exec(&[], &["/bin/sh", "-c", &script]).run();
        assert!(said.stdout().contains("Permission denied"), "{file}: {}", said.all());
        assert_ne!(said.code(), 0, "{file}: {}", said.all());
    }
    // As long as nobody has waited for it, the init of its pid namespace can not end either.
    victim.kill("KILL");
    victim.wait();
    victim.delete();
    attacker.delete_force();
}

/// CVE-2016-9962, CVE-2024-21626: what the caller left open is not even in the stage, where a path could lead through it.
/// Seen failing: without `close_on_exec_from` in `launch/task.rs`.
#[test]
fn the_stage_has_nothing_of_its_callers() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "sleep"]);
    bundle.save();
    let (id, leaked, pid_file) = (lab.id(), lab.directory("leaked"), lab.path("pid"));
    let command = format!(
        "exec 3<'{0}' 9<'{0}' 200<'{0}'; exec '{1}' --root '{2}' create --bundle '{3}' --pid-file '{4}' {id}",
        leaked.display(),
        lab.runtime_path().display(),
        lab.state_root().display(),
        bundle.path_text(),
        pid_file.display(),
    );
    lab.program("/bin/bash").args(["-c", &command]).run().ok();
    let inode = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
    let open = fs::read_dir(format!("/proc/{}/fd", fs::read_to_string(&pid_file).unwrap())).unwrap();
    let found: Vec<_> = open.flatten().filter(|file| inode(&file.path()) == inode(&leaked)).collect();
    assert_eq!(found.len(), 0, "{found:?}");
    lab.runtime(["delete", "--force", &id]).run().ok();
}

/// GHSA-g54h-m393-cpwq: without a word about devices a container gets those that every container gets, and no others.
/// Seen failing: without the default denial in `cgroup/devices.rs`.
#[test]
fn devices_are_denied_unless_allowed() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["linux"].as_object_mut().unwrap().remove("resources");
    let capabilities = json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    bundle.config["process"]["capabilities"] =
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities});
    bundle.add_mount("/nodes", "tmpfs", "tmpfs", &["dev"]);
    // The memory of the machine.
    let script = "/bin/probe mknod /nodes/null c 1 3 && echo x > /nodes/null && echo fine
                  /bin/probe mknod /nodes/mem c 1 1; dd if=/nodes/mem of=/nodes/x bs=1 count=1; [ -s /nodes/x ] && echo READ";
    bundle.args(["/bin/sh", "-c", script]);
    let tried = lab.run(&bundle);
    assert_eq!(tried.stdout(), "fine\n", "{}", tried.all());
    assert!(tried.stderr().contains("ermission denied") || tried.stderr().contains("not permitted"), "{}", tried.all());
}

/// CVE-2021-30465: a directory that becomes a link, and a directory again, while mounts are attached in it.
/// Seen failing: without `RESOLVE_IN_ROOT` in `stage/root.rs`, with links followed out of the root where directories are
/// made, and with the path that was found opened once more.
#[test]
fn mount_points_that_are_exchanged_meanwhile() {
    for prepared in [false, true] {
        let Some(lab) = Lab::root() else { return };
        let victim = lab.directory("victim");
        if prepared {
            // Nothing need be made for a mount to lead out; the container then does not have it.
            fs::create_dir_all(victim.join("one/two")).unwrap();
            fs::write(victim.join("three"), "").unwrap();
        }
        start_while_directories_are_exchanged(&lab, &victim);
        let mut made: Vec<_> = fs::read_dir(&victim).unwrap().flatten().map(|entry| entry.file_name()).collect();
        made.sort();
        let expected: &[&str] = if prepared { &["one", "three"] } else { &[] };
        assert_eq!(made, expected, "made outside of the root file system");
    }
}

fn start_while_directories_are_exchanged(lab: &Lab, victim: &Path) {
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = json!(false);
    let (place, link) = (bundle.rootfs("/srv/data"), bundle.rootfs("/srv/link"));
    fs::create_dir_all(&place).unwrap();
    symlink(victim, &link).unwrap();
    bundle.add_mount("/srv/data/one/two", "tmpfs", "tmpfs", &["size=1m"]);
    bundle.add_mount("/srv/data/three", "bind", "/etc/hostname", &["bind"]);
    bundle.args(["/bin/cat", "/proc/self/mountinfo"]);
    bundle.save();
    let over = AtomicBool::new(false);
    let mut ran = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &place, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..40 {
            // It may fail: it must not lead out.
            ran.push(lab.run(&bundle));
        }
        over.store(true, Ordering::Relaxed);
    });
    for finished in ran.iter().filter(|finished| finished.code() == 0) {
        for place in ["/one/two ", "/three "] {
            assert!(finished.stdout().contains(place), "{place}is mounted elsewhere: {}", finished.all());
        }
    }
}

/// CVE-2021-43784: lengths of what a configuration has written are not cut to 16 bits anywhere. (No netlink message is made
/// of them, so there is nothing that could be taken out.)
#[test]
fn a_very_long_mount_source() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    for length in [4096, 65_535, 65_537, 70_000] {
        let mut long = bundle.config.clone();
        std::mem::swap(&mut bundle.config, &mut long);
        bundle.add_mount("/data", "bind", format!("/{}", "x".repeat(length)), &["bind"]);
        // The error quotes it, and so may be too long itself to be told whole.
        assert_eq!(lab.run(&bundle).code(), 1, "{length}");
        bundle.config = long;
    }
}

/// CVE-2023-25809: what an ordinary user's container sees of the host's cgroups it can not write to, also where the
/// hierarchy is the user's. Seen failing: without the read-only attributes in `plan/mounts.rs` (cgroup version 1) and `stage/mounts.rs` (version 2).
#[test]
fn the_hosts_cgroups_are_read_only() {
    let Some(lab) = Lab::user() else { return };
    let mut bundle = lab.bundle();
    bundle.share_namespace("cgroup");
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    bundle.add_mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "rw"]);
    assert_cgroups_are_read_only(&lab.report(&mut bundle));
}

/// The same where the container has no cgroup of its own: the root of its cgroup namespace is the caller's cgroup then.
/// Seen failing: without the read-only attributes in `plan/mounts.rs`.
#[test]
fn the_callers_cgroups_are_read_only() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return; // runc has no --cgroup-manager.
    }
    let mut bundle = lab.bundle();
    bundle.share_namespace("cgroup");
    bundle.add_namespace("cgroup", None);
    bundle.mount("/sys/fs/cgroup")["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
    bundle.args(["/bin/probe"]);
    bundle.save();
    let run = lab.runtime(["--cgroup-manager", "disabled", "run", "--bundle", bundle.path_text(), &lab.id()]).run();
    assert_cgroups_are_read_only(&serde_json::from_str(&run.ok().stdout()).unwrap());
}

#[track_caller]
fn assert_cgroups_are_read_only(report: &Value) {
    // What came with /sys lies below the last one.
    let mounts = report["mounts"].as_array().unwrap();
    let last = mounts.iter().rposition(|mount| mount["target"] == "/sys/fs/cgroup").expect("it is mounted");
    for mount in mounts[last..].iter().filter(|mount| mount["target"].as_str().unwrap().starts_with("/sys/fs/cgroup")) {
        assert!(mount["options"].as_array().unwrap().contains(&json!("ro")), "{mount}");
    }
}

/// CVE-2024-21626, by `exec`: a working directory that is a descriptor of the runtime's or of its caller's.
/// Seen failing: without `close_on_exec_from` (`launch/task.rs`) and `check_working_directory` at once; and, for what the
/// caller asks to pass on, without the latter.
#[test]
fn exec_in_a_directory_of_the_host() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "sleep"]);
    for number in 3..20 {
        symlink(format!("/proc/self/fd/{number}"), bundle.rootfs(&format!("/srv/{number}"))).unwrap();
    }
    let container = lab.create(&bundle);
    container.start();
    for number in 3..20 {
        let command = format!(
            "exec 3</ 4</ 5</ 6</ 7</ 8</ 9</; exec '{}' --root '{}' exec --cwd /srv/{number} {} /bin/sh -c '[ -e ../../../../etc/shadow ] && echo ESCAPED'",
            lab.runtime_path().display(),
            lab.state_root().display(),
            container.id()
        );
        let tried = lab.program("/bin/sh").args(["-c", &command]).run();
        // The stage may have the container's own root open at that number; the image has no shadow file.
        assert_eq!(tried.stdout(), "", "fd {number}: {}", tried.all());
        if number < 10 && !lab.is_peer() {
            let command = command.replace(" exec --cwd", " exec --preserve-fds 7 --cwd");
            let tried = lab.program("/bin/sh").args(["-c", &command]).run();
            assert_eq!(tried.stdout(), "", "fd {number}: {}", tried.all());
            assert!(tried.stderr().contains("outside of the container's root"), "fd {number}: {}", tried.all());
        }
    }
    container.delete_force();
}

/// CVE-2024-45310, CVE-2025-24965: what is made in the image (a working directory, mount points, device nodes) is made
/// inside of it, wherever its links lead. Seen failing: without `RESOLVE_IN_ROOT` in `stage/root.rs`, with links followed out
/// of the root where directories are made, without `O_EXCL` and `O_NOFOLLOW` where files are, and with /dev found by its path.
#[test]
fn nothing_is_made_outside() {
    let Some(lab) = Lab::root() else { return };
    let victim = lab.directory("victim");
    type Change = fn(&mut Bundle);
    let change: [(&str, Change); 7] = [
        ("cwd", |bundle| bundle.config["process"]["cwd"] = json!("/srv/out/new/directory")),
        ("file", |bundle| bundle.add_mount("/srv/out/file", "bind", "/etc/hostname", &["bind"])),
        ("directory", |bundle| bundle.add_mount("/srv/out/a/b", "tmpfs", "tmpfs", &[])),
        ("device", |bundle| bundle.config["linux"]["devices"] = null_device_at("/srv/out/null")),
        // A last component that is a link to what is not there yet.
        ("cwd itself", |bundle| bundle.config["process"]["cwd"] = json!("/srv/end")),
        ("file itself", |bundle| bundle.add_mount("/srv/end", "bind", "/etc/hostname", &["bind"])),
        ("device itself", |bundle| bundle.config["linux"]["devices"] = null_device_at("/srv/end")),
    ];
    for (what, change) in change {
        for target in [victim.to_str().unwrap().to_owned(), format!("../../../../../../../..{}", victim.display())] {
            let mut bundle = lab.bundle();
            bundle.config["root"]["readonly"] = json!(false);
            symlink(format!("{target}/end"), bundle.rootfs("/srv/end")).unwrap();
            symlink(target, bundle.rootfs("/srv/out")).unwrap();
            change(&mut bundle);
            bundle.args(["/bin/probe", "exit", "0"]);
            lab.run(&bundle);
            let made: Vec<_> = fs::read_dir(&victim).unwrap().flatten().map(|entry| entry.file_name()).collect();
            assert_eq!(made, [] as [&str; 0], "{what}: made outside of the root file system");
        }
    }
}

fn null_device_at(path: &str) -> Value {
    json!([{"path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 438}])
}

/// CVE-2025-31133: an image's own /dev/null, a link to a file of the kernel, is not what paths are masked with.
/// Seen failing: without `check_existing`. Masking with the image's /dev/null shows only without it, because such an image is
/// refused before anything is masked.
#[test]
fn paths_are_masked_with_the_real_null_device() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = image_with_its_own_dev(&lab);
    symlink("/proc/sys/kernel/core_pattern", bundle.rootfs("/dev/null")).unwrap();
    bundle.config["linux"]["maskedPaths"] = json!(["/etc/passwd"]);
    bundle.args(["/bin/sh", "-c", "cat /etc/passwd; echo done"]);
    let tried = lab.run(&bundle);
    // Refused because of the node, or masked with the host's.
    assert!(tried.code() != 0 || tried.stdout() == "done\n", "{}", tried.all());
    if !lab.is_peer() {
        tried.fails(1, &["device /dev/null", "something else of that name"]);
    }
}

/// CVE-2025-52565: a terminal is one of a devpts, whatever lies in the image's /dev.
/// The kernel guards it, too: without the checks of `stage/console.rs` its ioctls fail, and this still passes.
#[test]
fn a_terminal_is_one_of_a_devpts() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    for target in ["/proc/sys/kernel/core_pattern", "/dev/full"] {
        let mut bundle = image_with_its_own_dev(&lab);
        fs::create_dir_all(bundle.rootfs("/dev/pts")).unwrap();
        symlink(target, bundle.rootfs("/dev/pts/ptmx")).unwrap();
        bundle.config["process"]["terminal"] = json!(true);
        bundle.save();
        let socket = pipkin_harness::ConsoleSocket::new(&lab);
        let id = lab.id();
        let create =
            lab.runtime(["create", "--bundle", bundle.path_text(), "--console-socket", socket.path_text(), &id]);
        create.run().fails(1, &["process.terminal"]);
    }
}

/// CVE-2025-52881: kernel parameters are written to the kernel, not to what lies at that place in the image.
/// Seen failing: with the path opened in the root file system instead of a private procfs (`stage/procfs.rs`).
#[test]
fn kernel_parameters_reach_the_kernel_only() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = json!(false);
    // No procfs: /proc is the image's.
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/proc");
    bundle.config["linux"]["maskedPaths"] = json!([]);
    bundle.config["linux"]["readonlyPaths"] = json!([]);
    let directory = bundle.rootfs("/proc/sys/net/ipv4");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("ip_forward"), "victim").unwrap();
    bundle.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    bundle.args(["/bin/busybox", "sleep", "1000"]);
    bundle.save();
    let id = lab.id();
    let pid_file = lab.path("pid");
    let created =
        lab.runtime(["create", "--bundle", bundle.path_text(), "--pid-file", pid_file.to_str().unwrap(), &id]).run();
    assert_eq!(fs::read_to_string(directory.join("ip_forward")).unwrap(), "victim", "{}", created.all());
    if created.code() == 0 {
        let target = format!("--target={}", fs::read_to_string(&pid_file).unwrap());
        let real = Program::new("nsenter").args([&target, "--net", "cat", "/proc/sys/net/ipv4/ip_forward"]).run().ok();
        assert_eq!(real.stdout(), "1\n");
    }
    lab.runtime(["delete", "--force", &id]).run().ok();
}

/// CVE-2026-30892: one reading of `--user`, and a strict one.
/// Seen failing: with every part that is no number read as 0.
#[test]
fn a_user_is_who_it_says() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "sleep"]);
    let container = lab.create(&bundle);
    container.start();
    for (user, expected) in [("1", "1 0"), ("1:2", "1 2"), ("0:7", "0 7"), ("4294967294", "4294967294 0")] {
        let said = container.exec(&["--user", user], &["/bin/sh", "-c", "echo $(id -u) $(id -g)"]).run().ok();
        assert_eq!(said.stdout().trim_end(), expected, "{user}");
    }
    for user in ["4294967296", "4294967295", "-1", "1:", ":1", "", "+1", " 1", "1:2:3", "0x1", "root "] {
        let tried = container.exec(&[&format!("--user={user}")], &["/bin/id"]).run();
        assert_ne!(tried.code(), 0, "{user:?}: {}", tried.all());
    }
    container.delete_force();
}

/// CVE-2014-8989: whoever maps groups without privilege has given up changing them.
/// Seen failing: without `setgroups` in `launch/id_maps.rs`, where the kernel refuses the map.
#[test]
fn groups_can_not_be_dropped_in_a_user_namespace_of_ones_own() {
    let Some(lab) = Lab::user_without_subids() else { return };
    let report = lab.report(&mut lab.bundle());
    assert_eq!(report["setgroups"], "deny");
}

/// CVE-2022-0811, CVE-2023-6476: names and values that would reach other files than they say.
/// Seen failing: without the check of `unified` names, and of sysctl names.
#[test]
fn names_of_kernel_files_are_not_paths() {
    let Some(lab) = Lab::root() else { return };
    let refused = |place: &str, name: &str, value: &str| {
        let mut bundle = lab.bundle();
        match place {
            "sysctl" => bundle.config["linux"]["sysctl"] = json!({name: value}),
            _ => bundle.config["linux"]["resources"]["unified"] = json!({name: value}),
        }
        bundle.args(["/bin/probe", "exit", "0"]);
        let tried = lab.run(&bundle);
        assert_eq!(tried.code(), 1, "{place} {name:?}: {}", tried.all());
    };
    // A runtime that takes them writes what is there already: the machine stays as it is.
    let unchanged = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for name in
        ["../memory.max", "../../cgroup.procs", "/dev/null", "memory.max/../../cgroup.procs", "..", "", "nonsense.max"]
    {
        refused("unified", name, "max");
    }
    for name in [
        "net/../kernel/core_pattern",
        "net.ipv4/../../kernel/core_pattern",
        "kernel.core_pattern",
        "kernel/core_pattern",
        "net.../kernel.core_pattern",
        "",
    ] {
        refused("sysctl", name, unchanged.trim_end());
    }
    refused("sysctl", "kernel.shm_rmid_forced", "1\n+kernel.core_pattern=|/bin/evil");
}
