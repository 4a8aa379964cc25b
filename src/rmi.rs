//! `pipkin rmi`.

use clap::Args;

use crate::cli::Global;
use crate::failure::Result;
use crate::output;

/// Remove images; layers that other images share stay
///
/// A name removes that name, and the image with its last one. An id removes the image under all its names. An image
/// that a container uses is not removed.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Removes and prints the names that are gone.
pub fn run(global: &Global, arguments: &Arguments) -> Result<()> {
    let store = global.store()?;
    for image in &arguments.images {
        store.remove_image(image)?.iter().for_each(output::line);
    }
    Ok(())
}
