//! What is around a container, and should not make it slower: its root file system's size, its mounts, other containers.

use std::fs;

use pipkin_harness::{Bundle, Lab};
use pipkin_measure::Comparison;

use crate::runtimes::Runtime;
use crate::side_by_side::{Options, finish, states};

const CROWD: usize = 1000;

/// 200 bind mounts of files beside the default ones.
pub fn many_mounts(lab: &Lab) -> Bundle {
    let mut bundle = super::default_bundle(lab);
    let source = lab.file("bound", "bound\n");
    for number in 0..200 {
        bundle.add_mount(&format!("/srv/{number:03}"), "bind", &source, &["bind", "ro"]);
    }
    bundle.save();
    bundle
}

/// 20,000 small files in 200 directories.
pub fn large_rootfs(lab: &Lab) -> Bundle {
    let bundle = super::default_bundle(lab);
    for directory in 0..200 {
        let directory = bundle.rootfs(&format!("/srv/{directory:03}"));
        fs::create_dir_all(&directory).expect("make a directory");
        for file in 0..100 {
            fs::write(directory.join(file.to_string()), "small\n").expect("write a file");
        }
    }
    bundle
}

/// A boot where a thousand containers of the same runtime are running already, against the same where there are none.
pub fn among_a_thousand(lab: &Lab, options: &Options) -> Option<Comparison> {
    let bundle = &super::default_bundle(lab);
    let runtime =
        |name, root: &str| Runtime { name, path: lab.product_path("pipkin-runtime"), root: states(lab).join(root) };
    let alone = runtime("pipkin-runtime", "state-alone");
    let crowded = runtime("pipkin-runtime, 1,000 there", "state-crowd");
    let crowd = Crowd::new(lab, crowded.clone());
    let boot = |runtime| ("pipkin-runtime".to_owned(), super::runtime_boot(runtime, bundle, &[lab.name()]).1);
    let contenders = [alone, crowded].map(boot).into();
    let title = "boot among 1,000 running containers, default configuration";
    let comparison = options.compare(title, options.rounds, contenders);
    drop(crowd);
    Some(comparison)
}

/// Running containers, deleted when dropped.
struct Crowd {
    runtime: Runtime,
    ids: Vec<String>,
}

impl Crowd {
    fn new(lab: &Lab, runtime: Runtime) -> Self {
        let mut bundle = lab.bundle();
        bundle.args(["/bin/sleep", "100000"]);
        bundle.save();
        let mut crowd = Self { runtime, ids: Vec::new() };
        for number in 0..CROWD {
            let id = format!("{}-crowd-{number:04}", lab.name());
            crowd.ids.push(id.clone());
            finish(&mut crowd.runtime.command(["run", "--detach", "--bundle", bundle.path_text(), &id]))
                .expect("run --detach");
        }
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for id in &self.ids {
            if let Err(error) = finish(&mut self.runtime.command(["delete", "--force", id])) {
                eprintln!("delete {id}: {error}");
            }
        }
    }
}
