//! What layers say is what a container sees: owners, modes, links, attributes, and what upper layers remove.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod images;

use std::sync::OnceLock;

use images::{labs, load, pipkin, shell};
use pipkin_harness::image::{Image, Layer};
use pipkin_harness::{Lab, host};
use serde_json::json;
use tar::EntryType;

fn base() -> Image {
    static BASE: OnceLock<Image> = OnceLock::new();
    BASE.get_or_init(Image::busybox).clone()
}

#[track_caller]
fn loaded(lab: &Lab, image: &Image) {
    load(lab, &lab.file("image.tar", image.archive("t:v1"))).run().ok();
}

#[test]
fn upper_layers_remove_and_hide() {
    for lab in labs() {
        let lower = Layer::new()
            .dir("d", 0o755)
            .file("d/gone", 0o644, "x")
            .file("d/kept", 0o644, "x")
            .dir("o", 0o755)
            .file("o/old", 0o644, "x")
            .dir("again", 0o755)
            .file("again/old", 0o644, "x")
            .dir("tree", 0o755)
            .dir("tree/a", 0o755)
            .file("tree/a/b", 0o644, "x")
            .file("becomes-dir", 0o644, "x")
            .dir("becomes-file", 0o755)
            .file("becomes-file/x", 0o644, "x");
        let upper = Layer::new()
            .whiteout("d/", "gone")
            .whiteout("", "tree")
            .whiteout("d/", "never-was")
            .dir("o", 0o755)
            .opaque("o/")
            .file("o/new", 0o644, "x")
            .whiteout("", "again")
            .dir("again", 0o755)
            .file("again/new", 0o644, "x")
            .dir("becomes-dir", 0o755)
            .file("becomes-dir/x", 0o644, "x")
            .file("becomes-file", 0o644, "x");
        loaded(&lab, &base().layer(lower).layer(upper));
        let seen = shell(
            &lab,
            "t:v1",
            "ls d o again becomes-dir; test -f becomes-file && echo file; test -e tree || echo no tree; find / -xdev -name '.wh*' -o -xdev -type c | grep -v ^/dev; true",
        );
        assert_eq!(
            seen.split_whitespace().collect::<Vec<_>>(),
            ["again:", "new", "becomes-dir:", "x", "d:", "kept", "o:", "new", "file", "no", "tree"]
        );
        // And the container can remove, make and remove again.
        let seen = shell(
            &lab,
            "t:v1",
            "rm -r d o && mkdir d && ls -a d | wc -l && rm -r again becomes-dir && ls -d again || echo gone",
        );
        assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["2", "gone"]);
    }
}

#[test]
fn a_layer_can_hide_everything_below() {
    for lab in labs() {
        let mut image =
            Image::new(json!({"Cmd": ["/bin/sh"]})).layer(Layer::new().file("old", 0o644, "x").dir("olddir", 0o755));
        let bundle = lab.bundle();
        image = image.layer(Layer::new().file(".wh..wh..opq", 0o644, "").tree(&bundle.rootfs("")));
        image = image.layer(Layer::new().file("new", 0o644, "x"));
        loaded(&lab, &image);
        assert_eq!(shell(&lab, "t:v1", "ls -d /old /olddir /new 2>/dev/null; true"), "/new\n");
    }
}

#[test]
fn modes_links_pipes_times_and_long_names() {
    for lab in labs() {
        let long = format!("{}/{}", "d".repeat(150), "f".repeat(200));
        let layer = Layer::new()
            .dir("sticky", 0o1777)
            .file("suid", 0o4755, "x")
            .file("sgid", 0o2711, "x")
            .dir("closed", 0o000)
            .file("one", 0o640, "x")
            .hardlink("two", "one")
            .symlink("sym", "one")
            .symlink("dangling", "/no/where")
            .fifo("pipe")
            .pax(&[("path", long.as_bytes())])
            .file("short", 0o644, "long")
            .pax(&[("linkpath", long.as_bytes())])
            .symlink("to-long", "x")
            .pax(&[("mtime", b"1234567890.5")])
            .file("dated", 0o644, "x");
        loaded(&lab, &base().layer(layer));
        let seen = shell(
            &lab,
            "t:v1",
            "stat -c '%n %a %F %h' sticky suid sgid closed one two sym pipe | sort; stat -c %Y dated; cat to-long; readlink dangling",
        );
        let expected = "closed 0 directory 2\none 640 regular file 2\npipe 644 fifo 1\nsgid 2711 regular file 1\nsticky 1777 directory 2\nsuid 4755 regular file 1\nsym 777 symbolic link 1\ntwo 640 regular file 2\n1234567890\nlong/no/where\n";
        assert_eq!(seen, expected);
    }
}

#[test]
fn owners_are_kept_where_they_can_be() {
    for lab in labs() {
        loaded(
            &lab,
            &base().layer(
                Layer::new().owned_file("mine", 0o600, 1000, 1001, "x").owned_file("high", 0o644, 60_000, 60_001, "x"),
            ),
        );
        let single = lab.as_user().is_some_and(|user| user.subuids.is_none());
        let expected = if single { "0 0\n0 0\n" } else { "1000 1001\n60000 60001\n" };
        assert_eq!(shell(&lab, "t:v1", "stat -c '%u %g' mine high"), expected);
        if !single && lab.as_user().is_some() {
            // More than the user's range.
            let image = base().layer(Layer::new().owned_file("far", 0o644, 70_000, 0, "x"));
            load(&lab, &lab.file("far.tar", image.archive("far:v1")))
                .run()
                .fails(125, &["layer 2", "far", "70000:0", "/etc/subuid"]);
        }
    }
}

#[test]
fn devices_need_root_and_are_announced_without() {
    for lab in labs() {
        let image =
            base().layer(Layer::new().device("null", EntryType::Char, 1, 3).device("disk", EntryType::Block, 7, 0));
        let finished = load(&lab, &lab.file("image.tar", image.archive("t:v1"))).run().ok();
        if lab.as_user().is_none() {
            assert_eq!(
                shell(&lab, "t:v1", "stat -c '%F %t:%T' null disk; echo x > null && stat -c %F null"),
                "character special file 1:3\nblock special file 7:0\ncharacter special file\n"
            );
        } else {
            assert!(finished.stderr().contains("2 device nodes left out"), "{}", finished.all());
            assert_eq!(shell(&lab, "t:v1", "ls -d null disk 2>/dev/null | wc -l").trim(), "0");
        }
    }
}

#[test]
fn file_capabilities_work_and_attributes_of_overlay_do_not() {
    for lab in labs() {
        // cap_net_raw=ep, version 2 (capabilities(7)); the value has a newline's byte in it on purpose: 0x0a is CAP_KILL's neighbour.
        let capability = [1, 0, 0, 2, 0x0a, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let bundle = lab.bundle();
        let busybox = std::fs::read(bundle.rootfs("bin/busybox")).unwrap();
        let layer = Layer::new()
            .pax(&[("SCHILY.xattr.security.capability", &capability)])
            .file("busybox-capable", 0o755, busybox)
            .pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc"), ("SCHILY.xattr.user.overlay.redirect", b"/etc")])
            .dir("redirected", 0o755)
            .pax(&[("SCHILY.xattr.user.overlay.opaque", b"y"), ("SCHILY.xattr.trusted.overlay.opaque", b"y")])
            .dir("etc", 0o755);
        let image = base().layer(layer);
        let finished = load(&lab, &lab.file("image.tar", image.archive("t:v1"))).run().ok();
        assert!(finished.stderr().contains("4 extended attributes left out"), "{}", finished.all());
        let user = if lab.as_user().is_some_and(|user| user.subuids.is_none()) { "0" } else { "1000" };
        let run = pipkin(
            &lab,
            [
                "run",
                "--rm",
                "-u",
                user,
                "t:v1",
                "/busybox-capable",
                "sh",
                "-c",
                "grep CapEff /proc/self/status; ls redirected | wc -l; ls /etc/passwd",
            ],
        );
        let seen = run.run().ok().stdout();
        if user == "1000" {
            // The shell is not the capable file any more, so look at what it got: cap_net_raw and cap_kill were in the set.
            assert!(seen.contains("CapEff:"), "{seen}");
        }
        assert!(seen.ends_with("0\n/etc/passwd\n"), "{seen}");
        let seen = pipkin(
            &lab,
            ["run", "--rm", "-u", user, "t:v1", "/busybox-capable", "grep", "CapEff", "/proc/self/status"],
        )
        .run()
        .ok()
        .stdout();
        let mask = u64::from_str_radix(seen.split_whitespace().last().unwrap(), 16).unwrap();
        assert_ne!(mask & (1 << 13), 0, "cap_net_raw is not effective: {seen}");
        if user == "1000" {
            assert_eq!(mask & !0x200a, 0, "{seen}");
        }
    }
}

#[test]
fn parents_that_a_layer_does_not_describe_stay_as_they_are_below() {
    for lab in labs() {
        let lower = Layer::new().dir("tmp", 0o1777).dir("usr/lib", 0o711).symlink("lib", "usr/lib");
        let upper = Layer::new().file("tmp/deep/file", 0o644, "x").file("lib/z", 0o644, "through the link");
        loaded(&lab, &base().layer(lower).layer(upper));
        let seen = shell(&lab, "t:v1", "stat -c %a tmp tmp/deep usr/lib; readlink lib; cat usr/lib/z");
        assert_eq!(seen, "1777\n755\n711\nusr/lib\nthrough the link");
    }
}

#[test]
fn many_layers() {
    for lab in labs() {
        let mut image = base();
        for n in 0..60 {
            image = image.layer(Layer::new().file("n", 0o644, n.to_string()).file(&format!("l{n}"), 0o644, ""));
        }
        loaded(&lab, &image);
        assert_eq!(shell(&lab, "t:v1", "cat n; ls -d l* | grep -c 'l[0-9]'"), "5960\n");
    }
}

/// The same layer as another tool unpacks it (Go's archive/tar, which made most layers of the world).
#[test]
fn another_tool_sees_the_same_files() {
    let Some(lab) = Lab::root() else { return };
    if host::which("umoci").is_none() {
        return pipkin_harness::skipped("umoci is not installed");
    }
    let long = "l".repeat(180);
    let lower = Layer::new()
        .dir("./", 0o751)
        .dir("a", 0o1777)
        .owned_file("a/f", 0o4711, 7, 8, "x")
        .hardlink("a/g", "a/f")
        .symlink("s", "../../a")
        .pax(&[("path", format!("{long}/{long}").as_bytes())])
        .file("short", 0o600, "long")
        .pax(&[("size", b"3")])
        .entry("sized", EntryType::Regular, 0o644, |header| header.set_size(3), b"abc")
        .pax(&[("uid", b"70000"), ("mtime", b"1000000000.25")])
        .file("paxed", 0o640, "x")
        .file("twice", 0o644, "first")
        .file("twice", 0o755, "second")
        .dir("gone", 0o755)
        .file("gone/x", 0o644, "x")
        .file("old", 0o644, "x");
    let upper = Layer::new()
        .whiteout("", "gone")
        .whiteout("", "old")
        .dir("a", 0o755)
        .file("a/new", 0o644, "x")
        .symlink("paxed", "a/new");
    let image = base().layer(lower).layer(upper);
    let layout = lab.directory("layout");
    image.write_directory(&layout, "v1");
    load(&lab, &layout).run().ok();
    lab.program("umoci")
        .args(["unpack", "--image"])
        .arg(format!("{}:v1", layout.display()))
        .arg(lab.path("umoci"))
        .run()
        .ok();
    let list = "find . -xdev -path ./dev -prune -o -path ./etc -prune -o -path ./proc -prune -o -path ./sys -prune -o -path ./run -prune -o ! -path . -printf '%P %y %m %U %G %l' \\( -type d -printf ' dir' -o -printf ' %n %s %T@' \\) -printf '\\n' | sort";
    let theirs = lab.program("sh").args(["-c", list]).dir(lab.path("umoci/rootfs")).run().ok().stdout();
    // What a container sees, looked at from outside with the same find.
    let mut running =
        pipkin(&lab, ["run", "--name", "seen", "layout:v1", "/bin/sh", "-c", "echo ready; exec sleep 1000"]).start();
    running.hear("ready");
    let merged = std::fs::read_dir(images::store(&lab).join("containers"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
        .join("merged");
    let script = format!("cd '{}' && {list}", merged.display());
    let ours =
        lab.program("nsenter").args(["-t", &running.pid().to_string(), "-m", "sh", "-c", &script]).run().ok().stdout();
    pipkin(&lab, ["rm", "-f", "seen"]).run().ok();
    running.wait();
    assert!(theirs.contains("paxed l") && theirs.lines().count() > 10, "{theirs}");
    assert_eq!(ours, theirs);
}
