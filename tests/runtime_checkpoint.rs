//! `checkpoint` and `restore`, by CRIU, where there is one that works on the kernel.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;

use pipkin_harness::{Bundle, Lab, Program, adopt, await_true, host, skipped};
use serde_json::json;

/// A container that counts, and so shows that it goes on where it was.
fn counting(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = json!(false);
    bundle.args(["/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo $n > /tmp/count; sleep 0.01; done"]);
    // With one of its own CRIU needs the tools of iproute2 and iptables.
    bundle.share_namespace("network");
    bundle.save();
    bundle
}

fn count(bundle: &Bundle) -> u64 {
    fs::read_to_string(bundle.rootfs("/tmp/count")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Whether there is a CRIU that works.
fn fit() -> bool {
    let fit = host::which("criu").is_some_and(|criu| Program::new(criu).arg("check").run().code() == 0);
    if !fit {
        skipped("no criu that works on this kernel");
    }
    fit
}

#[test]
fn without_criu_nothing_happens_and_the_error_says_so() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let bundle = counting(&lab);
    let container = lab.create(&bundle);
    let images = lab.path("images");
    let images = images.to_str().unwrap();
    let criu = lab.path("no-criu");
    let with =
        |words: &[&str]| lab.runtime(["--criu", criu.to_str().unwrap()].into_iter().chain(words.iter().copied())).run();
    with(&["checkpoint", "--image-path", images, container.id()])
        .fails(1, &["Container cannot be checkpointed in created state"]);
    container.start();
    with(&["checkpoint", "--image-path", images, container.id()]).fails(1, &["no-criu", "no such file", "--criu"]);
    assert_eq!(container.status(), "running");
    for bad in [
        &["checkpoint", "--manage-cgroups-mode", "hard", container.id()][..],
        &["checkpoint", "--page-server", "nowhere", container.id()],
        &["checkpoint", "--empty-ns", "user", container.id()],
        &["checkpoint", "--status-fd", "5", container.id()],
        &["checkpoint", "nobody"],
        &["restore", "--no-pivot", "nobody"],
        &["restore", "--image-path", "/no/such/images", "--bundle", bundle.path_text(), "nobody"],
    ] {
        with(bad).exits(1);
    }
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_container_goes_on_where_it_was() {
    let Some(lab) = Lab::root() else { return };
    if !fit() {
        return;
    }
    let bundle = counting(&lab);
    let id = lab.id();
    let images = lab.path("images");
    let images = images.to_str().unwrap();
    lab.runtime(["run", "--detach", "--bundle", bundle.path_text(), &id]).run().ok();
    await_true("it counts", || count(&bundle) > 5);

    lab.runtime(["checkpoint", "--image-path", images, "--leave-running", &id]).run().ok();
    let before = count(&bundle);
    await_true("it goes on counting", || count(&bundle) > before);

    lab.runtime(["checkpoint", "--image-path", images, &id]).run().ok();
    lab.runtime(["state", &id]).run().fails(1, &["does not exist"]);
    let before = count(&bundle);
    assert!(before > 5);

    let pid_file = lab.path("pid");
    let words = ["restore", "--detach", "--image-path", images, "--bundle", bundle.path_text(), "--pid-file"];
    lab.runtime(words.into_iter().chain([pid_file.to_str().unwrap(), id.as_str()])).run().ok();
    adopt(fs::read_to_string(&pid_file).unwrap().parse().unwrap());
    await_true("it goes on counting after the restore", || count(&bundle) > before);
    assert!(count(&bundle) >= before, "it does not begin anew");
    assert!(lab.runtime(["state", &id]).run().ok().stdout().contains("\"running\""));
    lab.runtime(["exec", &id, "/bin/true"]).run().ok();
    lab.runtime(["restore", "--detach", "--image-path", images, "--bundle", bundle.path_text(), &id])
        .run()
        .fails(1, &["exists"]);
    lab.runtime(["delete", "--force", &id]).run().ok();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_restore_in_the_foreground_ends_with_the_programs_code() {
    let Some(lab) = Lab::root() else { return };
    if !fit() {
        return;
    }
    let mut bundle = counting(&lab);
    bundle.args(["/bin/sh", "-c", "echo started > /tmp/count; until [ -e /tmp/go ]; do sleep 0.01; done; exit 7"]);
    bundle.save();
    let id = lab.id();
    let images = lab.path("images");
    let images = images.to_str().unwrap();
    lab.runtime(["run", "--detach", "--bundle", bundle.path_text(), &id]).run().ok();
    await_true("it runs", || bundle.rootfs("/tmp/count").exists());
    lab.runtime(["checkpoint", "--image-path", images, &id]).run().ok();
    let restored = lab.runtime(["restore", "--image-path", images, "--bundle", bundle.path_text(), &id]).start();
    await_true("it runs", || lab.runtime(["state", &id]).run().stdout().contains("\"running\""));
    fs::write(bundle.rootfs("/tmp/go"), "").unwrap();
    restored.wait().exits(7);
    assert_eq!(lab.leaks(), "");
}
