//! How long an image takes from a file to something that can be run: 200 MB in 1, 5 and 20 layers, loaded into an empty store.
//!
//! Beside `pipkin load`: `umoci unpack` (one tree, no store), and `skopeo copy` into podman's storage. `cargo bench --profile dev --bench
//! unpack`; root; `PIPKIN_BIN_DIR` names the release programs.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can not be set up must stop, and say where")]

mod side_by_side;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipkin_harness::image::{Image, Layer};
use pipkin_harness::{Lab, host};
use pipkin_measure::{Comparison, Contender};

use side_by_side::{Options, milliseconds};

const SIZE: usize = 200_000_000;
/// Of a file: what the middle of a distribution's files weighs is some kilobytes, and most bytes are in the larger ones.
const FILE: usize = 50_000;

fn main() {
    side_by_side::run_anywhere(
        "unpack",
        5,
        &[
            ("1", |lab, options| compare(lab, options, 1)),
            ("5", |lab, options| compare(lab, options, 5)),
            ("20", |lab, options| compare(lab, options, 20)),
        ],
    );
}

fn compare(lab: &Lab, options: &Options, layers: usize) -> Vec<Comparison> {
    let layout = lab.directory(&format!("layout-{layers}"));
    image(layers).write_directory(&layout, "bench");
    let (layout, target) = (layout.to_str().expect("plain words"), lab.path("target"));
    let mut contenders = Vec::new();
    let mut add = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(arguments[0]);
        command.args(&arguments[1..]);
        contenders.push((name.to_owned(), Contender::new(name, fresh(target.clone(), command))));
    };
    let place = target.to_str().expect("plain words");
    add("pipkin load", &[lab.product_path("pipkin").to_str().unwrap(), "load", "--root", place, layout]);
    let image = format!("{layout}:bench");
    for (name, hint) in [("umoci", "unpack"), ("skopeo", "copy to podman's storage")] {
        if host::which(name).is_none() {
            println!("{name} is not installed (apt-get install {name})");
            continue;
        }
        let storage = format!("containers-storage:[overlay@{place}/root+{place}/run]bench");
        match name {
            "umoci" => add(&format!("{name} {hint}"), &["umoci", "unpack", "--image", &image, place]),
            _ => add(
                &format!("{name} {hint}"),
                &["skopeo", "copy", "--insecure-policy", &format!("oci:{image}"), &storage],
            ),
        }
    }
    let title = format!("loading an image of 200 MB in {layers} layer{}", if layers == 1 { "" } else { "s" });
    vec![options.compare(&title, options.rounds, contenders)]
}

/// Milliseconds of the command, which finds nothing at the target.
fn fresh<'a>(target: PathBuf, mut command: Command) -> impl FnMut() -> Result<f64, String> + 'a {
    move || {
        remove(&target);
        let figure = milliseconds(&mut command);
        remove(&target);
        figure
    }
}

/// Removes what a tool has made, and the mount that podman's storage leaves on itself.
fn remove(target: &Path) {
    for mount in [target.join("root/overlay"), target.join("root")] {
        let _ = rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH);
    }
    if let Err(error) = fs::remove_dir_all(target)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        panic!("remove {}: {error}", target.display());
    }
}

/// Files of which half can be compressed, as those of a distribution can.
fn image(layers: usize) -> Image {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut file = || {
        let mut content = vec![b'x'; FILE];
        for chunk in content[..FILE / 2].chunks_mut(8) {
            // xorshift64 (Marsaglia 2003)
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            chunk.copy_from_slice(&random.to_le_bytes()[..chunk.len()]);
        }
        content
    };
    let files = SIZE / FILE / layers;
    (0..layers).fold(Image::busybox(), |image, number| {
        let mut layer = Layer::new().dir(&format!("layer{number}/"), 0o755);
        for index in 0..files {
            layer = layer.file(&format!("layer{number}/{index}"), 0o644, file());
        }
        image.layer(layer)
    })
}
