//! OCI images written by hand, so that wrong and malicious ones can be made as easily as good ones.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// `sha256:` and the digest in hex.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// gzip, always the same bytes for the same content.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("gzip to memory");
    encoder.finish().expect("gzip to memory")
}

/// A layer being written: an archive whose entries are taken as they are, with any name.
pub struct Layer {
    builder: Builder<Vec<u8>>,
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    /// An empty one.
    pub fn new() -> Self {
        Self { builder: Builder::new(Vec::new()) }
    }

    /// A directory.
    #[must_use]
    pub fn dir(self, name: &str, mode: u32) -> Self {
        self.entry(name, EntryType::Directory, mode, |_| {}, &[])
    }

    /// A regular file of root's.
    #[must_use]
    pub fn file(self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(name, EntryType::Regular, mode, |_| {}, content.as_ref())
    }

    /// A regular file of somebody else's.
    #[must_use]
    pub fn owned_file(self, name: &str, mode: u32, uid: u64, gid: u64, content: impl AsRef<[u8]>) -> Self {
        let owner = |header: &mut Header| {
            header.set_uid(uid);
            header.set_gid(gid);
        };
        self.entry(name, EntryType::Regular, mode, owner, content.as_ref())
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Symlink, 0o777, |header| set_link(header, target), &[])
    }

    /// A hard link.
    #[must_use]
    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Link, 0o644, |header| set_link(header, target), &[])
    }

    /// A character or block device.
    #[must_use]
    pub fn device(self, name: &str, kind: EntryType, major: u32, minor: u32) -> Self {
        let numbers = |header: &mut Header| {
            header.set_device_major(major).expect("ustar");
            header.set_device_minor(minor).expect("ustar");
        };
        self.entry(name, kind, 0o666, numbers, &[])
    }

    /// A FIFO.
    #[must_use]
    pub fn fifo(self, name: &str) -> Self {
        self.entry(name, EntryType::Fifo, 0o644, |_| {}, &[])
    }

    /// Removes a name of the layers below.
    #[must_use]
    pub fn whiteout(self, directory: &str, name: &str) -> Self {
        self.file(&format!("{directory}.wh.{name}"), 0o644, "")
    }

    /// Hides everything that the layers below have in the directory.
    #[must_use]
    pub fn opaque(self, directory: &str) -> Self {
        self.file(&format!("{directory}.wh..wh..opq"), 0o644, "")
    }

    /// PAX attributes (extended attributes, long names) for the next entry.
    #[must_use]
    pub fn pax(mut self, pairs: &[(&str, &[u8])]) -> Self {
        self.builder.append_pax_extensions(pairs.iter().copied()).expect("tar to memory");
        self
    }

    /// An entry of any type; the name is written byte for byte, whatever it contains.
    #[must_use]
    pub fn entry(
        mut self,
        name: &str,
        kind: EntryType,
        mode: u32,
        change: impl FnOnce(&mut Header),
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        let field = &mut header.as_old_mut().name;
        assert!(name.len() <= field.len(), "a name of at most 100 bytes; longer ones need pax()");
        field[..name.len()].copy_from_slice(name.as_bytes());
        change(&mut header);
        header.set_cksum();
        self.builder.append(&header, content).expect("tar to memory");
        self
    }

    /// A whole directory of the host, owners as they are.
    #[must_use]
    pub fn tree(mut self, directory: &Path) -> Self {
        self.builder.follow_symlinks(false);
        self.builder.append_dir_all("", directory).expect("tar to memory");
        self
    }

    /// The archive's bytes.
    pub fn bytes(self) -> Vec<u8> {
        self.builder.into_inner().expect("tar to memory")
    }
}

/// Link targets are written byte for byte as well.
fn set_link(header: &mut Header, target: &str) {
    let field = &mut header.as_old_mut().linkname;
    assert!(target.len() <= field.len(), "a link target of at most 100 bytes");
    field[..target.len()].copy_from_slice(target.as_bytes());
}

/// One blob: what it claims to be and its bytes, which a test may make differ.
#[derive(Clone)]
pub struct Blob {
    /// Media type of its descriptor.
    pub media_type: String,
    /// Digest of its descriptor and its name in the layout.
    pub digest: String,
    /// Size of its descriptor.
    pub size: u64,
    /// The bytes in the layout.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// An honest one.
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self { media_type: media_type.to_owned(), digest: digest(&bytes), size: bytes.len() as u64, bytes }
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.size})
    }
}

/// An image: layers as they will be stored, and a configuration.
#[derive(Clone)]
pub struct Image {
    /// Compressed layers, the lowest first.
    pub layers: Vec<Blob>,
    /// The image configuration (image-spec config.md); `rootfs.diff_ids` is kept by [`Image::layer`].
    pub config: Value,
    /// Further fields for the manifest.
    pub annotations: Value,
}

impl Image {
    /// No layers, `config` as the `config` object of the image configuration (`Entrypoint`, `Env`, …).
    pub fn new(config: Value) -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            layers: Vec::new(),
            config: json!({
                "architecture": architecture, "os": "linux", "config": config,
                "rootfs": {"type": "layers", "diff_ids": []},
            }),
            annotations: json!({}),
        }
    }

    /// The usual small image: busybox, the probe, `/bin/sh` as command.
    pub fn busybox() -> Self {
        let path =
            std::env::temp_dir().join(format!("pkt-busybox-{}-{:?}", std::process::id(), std::thread::current().id()));
        crate::bundle::make_rootfs(&path);
        let layer = Layer::new().tree(&path);
        fs::remove_dir_all(&path).expect("remove the tree");
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self::new(json!({"Cmd": ["/bin/sh"], "Env": [path]})).layer(layer)
    }

    /// One more layer, gzipped.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        let bytes = layer.bytes();
        self.config["rootfs"]["diff_ids"].as_array_mut().expect("an array").push(json!(digest(&bytes)));
        self.layers.push(Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&bytes)));
        self
    }

    /// The configuration's blob.
    pub fn config_blob(&self) -> Blob {
        Blob::new("application/vnd.oci.image.config.v1+json", self.config.to_string().into_bytes())
    }

    /// The manifest for the layers and the configuration.
    pub fn manifest(&self) -> Blob {
        let layers: Vec<Value> = self.layers.iter().map(Blob::descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.config_blob().descriptor(), "layers": layers, "annotations": self.annotations,
        });
        Blob::new("application/vnd.oci.image.manifest.v1+json", manifest.to_string().into_bytes())
    }

    /// Everything of an OCI image layout: paths and bytes, `index.json` naming the image `reference`.
    pub fn layout(&self, reference: &str) -> Vec<(String, Vec<u8>)> {
        let manifest = self.manifest();
        let mut descriptor = manifest.descriptor();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": reference});
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [descriptor],
        });
        let mut files = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), index.to_string().into_bytes()),
        ];
        let blobs = self.layers.iter().cloned().chain([self.config_blob(), manifest]);
        files.extend(blobs.map(|blob| (format!("blobs/{}", blob.digest.replacen(':', "/", 1)), blob.bytes)));
        files
    }

    /// Writes an OCI image layout directory.
    pub fn write_directory(&self, directory: &Path, reference: &str) {
        for (name, bytes) in self.layout(reference) {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().expect("below the directory")).expect("make directories");
            fs::write(path, bytes).expect("write the layout");
        }
    }

    /// An OCI image layout as one archive.
    pub fn archive(&self, reference: &str) -> Vec<u8> {
        archive(self.layout(reference))
    }

    /// What `docker save` writes: uncompressed layers, `manifest.json` naming the image `name`.
    pub fn docker_archive(&self, name: &str) -> Vec<u8> {
        let config = self.config_blob();
        let config_name = format!("{}.json", config.digest.trim_start_matches("sha256:"));
        let layers: Vec<(String, Vec<u8>)> = self
            .layers
            .iter()
            .enumerate()
            .map(|(number, blob)| (format!("{number}/layer.tar"), gunzip(&blob.bytes)))
            .collect();
        let names: Vec<&str> = layers.iter().map(|(name, _)| name.as_str()).collect();
        let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": names}]);
        let mut files = layers.clone();
        files.push((config_name.clone(), config.bytes));
        files.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
        archive(files)
    }
}

/// The content of a gzip stream.
pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes), &mut content).expect("gzip");
    content
}

/// Files as one archive.
pub fn archive(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let add = |layer: Layer, (name, bytes): (String, Vec<u8>)| layer.file(&name, 0o644, bytes);
    files.into_iter().fold(Layer::new(), add).bytes()
}
