//! Where the programs are that `pipkin` brings into containers.

use std::path::PathBuf;

use crate::failure::{Failure, Result};

/// `pipkin-init` or `pipkin-hello`: beside this executable, or in `../libexec/pipkin`.
pub fn companion(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|cause| Failure::argument("find /proc/self/exe", cause))?;
    let directory = own.parent().unwrap_or(&own);
    let places = [directory.join(name), directory.join("../libexec/pipkin").join(name)];
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        Failure::argument(name, format!("not found: looked for {} and {}", places[0].display(), places[1].display()))
    })
}
