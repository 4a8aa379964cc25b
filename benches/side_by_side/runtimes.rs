//! The OCI runtimes that take part.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use pipkin_harness::{Lab, host};
use pipkin_measure::Contender;

use crate::side_by_side::{Options, milliseconds, milliseconds_in_a_few_attempts, states};

/// What is to be fast.
pub const OWN: &str = "pipkin-runtime";

/// Who is measured beside it, and how to install it.
const PEERS: [(&str, &str); 3] = [
    ("crun", "mmdebstrap --variant=minbase --include=crun trixie DIR, then --usr DIR/usr: it takes part on cgroup v2"),
    ("runc", "apt-get install runc"),
    (
        "youki",
        "apt-get install libseccomp-dev pkg-config; cargo install youki --features v1,v2,systemd,seccomp --root DIR, \
         then --peers DIR/bin",
    ),
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
pub fn runtimes(lab: &Lab, options: &Options) -> Vec<Runtime> {
    static HINTS: Once = Once::new();
    let find = |name: &str| {
        let given = options.peers.as_ref().map(|place| place.join(name)).filter(|path| path.is_file());
        given.or_else(|| host::which(name))
    };
    HINTS.call_once(|| {
        for (name, hint) in PEERS.iter().filter(|(name, _)| find(name).is_none()) {
            println!("{name} is not installed here ({hint})");
        }
    });
    let peers = PEERS.iter().filter_map(|(name, _)| Some((*name, find(name)?)));
    let runtime = |(name, path)| Runtime { name, path, root: states(lab).join(name) };
    std::iter::once((OWN, lab.product_path(OWN))).chain(peers).map(runtime).collect()
}

impl Runtime {
    /// The runtime with its state root and these arguments.
    pub fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(&self.root).args(args);
        command
    }

    /// A contender that does something to container `id`, of which nothing is left when it fails.
    pub fn contender<'a>(
        self,
        id: &'a str,
        mut once: impl FnMut(&Runtime) -> Result<f64, String> + 'a,
    ) -> (String, Contender<'a>) {
        let name = self.name.to_owned();
        let attempt = move || once(&self).inspect_err(|_| self.forget(id));
        (name.clone(), Contender::new(name, attempt))
    }

    /// Milliseconds of `run ARGUMENTS`, the whole program; the last argument is the container's name.
    pub fn run<'a>(self, arguments: &[&str], id: &'a str) -> (String, Contender<'a>) {
        let mut command = self.command(std::iter::once("run").chain(arguments.iter().copied()).chain([id]));
        self.contender(id, move |runtime| milliseconds_in_a_few_attempts(&mut command, || runtime.forget(id)))
    }

    /// Deletes what a failed attempt may have left.
    pub fn forget(&self, id: &str) {
        let _ = milliseconds(&mut self.command(["delete", "--force", id]));
    }
}
