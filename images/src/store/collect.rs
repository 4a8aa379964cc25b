//! Removal of what nothing refers to any more.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use super::{Locked, Staging, Store};
use crate::container::Container;
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::image::Image;
use crate::reference::Reference;
use crate::unpack::tree::{self, Tree};

impl Store {
    /// Locks the store for a change, after removing what killed commands left.
    ///
    /// # Errors
    /// The store can not be locked or read.
    pub fn begin(&self) -> Result<(Locked, Staging)> {
        let locked = self.lock()?;
        if self.remove_stale(&locked)? {
            drop(self.collect(&locked)?);
        }
        let staging = Staging::new(self, &locked)?;
        Ok((locked, staging))
    }

    /// Takes blobs and layers that no name and no container needs out of the store. They are deleted when the answer
    /// is dropped, which can be after the lock is released. On a full disk, where nothing can be set aside, they are deleted
    /// at once.
    ///
    /// # Errors
    /// The store can not be read, `rename(2)`, `unlink(2)`.
    pub fn collect(&self, locked: &Locked) -> Result<Option<Staging>> {
        let garbage = self.garbage()?;
        if garbage.is_empty() {
            return Ok(None);
        }
        let trash = match Staging::new(self, locked) {
            Err(error) if matches!(error.errno(), Some(libc::ENOSPC | libc::EDQUOT)) => None,
            result => Some(result?),
        };
        for (number, path) in garbage.into_iter().enumerate() {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            match &trash {
                Some(trash) => fs::rename(&path, trash.path(number.to_string())).on("remove", &path)?,
                None => tree::remove(Tree::open(parent).on("open", parent)?.root(), name).on("remove", &path)?,
            }
        }
        Ok(trash)
    }

    /// Blobs and layers that no name and no container needs.
    fn garbage(&self) -> Result<Vec<PathBuf>> {
        let mut needed: HashSet<String> = HashSet::new();
        let mut need = |digest: &Digest| needed.insert(digest.hex());
        let mut descriptors: Vec<_> = self.names()?.into_iter().map(|(_, descriptor)| descriptor).collect();
        for container in Container::all(self)? {
            descriptors.push(container.record.image);
            container.record.layers.iter().filter_map(|layer| Digest::parse(layer).ok()).for_each(|layer| {
                need(&layer);
            });
        }
        for descriptor in descriptors {
            // An image that can not be read any more needs nothing.
            let Ok(image) = Image::open(self, None, &descriptor) else { continue };
            need(&image.manifest);
            need(&image.id);
            image.blobs.iter().chain(&image.layers).for_each(|digest| {
                need(digest);
            });
        }
        let mut garbage = Vec::new();
        for directory in ["layers", "blobs/sha256"] {
            let directory = self.path(directory);
            for entry in fs::read_dir(&directory).on("read", &directory)? {
                let entry = entry.on("read", &directory)?;
                if !entry.file_name().to_str().is_some_and(|name| needed.contains(name)) {
                    garbage.push(entry.path());
                }
            }
        }
        Ok(garbage)
    }

    /// Removes the image called `text` (a name, or the start of an id); answers the names that are gone.
    ///
    /// # Errors
    /// There is none, or a container uses it and no other name keeps it.
    pub fn remove_image(&self, text: &str) -> Result<Vec<Reference>> {
        let locked = self.lock()?;
        self.remove_stale(&locked)?;
        let names = self.names()?;
        let wanted = Reference::parse(text).ok();
        // By name also an image that can not be read any more.
        let target = match names.iter().find(|(name, _)| Some(name) == wanted.as_ref()) {
            Some((_, descriptor)) => descriptor.clone(),
            None => self.find(text)?.descriptor,
        };
        let same: Vec<Reference> =
            names.into_iter().filter(|(_, other)| other.digest() == target.digest()).map(|(name, _)| name).collect();
        let gone = match wanted.filter(|name| same.contains(name)) {
            Some(name) => vec![name],
            None => same.clone(),
        };
        if gone.len() == same.len() {
            let user = Container::all(self)?.into_iter().find(|c| c.record.image.digest() == target.digest());
            if let Some(container) = user {
                let message = format!(
                    "image {text} is used by container {}: remove that first with pipkin rm",
                    container.record.name
                );
                return Err(Error::new(Kind::InUse, message));
            }
        }
        for name in &gone {
            self.set_name(&locked, name, None)?;
        }
        let trash = self.collect(&locked)?;
        drop(locked);
        drop(trash);
        Ok(gone)
    }
}
