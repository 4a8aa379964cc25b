//! `pipkin load`.

use std::path::PathBuf;

use clap::Args;
use pipkin_images::load::Loaded;
use pipkin_images::reference::Reference;
use pipkin_images::rootless;

use crate::cli::Global;
use crate::failure::Result;
use crate::output;

/// Bring an image from a file or directory into the store
///
/// Takes an OCI image layout (a directory or a tar archive, as made by umoci, buildah and `skopeo copy … oci:`) or a
/// docker-archive (`docker save`, `podman save`), with gzip or without. All digests are verified. A load that is
/// interrupted leaves nothing behind.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The file or directory
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// Call the image this instead of the name in the file
    #[arg(long, value_name = "NAME[:TAG]")]
    name: Option<String>,
}

/// Loads and says what.
pub fn run(global: &Global, arguments: &Arguments) -> Result<()> {
    let name = arguments.name.as_deref().map(Reference::parse).transpose()?;
    let store = global.store()?;
    let policy = rootless::policy()?;
    for loaded in pipkin_images::load::load(&store, &arguments.path, name.as_ref(), policy)? {
        report(&loaded);
    }
    Ok(())
}

/// The name on standard output; what the person should know on standard error.
pub fn report(loaded: &Loaded) {
    output::line(&loaded.name);
    let left_out = loaded.left_out;
    if left_out.devices > 0 {
        eprintln!("pipkin: {}: {} device nodes left out: only root can make them", loaded.name, left_out.devices);
    }
    if left_out.xattrs > 0 {
        eprintln!(
            "pipkin: {}: {} extended attributes left out: not allowed in an image or not supported here",
            loaded.name, left_out.xattrs
        );
    }
    if let Some(architecture) = &loaded.foreign {
        eprintln!(
            "pipkin: {}: is for another kind of machine ({architecture}); it only runs with an emulator",
            loaded.name
        );
    }
}
