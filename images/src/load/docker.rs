//! docker-archives: `docker save`, `podman save`, `skopeo copy … docker-archive:` (`manifest.json`, a configuration and plain tars).

use std::io::Read;

use oci_spec::image::ImageManifest;
use serde::Deserialize;

use super::{Source, Work, descriptor, parse_name};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{self, LAYERS_LIMIT, LIMIT};
use crate::reference::Reference;

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Loads every image; each gets an OCI manifest, as the archive has none.
pub(super) fn load(work: &mut Work, source: &Source, name: Option<&Reference>, stem: &str) -> Result<()> {
    let images: Vec<Saved> = manifest::parse(&source.read("manifest.json", LIMIT)?, "manifest.json")?;
    if images.is_empty() {
        return Err(Error::invalid("manifest.json", "names no image"));
    }
    if name.is_some() && images.len() > 1 {
        return Err(Error::invalid("--name", format!("there are {} images in it", images.len())));
    }
    for image in images {
        let tags = image.repo_tags.clone().unwrap_or_default();
        let names = match name {
            Some(name) => vec![name.clone()],
            None if tags.is_empty() => vec![parse_name(stem)?],
            None => tags.iter().map(|tag| parse_name(tag)).collect::<Result<_>>()?,
        };
        load_one(work, source, &names, &image).map_err(|error| error.during(format!("image {}", names[0])))?;
    }
    Ok(())
}

fn load_one(work: &mut Work, source: &Source, names: &[Reference], image: &Saved) -> Result<()> {
    let configuration = source.read(&image.config, LIMIT)?;
    let id = Digest::of(&configuration);
    // The file is named after its digest: old archives HEX.json, newer ones blobs/sha256/HEX.
    let stem = image.config.rsplit('/').next().unwrap_or_default();
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    if Digest::from_hex(stem).is_some_and(|named| named != id) {
        return Err(Error::invalid(
            &image.config,
            format!("the content has the digest {id}: the image is damaged or was tampered with"),
        ));
    }
    let layers = image.layers.clone().unwrap_or_default();
    if layers.len() > LAYERS_LIMIT {
        return Err(Error::invalid("manifest.json", format!("{} layers; the limit is {LAYERS_LIMIT}", layers.len())));
    }
    let (_, config_size) = work.blob(configuration.as_slice(), None)?;
    let mut descriptors = Vec::new();
    for layer in &layers {
        let mut magic = Vec::new();
        source
            .required(layer)?
            .take(2)
            .read_to_end(&mut magic)
            .map_err(|cause| Error::system(format!("read {layer}"), cause))?;
        let media_type = match magic.as_slice() {
            [0x1f, 0x8b] => "application/vnd.oci.image.layer.v1.tar+gzip",
            _ => "application/vnd.oci.image.layer.v1.tar",
        };
        let (digest, size) = work.blob(source.required(layer)?, None).map_err(|error| error.during(layer))?;
        descriptors.push(descriptor(media_type, &digest, size)?);
    }
    let config = descriptor("application/vnd.oci.image.config.v1+json", &id, config_size)?;
    for name in names {
        make_image(work, name.clone(), config.clone(), descriptors.clone(), &configuration)?;
    }
    Ok(())
}

/// Writes a manifest for a configuration and layers that are blobs already, and unpacks the image.
pub(super) fn make_image(
    work: &mut Work,
    name: Reference,
    config: oci_spec::image::Descriptor,
    layers: Vec<oci_spec::image::Descriptor>,
    configuration: &[u8],
) -> Result<()> {
    const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
    let manifest: ImageManifest = serde_json::from_value(serde_json::json!({
        "schemaVersion": 2, "mediaType": TYPE, "config": config, "layers": layers,
    }))
    .map_err(|cause| Error::invalid("manifest", cause))?;
    let data = serde_json::to_vec(&manifest).map_err(|cause| Error::invalid("manifest", cause))?;
    let (digest, size) = work.blob(data.as_slice(), None)?;
    work.image(name, descriptor(TYPE, &digest, size)?, &manifest, configuration)
}
