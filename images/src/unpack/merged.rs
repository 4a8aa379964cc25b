//! Paths as they are seen through a stack of layers: the one being unpacked on top of those below it.

use std::collections::VecDeque;

use rustix::fs::{FileType, Stat};
use rustix::io::{Errno, Result};

use super::metadata::Overlay;
use super::tree::{self, Tree};

/// A finished layer below.
#[derive(Debug)]
pub struct Lower {
    /// Its content.
    pub tree: Tree,
    /// Its root directory hides everything below it (`.wh..wh..opq` at the top).
    pub opaque_root: bool,
}

/// What a path names in the layers below.
pub enum Found<'a> {
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// Anything else: in which layer and what.
    Other(&'a Tree, Stat),
}

/// A path's components without `.` and empty ones.
///
/// # Errors
/// `None` for a path with `..`: no honest archive has one, and readers disagree about what it means.
pub fn components(path: &[u8]) -> Option<Vec<&[u8]>> {
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) { None } else { Some(parts) }
}

/// The stack: the layer in the making, and those below it, topmost first.
pub struct Merged<'a> {
    /// The layer in the making.
    pub layer: &'a Tree,
    /// The finished layers, topmost first.
    pub lowers: &'a [Lower],
    /// How opaque directories are marked.
    pub overlay: Overlay,
}

impl<'a> Merged<'a> {
    /// What the layers below show at `path` (relative, without links), seen through the layer in the making as far
    /// as its directories go: its own whiteouts and opaque directories above `path` count, its own entry at `path` does not.
    ///
    /// # Errors
    /// `openat2(2)`, `getxattr(2)`.
    pub fn below(&self, path: &[u8]) -> Result<Option<Found<'a>>> {
        if self.lowers.is_empty() {
            return Ok(None);
        }
        let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        let mut visible: Vec<&'a Tree> = Vec::new();
        for lower in self.lowers {
            visible.push(&lower.tree);
            if lower.opaque_root {
                break;
            }
        }
        let mut prefix: Vec<u8> = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                prefix.push(b'/');
            }
            prefix.extend_from_slice(part);
            let last = at + 1 == parts.len();
            if !last && self.hides(&prefix)? {
                return Ok(None);
            }
            let mut first = None;
            let mut next = Vec::new();
            for tree in visible {
                let Some(stat) = tree.stat(&prefix)? else { continue };
                if tree::is_whiteout(&stat) {
                    break;
                }
                let directory = tree::kind(&stat) == FileType::Directory;
                first.get_or_insert((tree, stat));
                if !directory {
                    break;
                }
                next.push(tree);
                if self.overlay.is_opaque(tree.directory(&prefix)?)? {
                    break;
                }
            }
            match first {
                None => return Ok(None),
                Some((tree, stat)) if tree::kind(&stat) == FileType::Symlink => {
                    return if last { Ok(Some(Found::Symlink(tree.link_target(&prefix)?))) } else { Ok(None) };
                }
                Some((tree, stat)) if last => return Ok(Some(Found::Other(tree, stat))),
                Some(_) => visible = next,
            }
        }
        Ok(None)
    }

    /// Whether the layer in the making hides what is below its entry at `path`.
    fn hides(&self, path: &[u8]) -> Result<bool> {
        match self.layer.stat(path)? {
            None => Ok(false),
            Some(stat) if tree::kind(&stat) == FileType::Directory => {
                self.overlay.is_opaque(self.layer.directory(path)?)
            }
            Some(_) => Ok(true),
        }
    }

    /// The real directory that `parts` names in the merged view: links followed inside the root, and each directory
    /// that the layer does not have yet made by `make` (given its path and what is below it).
    ///
    /// # Errors
    /// `ELOOP` after 40 links, `ENOTDIR` for a file in the way, and those of `make`.
    pub fn resolve<E: From<Errno>>(
        &self,
        parts: &[&[u8]],
        mut make: impl FnMut(&[u8], Option<Stat>) -> std::result::Result<(), E>,
    ) -> std::result::Result<Vec<u8>, E> {
        let mut todo: VecDeque<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        let mut path: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == b".." {
                path.truncate(path.iter().rposition(|b| *b == b'/').unwrap_or(0));
                continue;
            }
            let mut next = path.clone();
            if !next.is_empty() {
                next.push(b'/');
            }
            next.extend_from_slice(&part);
            let target = match self.layer.stat(&next)? {
                Some(stat) if tree::kind(&stat) == FileType::Directory => None,
                Some(stat) if tree::kind(&stat) == FileType::Symlink => Some(self.layer.link_target(&next)?),
                Some(stat) if tree::is_whiteout(&stat) => {
                    make(&next, None)?;
                    None
                }
                Some(_) => return Err(Errno::NOTDIR.into()),
                None => match self.below(&next)? {
                    Some(Found::Symlink(target)) => Some(target),
                    Some(Found::Other(_, stat)) if tree::kind(&stat) == FileType::Directory => {
                        make(&next, Some(stat))?;
                        None
                    }
                    Some(Found::Other(..)) | None => {
                        make(&next, None)?;
                        None
                    }
                },
            };
            let Some(target) = target else {
                path = next;
                continue;
            };
            links += 1;
            if links > 40 {
                return Err(Errno::LOOP.into());
            }
            if target.starts_with(b"/") {
                path.clear();
            }
            let inner = target.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
            inner.rev().for_each(|part| todo.push_front(part.to_vec()));
        }
        Ok(path)
    }
}
