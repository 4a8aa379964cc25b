//! `linux.rootfsPropagation` and the propagation options of mounts: what travels between host and container, and what not.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::{Finished, Lab};
use serde_json::json;

/// Runs a container that mounts a tmpfs below its volume, in a mount namespace whose mounts are shared, as systemd has
/// them; tells how many mounts of that name the namespace has while the container is there, and when it is gone.
fn mounts_on_the_host(lab: &Lab, root_propagation: &str, volume_propagation: &str) -> (usize, usize, Finished) {
    let volume = lab.directory("volume");
    std::fs::create_dir_all(volume.join("inner")).unwrap();
    let mut bundle = lab.bundle();
    bundle.config["linux"]["rootfsPropagation"] = json!(root_propagation);
    bundle.config["process"]["capabilities"] = json!({
        "bounding": ["CAP_SYS_ADMIN"], "effective": ["CAP_SYS_ADMIN"], "permitted": ["CAP_SYS_ADMIN"]
    });
    bundle.add_mount("/volume", "bind", &volume, &["rbind", volume_propagation]);
    let script = "/bin/busybox mount -t tmpfs travels /volume/inner && echo mounted && read line && /bin/busybox umount /volume/inner";
    bundle.args(["/bin/busybox", "sh", "-c", script]);
    bundle.save();
    let id = lab.id();
    // The volume has to be a mount of its own for its propagation to mean anything.
    let command = format!(
        "mount --bind '{volume}' '{volume}' && mount --make-private '{volume}' && mount --make-shared '{volume}' && mkfifo '{fifo}' && exec 4<>'{fifo}'\n\
         '{runtime}' --root '{root}' run --bundle '{bundle}' '{id}' <'{fifo}' >'{out}' & \n\
         for i in $(seq 600); do grep -q mounted '{out}' 2>/dev/null && break; sleep 0.05; done\n\
         grep -c ' travels ' /proc/self/mountinfo; echo go >&4; wait $!; code=$?\n\
         grep -c ' travels ' /proc/self/mountinfo; exit $code",
        volume = volume.display(),
        fifo = lab.path("fifo").display(),
        out = lab.path("out").display(),
        runtime = lab.runtime_path().display(),
        root = lab.state_root().display(),
        bundle = bundle.path_text(),
    );
    let finished = lab.program("/usr/bin/unshare").args(["-m", "--propagation", "shared", "sh", "-c", &command]).run();
    let text = finished.stdout();
    let mut counts = text.lines().map(|line| line.trim().parse().unwrap());
    (counts.next().unwrap(), counts.next().unwrap(), finished)
}

#[test]
fn a_shared_volume_in_a_shared_container_shows_its_mounts_to_the_host() {
    let Some(lab) = Lab::root() else { return };
    let (during, after, finished) = mounts_on_the_host(&lab, "rshared", "rshared");
    assert_eq!((during, after, finished.code()), (1, 0, 0), "{}", finished.all());
    assert_eq!(lab.leaks(), "");
}

#[test]
fn all_others_keep_them_to_themselves() {
    for (root, volume) in
        [("rslave", "rslave"), ("rprivate", "rprivate"), ("rslave", "rprivate"), ("rshared", "rprivate")]
    {
        let Some(lab) = Lab::root() else { return };
        let (during, after, finished) = mounts_on_the_host(&lab, root, volume);
        assert_eq!((during, after, finished.code()), (0, 0, 0), "{root} {volume}: {}", finished.all());
        assert_eq!(lab.leaks(), "");
    }
}

#[test]
fn the_containers_root_has_the_propagation_that_is_asked_for() {
    let Some(lab) = Lab::root() else { return };
    // What mountinfo says of the root, in a mount namespace whose mounts are shared; without the field it is as with rslave.
    for (asked, seen) in [
        ("", "master:"),
        ("slave", "master:"),
        ("rslave", "master:"),
        ("private", ""),
        ("rprivate", ""),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
        ("shared", "shared:"),
        ("rshared", "shared:"),
    ] {
        // runc 1.1 can not make it unbindable, and leaves a shared one private.
        if lab.is_peer() && (asked.contains("unbindable") || asked.contains("shared")) {
            continue;
        }
        let mut bundle = lab.bundle();
        if !asked.is_empty() {
            bundle.config["linux"]["rootfsPropagation"] = json!(asked);
        }
        bundle.args(["/bin/probe"]);
        bundle.save();
        let root = lab.state_root();
        let id = lab.id();
        let runtime = lab.runtime_path().to_str().unwrap();
        let words = ["-m", "--propagation", "shared", runtime, "--root", root.to_str().unwrap()];
        let words = words.into_iter().chain(["run", "--bundle", bundle.path_text(), &id]);
        let finished = lab.program("/usr/bin/unshare").args(words).run().ok();
        let report: serde_json::Value = serde_json::from_str(&finished.stdout()).unwrap();
        let mounts = report["mounts"].as_array().unwrap();
        let fields = &mounts.iter().find(|mount| mount["target"] == "/").unwrap()["propagation"];
        let fields: Vec<&str> = fields.as_array().unwrap().iter().map(|field| field.as_str().unwrap()).collect();
        let right =
            if seen.is_empty() { fields.is_empty() } else { fields.iter().any(|field| field.starts_with(seen)) };
        assert!(right, "{asked:?}: {fields:?}");
    }
    let mut bundle = lab.bundle();
    bundle.config["linux"]["rootfsPropagation"] = json!("sideways");
    bundle.args(["/bin/true"]);
    let finished = lab.run(&bundle).exits(1);
    assert!(lab.is_peer() || finished.stderr().contains("linux.rootfsPropagation: \"sideways\""), "{}", finished.all());
    assert_eq!(lab.leaks(), "");
}
