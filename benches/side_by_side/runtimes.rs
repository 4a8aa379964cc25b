//! The OCI runtimes that take part.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use pipkin_harness::{Lab, host};

use crate::side_by_side::states;

/// Who is measured beside `pipkin-runtime`, and how to install it.
const PEERS: [(&str, &str); 3] = [
    ("runc", "apt-get install runc"),
    ("crun", "mmdebstrap --variant=minbase --include=crun trixie DIR, then --usr DIR/usr: it takes part on cgroup v2"),
    ("youki", "cargo install youki --features v1,v2,systemd,seccomp"),
];

/// A runtime.
#[derive(Clone)]
pub struct Runtime {
    /// Its name.
    pub name: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Where it keeps its state in this bench.
    pub root: PathBuf,
}

/// `pipkin-runtime`, and those of its peers that are installed; a hint for each that is not.
pub fn runtimes(lab: &Lab) -> Vec<Runtime> {
    static HINTS: Once = Once::new();
    HINTS.call_once(|| {
        for (name, hint) in PEERS.iter().filter(|(name, _)| host::which(name).is_none()) {
            println!("{name} is not installed here ({hint})");
        }
    });
    let own = ("pipkin-runtime", lab.product_path("pipkin-runtime"));
    let peers = PEERS.iter().filter_map(|(name, _)| Some((*name, host::which(name)?)));
    let runtime = |(name, path)| Runtime { name, path, root: states(lab).join(name) };
    std::iter::once(own).chain(peers).map(runtime).collect()
}

impl Runtime {
    /// The runtime with its state root and these arguments.
    pub fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(&self.root).args(args);
        command
    }
}
