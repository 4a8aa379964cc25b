//! What the tests of `pipkin-init` share: the inits under test, how they are started and watched, and the program that
//! stands in for the main child.
#![allow(dead_code, reason = "no test file uses all of it")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

pub mod inits;
pub mod probe;
pub mod running;
pub mod terminal;

#[allow(unused_imports, reason = "no test file uses all of it")]
pub use inits::{Init, Original};
#[allow(unused_imports, reason = "no test file uses all of it")]
pub use running::{Launch, Running, await_true};
#[allow(unused_imports, reason = "no test file uses all of it")]
pub use terminal::Terminal;

/// How long anything may take. Far longer than it does, also on a busy machine.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(180);

/// The program that stands in for the main child: this test executable, which becomes it before its `main`.
pub fn probe() -> &'static str {
    static PATH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    PATH.get_or_init(|| std::env::current_exe().unwrap().to_str().unwrap().to_owned())
}

/// Whether this is root, which PID namespaces need; a test that needs them is skipped without.
pub fn is_root() -> bool {
    // SAFETY: takes nothing.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        pipkin_harness::skipped("needs root for a PID namespace");
    }
    root
}
