//! The harness itself: it sees what is left behind, removes it, and lets nothing hang.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use pipkin_harness::host::{self, View, view};
use pipkin_harness::image::{Image, Layer, archive, digest, gunzip, gzip};
use pipkin_harness::{Lab, Program};
use serde_json::json;

/// The text that the closure panics with.
fn panics(body: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(body)).expect_err("it should have panicked");
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| payload.downcast_ref::<&str>().unwrap().to_string())
}

#[test]
fn what_is_left_behind_is_named_removed_and_makes_the_test_fail() {
    let Some(lab) = Lab::root().map(|lab| lab.with_patience(Duration::from_secs(1))) else { return };
    let parent = if view() == View::V2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/pids" };
    let cgroup = Path::new(parent).join(lab.name());
    std::fs::create_dir(&cgroup).unwrap();
    // A process that leaves its parent, its group and its session, and sits in the cgroup.
    let script = format!("echo $$ > {}/cgroup.procs; setsid sleep 1000 & echo $!", cgroup.display());
    let process: i32 = lab.program("/bin/sh").args(["-c", &script]).run().ok().stdout().trim().parse().unwrap();
    std::fs::create_dir_all(lab.state_root().join("container")).unwrap();
    // A cache of filters is none, but for what has no place in it.
    std::fs::create_dir_all(lab.state_root().join("@seccomp/0123456789abcdee")).unwrap();
    for file in ["0123456789abcdef", "new"] {
        std::fs::write(lab.state_root().join("@seccomp").join(file), "").unwrap();
    }
    let mounted = lab.directory("mounted");
    let mount = Program::new("mount").args(["-t", "tmpfs", "none"]).arg(&mounted).run();
    mount.ok();

    let found = lab.leaks();
    for trace in [
        format!("process {process}: "),
        format!("mount {}", mounted.display()),
        format!("cgroup {}", cgroup.display()),
        format!("state {}", lab.state_root().join("container").display()),
        format!("state {}", lab.state_root().join("@seccomp/0123456789abcdee").display()),
        format!("state {}", lab.state_root().join("@seccomp/new").display()),
    ] {
        assert!(found.contains(&trace), "{trace} is not in:\n{found}");
    }
    assert!(!found.contains("0123456789abcdef") && !found.contains("@seccomp\n"), "{found}");
    let directory = lab.path("");
    assert!(panics(|| drop(lab)).contains("sleep 1000"));
    assert!(!host::is_alive(process));
    assert!(!cgroup.exists() && !directory.exists());
}

#[test]
fn a_program_at_its_deadline_is_killed_with_everything_it_started() {
    let lab = Lab::user().or_else(Lab::root).unwrap();
    let file = lab.file("children", "");
    let script = format!("sleep 1000 & echo $! > {}; echo said; sleep 1000", file.display());
    let program = lab.program("/bin/sh").args(["-c", &script]).deadline(Duration::from_secs(1));
    let message = panics(|| drop(program.run()));
    assert!(message.contains("still running") && message.contains("said"), "{message}");
    let child = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    pipkin_harness::await_true("the child's end", || !host::is_alive(child));
}

#[test]
fn a_line_that_never_comes_is_an_error() {
    let mut running = Program::new("echo").arg("one").start();
    assert!(running.hear("one").contains("one"));
    assert!(panics(|| drop(running.hear("two").to_owned())).contains("did not say \"two\""));
    running.wait().ok();
}

#[test]
fn an_image_is_what_its_digests_say() {
    let image = Image::new(json!({"Cmd": ["/a"]})).layer(Layer::new().dir("d", 0o755).file("../d/a", 0o644, "text"));
    let bytes = gunzip(&image.layers[0].bytes);
    assert_eq!(image.config["rootfs"]["diff_ids"], json!([digest(&bytes)]));
    assert_eq!(digest(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(gunzip(&gzip(b"again and again")), b"again and again");
    for (name, content) in image.layout("x") {
        if let Some(hex) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(digest(&content), format!("sha256:{hex}"));
        }
    }
    // Names are written as they are, also those that climb.
    let listed = archive([("../up".to_owned(), Vec::new())]);
    assert!(listed.starts_with(b"../up\0"));
}
