//! `pipkin import`: a directory or a plain tar archive becomes an image of one layer.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::source::is_gzip;
use super::{LAYER_LIMIT, Loaded, Work, attempt, descriptor, docker, layout, pack};
use crate::digest::{Digest, Hashing};
use crate::error::{Context, Error, Result};
use crate::reference::Reference;
use crate::store::Store;
use crate::unpack::metadata::Policy;

/// How the image is to be run (image-spec, config.md).
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `Env`, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// `WorkingDir`.
    pub working_dir: Option<String>,
    /// `User`.
    pub user: Option<String>,
    /// `StopSignal`.
    pub stop_signal: Option<String>,
    /// `Labels`.
    pub labels: Vec<(String, String)>,
}

/// Makes an image called `name` from the directory or archive at `path`.
///
/// # Errors
/// It can not be read, or is not a tar archive; the store is as it was.
pub fn import(store: &Store, path: &Path, name: &Reference, options: &Import, policy: Policy) -> Result<Loaded> {
    let loaded = attempt(store, policy, |work| import_into(work, path, name, options))?;
    loaded.into_iter().next().ok_or_else(|| Error::invalid(name, "was not made"))
}

fn import_into(work: &mut Work, path: &Path, name: &Reference, options: &Import) -> Result<()> {
    let metadata = std::fs::metadata(path).on("open", path)?;
    let (media_type, layer, size, diff_id) = if metadata.is_dir() {
        let packed = work.staging.path("packed");
        let mut file = io::BufWriter::with_capacity(256 << 10, File::create(&packed).on("create", &packed)?);
        pack::pack(path, &mut file)?;
        file.flush().on("write", &packed)?;
        let (digest, size) = work.blob(File::open(&packed).on("open", &packed)?, None)?;
        std::fs::remove_file(&packed).on("remove", &packed)?;
        ("application/vnd.oci.image.layer.v1.tar", digest.clone(), size, digest)
    } else if metadata.is_file() {
        let gzip = is_gzip(&File::open(path).on("open", path)?).on("read", path)?;
        let (digest, size) = work.blob(File::open(path).on("open", path)?, None)?;
        if gzip {
            let blob = work.blob_file(&digest);
            let archive = MultiGzDecoder::new(File::open(&blob).on("open", &blob)?);
            let (diff_id, _) = Hashing::new(archive, LAYER_LIMIT).finish().on("decompress", path)?;
            ("application/vnd.oci.image.layer.v1.tar+gzip", digest, size, diff_id)
        } else {
            ("application/vnd.oci.image.layer.v1.tar", digest.clone(), size, digest)
        }
    } else {
        return Err(Error::invalid(path.display(), "is neither a directory nor a file"));
    };
    let configuration = configuration(options, &diff_id);
    let (id, config_size) = work.blob(configuration.as_slice(), None)?;
    let config = descriptor("application/vnd.oci.image.config.v1+json", &id, config_size)?;
    docker::make_image(work, name.clone(), config, vec![descriptor(media_type, &layer, size)?], &configuration)
}

/// An image configuration; what is not set is left out.
pub(crate) fn configuration(options: &Import, diff_id: &Digest) -> Vec<u8> {
    let mut config = serde_json::Map::new();
    let mut set = |key: &str, value: serde_json::Value| {
        let empty =
            value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty);
        if !value.is_null() && !empty {
            config.insert(key.to_string(), value);
        }
    };
    set("Entrypoint", options.entrypoint.clone().into());
    set("Cmd", options.cmd.clone().into());
    set("Env", options.env.clone().into());
    set("WorkingDir", options.working_dir.clone().into());
    set("User", options.user.clone().into());
    set("StopSignal", options.stop_signal.clone().into());
    set(
        "Labels",
        options
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), value.clone().into()))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    );
    let document = serde_json::json!({
        "architecture": layout::architecture(),
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [diff_id.to_string()] },
    });
    document.to_string().into_bytes()
}
