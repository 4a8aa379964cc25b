//! The command line: flags as typed; each verb checks and carries out its own.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};
use pipkin_images::store::Store;
use rustix::time::Timespec;

use crate::failure::{Failure, Result};
use crate::{bench, images, import, load, ps, rm, rmi, run};

/// Run containers on this machine: no daemon, no set-up, as root or as an ordinary user.
#[derive(Debug, Parser)]
#[command(
    name = "pipkin",
    version,
    max_term_width = 100,
    after_help = "\
Start here:  pipkin run --rm --init hello
Exit codes:  of `run` that of the program (128+n when a signal ended it); 125 pipkin failed,
             126 the program can not be executed, 127 it was not found"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb knows.
#[derive(Args, Debug)]
pub struct Global {
    /// Where images and containers are kept [default: /var/lib/pipkin, or ~/.local/share/pipkin as an ordinary user]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Global {
    /// Opens the store for changes. An ordinary user becomes root of a user namespace before.
    pub fn store(&self) -> Result<Store> {
        let root = self.root()?;
        pipkin_images::rootless::enter()?;
        Ok(Store::open(&root)?)
    }

    /// Opens the store for looking; stays outside of user namespaces.
    pub fn store_to_read(&self) -> Result<Store> {
        Ok(Store::open(&self.root()?)?)
    }

    /// What `--root` says.
    pub fn own_root(&self) -> Result<Option<PathBuf>> {
        let absolute = |root: &PathBuf| std::path::absolute(root).map_err(|cause| Failure::argument("--root", cause));
        self.root.as_ref().map(absolute).transpose()
    }

    /// Where the store is.
    pub fn root(&self) -> Result<PathBuf> {
        Ok(self.root.as_deref().map(Path::to_path_buf).map_or_else(Store::default_root, Ok)?)
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(Box<run::Arguments>),
    Ps(ps::Arguments),
    Rm(rm::Arguments),
    Load(load::Arguments),
    Import(Box<import::Arguments>),
    Images(images::Arguments),
    Rmi(rmi::Arguments),
    Bench(bench::Arguments),
}

/// The definitions behind `--help`.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Reads the command line and carries it out; answers the exit code. `started`: `CLOCK_MONOTONIC` at the start.
pub fn run(started: Timespec) -> Result<u8> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = !error.use_stderr();
            // A closed pipe is no reason to fail.
            let _ = error.print();
            return Ok(if asked { 0 } else { 125 });
        }
    };
    let global = &cli.global;
    match cli.verb {
        Verb::Run(arguments) => run::run(global, &arguments, started),
        Verb::Ps(arguments) => ps::run(global, &arguments).map(|()| 0),
        Verb::Rm(arguments) => rm::run(global, &arguments).map(|()| 0),
        Verb::Load(arguments) => load::run(global, &arguments).map(|()| 0),
        Verb::Import(arguments) => import::run(global, &arguments).map(|()| 0),
        Verb::Images(arguments) => images::run(global, &arguments).map(|()| 0),
        Verb::Rmi(arguments) => rmi::run(global, &arguments).map(|()| 0),
        Verb::Bench(arguments) => bench::run(&arguments).map(|()| 0),
    }
}
