use clap::{Args, ValueEnum};

use super::print;
use crate::container::{Runtime, View};
use crate::error::{Context, Result};

/// List the containers.
#[derive(Args, Debug)]
pub(super) struct List {
    /// How to print them.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Just the names.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl List {
    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        let views = runtime.list()?;
        if self.quiet {
            print(&views.iter().map(|view| format!("{}\n", view.document.id)).collect::<String>());
            return Ok(());
        }
        match self.format {
            Format::Table => print(&table(&views)),
            Format::Json => {
                let text = serde_json::to_string(&views).map_err(std::io::Error::from).step(|| "encode the list")?;
                print(&format!("{text}\n"));
            }
        }
        Ok(())
    }
}

fn table(views: &[View]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |view: &View| {
        [
            view.document.id.clone(),
            view.document.pid.to_string(),
            view.document.status.to_string(),
            view.document.bundle.display().to_string(),
            view.created.clone(),
            view.owner.clone(),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(views.iter().map(row)).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            // runc's table: at least 12 wide, 3 between.
            *width = (*width).max(cell.chars().count() + 3).max(12);
        }
    }
    let line = |row: &[String; 6]| {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.trim_end())
    };
    rows.iter().map(line).collect()
}
