//! The profiles in the configurations that real engines have written (tests/data/configs).

use std::path::Path;

use oci_spec::runtime::{LinuxSeccomp, Spec};

/// Each with its file's name, in order.
#[allow(dead_code, reason = "not every program that includes this wants all of them")]
pub fn all() -> Vec<(String, LinuxSeccomp)> {
    let folder = std::fs::read_dir(folder()).expect("the test data");
    let names = folder.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut found: Vec<_> = names.filter_map(|name| Some((name.clone(), find(&name)?))).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 5, "there should be several profiles");
    found
}

/// The one in that file; Docker's default profile is in docker-init-bridge.json.
#[allow(dead_code, reason = "not every program that includes this wants a certain one")]
pub fn of(name: &str) -> LinuxSeccomp {
    find(name).expect("a profile")
}

fn find(name: &str) -> Option<LinuxSeccomp> {
    let spec = Spec::load(folder().join(name)).expect("a config.json");
    spec.linux().as_ref().and_then(|linux| linux.seccomp().clone())
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/configs")
}
