//! The store on disk. It is an OCI image layout itself (`oci-layout`, `index.json`, `blobs/sha256`), so other tools can
//! read it, with the layers unpacked beside it:
//!
//! ```text
//! oci-layout, index.json   the images' names
//! blobs/sha256/HEX         manifests, configurations, layers as they came
//! layers/CHAINID/diff      a layer's files in overlay's form; layer.json says what it was made from
//! containers/ID            containers
//! tmp/                     what is being made; everything complete is renamed out of here
//! lock                     taken while names, layers or containers appear or disappear
//! ```

mod collect;
mod staging;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::image::Image;
use crate::manifest;
use crate::reference::Reference;
use crate::unpack::merged::Lower;
use crate::unpack::tree::Tree;

pub use staging::Staging;

/// The annotation that holds an image's name in `index.json` (image-spec, annotations.md).
const NAME: &str = "org.opencontainers.image.ref.name";

/// Where images, layers and containers are kept.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// While it exists nobody else adds or removes anything.
#[derive(Debug)]
pub struct Locked {
    /// Closing the file releases the lock.
    _file: File,
}

/// What `layer.json` says about an unpacked layer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerRecord {
    /// The digest of the uncompressed archive.
    pub diff_id: String,
    /// Size of the uncompressed archive in bytes.
    pub size: u64,
    /// Nothing of the layers below shows.
    #[serde(default)]
    pub opaque_root: bool,
}

impl Store {
    /// `/var/lib/pipkin` for root, `$XDG_DATA_HOME/pipkin` or `~/.local/share/pipkin` for everyone else. To be asked
    /// before a user namespace is entered.
    ///
    /// # Errors
    /// Neither `XDG_DATA_HOME` nor `HOME` is an absolute path.
    pub fn default_root() -> Result<PathBuf> {
        if nix::unistd::geteuid().is_root() {
            return Ok("/var/lib/pipkin".into());
        }
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
            .map(|data| data.join("pipkin"))
            .ok_or_else(|| {
                Error::invalid("HOME", "is not set to an absolute path: say where to keep images with --root DIR")
            })
    }

    /// Opens the store at `root` and makes what is missing of it, for the user alone (mode 0700: other users must not
    /// reach set-user-id files of images, CVE-2021-41103).
    ///
    /// # Errors
    /// The directory belongs to someone else or can not be made.
    pub fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).on("find", root)?;
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).on("create", parent)?;
        }
        for directory in ["", "blobs", "blobs/sha256", "layers", "containers", "tmp"] {
            let path = root.join(directory);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
                result => result.on("create", &path)?,
            }
        }
        let found = fs::metadata(&root).on("examine", &root)?;
        if found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o022 != 0 {
            return Err(Error::invalid(
                root.display(),
                "must belong to you and be writable by nobody else: choose another --root",
            ));
        }
        let store = Self { root };
        if !store.path("oci-layout").exists() {
            let _lock = store.lock()?;
            store.write_atomically(
                "index.json",
                br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
            )?;
            store.write_atomically("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(store)
    }

    /// A path in the store.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// The file of a blob.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// The directory of an unpacked layer.
    pub fn layer_path(&self, chain_id: &Digest) -> PathBuf {
        self.root.join("layers").join(chain_id.hex())
    }

    /// Waits until nobody else changes the store.
    ///
    /// # Errors
    /// The lock file can not be opened.
    pub fn lock(&self) -> Result<Locked> {
        let path = self.path("lock");
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).on("open", &path)?;
        file.lock().on("lock", &path)?;
        Ok(Locked { _file: file })
    }

    /// All images, by name.
    ///
    /// # Errors
    /// `index.json` or an image's manifest is missing or damaged.
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for (name, descriptor) in self.names()? {
            let image = Image::open(self, Some(name.clone()), &descriptor);
            images.push(image.map_err(|error| {
                error.during(&name).remedy(format!("remove it with pipkin rmi {name}, and load it again"))
            })?);
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    /// The image called `text`, or whose id starts with it.
    ///
    /// # Errors
    /// None, or several.
    pub fn find(&self, text: &str) -> Result<Image> {
        let names = self.names()?;
        if let Ok(wanted) = Reference::parse(text)
            && let Some((name, descriptor)) = names.iter().find(|(name, _)| *name == wanted)
        {
            return Image::open(self, Some(name.clone()), descriptor).map_err(|error| error.during(text));
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        if prefix.len() < 4 || !prefix.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)) {
            return Err(Error::new(Kind::NotFound, format!("no image {text:?}: see pipkin images")));
        }
        let mut found: Vec<Image> =
            self.images()?.into_iter().filter(|image| image.id.hex().starts_with(prefix)).collect();
        found.dedup_by(|a, b| a.id == b.id);
        match found.len() {
            0 => Err(Error::new(Kind::NotFound, format!("no image {text:?}: see pipkin images"))),
            1 => Ok(found.remove(0)),
            _ => Err(Error::invalid(format!("image id {text:?}"), "several images start with it")),
        }
    }

    /// The names in `index.json` and what they stand for.
    ///
    /// # Errors
    /// `index.json` is damaged.
    pub fn names(&self) -> Result<Vec<(Reference, Descriptor)>> {
        let mut names = Vec::new();
        for descriptor in self.index()?.manifests() {
            let name = descriptor.annotations().as_ref().and_then(|all| all.get(NAME));
            if let Some(name) = name.and_then(|name| Reference::parse(name).ok()) {
                names.push((name, descriptor.clone()));
            }
        }
        Ok(names)
    }

    /// Lets `name` stand for `target`, or for nothing any more.
    ///
    /// # Errors
    /// `index.json` can not be read or written.
    pub fn set_name(&self, _locked: &Locked, name: &Reference, target: Option<Descriptor>) -> Result<()> {
        let mut index = self.index()?;
        let mut entries = index.manifests().clone();
        let full = name.full();
        entries.retain(|entry| entry.annotations().as_ref().and_then(|all| all.get(NAME)) != Some(&full));
        if let Some(mut target) = target {
            target.set_annotations(Some([(NAME.to_string(), full)].into()));
            entries.push(target);
        }
        index.set_manifests(entries);
        let text = serde_json::to_vec_pretty(&index).map_err(|cause| Error::invalid("index.json", cause))?;
        self.write_atomically("index.json", &text)
    }

    fn index(&self) -> Result<ImageIndex> {
        let path = self.path("index.json");
        let file = File::open(&path).on("open", &path)?;
        manifest::parse(&read_bounded(file, manifest::LIMIT, "index.json")?, "index.json")
            .map_err(|error| error.during(path.display()))
    }

    /// A small blob's bytes, verified again.
    ///
    /// # Errors
    /// The blob is missing, too large, or damaged.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let data = read_bounded(File::open(&path).on("open", &path)?, manifest::LIMIT, "blob")?;
        if Digest::of(&data) != *digest {
            return Err(Error::invalid(path.display(), "the content does not have this digest any more"));
        }
        Ok(data)
    }

    /// What was noted about an unpacked layer.
    ///
    /// # Errors
    /// The layer is not there, or its record is damaged.
    pub fn layer(&self, chain_id: &Digest) -> Result<LayerRecord> {
        let path = self.layer_path(chain_id).join("layer.json");
        let data = fs::read(&path).on("read", &path)?;
        serde_json::from_slice(&data).map_err(|cause| Error::invalid(path.display(), cause))
    }

    /// Opens an unpacked layer for a layer above it.
    ///
    /// # Errors
    /// The layer is not there, or its record is damaged.
    pub fn open_layer(&self, chain_id: &Digest) -> Result<Lower> {
        let path = self.layer_path(chain_id).join("diff");
        Ok(Lower { tree: Tree::open(&path).on("open", &path)?, opaque_root: self.layer(chain_id)?.opaque_root })
    }

    /// Replaces a file of the store: readers see the old or the new content, also after a power failure.
    fn write_atomically(&self, name: &str, data: &[u8]) -> Result<()> {
        let (path, new) = (self.path(name), self.path(format!("{name}.new")));
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(data)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.root)?.sync_all()
        };
        write().or_else(|cause| {
            let _ = fs::remove_file(&new);
            let full = matches!(cause.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
            if full && overwrite(&path, data).is_ok() { Ok(()) } else { Err(cause) }.on("write", &path)
        })
    }
}

/// On a full disk a name must still be removable: shorter JSON is written over the old one, with blanks to its end, in one
/// write that needs no new block.
fn overwrite(path: &Path, data: &[u8]) -> std::io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    if data.len() > length {
        return Err(std::io::ErrorKind::StorageFull.into());
    }
    let mut padded = data.to_vec();
    padded.resize(length, b' ');
    file.write_all_at(&padded, 0)?;
    file.sync_all()
}

/// All of `source`, at most `limit` bytes.
///
/// # Errors
/// Reading failed, or there is more.
pub fn read_bounded(source: impl Read, limit: u64, what: &str) -> Result<Vec<u8>> {
    // Most documents fit, so that one read is enough.
    let mut data = Vec::with_capacity(4096);
    source.take(limit + 1).read_to_end(&mut data).step(|| format!("read {what}"))?;
    if data.len() as u64 > limit {
        return Err(Error::invalid(what, format!("longer than the limit of {limit} bytes")));
    }
    Ok(data)
}
