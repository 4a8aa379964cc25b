//! What a container's program, an image or a careless configuration may try, and must not get.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use pipkin_harness::{Lab, await_true};
use pipkin_runtime::sys::mount::{MountAttributes, mount_setattr};
use rustix::fs::SealFlags;
use rustix::mount::OpenTreeFlags;
use serde_json::{Value, json};

/// A status that was read from the process's name alone would make such a container unkillable.
#[test]
fn a_program_with_the_stages_name_can_be_stopped() {
    for name in ["pipkin-stage", "pipkin-created", "runc:[2:INIT]"] {
        let Some(lab) = Lab::root() else { return };
        let mut bundle = lab.bundle();
        let script = format!("echo -n {name} > /proc/self/comm; echo ready; while :; do /bin/busybox sleep 1; done");
        bundle.args(["/bin/busybox", "sh", "-c", &script]);
        bundle.save();
        let container = lab.create(&bundle);
        container.start();
        await_true("the program's first word", || container.stdout().contains("ready"));
        assert_eq!(container.status(), "running", "{name}");
        container.kill("KILL");
        assert_eq!(container.wait(), 137, "{name}");
        container.delete();
        assert_eq!(lab.leaks(), "");
    }
}

/// CVE-2019-5736: the runtime's own file must not be writable from inside. A running program can never be written to, so
/// an attacker keeps it open and waits for its end; opening for truncation tells a read-only mount from a busy file.
/// Seen failing: with the stage started from the file itself (`launch/executable.rs`).
#[test]
fn the_runtime_can_not_be_overwritten_from_inside() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let mut bundle = lab.bundle();
    // The stage, executed by itself, only says that it is not for people.
    bundle.config["process"]["args"] = json!(["/proc/self/exe"]);
    bundle.save();
    lab.run(&bundle).exits(1);
    bundle.args(["/bin/probe", "exit", "0"]);
    bundle.save();
    let victim = lab.create(&bundle);

    let mut bundle = lab.bundle();
    bundle.share_namespace("pid");
    let capabilities = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
    bundle.config["process"]["capabilities"] =
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities});
    let script = format!(
        "exec 3</proc/{0}/exe && echo opened; while [ -e /proc/{0}/exe ]; do :; done; (: >/proc/self/fd/3) && echo WRITTEN; echo done",
        victim.pid()
    );
    bundle.args(["/bin/busybox", "sh", "-c", &script]);
    bundle.save();
    let attacker = lab.create(&bundle);
    attacker.start();
    await_true("the stage's file is open", || attacker.stdout().contains("opened"));
    victim.delete_force();
    await_true("the attack is over", || attacker.stdout().contains("done"));
    assert!(attacker.stderr().contains("Read-only file system"), "{}", attacker.stderr());
    assert!(!attacker.stdout().contains("WRITTEN"));
    attacker.delete_force();
    assert_eq!(lab.leaks(), "");
}

/// The same with mount_setattr(2): whoever has a handle on a mount of an anonymous namespace, and is root of any user namespace, may
/// change it. The stage's belongs to no namespace at all, so that not even the host's root may.
/// Seen failing: with a mount that is not read-only (`launch/executable.rs`).
#[test]
fn the_mount_of_the_runtime_can_not_be_made_writable() {
    let writable = MountAttributes { clear: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
    let by_number = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
    for user_namespace in [false, true] {
        let Some(lab) = Lab::root() else { return };
        if lab.is_peer() {
            return;
        }
        let mut bundle = lab.bundle();
        if user_namespace {
            let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
            bundle.add_namespace("user", None);
            bundle.config["linux"]["uidMappings"] = maps.clone();
            bundle.config["linux"]["gidMappings"] = maps;
            for place in ["", "proc", "sys", "dev"] {
                std::os::unix::fs::chown(bundle.rootfs(place), Some(100_000), Some(100_000)).unwrap();
            }
        }
        bundle.args(["/bin/probe", "exit", "0"]);
        bundle.save();

        // What the attack does to a mount that is somebody's.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(rustix::fs::CWD, lab.file("own", "own"), flags).unwrap();
        let readonly = MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
        mount_setattr(&tree, &readonly, false).unwrap();
        let file = File::open(format!("/proc/self/fd/{}", tree.as_raw_fd())).unwrap();
        assert!(File::create(by_number(&file)).is_err());
        mount_setattr(&file, &writable, false).unwrap();
        File::create(by_number(&file)).unwrap();

        let victim = lab.create(&bundle);
        let file = File::open(format!("/proc/{}/exe", victim.pid())).unwrap();
        let refused = mount_setattr(&file, &writable, false);
        assert_eq!(refused, Err(nix::errno::Errno::EINVAL), "user namespace: {user_namespace}");
        // To empty it: a program that runs is busy, but that is asked later.
        let error = File::create(by_number(&file)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "user namespace: {user_namespace}: {error}");
        victim.delete_force();
        assert_eq!(lab.leaks(), "");
    }
}

/// The same while an `exec` goes on: its second process is seen from inside at once, so that the mount is out of reach before.
/// Seen failing: with the mount closed when the program runs (`launch/exec.rs`).
#[test]
fn the_mount_of_an_exec_can_not_be_made_writable() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "sleep"]);
    bundle.save();
    let container = lab.create(&bundle);
    container.start();
    let own_file = std::fs::metadata(lab.runtime_path()).unwrap().ino();
    let inside = format!("/proc/{}/root/proc", container.pid());
    let writable = MountAttributes { clear: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
    // Whoever else is in the container, while he is the runtime.
    let try_everybody = || {
        let entries = std::fs::read_dir(&inside).unwrap().flatten().map(|entry| entry.path());
        let others =
            entries.filter(|path| path.file_name().unwrap().to_string_lossy().parse().is_ok_and(|pid: u32| pid > 1));
        let open = others.filter_map(|path| File::open(path.join("exe")).ok());
        let stages = open.filter(|file| file.metadata().is_ok_and(|file| file.ino() == own_file));
        stages.map(|file| mount_setattr(&file, &writable, false)).collect::<Vec<_>>()
    };
    let (seen, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let tried = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let mut tried = Vec::new();
            while !enough.load(Relaxed) {
                tried.extend(try_everybody());
                seen.store(tried.len(), Relaxed);
            }
            tried
        });
        await_true("stages are seen", || {
            container.exec(&[], &["/bin/probe", "exit", "0"]).run().ok();
            seen.load(Relaxed) > 20
        });
        enough.store(true, Relaxed);
        attacker.join().unwrap()
    });
    assert!(tried.iter().all(|result| *result == Err(nix::errno::Errno::EINVAL)), "{tried:?}");
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

/// An ordinary user's stage is a copy in memory, which stays as it is when nothing runs from it any more.
/// Seen failing: without the seals (`launch/executable.rs`).
#[test]
fn the_copy_of_the_runtime_can_not_be_changed() {
    let Some(lab) = Lab::user() else { return };
    if lab.is_peer() {
        return;
    }
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "exit", "0"]);
    bundle.save();
    let victim = lab.create(&bundle);
    let file = File::open(format!("/proc/{}/exe", victim.pid())).unwrap();
    let seals = rustix::fs::fcntl_get_seals(&file).expect("it is a file in memory");
    assert!(seals.contains(SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE), "{seals:?}");
    victim.delete_force();
    let error = File::options()
        .write(true)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .and_then(|mut file| file.write_all(b"x"))
        .unwrap_err();
    // Busy: somebody looks at the process that has just ended.
    assert!(matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ExecutableFileBusy), "{error}");
    assert_eq!(lab.leaks(), "");
}

/// CVE-2021-30465, CVE-2019-18837, CVE-2019-19921, CVE-2023-27561, CVE-2025-54867, CVE-2026-41579: links in the image where
/// mounts and devices go. Seen failing: without `RESOLVE_IN_ROOT` in `stage/root.rs`, with links followed out of the root
/// where directories are made, with /dev found by its path, and without `open_kernel_directory`.
#[test]
fn links_in_the_image_lead_nowhere_but_into_it() {
    for (link, target, refused) in [
        ("proc", "/victim", true),
        ("sys", "/victim", true),
        ("dev", "/victim", false),
        ("srv/data", "../../../../victim", false),
        ("srv/data", "/proc/self/root/victim", true),
    ] {
        let Some(lab) = Lab::root() else { return };
        let victim = lab.directory("victim");
        let mut bundle = lab.bundle();
        let place = bundle.rootfs(link);
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let absolute = target.replace("/victim", victim.to_str().unwrap());
        symlink(&absolute, &place).unwrap();
        bundle.add_mount("/srv/data", "tmpfs", "tmpfs", &["size=1m"]);
        bundle.args(["/bin/cat", "/proc/self/mountinfo"]);
        bundle.save();
        let finished = lab.run(&bundle);
        let magic = target.starts_with("/proc");
        if refused {
            // runc takes a magic link for an ordinary one.
            assert!(finished.code() == 1 || magic && lab.is_peer(), "{link} -> {target}: {}", finished.all());
        } else {
            // A mount on the host's directory would not be seen in the container.
            let inside = format!(" {} ", victim.display());
            assert!(finished.stdout().contains(&inside), "{link} -> {target}: {}", finished.all());
        }
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "{link} -> {target}: something was made outside");
        assert_eq!(lab.leaks(), "");
    }
}

/// A mount that would let a program believe a false /proc (CVE-2019-16884), also by way of a link in the image.
/// Seen failing: without the checks of `plan/mounts.rs` and `stage/mounts.rs`.
#[test]
fn proc_can_not_be_covered() {
    for destination in ["/proc/self", "/lp/sys/kernel", "/lp"] {
        let Some(lab) = Lab::root() else { return };
        if lab.is_peer() {
            return;
        }
        let mut bundle = lab.bundle();
        symlink("/proc", bundle.rootfs("lp")).unwrap();
        bundle.add_mount(destination, "tmpfs", "tmpfs", &[]);
        bundle.save();
        lab.run(&bundle).fails(1, &["CVE-2019-16884"]);
        assert_eq!(lab.leaks(), "");
    }
}

/// CVE-2022-0811: a path may lead to the runtime's own namespace. Seen failing: without `check_own` in `stage/namespaces.rs`.
#[test]
fn sysctls_of_the_host_can_not_be_set_through_a_joined_namespace() {
    let Some(lab) = Lab::root() else { return };
    let file = "/proc/sys/net/ipv4/conf/lo/forwarding";
    let before = fs::read_to_string(file).unwrap();
    let mut bundle = lab.bundle();
    bundle.share_namespace("network");
    bundle.add_namespace("network", Some("/proc/self/ns/net"));
    bundle.config["linux"]["sysctl"] =
        json!({"net.ipv4.conf.lo.forwarding": if before.trim() == "1" { "0" } else { "1" }});
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "sysfs");
    bundle.save();
    lab.run(&bundle).fails(1, &["sysctl"]);
    assert_eq!(fs::read_to_string(file).unwrap(), before);
    assert_eq!(lab.leaks(), "");
}

/// CVE-2024-21626: a working directory outside of the root, by a descriptor that the caller left open. Three defences
/// are in front of it: the same by `exec`, in runtime_cves.rs, shows them one by one.
#[test]
fn a_leaked_descriptor_is_no_working_directory() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    for number in 3..12 {
        bundle.config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        bundle.save();
        let id = lab.id();
        let path = bundle.path_text().to_owned();
        let words = ["run", "--bundle", &path, &id];
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let command = format!(
            "exec 3</ 4</ 5</ 6</ 7</ 8</ 9</; exec '{}' --root '{}' {}",
            lab.runtime_path().display(),
            lab.state_root().display(),
            words.join(" ")
        );
        let finished = lab.program("/bin/sh").args(["-c", &command]).run();
        assert_ne!(finished.code(), 0, "fd {number}: {}", finished.all());
    }
    assert_eq!(lab.leaks(), "");
}

/// CVE-2022-24769, CVE-2022-29162 and their kin. Seen failing: with `exec --cap` filling the inheritable set.
#[test]
fn inheritable_capabilities_stay_empty() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "signal-wait"]);
    bundle.save();
    let container = lab.create(&bundle);
    container.start();
    await_true("the program's first word", || container.stdout().contains("ready"));
    for options in [&[][..], &["--cap", "CAP_NET_ADMIN"]] {
        let report: Value =
            serde_json::from_str(&container.exec(options, &["/bin/probe"]).run().ok().stdout()).unwrap();
        assert_eq!(report["caps"]["inheritable"], json!([]), "{options:?}");
        assert_eq!(report["caps"]["ambient"], json!([]), "{options:?}");
    }
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

/// Files of the image that are read before its program runs: a pipe or a huge file must not hold the runtime up.
#[test]
fn a_passwd_file_that_is_none() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    let passwd = bundle.rootfs("etc/passwd");
    fs::create_dir_all(passwd.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&passwd);
    nix::unistd::mkfifo(Path::new(&passwd), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    bundle.args(["/bin/probe", "exit", "7"]);
    bundle.save();
    if !lab.is_peer() {
        lab.run(&bundle).exits(7);
    }
    assert_eq!(lab.leaks(), "");
}
