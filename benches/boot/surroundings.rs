//! What is around a container, and should not make it slower: its root file system's size, its mounts, other containers.

use std::fs;

use pipkin_harness::{Bundle, Lab};
use pipkin_measure::Comparison;

use crate::runtimes::{Runtime, runtimes};
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

/// A boot where one container runs already, and where a thousand do. They are pipkin-runtime's, which finds them in its state root;
/// the others have an empty one, and share the kernel with them.
pub fn in_a_crowd(lab: &Lab, options: &Options) -> Vec<Comparison> {
    let bundle = &super::default_bundle(lab);
    let among = |count: usize| {
        let mut all = runtimes(lab, options);
        all[0].root = states(lab).join(format!("crowd-{count}"));
        let crowd = Crowd::new(lab, all[0].clone(), count);
        let boot = |runtime: Runtime| runtime.run(&["--bundle", bundle.path_text()], lab.name());
        let contenders = all.into_iter().map(boot).collect();
        let title = match count {
            1 => "boot beside 1 running container".to_owned(),
            count => format!("boot beside {count} running containers"),
        };
        let comparison = options.compare(&title, options.share(2), contenders);
        drop(crowd);
        comparison
    };
    [1, CROWD].map(among).into()
}

/// Running containers, deleted when dropped.
struct Crowd {
    runtime: Runtime,
    ids: Vec<String>,
}

impl Crowd {
    fn new(lab: &Lab, runtime: Runtime, count: usize) -> Self {
        let mut bundle = lab.bundle();
        bundle.args(["/bin/sleep", "100000"]);
        bundle.save();
        let mut crowd = Self { runtime, ids: Vec::new() };
        for number in 0..count {
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
