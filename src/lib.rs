//! The command `pipkin`: load, import, run and inspect containers on one machine.
//!
//! A library only so that the tests can make man pages and completions from the same definitions as `--help`.

mod bench;
mod bundle;
mod cli;
mod container;
mod failure;
mod images;
mod import;
mod load;
mod output;
mod places;
mod ps;
mod rm;
mod rmi;
mod run;
mod size;

use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    // The same executable is also the stage inside a container and the helper outside of a user namespace.
    container::enter_if_stage();
    let started = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    if let Some(code) = pipkin_images::rootless::helper() {
        return code;
    }
    match cli::run(started) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}

/// The command line, for man pages and completions.
pub fn command() -> clap::Command {
    cli::command()
}
