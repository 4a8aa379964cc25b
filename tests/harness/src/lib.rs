//! What every end-to-end test of pipkin stands on.
//!
//! A test asks for a [`Lab`]: a private directory, a private state root and names that nobody else uses, as root or as an
//! ordinary user. In the lab it makes [`Bundle`]s and OCI images ([`image`]) without any network, runs programs under a
//! deadline ([`Program`]), and creates [`Container`]s. When the lab goes away, also because the test failed, everything that is
//! left is removed; and when the test itself passed, everything that was left *by the runtime* makes it fail: processes,
//! mounts, cgroups, state.
//!
//! Nothing here sleeps to wait for something: events are waited for (pipes, pidfds, inotify), each under a deadline.
//!
//! Environment:
//! - `PIPKIN_BIN_DIR`: where the programs under test are; default: two levels above the test executable (`target/…/debug`).
//! - `PIPKIN_TEST_RUNTIME`: another OCI runtime to run the same tests with, such as `/usr/sbin/runc`. It shows that what the
//!   tests ask for is what the field does. Exit codes and behaviour are compared, error texts are not.
//! - `PIPKIN_TEST_RUN`: a word that all names of this run contain, so that its leaks can be told from others'.
//! - `PIPKIN_TEST_VIEW`: `hybrid` or `v2`: what the caller believes `/sys/fs/cgroup` to be; a wrong belief is an error.
#![allow(clippy::expect_used, reason = "a test that can not be set up must fail, and say where")]

mod bundle;
mod container;
mod enclosure;
mod engine;
pub mod host;
pub mod image;
mod lab;
mod leaks;
mod program;
mod terminal;

pub use bundle::{Bundle, data_file};
pub use container::Container;
pub use enclosure::{Enclosure, Shared};
pub use engine::Engine;
pub use lab::{Lab, User};
pub use program::{DEADLINE, Finished, Program, Running, adopt, await_path, await_true, install, install_text};
pub use terminal::{ConsoleSocket, Terminal};

/// A shell's script that counts up, a hundred times a second, in its `/tmp/count`. The file is renamed into place: neither a
/// reader nor a checkpoint ever finds it empty.
pub const COUNTING: &str =
    "n=0; while :; do n=$((n+1)); echo $n > /tmp/next; mv /tmp/next /tmp/count; sleep 0.01; done";

/// Tells, past cargo's capture, that the calling test did not run and why. `tests/run.sh` compares these lines with the list
/// of known ones.
pub fn skipped(reason: &str) {
    use std::io::Write;
    let name = std::thread::current().name().unwrap_or("main").to_owned();
    // In one write, which others' words can not come into; with one thread the test's name stands in the line already.
    let line = format!("\nSKIPPED {name}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
