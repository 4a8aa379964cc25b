//! `pipkin rm`.

use clap::Args;
use pipkin_images::container::{Container, Status};

use crate::cli::Global;
use crate::failure::{Failure, Result};
use crate::{container, output};

/// Remove containers with everything they wrote
#[derive(Args, Debug)]
pub struct Arguments {
    /// Kill those that run first
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Removes and prints the names.
pub fn run(global: &Global, arguments: &Arguments) -> Result<()> {
    let state = container::state_root(global)?;
    let store = global.store()?;
    for text in &arguments.containers {
        let found = Container::find(&store, text)?;
        let runs = found.status()? == Status::Running || container::is_alive(&state, &found.record.id);
        if runs && !arguments.force {
            return Err(Failure::argument(format!("container {text}"), "it runs: stop it first, or use --force"));
        }
        container::delete(&state, &found.record.id)?;
        // Its `pipkin run` sees the end, and with --rm removes everything itself.
        found.wait()?;
        let name = found.record.name.clone();
        found.remove(&store)?;
        output::line(name);
    }
    Ok(())
}
