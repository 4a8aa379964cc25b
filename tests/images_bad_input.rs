//! Images that are wrong, broken or malicious, and loads that are cut short: one line that says what, exit code 125, and
//! nothing in the store.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod images;

use std::fs;
use std::io::Write;

use images::{contents, labs, load, pipkin, refused, shell, store};
use pipkin_harness::image::{Blob, Image, Layer, archive, digest, gzip};
use pipkin_harness::{Lab, await_path};
use rustix::process::Signal;
use serde_json::{Value, json};
use tar::EntryType;

fn small() -> Image {
    Image::new(json!({"Cmd": ["/x"]})).layer(Layer::new().file("x", 0o755, "content"))
}

/// Changes the bytes of the file whose name contains `part`.
fn with_change(image: &Image, part: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut files = image.layout("bad:v1");
    let mut found = files.iter_mut().filter(|(name, _)| name.contains(part));
    change(&mut found.next().expect("such a file").1);
    archive(files)
}

fn hex(blob: &Blob) -> String {
    blob.digest.trim_start_matches("sha256:").to_string()
}

/// An archive of the image with another manifest, which the index names rightly.
fn with_manifest(image: &Image, change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut manifest: Value = serde_json::from_slice(&image.manifest().bytes).unwrap();
    change(&mut manifest);
    with_raw_manifest(image, "application/vnd.oci.image.manifest.v1+json", manifest.to_string().into_bytes())
}

fn with_raw_manifest(image: &Image, media_type: &str, bytes: Vec<u8>) -> Vec<u8> {
    let blob = Blob::new(media_type, bytes);
    let mut descriptor = blob.descriptor();
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": "bad:v1"});
    let mut files = image.layout("x");
    files.retain(|(name, _)| name != "index.json");
    files.push((format!("blobs/sha256/{}", hex(&blob)), blob.bytes));
    files.push(("index.json".into(), json!({"schemaVersion": 2, "manifests": [descriptor]}).to_string().into_bytes()));
    archive(files)
}

#[test]
fn damage_is_found_by_digest_and_size() {
    for lab in labs() {
        let image = small();
        let (layer, config, manifest) = (hex(&image.layers[0]), hex(&image.config_blob()), hex(&image.manifest()));
        let flip = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
        for part in [&layer, &config, &manifest] {
            refused(&lab, load(&lab, &lab.file("bad.tar", with_change(&image, part, flip))).run(), &[part, "digest"]);
            let grown = with_change(&image, part, |bytes| bytes.push(b' '));
            refused(&lab, load(&lab, &lab.file("bad.tar", grown)).run(), &[part, "bytes instead of"]);
        }
        // In a docker-archive the configuration has a digest for a name, and the layers are known by the diff ids.
        let docker = String::from_utf8_lossy(&image.docker_archive("bad:v1")).into_owned();
        assert!(docker.contains("content"));
        let changed = image.docker_archive("bad:v1");
        let at = changed.windows(7).position(|window| window == b"content").unwrap();
        let mut changed = changed;
        changed[at] = b'C';
        refused(&lab, load(&lab, &lab.file("bad.tar", changed)).run(), &["unpacks to"]);
    }
}

#[test]
fn a_layer_that_is_not_what_the_configuration_says() {
    for lab in labs() {
        let mut image = small();
        image.config["rootfs"]["diff_ids"] = json!([digest(b"other")]);
        refused(
            &lab,
            load(&lab, &lab.file("bad.tar", image.archive("bad:v1"))).run(),
            &["layer 1", "unpacks to", &digest(b"other")],
        );
        image.config["rootfs"]["diff_ids"] = json!([]);
        refused(&lab, load(&lab, &lab.file("bad.tar", image.archive("bad:v1"))).run(), &["0 diff ids for 1 layers"]);
    }
}

#[test]
fn truncated_archives() {
    for lab in labs() {
        let image = Image::busybox();
        for whole in [image.archive("bad:v1"), image.docker_archive("bad:v1"), gzip(&image.archive("bad:v1"))] {
            for part in [whole.len() / 3, whole.len() - whole.len() / 8] {
                let finished = load(&lab, &lab.file("cut.tar", &whole[..part])).run();
                refused(&lab, finished, &["cut.tar"]);
            }
        }
        // A layer that ends in the middle, although all digests are right.
        let cut = &Layer::new().file("x", 0o644, vec![1; 5000]).bytes()[..3000];
        let mut image = Image::new(json!({}));
        image.config["rootfs"]["diff_ids"] = json!([digest(cut)]);
        image.layers.push(Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", gzip(cut)));
        refused(&lab, load(&lab, &lab.file("cut.tar", image.archive("bad:v1"))).run(), &["layer 1", "truncated"]);
    }
}

#[test]
fn documents_that_mean_different_images_to_different_tools() {
    for lab in labs() {
        let image = small();
        let bad =
            |archive: Vec<u8>, words: &[&str]| refused(&lab, load(&lab, &lab.file("bad.tar", archive)).run(), words);
        // CVE-2021-41190.
        bad(with_manifest(&image, |m| m["manifests"] = json!([])), &["ambiguous"]);
        bad(
            with_manifest(&image, |m| m["mediaType"] = json!("application/vnd.oci.image.index.v1+json")),
            &["referred to as"],
        );
        bad(with_manifest(&image, |m| m["schemaVersion"] = json!(1)), &["schemaVersion 1"]);
        bad(
            with_raw_manifest(
                &image,
                "application/vnd.docker.distribution.manifest.v1+json",
                b"{\"schemaVersion\":2}".to_vec(),
            ),
            &["media type"],
        );
        // A field twice: readers take the first or the last.
        let text = String::from_utf8(image.manifest().bytes).unwrap();
        let twice = text.replacen('{', "{\"layers\":[],", 1);
        bad(
            with_raw_manifest(&image, "application/vnd.oci.image.manifest.v1+json", twice.into_bytes()),
            &["duplicate field"],
        );
        bad(with_manifest(&image, |m| m["config"]["mediaType"] = json!("application/x")), &["media type"]);
        bad(
            with_manifest(&image, |m| {
                m["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+zstd")
            }),
            &["zstd"],
        );
        bad(with_manifest(&image, |m| m["layers"] = Value::Array(vec![m["layers"][0].clone(); 501])), &["501 layers"]);
    }
}

#[test]
fn a_digest_is_never_a_path() {
    for lab in labs() {
        lab.file("secret", "mine");
        for bad in ["sha256:../../../secret", "sha256:", "../secret", "sha512:00", "sha256:ABCDEF"] {
            let archive = with_manifest(&small(), |m| m["layers"][0]["digest"] = json!(bad));
            refused(&lab, load(&lab, &lab.file("bad.tar", archive)).run(), &["image bad:v1"]);
        }
        // A link in a layout directory leads nowhere else.
        let layout = lab.directory("layout");
        let image = small();
        image.write_directory(&layout, "v1");
        let blob = layout.join("blobs/sha256").join(hex(&image.layers[0]));
        fs::write(lab.path("outside"), &image.layers[0].bytes).unwrap();
        fs::remove_file(&blob).unwrap();
        std::os::unix::fs::symlink(lab.path("outside"), &blob).unwrap();
        refused(&lab, load(&lab, &layout).run(), &[&hex(&image.layers[0]), "missing"]);
    }
}

#[test]
fn documents_that_are_too_large() {
    for lab in labs() {
        let mut image = small();
        image.config["huge"] = json!("x".repeat(5 << 20));
        refused(&lab, load(&lab, &lab.file("bad.tar", image.archive("bad:v1"))).run(), &["limit"]);
        let mut files = small().layout("bad:v1");
        files.retain(|(name, _)| name != "index.json");
        files.push(("index.json".into(), vec![b' '; 5 << 20]));
        refused(&lab, load(&lab, &lab.file("bad.tar", archive(files))).run(), &["index.json", "limit"]);
        // A pax header of a gigabyte inside a layer.
        let layer = Layer::new().entry("pax", EntryType::XHeader, 0, |header| header.set_size(1 << 30), &[]);
        let image = Image::new(json!({})).layer(layer);
        refused(&lab, load(&lab, &lab.file("bad.tar", image.archive("bad:v1"))).run(), &["layer 1", "limit"]);
    }
}

#[test]
fn what_is_no_image() {
    for lab in labs() {
        refused(&lab, load(&lab, &lab.path("no-such-file")).run(), &["no-such-file", "no such file"]);
        refused(&lab, load(&lab, &lab.file("text", "not an archive at all".repeat(100))).run(), &["tar archive"]);
        refused(&lab, load(&lab, &lab.file("empty", "")).run(), &["is not an image"]);
        refused(
            &lab,
            load(&lab, &lab.file("plain.tar", Layer::new().file("x", 0o644, "x").bytes())).run(),
            &["pipkin import"],
        );
        refused(&lab, load(&lab, &lab.directory("dir")).run(), &["is not an image"]);
        // Opening it must not wait for a writer.
        let pipe = lab.path("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
        refused(&lab, load(&lab, &pipe).run(), &["pipe", "neither"]);
        let layout = lab.directory("layout");
        small().write_directory(&layout, "v1");
        fs::remove_file(layout.join("index.json")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, layout.join("index.json"), rustix::fs::Mode::from_raw_mode(0o644))
            .unwrap();
        refused(&lab, load(&lab, &layout).run(), &["index.json", "regular"]);
    }
}

/// Layers that try to get out. What must not happen is shown by files outside that stay as they are.
#[test]
fn layers_that_try_to_leave_their_directory() {
    for lab in labs() {
        let victim = lab.file("victim/file", "mine");
        let outside = victim.parent().unwrap().to_str().unwrap();
        let attacks: [(&str, Layer, &str); 7] = [
            ("dots", Layer::new().file("../../../../victim/file", 0o644, "theirs"), ".."),
            (
                "hard link with dots",
                Layer::new().hardlink("x", "../../../../victim/file").file("x", 0o644, "theirs"),
                "..",
            ),
            ("hard link", Layer::new().hardlink("x", &format!("{outside}/file")), "not in this layer"),
            (
                "hard link through a link",
                Layer::new().symlink("s", outside).hardlink("x", "s/file"),
                "not in this layer",
            ),
            ("the root as a link", Layer::new().symlink("/.", outside).file("file", 0o644, "theirs"), "root"),
            ("a whiteout of the parent", Layer::new().file(".wh...", 0o644, ""), "whiteout"),
            ("overlay's own whiteout", Layer::new().device("x", EntryType::Char, 0, 0), "whiteout"),
        ];
        for (name, layer, word) in attacks {
            let image = Image::new(json!({})).layer(layer);
            refused(&lab, load(&lab, &lab.file("bad.tar", image.archive("bad:v1"))).run(), &["layer 1", word]);
            assert_eq!(fs::read_to_string(&victim).unwrap(), "mine", "{name}");
        }
        // Links are followed inside the layer only: these are loaded and do no harm.
        let layer = Layer::new()
            .symlink("s", outside)
            .file("s/file", 0o644, "theirs")
            .symlink("f", &format!("{outside}/file"))
            .file("f", 0o666, "theirs");
        let layer = layer.symlink("d", outside).dir("d", 0o777);
        let image = Image::new(json!({})).layer(layer);
        let before = fs::metadata(outside).unwrap().permissions();
        load(&lab, &lab.file("bad.tar", image.archive("bad:v1"))).run().ok();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert_eq!(fs::metadata(outside).unwrap().permissions(), before);
        assert_eq!(fs::read_dir(outside).unwrap().count(), 1);
    }
}

#[test]
fn a_full_disk() {
    let Some(lab) = Lab::root() else { return };
    // Files of a megabyte that do not compress away, on a disk of eight.
    let noise: Vec<u8> = (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let layer = (0..12).fold(Layer::new(), |layer, n| layer.file(&format!("f{n}"), 0o644, &noise));
    let image = Image::new(json!({})).layer(layer);
    // And a layer of zeros that is small until it is unpacked.
    let bomb = Image::new(json!({})).layer(Layer::new().file("zeros", 0o644, vec![0; 64 << 20]));
    for (name, image) in [("full", image), ("bomb", bomb)] {
        let file = lab.file(&format!("{name}.tar"), image.archive("full:v1"));
        let script = r#"mount -t tmpfs -o size=8m tmpfs "$1" && "$2" --root "$1/store" load "$3"; echo "code $?"; ls "$1/store/tmp" "$1/store/layers" "$1/store/blobs/sha256" | grep -v : ; df --output=avail -k "$1" | tail -1"#;
        let disk = lab.directory("disk");
        let finished = lab
            .program("unshare")
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(&disk)
            .arg(lab.product_path("pipkin"))
            .arg(file)
            .run();
        let stdout = finished.stdout();
        let mut lines = stdout.lines().filter(|line| !line.is_empty());
        assert_eq!(lines.next(), Some("code 125"), "{}", finished.all());
        let free: u64 =
            lines.next().unwrap().trim().parse().unwrap_or_else(|_| panic!("left behind: {}", finished.all()));
        assert!(free > 8000, "{free} kB of 8192 are free after it: {}", finished.all());
        let stderr = finished.stderr();
        assert!(stderr.contains("No space left on device") && stderr.trim_end().lines().count() == 1, "{stderr}");
    }
}

#[test]
fn a_full_disk_can_be_emptied() {
    let Some(lab) = Lab::root() else { return };
    let file = lab.file("a.tar", Image::busybox().archive("a:v1"));
    // No block and no inode is left when the container and the image are to be removed.
    let script = r#"
        mount -t tmpfs -o size=64m,nr_inodes=2000 tmpfs "$1"
        p="$2 --root $1/store"
        $p load "$3" && $p run --name c a:v1 /bin/true && mkdir "$1/more" || exit 1
        dd if=/dev/zero of="$1/fill" bs=64k 2>/dev/null
        seq 3000 | (cd "$1/more" && xargs touch) 2>/dev/null
        $p rm c && $p rmi a:v1 && ls "$1/store/tmp" "$1/store/layers" "$1/store/blobs/sha256" | grep -v :
        $p images -q
        rm -r "$1/fill" "$1/more"
        $p load "$3" && $p run --rm a:v1 /bin/echo fine"#;
    let disk = lab.directory("disk");
    let finished = lab
        .program("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(&disk)
        .arg(lab.product_path("pipkin"))
        .arg(file)
        .run();
    let words: Vec<String> = finished.stdout().split_whitespace().map(str::to_string).collect();
    assert_eq!(words, ["a:v1", "c", "a:v1", "a:v1", "fine"], "{}", finished.all());
}

#[test]
fn a_load_that_is_killed_leaves_nothing_for_long() {
    for lab in labs() {
        let image = Image::busybox();
        let file = lab.file("a.tar", image.archive("a:v1"));
        load(&lab, &file).run().ok();
        let big =
            Image::busybox().layer((0..2000).fold(Layer::new(), |layer, n| layer.file(&format!("d/{n}"), 0o644, "x")));
        let running = load(&lab, &lab.file("big.tar", big.archive("big:v1"))).start();
        await_path(&store(&lab).join("tmp"));
        pipkin_harness::await_true("something is being made", || {
            contents(&lab).iter().any(|name| name.starts_with("tmp/"))
        });
        running.signal(Signal::KILL);
        running.wait();
        // Whatever was killed when: the next command cleans up, and what was there is there.
        load(&lab, &file).run().ok();
        let left: Vec<String> = contents(&lab).into_iter().filter(|name| name.starts_with("tmp/")).collect();
        assert_eq!(left, [] as [&str; 0]);
        assert_eq!(shell(&lab, "a:v1", "echo fine"), "fine\n");
        pipkin(&lab, ["rmi", "a:v1"]).run().ok();
        let _ = pipkin(&lab, ["rmi", "big:v1"]).run();
        assert_eq!(contents(&lab), [] as [&str; 0]);
    }
}

#[test]
fn a_store_of_somebody_else_is_refused() {
    for lab in labs() {
        let open = lab.directory("store");
        fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        pipkin(&lab, ["images"]).run().fails(125, &["store", "writable by nobody else"]);
        fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        pipkin(&lab, ["images"]).run().ok();
        let mut index = fs::File::create(open.join("index.json")).unwrap();
        index.write_all(b"{\"schemaVersion\":2,\"manifests\":[{]}").unwrap();
        pipkin(&lab, ["images"]).run().fails(125, &["index.json"]);
    }
}

#[test]
fn a_damaged_store_can_be_repaired() {
    for lab in labs() {
        let image = Image::busybox();
        let file = lab.file("a.tar", image.archive("a:v1"));
        load(&lab, &file).run().ok();
        let config = store(&lab).join("blobs/sha256").join(hex(&image.config_blob()));
        fs::write(&config, "{}").unwrap();
        pipkin(&lab, ["images"]).run().fails(125, &["a:v1", "digest", "pipkin rmi a:v1"]);
        pipkin(&lab, ["run", "--rm", "a:v1", "/bin/true"]).run().fails(125, &["a:v1", "digest"]);
        pipkin(&lab, ["rmi", "a:v1"]).run().ok();
        assert_eq!(contents(&lab), [] as [&str; 0]);
        // A container that a power failure left with an empty record is nothing but rubbish.
        lab.directory("store/containers/rubbish/upper");
        let record = lab.file("store/containers/rubbish/container.json", "");
        lab.give(record.parent().unwrap());
        assert_eq!(pipkin(&lab, ["ps", "-aq"]).run().ok().stdout(), "");
        load(&lab, &file).run().ok();
        assert_eq!(fs::read_dir(store(&lab).join("containers")).unwrap().count(), 0);
        assert_eq!(shell(&lab, "a:v1", "echo fine"), "fine\n");
    }
}
