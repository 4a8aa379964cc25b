//! `pipkin bench`: how fast OCI runtimes are, on this machine.

mod boot;
mod steps;

use clap::{Args, Subcommand};

use crate::failure::Result;

/// Measure OCI runtimes on this machine
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Boot(boot::Arguments),
}

/// Carries it out.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Boot(arguments) => boot::run(arguments),
    }
}
