//! The built-in image `hello`: one gzip layer with a static program, brought into the store as any other image.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::image::Image;
use crate::load::{Import, configuration, load};
use crate::reference::Reference;
use crate::store::{Staging, Store};
use crate::unpack::metadata::Policy;

/// Its name.
pub const NAME: &str = "hello";
/// The label that tells it from another image of that name: the digest of the program in it.
pub const LABEL: &str = "pipkin.hello";

/// Whether an image is the built-in one.
pub fn is_hello(image: &Image) -> bool {
    image.configuration.labels_of_config().is_some_and(|labels| labels.contains_key(LABEL))
}

/// The image `hello`: the one in the store, or made from the program at `program`.
///
/// # Errors
/// The program can not be read, or the store refuses the image.
pub fn image(store: &Store, program: &Path, policy: Policy) -> Result<Image> {
    let found = match store.find(NAME) {
        Ok(image) if !is_hello(&image) => return Ok(image),
        Ok(image) => Some(image),
        Err(error) if error.kind() == Kind::NotFound => None,
        Err(error) => return Err(error),
    };
    let data = fs::read(program).on("read", program)?;
    let digest = Digest::of(&data).to_string();
    if let Some(image) = found
        && image.configuration.labels_of_config().and_then(|labels| labels.get(LABEL)) == Some(&digest)
    {
        return Ok(image);
    }
    let (locked, staging) = store.begin()?;
    drop(locked);
    let layout = staging.path("hello");
    write_layout(&layout, &data, digest).on("write", &layout)?;
    load(store, &layout, Some(&Reference::parse(NAME)?), policy)?;
    drop::<Staging>(staging);
    store.find(NAME)
}

/// An OCI image layout with everything that the specification asks for.
fn write_layout(layout: &Path, program: &[u8], label: String) -> std::io::Result<()> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let blob = |data: &[u8]| -> std::io::Result<Digest> {
        let digest = Digest::of(data);
        fs::write(blobs.join(digest.hex()), data)?;
        Ok(digest)
    };
    let archive = archive(program)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&archive)?;
    let layer = gzip.finish()?;
    let layer_digest = blob(&layer)?;
    let options =
        Import { entrypoint: vec!["/pipkin-hello".into()], labels: vec![(LABEL.into(), label)], ..Import::default() };
    let config = configuration(&options, &Digest::of(&archive));
    let config_digest = blob(&config)?;
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest.to_string(), "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer_digest.to_string(), "size": layer.len() }],
    })
    .to_string();
    let manifest_digest = blob(manifest.as_bytes())?;
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest_digest.to_string(),
            "size": manifest.len(),
        }],
    });
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
}

/// The layer: the program, and the directories on which things are mounted.
fn archive(program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    let header = |kind: EntryType, mode: u32, size: u64| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header
    };
    for (directory, mode) in
        [("dev/", 0o755), ("etc/", 0o755), ("proc/", 0o555), ("run/", 0o755), ("sys/", 0o555), ("tmp/", 0o1777)]
    {
        builder.append_data(&mut header(EntryType::Directory, mode, 0), directory, std::io::empty())?;
    }
    builder.append_data(&mut header(EntryType::Regular, 0o755, program.len() as u64), "pipkin-hello", program)?;
    builder.into_inner()
}

/// The program was not found beside the command.
pub fn missing(places: &[std::path::PathBuf]) -> Error {
    let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    Error::new(
        Kind::NotFound,
        format!("the built-in image hello needs the program pipkin-hello: looked for {}", places.join(" and ")),
    )
}
