//! Reading indexes, manifests and configurations of strangers (image-spec 1.1).

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The largest index, manifest or configuration that is read: 4 MiB, what registries accept.
pub const LIMIT: u64 = 4 << 20;
/// The most layers an image may have; overlay itself stops at 500.
pub const LAYERS_LIMIT: usize = 500;

/// A document that a descriptor of an index points to.
#[derive(Debug)]
pub enum Document {
    /// One image.
    Manifest(Box<ImageManifest>),
    /// Several, by platform.
    Index(Box<ImageIndex>),
}

/// The fields that tell an index from a manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// Reads JSON.
///
/// # Errors
/// Names the document, the place and the cause.
pub fn parse<T: DeserializeOwned>(data: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(data).map_err(|cause| Error::invalid(what, cause))
}

/// Reads what `descriptor` points to. The descriptor's media type decides what it is, and the document must not be
/// readable as anything else: one that is both index and manifest means different images to different tools
/// (CVE-2021-41190).
///
/// # Errors
/// Another media type, an ambiguous document, a layer count over [`LAYERS_LIMIT`].
pub fn document(descriptor: &Descriptor, data: &[u8]) -> Result<Document> {
    let what = descriptor.digest().to_string();
    let shape: Shape = parse(data, &what)?;
    let expected = descriptor.media_type();
    if shape.media_type.as_deref().is_some_and(|own| own != expected.as_ref()) {
        let own = shape.media_type.unwrap_or_default();
        return Err(Error::invalid(
            what,
            format!("says that it is {own:?}, but is referred to as {:?}", expected.as_ref()),
        ));
    }
    if shape.schema_version != 2 {
        return Err(Error::invalid(what, format!("schemaVersion {} is not supported, only 2", shape.schema_version)));
    }
    let (index, manifest) = (shape.manifests.is_some(), shape.layers.is_some() || shape.config.is_some());
    if (index && manifest) || shape.fs_layers.is_some() {
        return Err(Error::invalid(
            what,
            "has the fields of an index and of a manifest: refused as ambiguous (CVE-2021-41190)",
        ));
    }
    if is_index(expected) {
        return Ok(Document::Index(Box::new(parse(data, &what)?)));
    }
    if is_manifest(expected) {
        let manifest: ImageManifest = parse(data, &what)?;
        if manifest.layers().len() > LAYERS_LIMIT {
            return Err(Error::invalid(
                what,
                format!("{} layers; the limit is {LAYERS_LIMIT}", manifest.layers().len()),
            ));
        }
        return Ok(Document::Manifest(Box::new(manifest)));
    }
    Err(Error::invalid(what, format!("media type {:?} is neither an image manifest nor an index", expected.as_ref())))
}

/// Whether the type is that of an index (OCI's or Docker's).
pub fn is_index(media_type: &MediaType) -> bool {
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"]
        .contains(&media_type.as_ref())
}

/// Whether the type is that of an image manifest (OCI's or Docker's).
pub fn is_manifest(media_type: &MediaType) -> bool {
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"]
        .contains(&media_type.as_ref())
}

/// How a layer's archive is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
}

impl Compression {
    /// What a layer's media type says.
    ///
    /// # Errors
    /// Something other than a tar archive, plain or with gzip.
    pub fn of(media_type: &MediaType) -> Result<Self> {
        match media_type.as_ref() {
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Self::None),
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Self::Gzip),
            other => Err(Error::invalid(
                "layer",
                format!("media type {other:?} is not supported: only tar and tar with gzip"),
            )),
        }
    }
}

/// A configuration with as many diff ids as the manifest has layers.
///
/// # Errors
/// Another media type, not a Linux image, or the numbers differ.
pub fn configuration(manifest: &ImageManifest, data: &[u8]) -> Result<(ImageConfiguration, Vec<Digest>)> {
    let what = format!("configuration {}", manifest.config().digest());
    let media_type = manifest.config().media_type().as_ref();
    if !["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"]
        .contains(&media_type)
    {
        return Err(Error::invalid(what, format!("media type {media_type:?} is not that of a container image")));
    }
    let configuration: ImageConfiguration = parse(data, &what)?;
    if *configuration.os() != oci_spec::image::Os::Linux {
        return Err(Error::invalid(what, format!("the image is for {}, not linux", configuration.os())));
    }
    let diff_ids = configuration.rootfs().diff_ids().iter().map(|id| Digest::parse(id)).collect::<Result<Vec<_>>>()?;
    if diff_ids.len() != manifest.layers().len() {
        return Err(Error::invalid(
            what,
            format!("{} diff ids for {} layers", diff_ids.len(), manifest.layers().len()),
        ));
    }
    Ok((configuration, diff_ids))
}
