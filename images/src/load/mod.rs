//! Bringing images into the store: everything is verified and unpacked aside, then appears at once.

mod docker;
mod import;
mod layout;
mod pack;
mod source;

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use oci_spec::image::{Descriptor, ImageManifest, MediaType, Sha256Digest};

use crate::archive::{Reader, Stream};
use crate::digest::{Digest, Hashing, chain_id};
use crate::error::{Context, Error, Result};
use crate::manifest::{self, Compression};
use crate::reference::Reference;
use crate::store::{LayerRecord, Staging, Store};
use crate::unpack::metadata::{LeftOut, Policy};
use crate::unpack::tree::Tree;
use crate::unpack::unpack;

pub(crate) use import::configuration;
pub use import::{Import, import};
use source::Source;

/// The largest layer, uncompressed: 64 GiB. A smaller disk ends an endless one earlier.
pub const LAYER_LIMIT: u64 = 64 << 30;

/// An image that was brought in.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its name.
    pub name: Reference,
    /// Its id.
    pub id: Digest,
    /// What could not be unpacked here.
    pub left_out: LeftOut,
    /// It is for another kind of machine: which.
    pub foreign: Option<String>,
}

/// Loads all images of an OCI image layout (a directory or an archive) or of a docker-archive.
/// `name` names the image when there is one only.
///
/// # Errors
/// Whatever is wrong with the image; the store is as it was.
pub fn load(store: &Store, path: &Path, name: Option<&Reference>, policy: Policy) -> Result<Vec<Loaded>> {
    attempt(store, policy, |work| {
        let stem = default_name(path);
        let inside = |error: Error| error.during(path.display());
        let source = Source::open(path, &work.staging).map_err(inside)?;
        if source.file("oci-layout").map_err(inside)?.is_some() {
            layout::load(work, &source, name, &stem).map_err(inside)
        } else if source.file("manifest.json").map_err(inside)?.is_some() {
            docker::load(work, &source, name, &stem).map_err(inside)
        } else {
            Err(Error::invalid(
                path.display(),
                "is not an image: it has neither oci-layout nor manifest.json (a plain root file system is taken by pipkin import)",
            ))
        }
    })
}

/// Fills a staging area by `fill` and publishes it. When another command removed a part of the store that the new images were
/// going to share, everything is done again.
fn attempt(store: &Store, policy: Policy, fill: impl Fn(&mut Work) -> Result<()>) -> Result<Vec<Loaded>> {
    for _ in 0..3 {
        let (locked, staging) = store.begin()?;
        drop(locked);
        let mut work = Work { store, staging: staging.with_content()?, policy, images: Vec::new() };
        fill(&mut work)?;
        if let Some(loaded) = work.publish()? {
            return Ok(loaded);
        }
    }
    Err(Error::invalid(
        "store",
        "its layers were removed by other commands again and again; try again when they have ended",
    ))
}

/// An image whose parts are complete, in the store or in the staging area.
struct Made {
    loaded: Loaded,
    descriptor: Descriptor,
    blobs: Vec<Digest>,
    layers: Vec<Digest>,
}

/// A load in progress.
struct Work<'a> {
    store: &'a Store,
    staging: Staging,
    policy: Policy,
    images: Vec<Made>,
}

impl Work<'_> {
    /// Copies `content` into a blob, unless it is there; answers its digest and size.
    ///
    /// # Errors
    /// The content has not the digest and size that are `expected`.
    fn blob(&self, content: impl Read, expected: Option<(&Digest, u64)>) -> Result<(Digest, u64)> {
        if let Some((digest, size)) = expected
            && let Ok(found) = fs::metadata(self.blob_file(digest))
            && found.len() == size
        {
            return Ok((digest.clone(), size));
        }
        let limit = expected.map_or(LAYER_LIMIT, |(_, size)| size.min(LAYER_LIMIT));
        let path = self.staging.path("incoming");
        let mut file = File::create(&path).on("create", &path)?;
        let mut hashing = Hashing::new(content, limit);
        let what = || expected.map_or_else(|| "layer".to_string(), |(digest, _)| digest.to_string());
        io::copy(&mut hashing, &mut file).step(|| format!("copy {}", what()))?;
        let (digest, size) = hashing.finish().step(|| format!("copy {}", what()))?;
        if let Some((wanted, wanted_size)) = expected {
            if size != wanted_size {
                return Err(Error::invalid(
                    wanted,
                    format!("has {size} bytes instead of {wanted_size}: the image is truncated or damaged"),
                ));
            }
            if digest != *wanted {
                return Err(Error::invalid(
                    wanted,
                    format!("the content has the digest {digest}: the image is damaged or was tampered with"),
                ));
            }
        }
        let target = self.staging.blob_path(&digest);
        fs::rename(&path, &target).on("create", &target)?;
        Ok((digest, size))
    }

    /// Where a blob is now.
    fn blob_file(&self, digest: &Digest) -> std::path::PathBuf {
        let stored = self.store.blob_path(digest);
        if stored.exists() { stored } else { self.staging.blob_path(digest) }
    }

    /// Unpacks all layers of an image whose blobs are there, and notes the image.
    fn image(
        &mut self,
        name: Reference,
        descriptor: Descriptor,
        manifest: &ImageManifest,
        configuration: &[u8],
    ) -> Result<()> {
        let (parsed, diff_ids) = manifest::configuration(manifest, configuration)?;
        let mut layers: Vec<Digest> = Vec::new();
        let mut blobs =
            vec![Digest::parse(descriptor.digest().as_ref())?, Digest::parse(manifest.config().digest().as_ref())?];
        let mut left_out = LeftOut::default();
        for (at, (layer, diff_id)) in manifest.layers().iter().zip(&diff_ids).enumerate() {
            let blob = Digest::parse(layer.digest().as_ref())?;
            let chain = chain_id(layers.last(), diff_id);
            let compression = Compression::of(layer.media_type())?;
            let found = self.layer(&chain, &layers, &blob, compression, diff_id);
            let more = found.map_err(|error| error.during(format!("layer {} of {name}", at + 1)))?;
            left_out.devices += more.devices;
            left_out.xattrs += more.xattrs;
            layers.push(chain);
            blobs.push(blob);
        }
        let architecture = parsed.architecture().to_string();
        let foreign = (architecture != layout::architecture()).then_some(architecture);
        let loaded = Loaded { name, id: blobs[1].clone(), left_out, foreign };
        self.images.push(Made { loaded, descriptor, blobs, layers });
        Ok(())
    }

    /// Unpacks one layer over `below` (from the bottom up), unless it is there.
    fn layer(
        &self,
        chain: &Digest,
        below: &[Digest],
        blob: &Digest,
        compression: Compression,
        diff_id: &Digest,
    ) -> Result<LeftOut> {
        let path = self.staging.layer_path(chain);
        if path.exists() || self.store.layer_path(chain).exists() {
            return Ok(LeftOut::default());
        }
        let mut lowers = Vec::new();
        for layer in below.iter().rev() {
            let staged = self.staging.layer_path(layer);
            lowers.push(if staged.exists() { open_staged(&staged)? } else { self.store.open_layer(layer)? });
        }
        let file = self.blob_file(blob);
        let file = BufReader::with_capacity(256 << 10, File::open(&file).on("open", &file)?);
        let archive: Box<dyn Read> = match compression {
            Compression::None => Box::new(file),
            Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        };
        let diff = path.join("diff");
        fs::DirBuilder::new().mode(0o700).create(&path).on("create", &path)?;
        fs::DirBuilder::new().mode(0o755).create(&diff).on("create", &diff)?;
        let tree = Tree::open(&diff).on("open", &diff)?;
        // Its mode must not depend on our umask when the archive does not describe the root.
        rustix::fs::fchmod(tree.root(), rustix::fs::Mode::from_raw_mode(0o755)).on("chmod", &diff)?;
        let mut hashing = Hashing::new(archive, LAYER_LIMIT);
        let mut reader = Reader::new(Stream(BufReader::with_capacity(256 << 10, &mut hashing)));
        let unpacked = unpack(&mut reader, &tree, &lowers, self.policy)?;
        drop(reader);
        let (digest, size) = hashing.finish().step(|| "read layer")?;
        if digest != *diff_id {
            return Err(Error::invalid(blob, format!("unpacks to {digest}, but the configuration says {diff_id}")));
        }
        let record = LayerRecord { diff_id: diff_id.to_string(), size, opaque_root: unpacked.opaque_root };
        let text = serde_json::to_vec(&record).map_err(|cause| Error::invalid("layer.json", cause))?;
        fs::write(path.join("layer.json"), text).on("write", path.join("layer.json"))?;
        Ok(unpacked.left_out)
    }

    /// Lets the images appear in the store. `None` when a part that was there is gone now.
    fn publish(self) -> Result<Option<Vec<Loaded>>> {
        self.staging.sync()?;
        let locked = self.store.lock()?;
        for image in &self.images {
            let there =
                |digest: &Digest| self.store.blob_path(digest).exists() || self.staging.blob_path(digest).exists();
            let unpacked =
                |chain: &Digest| self.store.layer_path(chain).exists() || self.staging.layer_path(chain).exists();
            if !image.blobs.iter().all(there) || !image.layers.iter().all(unpacked) {
                return Ok(None);
            }
        }
        self.staging.publish(self.store, &locked)?;
        for image in &self.images {
            self.store.set_name(&locked, &image.loaded.name, Some(image.descriptor.clone()))?;
        }
        let trash = self.store.collect(&locked)?;
        drop(locked);
        drop(trash);
        Ok(Some(self.images.into_iter().map(|image| image.loaded).collect()))
    }
}

fn open_staged(path: &Path) -> Result<crate::unpack::merged::Lower> {
    let data = fs::read(path.join("layer.json")).on("read", path)?;
    let record: LayerRecord = serde_json::from_slice(&data).map_err(|cause| Error::invalid(path.display(), cause))?;
    let tree = Tree::open(&path.join("diff")).on("open", path)?;
    Ok(crate::unpack::merged::Lower { tree, opaque_root: record.opaque_root })
}

/// A descriptor of content that was hashed here.
fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Result<Descriptor> {
    let digest: Sha256Digest = digest.hex().parse().map_err(|cause| Error::invalid(digest, cause))?;
    Ok(Descriptor::new(MediaType::from(media_type), size, digest))
}

/// An image's name when nobody gives one: that of its file without extensions.
fn default_name(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let stem = [".tar.gz", ".tgz", ".tar"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    stem.to_string()
}

/// Reads an image's name; `what` says where it came from.
fn parse_name(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|error| error.remedy("choose one with --name"))
}
