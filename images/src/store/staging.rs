//! Things in the making: a directory under `tmp/`, locked by its maker, from which only complete things are renamed away.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::{Locked, Store};
use crate::container::Container;
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::unpack::tree::{self, Tree};

/// A temporary directory in the store. It is removed with all that is still in it when this value is dropped; when the
/// process dies first, the next command that changes the store removes it.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    /// Holds the lock that says "still in use".
    lock: File,
}

impl Staging {
    /// A new, empty one.
    ///
    /// # Errors
    /// The directory can not be made.
    pub fn new(store: &Store, _locked: &Locked) -> Result<Self> {
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").on("read", "/proc/sys/kernel/random/uuid")?;
        let path = store.path("tmp").join(uuid.trim());
        make_directory(&path)?;
        let lock = File::open(&path).on("open", &path)?;
        lock.lock().on("lock", &path)?;
        Ok(Self { path, lock })
    }

    /// Makes room for blobs and layers.
    ///
    /// # Errors
    /// The directories can not be made.
    pub fn with_content(self) -> Result<Self> {
        make_directory(&self.path.join("blobs"))?;
        make_directory(&self.path.join("layers"))?;
        Ok(self)
    }

    /// Takes something whole out of the store, to be removed when the answer is dropped. Gone already is fine.
    ///
    /// # Errors
    /// `rename(2)`.
    pub fn take_out(store: &Store, directory: &Path, _locked: &Locked) -> Result<Option<Self>> {
        let Some(name) = directory.file_name() else { return Ok(None) };
        let lock = match File::open(directory) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            result => result.on("open", directory)?,
        };
        lock.lock().on("lock", directory)?;
        let path = store.path("tmp").join(name);
        fs::rename(directory, &path).on("remove", directory)?;
        Ok(Some(Self { path, lock }))
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Where a blob is put.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.hex())
    }

    /// Where a layer is put.
    pub fn layer_path(&self, chain_id: &Digest) -> PathBuf {
        self.path.join("layers").join(chain_id.hex())
    }

    /// Moves all blobs and layers into the store. What is there already is the same content and stays.
    ///
    /// # Errors
    /// `rename(2)`, `fsync(2)`.
    pub fn publish(&self, store: &Store, _locked: &Locked) -> Result<()> {
        for (from, to) in
            [(self.path("blobs"), store.path("blobs/sha256")), (self.path("layers"), store.path("layers"))]
        {
            for entry in fs::read_dir(&from).on("read", &from)? {
                let entry = entry.on("read", &from)?;
                let target = to.join(entry.file_name());
                match rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    entry.path(),
                    rustix::fs::CWD,
                    &target,
                    RenameFlags::NOREPLACE,
                ) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    // File systems without the flag.
                    Err(Errno::INVAL) if target.exists() => {}
                    Err(Errno::INVAL) => fs::rename(entry.path(), &target).on("create", &target)?,
                    Err(errno) => return Err(errno).on("create", &target),
                }
            }
            File::open(&to).and_then(|directory| directory.sync_all()).on("sync", &to)?;
        }
        Ok(())
    }

    /// Waits until everything written so far is on the disk: one call for thousands of small files.
    ///
    /// # Errors
    /// `syncfs(2)`: also reports earlier write errors.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.lock).on("sync", &self.path)
    }
}

fn make_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path).on("create", path)
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name())
            && let Ok(parent) = Tree::open(parent)
        {
            // Errors leave it to the next command.
            let _ = tree::remove(parent.root(), name);
        }
    }
}

impl Store {
    /// Removes what killed commands left in `tmp/`; answers whether there was anything.
    ///
    /// # Errors
    /// `tmp/` can not be read.
    pub(super) fn remove_stale(&self, locked: &Locked) -> Result<bool> {
        for directory in Container::damaged(self)? {
            Staging::take_out(self, &directory, locked)?;
        }
        let tmp = self.path("tmp");
        let parent = Tree::open(&tmp).on("open", &tmp)?;
        let mut found = false;
        for entry in fs::read_dir(&tmp).on("read", &tmp)? {
            let entry = entry.on("read", &tmp)?;
            let abandoned = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
            if abandoned {
                tree::remove(parent.root(), &entry.file_name()).on("remove", entry.path())?;
                found = true;
            }
        }
        Ok(found)
    }
}
