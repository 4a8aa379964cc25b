//! OCI image layouts (image-spec, image-layout.md).

use oci_spec::image::{Descriptor, ImageManifest};

use super::{Source, Work, descriptor, parse_name};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{self, Document, LIMIT};
use crate::reference::Reference;

/// How deep an index may stand in another one.
const DEPTH_LIMIT: u32 = 4;

/// Loads every image that `index.json` names; of an unnamed choice the one for this machine.
pub(super) fn load(work: &mut Work, source: &Source, name: Option<&Reference>, stem: &str) -> Result<()> {
    let version: serde_json::Value = manifest::parse(&source.read("oci-layout", LIMIT)?, "oci-layout")?;
    if !version["imageLayoutVersion"].as_str().is_some_and(|version| version.starts_with("1.")) {
        return Err(Error::invalid(
            "oci-layout: imageLayoutVersion",
            format!("{} is not supported, only 1.x", version["imageLayoutVersion"]),
        ));
    }
    let data = source.read("index.json", LIMIT)?;
    let own = descriptor("application/vnd.oci.image.index.v1+json", &Digest::of(&data), data.len() as u64)?;
    let Document::Index(index) = manifest::document(&own, &data).map_err(|error| error.during("index.json"))? else {
        return Err(Error::invalid("index.json", "is not an index"));
    };
    let mut images: Vec<(Reference, &Descriptor)> = Vec::new();
    let mut unnamed = Vec::new();
    for entry in index.manifests() {
        match name_of(entry, stem)? {
            Some(name) => images.push((name, entry)),
            None => unnamed.push(entry.clone()),
        }
    }
    let choice = choose(&unnamed);
    if images.is_empty() {
        let chosen = choice.ok_or_else(|| no_platform("index.json", &unnamed))?;
        images.push((parse_name_or(name, stem)?, chosen));
    }
    if let Some(name) = name {
        if images.len() > 1 {
            return Err(Error::invalid("--name", format!("there are {} images in it", images.len())));
        }
        images[0].0 = name.clone();
    }
    for (name, entry) in images {
        let step = format!("image {name}");
        load_one(work, source, name, entry).map_err(|error| error.during(step))?;
    }
    Ok(())
}

/// Copies one image's blobs and unpacks it.
fn load_one(work: &mut Work, source: &Source, name: Reference, entry: &Descriptor) -> Result<()> {
    let (entry, manifest) = resolve(source, entry, 0)?;
    let data = fetch(source, &entry)?;
    work.blob(data.as_slice(), Some((&Digest::of(&data), data.len() as u64)))?;
    let configuration = fetch(source, manifest.config())?;
    work.blob(configuration.as_slice(), Some((&Digest::of(&configuration), configuration.len() as u64)))?;
    // Refused before gigabytes are copied.
    manifest::configuration(&manifest, &configuration)?;
    for layer in manifest.layers() {
        manifest::Compression::of(layer.media_type())?;
        let digest = Digest::parse(layer.digest().as_ref())?;
        let content = source.required(&blob_name(&digest))?;
        if content.size() != layer.size() {
            let message =
                format!("has {} bytes instead of {}: the image is truncated or damaged", content.size(), layer.size());
            return Err(Error::invalid(digest, message));
        }
        work.blob(content, Some((&digest, layer.size())))?;
    }
    let own = descriptor(entry.media_type().as_ref(), &Digest::of(&data), data.len() as u64)?;
    work.image(name, own, &manifest, &configuration)
}

/// Goes from an entry to the manifest for this machine.
fn resolve(source: &Source, entry: &Descriptor, depth: u32) -> Result<(Descriptor, ImageManifest)> {
    match manifest::document(entry, &fetch(source, entry)?)? {
        Document::Manifest(manifest) => Ok((entry.clone(), *manifest)),
        Document::Index(_) if depth >= DEPTH_LIMIT => {
            Err(Error::invalid(entry.digest(), "indexes stand in each other too deeply"))
        }
        Document::Index(index) => {
            let next = choose(index.manifests()).ok_or_else(|| no_platform(entry.digest(), index.manifests()))?;
            resolve(source, next, depth + 1)
        }
    }
}

/// A small blob, with the digest and size that its descriptor says.
fn fetch(source: &Source, wanted: &Descriptor) -> Result<Vec<u8>> {
    let digest = Digest::parse(wanted.digest().as_ref())?;
    let data = source.read(&blob_name(&digest), LIMIT)?;
    if data.len() as u64 != wanted.size() {
        return Err(Error::invalid(digest, format!("has {} bytes instead of {}", data.len(), wanted.size())));
    }
    let found = Digest::of(&data);
    if found != digest {
        return Err(Error::invalid(
            digest,
            format!("the content has the digest {found}: the image is damaged or was tampered with"),
        ));
    }
    Ok(data)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Of several manifests the one for this machine: without a variant if there is such a one. A single manifest without a
/// platform is taken as it is.
fn choose(entries: &[Descriptor]) -> Option<&Descriptor> {
    let usable = || {
        entries
            .iter()
            .filter(|entry| manifest::is_index(entry.media_type()) || manifest::is_manifest(entry.media_type()))
    };
    let mut found: Vec<&Descriptor> = usable()
        .filter(|entry| {
            entry
                .platform()
                .as_ref()
                .is_some_and(|p| p.os().to_string() == "linux" && p.architecture().to_string() == architecture())
        })
        .collect();
    found.sort_by_key(|entry| entry.platform().as_ref().is_some_and(|platform| platform.variant().is_some()));
    found.first().copied().or_else(|| {
        let mut plain = usable().filter(|entry| entry.platform().is_none());
        plain.next().filter(|_| plain.next().is_none())
    })
}

fn no_platform(what: impl std::fmt::Display, entries: &[Descriptor]) -> Error {
    let platforms: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.platform().as_ref())
        .map(|platform| format!("{}/{}", platform.os(), platform.architecture()))
        .collect();
    Error::invalid(what, format!("no image for linux/{} in it, only {platforms:?}", architecture()))
}

/// This machine as the specification calls it (Go's GOARCH).
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// The name that an entry's annotations give it. A bare tag belongs to the layout's own name.
fn name_of(entry: &Descriptor, stem: &str) -> Result<Option<Reference>> {
    let Some(annotations) = entry.annotations() else { return Ok(None) };
    if let Some(full) = annotations.get("io.containerd.image.name") {
        return parse_name(full).map(Some);
    }
    match annotations.get("org.opencontainers.image.ref.name") {
        None => Ok(None),
        Some(name) if name.contains([':', '/']) => parse_name(name).map(Some),
        Some(tag) => parse_name(&format!("{stem}:{tag}")).map(Some),
    }
}

fn parse_name_or(name: Option<&Reference>, stem: &str) -> Result<Reference> {
    name.map_or_else(|| parse_name(stem), |name| Ok(name.clone()))
}
