//! Options of mounts beyond the usual ones: recursive attributes, id maps, links, remounts, overlays.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::os::unix::fs::{chown, symlink};

use pipkin_harness::{Bundle, Finished, Lab};
use serde_json::{Value, json};

/// runc 1.1 knows little of this.
fn lab() -> Option<Lab> {
    Lab::root().filter(|lab| !lab.is_peer())
}

/// The files of the tests may be in a tmpfs, which can be id-mapped since Linux 6.3; pipkin-runtime says so before.
fn id_map_lab() -> Option<Lab> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    if (numbers.next(), numbers.next()) < (Some(6), Some(3)) {
        pipkin_harness::skipped("this kernel can not id-map a tmpfs");
        return None;
    }
    lab()
}

fn options(report: &Value, target: &str) -> Vec<String> {
    let mounts = report["mounts"].as_array().unwrap();
    let mount = mounts.iter().rev().find(|mount| mount["target"] == target).unwrap_or_else(|| panic!("no {target}"));
    let list = |field: &str| mount[field].as_array().unwrap().clone();
    let all = list("options").into_iter().chain(list("super")).chain(list("propagation"));
    all.map(|option| option.as_str().unwrap().to_owned()).collect()
}

/// Runs it in a private mount namespace in which something is mounted below the directory that is then bound.
fn run_with_nested_mount(lab: &Lab, bundle: &Bundle, directory: &str) -> Finished {
    bundle.save();
    let script = format!(
        "mount --bind {directory} {directory} && mkdir -p {directory}/inner && mount -t tmpfs nested {directory}/inner && exec \"$@\""
    );
    let root = lab.state_root();
    let id = lab.id();
    let words = ["-m", "--propagation", "private", "sh", "-c", &script, "sh", lab.runtime_path().to_str().unwrap()];
    lab.program("/usr/bin/unshare")
        .args(words)
        .args(["--root", root.to_str().unwrap(), "run", "--bundle", bundle.path_text(), &id])
        .run()
}

#[test]
fn recursive_attributes_go_for_the_mounts_below_and_the_others_do_not() {
    let Some(lab) = lab() else { return };
    let directory = lab.directory("tree");
    // Option, what it shows in mountinfo, and whether that must be there.
    for (option, word, there) in [
        ("rro", "ro", true),
        ("rrw", "rw", true),
        ("rnosuid", "nosuid", true),
        ("rsuid", "nosuid", false),
        ("rnodev", "nodev", true),
        ("rdev", "nodev", false),
        ("rnoexec", "noexec", true),
        ("rexec", "noexec", false),
        ("rnoatime", "noatime", true),
        ("ratime", "noatime", false),
        ("rrelatime", "relatime", true),
        ("rstrictatime", "relatime", false),
        ("rnostrictatime", "relatime", true),
        ("rnorelatime", "noatime", false),
        ("rnodiratime", "nodiratime", true),
        ("rdiratime", "nodiratime", false),
        ("rnosymfollow", "nosymfollow", true),
        ("rsymfollow", "nosymfollow", false),
    ] {
        let mut bundle = lab.bundle();
        bundle.add_mount("/srv", "bind", &directory, &["rbind", option]);
        bundle.args(["/bin/probe"]);
        let finished = run_with_nested_mount(&lab, &bundle, directory.to_str().unwrap()).ok();
        let report: Value = serde_json::from_str(&finished.stdout()).unwrap();
        for target in ["/srv", "/srv/inner"] {
            let seen = options(&report, target);
            assert_eq!(seen.contains(&word.to_owned()), there, "{option}: {target} has {seen:?}");
        }
    }
    let mut bundle = lab.bundle();
    bundle.add_mount("/srv", "bind", &directory, &["rbind", "ro", "nosymfollow"]);
    bundle.args(["/bin/probe"]);
    let finished = run_with_nested_mount(&lab, &bundle, directory.to_str().unwrap()).ok();
    let report: Value = serde_json::from_str(&finished.stdout()).unwrap();
    assert!(options(&report, "/srv").contains(&"ro".to_owned()));
    assert!(
        !options(&report, "/srv/inner").contains(&"nosymfollow".to_owned()),
        "{:?}",
        options(&report, "/srv/inner")
    );
}

#[test]
fn attributes_of_a_new_file_system() {
    let Some(lab) = lab() else { return };
    for (option, word, there) in [
        ("ro", "ro", true),
        ("nosuid", "nosuid", true),
        ("nodev", "nodev", true),
        ("noexec", "noexec", true),
        ("noatime", "noatime", true),
        ("strictatime", "relatime", false),
        ("relatime", "relatime", true),
        ("atime", "relatime", true),
        ("nodiratime", "nodiratime", true),
        ("nosymfollow", "nosymfollow", true),
        ("sync", "sync", true),
        ("dirsync", "dirsync", true),
        ("lazytime", "lazytime", true),
        ("size=64k", "size=64k", true),
        ("mode=0700", "mode=700", true),
        ("shared", "shared:", true),
        ("unbindable", "unbindable", true),
        ("private", "shared:", false),
        ("rro", "ro", true),
        ("rnoexec", "noexec", true),
        ("defaults", "ro", false),
        ("silent", "ro", false),
        ("loud", "ro", false),
        ("async", "sync", false),
        ("nolazytime", "lazytime", false),
        ("noiversion", "ro", false),
        ("nomand", "ro", false),
        ("mand", "ro", false),
        ("_netdev", "ro", false),
        ("x-systemd.automount", "ro", false),
    ] {
        let mut bundle = lab.bundle();
        bundle.add_mount("/srv", "tmpfs", "tmpfs", &[option]);
        let seen = options(&lab.report(&mut bundle), "/srv");
        let found = seen.iter().any(|seen| seen == word || (word.ends_with(':') && seen.starts_with(word)));
        assert_eq!(found, there, "{option}: {seen:?}");
    }
    // Not shown anywhere; a tmpfs takes it.
    let mut bundle = lab.bundle();
    bundle.add_mount("/srv", "tmpfs", "tmpfs", &["iversion", "size=64k"]);
    assert!(options(&lab.report(&mut bundle), "/srv").contains(&"size=64k".to_owned()));
}

/// A directory of three files with owners, and a tmpfs below with another.
fn owned_files(lab: &Lab) -> std::path::PathBuf {
    let directory = lab.directory("owned");
    for (name, owner) in [("root", 0), ("one", 1), ("thousand", 1000)] {
        fs::write(directory.join(name), name).unwrap();
        chown(directory.join(name), Some(owner), Some(owner + 1)).unwrap();
    }
    directory
}

const OWNERS: [&str; 6] = ["/bin/stat", "-c", "%u:%g", "/srv/root", "/srv/one", "/srv/thousand"];

#[test]
fn an_id_mapped_mount_shows_other_owners() {
    let Some(lab) = id_map_lab() else { return };
    let directory = owned_files(&lab);
    for (option, kind) in [("idmap", "bind"), ("ridmap", "rbind"), ("ro", "bind")] {
        let mut bundle = lab.bundle();
        bundle.config["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/srv", "type": "none", "source": directory, "options": [kind, option],
            "uidMappings": [{"containerID": 0, "hostID": 5000, "size": 2}, {"containerID": 1000, "hostID": 7, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 6000, "size": 2000}],
        }));
        bundle.args(OWNERS);
        assert_eq!(lab.run(&bundle).ok().stdout(), "5000:6001\n5001:6002\n7:7001\n", "{option}");
    }
    // Nothing has changed on the host.
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(directory.join("thousand")).unwrap().uid(), 1000);
}

#[test]
fn files_written_through_an_id_mapped_mount_belong_to_the_mapped_owner() {
    let Some(lab) = id_map_lab() else { return };
    let directory = owned_files(&lab);
    let mut bundle = lab.bundle();
    // As root of the container, which the mount shows as owner 0 what is 1000 in the file system.
    let map = json!([{"containerID": 1000, "hostID": 0, "size": 1}]);
    bundle.config["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/srv", "type": "none", "source": directory, "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map,
    }));
    chown(&directory, Some(1000), Some(1000)).unwrap();
    bundle.args(["/bin/probe", "create", "/srv/new"]);
    lab.run(&bundle).ok();
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(directory.join("new")).unwrap().uid(), 1000);
}

#[test]
fn idmap_without_maps_takes_those_of_the_containers_user_namespace() {
    let Some(lab) = id_map_lab() else { return };
    let directory = owned_files(&lab);
    let mut bundle = lab.bundle();
    bundle.add_namespace("user", None);
    let map = json!([{"containerID": 0, "hostID": 200_000, "size": 2000}]);
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    bundle.add_mount("/srv", "bind", &directory, &["bind", "idmap"]);
    bundle.args(OWNERS);
    assert_eq!(lab.run(&bundle).ok().stdout(), "0:1\n1:2\n1000:1001\n");
    // Without it they are nobody's.
    bundle.mount("/srv")["options"] = json!(["bind"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "65534:65534\n65534:65534\n65534:65534\n");

    // A second container that joins the namespace of the first.
    bundle.args(["/bin/probe", "signal-wait"]);
    let first = lab.create(&bundle);
    first.start();
    bundle.mount("/srv")["options"] = json!(["bind", "idmap"]);
    bundle.add_namespace("user", Some(&format!("/proc/{}/ns/user", first.pid())));
    bundle.args(OWNERS);
    assert_eq!(lab.run(&bundle).ok().stdout(), "0:1\n1:2\n1000:1001\n");
    first.delete_force();
}

#[test]
fn a_new_file_system_can_be_id_mapped_too() {
    let Some(lab) = id_map_lab() else { return };
    let mut bundle = lab.bundle();
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    bundle.config["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/srv", "type": "tmpfs", "source": "tmpfs", "options": ["idmap"],
        "uidMappings": map, "gidMappings": map,
    }));
    bundle.args(["/bin/stat", "-c", "%u:%g", "/srv"]);
    assert_eq!(lab.run(&bundle).ok().stdout(), "5000:5000\n");
}

#[test]
fn wrong_id_maps_are_refused_by_name() {
    let Some(lab) = lab() else { return };
    let directory = lab.directory("data");
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
    let cases: [(Value, &[&str]); 5] = [
        (json!({"options": ["bind", "idmap"]}), &["mounts[7].options", "uidMappings"]),
        (json!({"options": ["bind", "idmap"], "uidMappings": map}), &["mounts[7].gidMappings", "need each other"]),
        (
            json!({"options": ["bind"], "gidMappings": map, "uidMappings": [{"containerID": 0, "hostID": 1, "size": 0}]}),
            &["mounts[7].uidMappings[0].size"],
        ),
        (
            json!({"type": "cgroup", "options": ["idmap"], "gidMappings": map, "uidMappings": map}),
            &["mounts[7]", "id-mapped"],
        ),
        // The host's procfs can not be id-mapped.
        (
            json!({"source": "/proc/sys", "options": ["bind", "idmap"], "gidMappings": map, "uidMappings": map}),
            &["mounts[7]", "map the ids (idmap)", "can not be id-mapped"],
        ),
    ];
    for (entry, words) in cases {
        let mut bundle = lab.bundle();
        bundle.args(["/bin/true"]);
        let mut mount = json!({"destination": "/srv", "source": directory});
        mount.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
        bundle.config["mounts"].as_array_mut().unwrap().push(mount.clone());
        let finished = lab.run(&bundle).exits(1);
        for word in words {
            assert!(finished.stderr().contains(word), "{mount}: {word:?} is not in {}", finished.stderr());
        }
        assert_eq!(lab.leaks(), "", "{mount}");
    }
}

#[test]
fn links_as_sources_and_destinations() {
    let Some(lab) = lab() else { return };
    let source = lab.file("real", "real\n");
    let link = lab.path("link");
    symlink(&source, &link).unwrap();
    let command = |place: &str| format!("if [ -L {place} ]; then readlink {place}; else cat {place}; fi");
    let seen = |options: &[&str], destination: &str, prepare: &dyn Fn(&Bundle)| {
        let mut bundle = lab.bundle();
        prepare(&bundle);
        bundle.config["root"]["readonly"] = json!(false);
        bundle.add_mount(destination, "bind", &link, options);
        let script = command(destination);
        bundle.args(["/bin/sh", "-c", &script]);
        let finished = lab.run(&bundle);
        (finished.code(), finished.stdout(), finished.stderr())
    };
    let target = format!("{}\n", source.display());
    // As usual, what it leads to; itself; a copy of it, which is no mount.
    assert_eq!(seen(&["bind"], "/srv/a", &|_| ()).1, "real\n");
    assert_eq!(seen(&["bind", "src-nofollow"], "/srv/a", &|_| ()).1, target);
    assert_eq!(seen(&["bind", "copy-symlink"], "/srv/deep/a", &|_| ()).1, target);
    // The same link may be there already, another thing not.
    let there = |bundle: &Bundle| symlink(&source, bundle.rootfs("/srv/a")).unwrap();
    assert_eq!(seen(&["bind", "copy-symlink"], "/srv/a", &there).1, target);
    let other = |bundle: &Bundle| fs::write(bundle.rootfs("/srv/a"), "other\n").unwrap();
    let (code, _, stderr) = seen(&["bind", "copy-symlink"], "/srv/a", &other);
    assert!(code == 1 && stderr.contains("mounts[7]") && stderr.contains("make a link to"), "{stderr}");
    // A source that is no link is mounted.
    let mut bundle = lab.bundle();
    bundle.add_mount("/srv/a", "bind", &source, &["bind", "copy-symlink"]);
    bundle.args(["/bin/cat", "/srv/a"]);
    bundle.config["root"]["readonly"] = json!(false);
    assert_eq!(lab.run(&bundle).ok().stdout(), "real\n");
    // A link as destination is covered itself instead of what it leads to.
    let with_link = |bundle: &Bundle| {
        fs::write(bundle.rootfs("/srv/elsewhere"), "below\n").unwrap();
        symlink("elsewhere", bundle.rootfs("/srv/b")).unwrap();
    };
    for (options, elsewhere) in [(&["bind"][..], "real\n"), (&["bind", "dest-nofollow"], "below\n")] {
        let mut bundle = lab.bundle();
        with_link(&bundle);
        bundle.add_mount("/srv/b", "bind", &source, options);
        bundle.args(["/bin/cat", "/srv/b", "/srv/elsewhere"]);
        assert_eq!(lab.run(&bundle).ok().stdout(), format!("real\n{elsewhere}"), "{options:?}");
    }
    assert_eq!(lab.leaks(), "");
}

#[test]
fn remount_changes_what_an_earlier_entry_mounts() {
    let Some(lab) = lab() else { return };
    let directory = lab.directory("data");
    let mut bundle = lab.bundle();
    bundle.add_mount("/srv", "bind", &directory, &["bind"]);
    bundle.add_mount("/srv", "bind", &directory, &["bind", "remount", "ro", "nosuid"]);
    bundle.add_mount("/mnt/t", "tmpfs", "tmpfs", &["size=64k"]);
    bundle.add_mount("/mnt/t", "tmpfs", "tmpfs", &["remount", "size=128k", "noexec", "shared"]);
    let report = lab.report(&mut bundle);
    let seen = options(&report, "/srv");
    assert!(seen.contains(&"ro".to_owned()) && seen.contains(&"nosuid".to_owned()), "{seen:?}");
    let seen = options(&report, "/mnt/t");
    assert!(seen.contains(&"size=128k".to_owned()) && seen.contains(&"noexec".to_owned()), "{seen:?}");
    assert!(seen.iter().any(|field| field.starts_with("shared:")), "{seen:?}");
    // The host's file system below the bind mount is as it was.
    fs::write(directory.join("still"), "writable").unwrap();

    for (entry, words) in [
        (json!({"destination": "/nothing", "options": ["remount", "ro"]}), "needs an earlier entry"),
        (json!({"destination": "/srv", "options": ["remount", "size=1m"]}), "not the container's"),
    ] {
        let mut bundle = lab.bundle();
        bundle.add_mount("/srv", "bind", &directory, &["bind"]);
        bundle.config["mounts"].as_array_mut().unwrap().push(entry);
        let finished = lab.run(&bundle).exits(1);
        assert!(finished.stderr().contains("mounts[8].options"), "{}", finished.all());
        assert!(finished.stderr().contains(words), "{}", finished.all());
        assert_eq!(lab.leaks(), "");
    }
}

#[test]
fn overlays_with_few_and_with_many_layers() {
    let Some(lab) = lab() else { return };
    for count in [2, 40] {
        // Long enough for the whole to be longer than what one option of the new mount interface takes.
        let layers: Vec<String> = (0..count)
            .map(|number| {
                let layer = lab.directory(&format!("layers-{count}/layer-{number:03}"));
                fs::write(layer.join(format!("file-{number}")), "").unwrap();
                fs::write(layer.join("who"), format!("{number}\n")).unwrap();
                layer.to_str().unwrap().to_owned()
            })
            .collect();
        let (upper, work) = (lab.directory(&format!("upper-{count}")), lab.directory(&format!("work-{count}")));
        let mut bundle = lab.bundle();
        let lower = format!("lowerdir={}", layers.join(":"));
        let (upper_option, work) = (format!("upperdir={}", upper.display()), format!("workdir={}", work.display()));
        bundle.add_mount("/srv", "overlay", "overlay", &[&lower, &upper_option, &work]);
        bundle.args(["/bin/sh", "-c", "cat /srv/who; ls /srv | wc -l; echo new > /srv/who"]);
        assert_eq!(lab.run(&bundle).ok().stdout(), format!("0\n{}\n", count + 1));
        assert_eq!(fs::read_to_string(upper.join("who")).unwrap(), "new\n");
        assert_eq!(fs::read_to_string(format!("{}/who", layers[0])).unwrap(), "0\n");
    }
}

#[test]
fn options_that_mean_nothing_are_refused_by_name() {
    let Some(lab) = lab() else { return };
    let directory = lab.directory("data");
    for (kind, options, words) in [
        ("bind", &["bind", "size=1m"][..], ["mounts[7].options", "size=1m"]),
        ("bind", &["bind", "sync"], ["mounts[7].options", "sync"]),
        ("bind", &["bind", "tmpcopyup"], ["mounts[7].options", "tmpcopyup"]),
        ("tmpfs", &["moon"], ["mounts[7]", "moon"]),
        ("tmpfs", &["size=moon"], ["mounts[7]", "size=moon"]),
        ("tmpfs", &["src-nofollow"], ["mounts[7].options", "src-nofollow"]),
        ("tmpfs", &["dest-nofollow"], ["mounts[7].options", "dest-nofollow"]),
        ("tmpfs", &[""], ["mounts[7].options", "empty"]),
    ] {
        let mut bundle = lab.bundle();
        bundle.args(["/bin/true"]);
        bundle.add_mount("/srv", kind, &directory, options);
        let finished = lab.run(&bundle).exits(1);
        for word in words {
            assert!(finished.stderr().contains(word), "{options:?}: {word:?} is not in {}", finished.stderr());
        }
        assert_eq!(lab.leaks(), "", "{options:?}");
    }
}

#[test]
fn an_ordinary_users_mounts() {
    let Some(lab) = Lab::user().filter(|lab| !lab.is_peer()) else { return };
    let directory = lab.directory("data");
    let mut bundle = lab.bundle();
    bundle.add_mount("/srv", "bind", &directory, &["rbind", "rro", "rnosymfollow"]);
    bundle.add_mount("/mnt/t", "tmpfs", "tmpfs", &["size=64k"]);
    bundle.add_mount("/mnt/t", "tmpfs", "tmpfs", &["remount", "size=128k"]);
    let report = lab.report(&mut bundle);
    let seen = options(&report, "/srv");
    assert!(seen.contains(&"ro".to_owned()) && seen.contains(&"nosymfollow".to_owned()), "{seen:?}");
    assert!(options(&report, "/mnt/t").contains(&"size=128k".to_owned()));
    // Owners of the host's files are not for an ordinary user to change.
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.add_mount("/srv", "bind", &directory, &["bind", "idmap"]);
    let finished = lab.run(&bundle).exits(1);
    for word in ["mounts[7]", "root of the host"] {
        assert!(finished.stderr().contains(word), "{word}: {}", finished.all());
    }
    assert_eq!(lab.leaks(), "");
}

#[test]
fn ridmap_goes_for_the_mounts_below_and_idmap_does_not() {
    let Some(lab) = id_map_lab() else { return };
    let directory = lab.directory("tree");
    for (option, inner) in [("idmap", "0:0"), ("ridmap", "5000:5000")] {
        let mut bundle = lab.bundle();
        let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
        bundle.config["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/srv", "source": directory, "options": ["rbind", option], "uidMappings": map, "gidMappings": map,
        }));
        bundle.args(["/bin/stat", "-c", "%u:%g", "/srv", "/srv/inner"]);
        let finished = run_with_nested_mount(&lab, &bundle, directory.to_str().unwrap()).ok();
        assert_eq!(finished.stdout(), format!("5000:5000\n{inner}\n"), "{option}");
    }
}
