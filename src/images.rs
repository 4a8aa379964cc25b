//! `pipkin images`.

use clap::Args;

use crate::cli::Global;
use crate::failure::Result;
use crate::{output, size};

/// List the images in the store
#[derive(Args, Debug)]
pub struct Arguments {
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

/// Prints a table.
pub fn run(global: &Global, arguments: &Arguments) -> Result<()> {
    let images = global.store_to_read()?.images()?;
    if arguments.quiet {
        images.iter().for_each(|image| output::line(&image.id.hex()[..12]));
        return Ok(());
    }
    let mut rows = vec![["REPOSITORY".to_string(), "TAG".into(), "IMAGE ID".into(), "SIZE".into()]];
    for image in &images {
        let (repository, tag) =
            image.name.as_ref().map_or_else(Default::default, |name| (name.repository(), name.tag().to_string()));
        rows.push([repository, tag, image.id.hex()[..12].to_string(), size::show(image.size)]);
    }
    table(&rows);
    Ok(())
}

/// Columns as wide as their widest cell.
pub fn table<const N: usize>(rows: &[[String; N]]) {
    let widths: Vec<usize> =
        (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}   ")).collect();
        output::line(line.trim_end());
    }
}
