//! An image in the store.

use oci_spec::image::{Descriptor, ImageConfiguration};

use crate::digest::{Digest, chain_id};
use crate::error::{Error, Result};
use crate::manifest::{self, Document};
use crate::reference::Reference;
use crate::store::Store;

/// An image whose layers are unpacked.
#[derive(Clone, Debug)]
pub struct Image {
    /// One of its names; `None` when it was looked up through a container.
    pub name: Option<Reference>,
    /// What its name stands for.
    pub descriptor: Descriptor,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digest of the configuration: the image id.
    pub id: Digest,
    /// How it wants to be run.
    pub configuration: ImageConfiguration,
    /// Chain ids of its layers from the bottom up.
    pub layers: Vec<Digest>,
    /// Digests of its layers' blobs.
    pub blobs: Vec<Digest>,
    /// Size of all layers' uncompressed archives in bytes.
    pub size: u64,
}

impl Image {
    /// Reads the image that `descriptor` stands for.
    ///
    /// # Errors
    /// Something of it is missing from the store or damaged.
    pub fn open(store: &Store, name: Option<Reference>, descriptor: &Descriptor) -> Result<Self> {
        let digest = Digest::parse(descriptor.digest().as_ref())?;
        let Document::Manifest(manifest) = manifest::document(descriptor, &store.blob(&digest)?)? else {
            return Err(Error::invalid(&digest, "is not an image manifest"));
        };
        let id = Digest::parse(manifest.config().digest().as_ref())?;
        let (configuration, diff_ids) = manifest::configuration(&manifest, &store.blob(&id)?)?;
        let mut layers: Vec<Digest> = Vec::new();
        let mut size = 0;
        for diff_id in &diff_ids {
            let layer = chain_id(layers.last(), diff_id);
            size += store.layer(&layer)?.size;
            layers.push(layer);
        }
        let blobs =
            manifest.layers().iter().map(|layer| Digest::parse(layer.digest().as_ref())).collect::<Result<_>>()?;
        Ok(Self { name, descriptor: descriptor.clone(), manifest: digest, id, configuration, layers, blobs, size })
    }
}
