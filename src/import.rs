//! `pipkin import`.

use std::path::PathBuf;

use clap::Args;
use pipkin_images::load::Import;
use pipkin_images::reference::Reference;
use pipkin_images::rootless;

use crate::cli::Global;
use crate::failure::{Failure, Result};
use crate::{container, load};

/// Turn a directory or a plain tar archive into an image of one layer
#[derive(Args, Debug)]
pub struct Arguments {
    /// The root file system: a directory, or a tar archive with gzip or without
    #[arg(value_name = "DIR|TAR")]
    path: PathBuf,
    /// What to call the image
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
    /// The program that is always run: a JSON array, or words
    #[arg(long, value_name = "WORDS")]
    entrypoint: Option<String>,
    /// Its arguments, or the program when there is no entrypoint: a JSON array, or words
    #[arg(long, value_name = "WORDS")]
    cmd: Option<String>,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The directory in which the program starts
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Who the program runs as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The signal that asks the program to stop
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
}

/// Imports and prints the name.
pub fn run(global: &Global, arguments: &Arguments) -> Result<()> {
    let name = Reference::parse(&arguments.name)?;
    if let Some(bad) = arguments.env.iter().find(|pair| pair.find('=').is_none_or(|at| at == 0)) {
        return Err(Failure::argument("--env", format!("{bad:?} is not NAME=VALUE")));
    }
    if let Some(directory) = arguments.workdir.as_deref().filter(|directory| !directory.starts_with('/')) {
        return Err(Failure::argument("--workdir", format!("{directory:?} is not an absolute path")));
    }
    if let Some(signal) = &arguments.stop_signal {
        container::parse_signal(signal).map_err(|error| Failure::argument("--stop-signal", error))?;
    }
    let options = Import {
        entrypoint: words("--entrypoint", arguments.entrypoint.as_deref())?,
        cmd: words("--cmd", arguments.cmd.as_deref())?,
        env: arguments.env.clone(),
        working_dir: arguments.workdir.clone(),
        user: arguments.user.clone(),
        stop_signal: arguments.stop_signal.clone(),
        labels: Vec::new(),
    };
    let store = global.store()?;
    load::report(&pipkin_images::load::import(&store, &arguments.path, &name, &options, rootless::policy()?)?);
    Ok(())
}

/// `["node", "app.js"]` as in a Dockerfile, or words separated by blanks.
fn words(flag: &str, text: Option<&str>) -> Result<Vec<String>> {
    match text {
        None => Ok(Vec::new()),
        Some(text) if text.trim_start().starts_with('[') => serde_json::from_str(text)
            .map_err(|cause| Failure::argument(flag, format!("not a JSON array of strings: {cause}"))),
        Some(text) => Ok(text.split_whitespace().map(str::to_string).collect()),
    }
}
