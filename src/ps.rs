//! `pipkin ps`.

use clap::Args;
use pipkin_images::container::{Container, Status};
use pipkin_images::error::Kind;

use crate::cli::Global;
use crate::container;
use crate::failure::Result;
use crate::images::table;
use crate::{output, size};

/// List containers
#[derive(Args, Debug)]
pub struct Arguments {
    /// Also those that have ended
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

/// Prints a table, newest first.
pub fn run(global: &Global, arguments: &Arguments) -> Result<()> {
    let state = container::state_root(global)?;
    let store = global.store_to_read()?;
    let mut rows = vec![[
        "CONTAINER ID".to_string(),
        "IMAGE".into(),
        "COMMAND".into(),
        "CREATED".into(),
        "STATUS".into(),
        "NAME".into(),
    ]];
    for found in Container::all(&store)?.into_iter().rev() {
        let status = match found.status() {
            Ok(Status::Running) => "running".to_string(),
            // The program outlives a `pipkin run` that was killed.
            Ok(Status::Exited(None)) if container::is_alive(&state, &found.record.id) => {
                "running (its pipkin was killed)".to_string()
            }
            Ok(Status::Exited(_)) if !arguments.all => continue,
            Ok(Status::Exited(Some(code))) => format!("exited ({code})"),
            Ok(Status::Exited(None)) => "exited (killed)".to_string(),
            // Removed since the list was read.
            Err(error) if error.kind() == Kind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        let record = found.record;
        if arguments.quiet {
            output::line(&record.id[..12]);
            continue;
        }
        let command: String =
            record.command.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).take(30).collect();
        rows.push([
            record.id[..12].to_string(),
            record.image_name,
            command,
            size::ago(record.created),
            status,
            record.name,
        ]);
    }
    if !arguments.quiet {
        table(&rows);
    }
    Ok(())
}
