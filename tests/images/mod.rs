//! What the tests of images and of the `pipkin` command share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};

use pipkin_harness::{Finished, Lab, Program};

/// A lab for each kind of user: root, one with subordinate ids, one with a single id.
pub fn labs() -> impl Iterator<Item = Lab> {
    [Lab::root, Lab::user, Lab::user_without_subids].into_iter().filter_map(|lab| lab())
}

/// The store of a lab.
pub fn store(lab: &Lab) -> PathBuf {
    lab.path("store")
}

/// `pipkin` with the lab's own store.
pub fn pipkin<'a>(lab: &Lab, args: impl IntoIterator<Item = &'a str>) -> Program {
    lab.product("pipkin").arg("--root").arg(store(lab)).args(args)
}

/// `pipkin load FILE`.
pub fn load(lab: &Lab, path: &Path) -> Program {
    pipkin(lab, ["load"]).arg(path)
}

/// Runs a shell command in a container of `image` and gives its output.
#[track_caller]
pub fn shell(lab: &Lab, image: &str, command: &str) -> String {
    let finished = pipkin(lab, ["run", "--rm", image, "/bin/sh", "-c", command]).run().ok();
    finished.stdout()
}

/// Everything that a store holds: names below it, without the directories that are always there.
pub fn contents(lab: &Lab) -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["blobs/sha256", "layers", "containers", "tmp", "run"] {
        for entry in std::fs::read_dir(store(lab).join(directory)).into_iter().flatten().flatten() {
            found.push(format!("{directory}/{}", entry.file_name().to_string_lossy()));
        }
    }
    found.sort();
    found
}

/// A load that must be refused: exit code 125, one line with the words, and a store with nothing in it.
#[track_caller]
pub fn refused(lab: &Lab, finished: Finished, words: &[&str]) {
    finished.fails(125, words);
    assert_eq!(contents(lab), [] as [&str; 0], "left in the store");
    assert_eq!(pipkin(lab, ["images", "-q"]).run().ok().stdout(), "");
}
