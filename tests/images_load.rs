//! Images in all the forms in which they come, in and out of the store.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod images;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use images::{contents, labs, load, pipkin, shell, store};
use pipkin_harness::image::{self, Blob, Image, Layer, archive, gzip};
use pipkin_harness::{Lab, host};
use serde_json::json;

/// Busybox with a second layer that says which image it is.
fn named(word: &str) -> Image {
    // One for all: the same layer must be the same bytes.
    static BASE: OnceLock<Image> = OnceLock::new();
    BASE.get_or_init(Image::busybox).clone().layer(Layer::new().file("which", 0o644, word))
}

#[test]
fn layouts_and_archives_of_all_forms() {
    for lab in labs() {
        let image = named("me");
        let directory = lab.directory("one");
        image.write_directory(&directory, "v1");
        load(&lab, &directory).run().ok();
        load(&lab, &lab.file("two.tar", image.archive("localhost/two:x"))).run().ok();
        load(&lab, &lab.file("three.tar.gz", gzip(&image.archive("v3")))).run().ok();
        load(&lab, &lab.file("four.tar", image.docker_archive("registry.example:5000/four:v4"))).run().ok();
        pipkin(&lab, ["load", "--name", "five"]).arg(&directory).run().ok();
        let names = pipkin(&lab, ["images"]).run().ok().stdout();
        for name in ["one v1", "localhost/two x", "three v3", "registry.example:5000/four v4", "five latest"] {
            let (repository, tag) = name.split_once(' ').unwrap();
            let listed = names.lines().any(|line| line.split_whitespace().take(2).eq([repository, tag]));
            assert!(listed, "{name} is not in\n{names}");
        }
        for name in ["one:v1", "localhost/two:x", "three:v3", "registry.example:5000/four:v4", "five"] {
            assert_eq!(shell(&lab, name, "cat /which"), "me", "{name}");
        }
        // The same layers are there once, whatever they came in.
        assert_eq!(contents(&lab).iter().filter(|name| name.starts_with("layers/")).count(), 2);
    }
}

#[test]
fn the_store_is_private_and_readable_by_other_tools() {
    for lab in labs() {
        load(&lab, &lab.file("a.tar", named("me").archive("a:v1"))).run().ok();
        assert_eq!(fs::metadata(store(&lab)).unwrap().permissions().mode() & 0o7777, 0o700);
        if host::which("skopeo").is_some() {
            let source = format!("oci:{}:docker.io/library/a:v1", store(&lab).display());
            lab.program("skopeo").args(["inspect", "--raw"]).arg(source).run().ok();
        }
    }
}

#[test]
fn archives_of_other_tools() {
    let Some(lab) = Lab::root() else { return };
    let layout = lab.directory("layout");
    named("other").write_directory(&layout, "v1");
    if host::which("skopeo").is_none() {
        return pipkin_harness::skipped("skopeo is not installed");
    }
    for (target, name) in
        [("docker-archive", "localhost/other:x"), ("oci-archive", "localhost/other:y"), ("oci", "localhost/other:z")]
    {
        let path = lab.path(target);
        let skopeo = lab.program("skopeo").args(["--insecure-policy", "copy"]);
        skopeo
            .arg(format!("oci:{}:v1", layout.display()))
            .arg(format!("{target}:{}:{name}", path.display()))
            .run()
            .ok();
        load(&lab, &path).run().ok();
        assert_eq!(shell(&lab, name, "cat /which"), "other", "{target}");
    }
}

#[test]
fn a_docker_archive_that_is_also_a_layout_and_one_with_links() {
    for lab in labs() {
        // Docker 25 and later write both; the layout's digests are what counts.
        let image = named("both");
        let config = image.config_blob().digest.replacen(':', "/", 1);
        let mut files = image.layout("latest");
        files.push((
            "manifest.json".into(),
            json!([{"Config": format!("blobs/{config}"), "RepoTags": ["wrong:name"], "Layers": []}])
                .to_string()
                .into_bytes(),
        ));
        pipkin(&lab, ["load", "--name", "both"]).arg(lab.file("both.tar", archive(files))).run().ok();
        assert_eq!(shell(&lab, "both", "cat /which"), "both");
        // Old ones have a symbolic link for a layer that is there already.
        let layer = Layer::new().file("which", 0o644, "linked");
        let bytes = Layer::new().tree(&rootfs(&lab)).bytes();
        let mut image = Image::new(json!({"Cmd": ["/bin/sh"]}));
        let top = layer.bytes();
        image.config["rootfs"]["diff_ids"] = json!([image::digest(&bytes), image::digest(&top)]);
        let manifest =
            json!([{"Config": "c.json", "RepoTags": ["linked:x"], "Layers": ["a/layer.tar", "b/layer.tar"]}]);
        let tar = Layer::new()
            .file("x/real.tar", 0o644, &bytes)
            .symlink("a/layer.tar", "../x/real.tar")
            .file("b/layer.tar", 0o644, &top)
            .file("c.json", 0o644, image.config.to_string())
            .file("manifest.json", 0o644, manifest.to_string());
        load(&lab, &lab.file("linked.tar", tar.bytes())).run().ok();
        assert_eq!(shell(&lab, "linked:x", "cat /which"), "linked");
    }
}

fn rootfs(lab: &Lab) -> std::path::PathBuf {
    let bundle = lab.bundle();
    bundle.rootfs("")
}

#[test]
fn an_index_gives_the_image_for_this_machine() {
    let Some(lab) = Lab::user().or_else(Lab::root) else { return };
    let (mine, mut other) = (named("mine"), named("other"));
    other.config["architecture"] = json!("s390x");
    let mut manifests = Vec::new();
    for image in [&other, &mine] {
        let mut descriptor = image.manifest().descriptor();
        descriptor["platform"] = json!({"os": "linux", "architecture": image.config["architecture"]});
        manifests.push(descriptor);
    }
    let attestation = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image::digest(b"x"), "size": 1, "platform": {"os": "unknown", "architecture": "unknown"}});
    manifests.insert(0, attestation);
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    let index = Blob::new("application/vnd.oci.image.index.v1+json", index.to_string().into_bytes());
    let mut outer = index.descriptor();
    outer["annotations"] =
        json!({"io.containerd.image.name": "docker.io/library/multi:v1", "org.opencontainers.image.ref.name": "v1"});
    let mut files = mine.layout("x");
    files.extend(other.layout("x").into_iter().filter(|(name, _)| name.starts_with("blobs/")));
    files.push((format!("blobs/{}", index.digest.replacen(':', "/", 1)), index.bytes.clone()));
    files.retain(|(name, _)| name != "index.json");
    files.push(("index.json".into(), json!({"schemaVersion": 2, "manifests": [outer]}).to_string().into_bytes()));
    load(&lab, &lab.file("multi.tar", archive(files))).run().ok();
    assert_eq!(shell(&lab, "multi:v1", "cat /which"), "mine");
    // One for another machine only.
    let words = ["s390x", "no image for linux/"];
    let mut descriptor = other.manifest().descriptor();
    descriptor["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let mut files = other.layout("x");
    files.retain(|(name, _)| name != "index.json");
    files.push(("index.json".into(), json!({"schemaVersion": 2, "manifests": [descriptor]}).to_string().into_bytes()));
    load(&lab, &lab.file("foreign.tar", archive(files))).run().fails(125, &words);
}

#[test]
fn removal_keeps_what_others_need() {
    for lab in labs() {
        load(&lab, &lab.file("a.tar", named("a").archive("a:v1"))).run().ok();
        load(&lab, &lab.file("b.tar", named("b").archive("b:v1"))).run().ok();
        assert_eq!(contents(&lab).iter().filter(|name| name.starts_with("layers/")).count(), 3, "busybox, a, b");
        pipkin(&lab, ["rmi", "a:v1"]).run().ok();
        assert_eq!(contents(&lab).iter().filter(|name| name.starts_with("layers/")).count(), 2, "busybox, b");
        assert_eq!(shell(&lab, "b:v1", "cat /which"), "b");
        pipkin(&lab, ["rmi", "a:v1"]).run().fails(125, &["a:v1", "no image"]);
        // A container keeps its image, until it is removed.
        pipkin(&lab, ["run", "--name", "c", "b:v1", "/bin/true"]).run().ok();
        pipkin(&lab, ["rmi", "b:v1"]).run().fails(125, &["b:v1", "container c"]);
        assert!(pipkin(&lab, ["ps"]).run().ok().stdout().lines().count() == 1);
        assert!(pipkin(&lab, ["ps", "-a"]).run().ok().stdout().contains("exited (0)"));
        pipkin(&lab, ["rm", "c"]).run().ok();
        let id = pipkin(&lab, ["images", "-q"]).run().ok().stdout();
        pipkin(&lab, ["rmi", id.trim()]).run().ok();
        assert_eq!(contents(&lab), [] as [&str; 0]);
    }
}

#[test]
fn a_name_that_moves_leaves_nothing_of_the_old_image() {
    for lab in labs() {
        load(&lab, &lab.file("a.tar", named("old").archive("a:v1"))).run().ok();
        let before = contents(&lab).len();
        load(&lab, &lab.file("a.tar", named("new").archive("a:v1"))).run().ok();
        assert_eq!(shell(&lab, "a:v1", "cat /which"), "new");
        assert_eq!(contents(&lab).len(), before);
        // Loading it once more changes nothing.
        load(&lab, &lab.path("a.tar")).run().ok();
        assert_eq!(contents(&lab).len(), before);
    }
}

#[test]
fn many_loads_and_removals_at_once() {
    for lab in labs() {
        let files: Vec<_> =
            (0..3).map(|n| lab.file(&format!("{n}.tar"), named(&n.to_string()).archive(&format!("i{n}:v1")))).collect();
        for _ in 0..2 {
            let running: Vec<_> = files.iter().chain(&files).map(|file| load(&lab, file).start()).collect();
            running.into_iter().for_each(|load| drop(load.wait().ok()));
            for n in 0..3 {
                assert_eq!(shell(&lab, &format!("i{n}:v1"), "cat /which"), n.to_string());
            }
            let mut running: Vec<_> = (0..2).map(|n| pipkin(&lab, ["rmi", &format!("i{n}:v1")]).start()).collect();
            running.push(load(&lab, &files[2]).start());
            running.into_iter().for_each(|rmi| drop(rmi.wait().ok()));
            assert_eq!(shell(&lab, "i2:v1", "cat /which"), "2");
        }
        pipkin(&lab, ["rmi", "i2:v1"]).run().ok();
        assert_eq!(contents(&lab), [] as [&str; 0]);
    }
}

#[test]
fn a_directory_becomes_an_image() {
    for lab in labs() {
        let tree = rootfs(&lab);
        fs::hard_link(tree.join("etc/passwd"), tree.join("etc/again")).unwrap();
        let mut import = pipkin(&lab, ["import"]).arg(&tree).arg("me/tree:v2");
        import = import.args([
            "--entrypoint",
            "[\"/bin/sh\", \"-c\"]",
            "--cmd",
            "[\"echo $A; pwd; stat -c %h /etc/again\"]",
            "-e",
            "A=b c",
            "-w",
            "/srv",
        ]);
        import.run().ok();
        assert_eq!(pipkin(&lab, ["run", "--rm", "me/tree:v2"]).run().ok().stdout(), "b c\n/srv\n2\n");
        // A plain archive, with gzip and without.
        let tar = Layer::new().tree(&tree).bytes();
        for (name, bytes) in [("x.tar", tar.clone()), ("x.tgz", gzip(&tar))] {
            pipkin(&lab, ["import"])
                .arg(lab.file(name, bytes))
                .arg("x")
                .args(["--cmd", "[\"/bin/sh\", \"-c\", \"pwd\"]"])
                .run()
                .ok();
            assert_eq!(pipkin(&lab, ["run", "--rm", "x"]).run().ok().stdout(), "/\n");
        }
        pipkin(&lab, ["import"]).arg(lab.file("no.tar", "no archive".repeat(100))).arg("y").run().fails(125, &["tar"]);
        pipkin(&lab, ["import", "/no/such", "y"]).run().fails(125, &["/no/such", "no such file"]);
    }
}
