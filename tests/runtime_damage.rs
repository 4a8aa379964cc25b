//! A state directory that is full, damaged, or somebody else's.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use pipkin_harness::{Bundle, Lab, host};

fn waiting(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "sleep"]);
    bundle.save();
    bundle
}

/// With room for less and less: `create` succeeds or says why not, and takes back what it has made; what it has made can be
/// deleted while the disk is full.
#[test]
fn a_full_disk_under_the_state_root() {
    let Some(lab) = Lab::root() else { return };
    let bundle = waiting(&lab);
    let full = lab.directory("full");
    let (mut succeeded, mut failed) = (0, 0);
    for limits in (2..9)
        .map(|inodes| format!("size=1m,nr_inodes={inodes}"))
        .chain((1..6).map(|pages| format!("size={}k", pages * 4)))
    {
        let id = lab.id();
        let runtime = format!("{} --root {}/state", lab.runtime_path().display(), full.display());
        let script = format!(
            "mount -t tmpfs -o {limits} none {full} || exit 99
             {runtime} create --bundle {bundle} {id} </dev/null >/dev/null
             code=$?
             if [ $code = 0 ]; then {runtime} start {id} && {runtime} delete --force {id} || exit 98; fi
             [ -z \"$(ls {full}/state 2>/dev/null)\" ] || exit 97
             exit $code",
            full = full.display(),
            bundle = bundle.path_text()
        );
        let finished = lab.program("unshare").args(["--mount", "/bin/sh", "-c", &script]).run();
        match finished.code() {
            0 => succeeded += 1,
            1 => {
                failed += 1;
                assert!(finished.stderr().to_lowercase().contains("no space"), "{limits}: {}", finished.all());
            }
            _ => panic!("{limits}: {}", finished.all()),
        }
        assert_eq!(lab.leaks(), "", "{limits}");
    }
    assert!(succeeded > 0 && failed > 0, "{succeeded} created, {failed} not");
}

/// Whatever is wrong with the files of a container: no command hangs or does more than say so, `list` shows the others, and
/// `delete --force` removes it, its process included.
#[test]
fn damaged_files() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let bundle = waiting(&lab);
    type Damage = fn(&std::path::Path);
    let damages: [(&str, Damage); 8] = [
        ("empty", |file| fs::write(file, "").unwrap()),
        ("cut", |file| {
            let text = fs::read(file).unwrap();
            fs::write(file, &text[..text.len() / 2]).unwrap();
        }),
        ("garbage", |file| fs::write(file, [0xff; 5000]).unwrap()),
        ("other JSON", |file| fs::write(file, "[1, {\"a\": null}]").unwrap()),
        ("gone", |file| fs::remove_file(file).unwrap()),
        ("a directory", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
        ("a link", |file| {
            fs::remove_file(file).unwrap();
            symlink("/etc/passwd", file).unwrap();
        }),
        ("a pipe", |file| {
            fs::remove_file(file).unwrap();
            nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
    ];
    let good = lab.create(&bundle);
    for (what, damage) in damages {
        for file in ["state.json", "init"] {
            let id = lab.id();
            let when = format!("{file}: {what}");
            let pid_file = lab.path("damaged.pid");
            let words = ["create", "--bundle", bundle.path_text(), "--pid-file", pid_file.to_str().unwrap(), &id];
            lab.runtime(words).run().ok();
            let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
            damage(&lab.state_root().join(&id).join(file));
            for verb in
                [&["state", &id][..], &["kill", &id, "KILL"], &["start", &id], &["exec", &id, "true"], &["pause", &id]]
            {
                let tried = lab.runtime(verb.iter().copied()).run();
                // Without `init` it is still being created.
                if (verb[0], file, what) == ("state", "init", "gone") {
                    continue;
                }
                assert_ne!(tried.code(), 0, "{when}: {}", tried.all());
                assert_eq!(tried.stderr().lines().count(), 1, "{when}: {}", tried.all());
            }
            let listed = lab.runtime(["list"]).run().ok();
            assert!(listed.stdout().contains(good.id()), "{when}: {}", listed.all());
            let deleted = lab.runtime(["delete", "--force", &id]).run();
            assert_eq!(deleted.code(), 0, "{when}: {}", deleted.all());
            assert!(!lab.state_root().join(&id).exists(), "{when}");
            assert!(!host::is_alive(pid), "{when}: its process lives");
            assert_eq!(host::cgroups_named(&id), [] as [&std::path::Path; 0], "{when}");
        }
    }
    good.delete_force();
    assert_eq!(lab.leaks(), "");
}

/// What the command line makes of a damaged container's configuration can be another container's cgroup: nobody in it is killed.
#[test]
fn a_damaged_record_costs_no_other_container() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return; // runc has no --cgroup-manager.
    }
    let mut bundle = waiting(&lab);
    bundle.config["linux"]["cgroupsPath"] = serde_json::json!(format!("/{}-shared", lab.name()));
    let other = lab.create(&bundle);
    let damaged = lab.id();
    lab.runtime(["--cgroup-manager", "disabled", "create", "--bundle", bundle.path_text(), &damaged]).run().ok();
    fs::write(lab.state_root().join(&damaged).join("state.json"), "{").unwrap();
    let deleted = lab.runtime(["delete", "--force", &damaged]).run().ok();
    assert!(deleted.stderr().contains("not known for certain"), "{}", deleted.all());
    assert_eq!(other.status(), "created");
    other.delete_force();
    assert_eq!(lab.leaks(), "");
}

/// What somebody else has written says which processes and cgroups to kill: it is not believed.
#[test]
fn the_state_of_another_user() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let container = lab.create(&waiting(&lab));
    container.start();
    let directory = lab.state_root().join(container.id());
    for (path, who) in
        [(directory.clone(), "directory"), (directory.join("state.json"), "file"), (directory.join("init"), "file")]
    {
        chown(&path, Some(12345), None).unwrap();
        for verb in [
            &["delete", "--force", container.id()][..],
            &["kill", container.id(), "KILL"],
            &["exec", container.id(), "true"],
        ] {
            let tried = lab.runtime(verb.iter().copied()).run();
            assert_ne!(tried.code(), 0, "{who}: {}", tried.all());
            assert!(tried.stderr().contains("12345"), "{who}: {}", tried.all());
        }
        chown(&path, Some(0), None).unwrap();
    }
    assert_eq!(container.status(), "running");
    container.delete_force();
}

/// A root directory that is not one, or where nothing can be made.
#[test]
fn a_state_root_that_can_not_be() {
    let Some(lab) = Lab::user_without_subids() else { return };
    if lab.is_peer() {
        return;
    }
    let bundle = lab.bundle();
    bundle.save();
    let file = lab.file("a-file", "");
    let closed = lab.directory("closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    for (root, word) in [(file, "not a directory"), (closed, "permission denied"), ("/proc/nowhere".into(), "no such")]
    {
        let create = lab.program(lab.runtime_path()).arg("--root").arg(root.join("x"));
        create.args(["create", "--bundle", bundle.path_text(), &lab.id()]).run().fails(1, &[word]);
    }
    assert_eq!(lab.leaks(), "");
}
