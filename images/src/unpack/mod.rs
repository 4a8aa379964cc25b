//! Unpacking one layer into its own directory in overlay's form (image-spec, layer.md).

pub mod merged;
pub mod metadata;
pub mod tree;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, makedev};
use rustix::io::Errno;

use crate::archive::{Entry, Kind, Reader, Source};
use crate::error::{Error, Result};
use merged::{Lower, Merged, components};
use metadata::{LeftOut, Policy};
use tree::Tree;

/// The most entries one layer may have.
pub const ENTRIES_LIMIT: u64 = 4 << 20;

/// What is known about an unpacked layer beside its files.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unpacked {
    /// The layer hides all layers below it. Overlay has no attribute for this on a root directory.
    pub opaque_root: bool,
    /// What could not be unpacked here.
    pub left_out: LeftOut,
}

/// Unpacks `archive` into the empty directory `layer`, on top of `lowers` (topmost first).
///
/// # Errors
/// A malformed archive, an entry that would leave the layer, or the file system's errors; each names the entry.
pub fn unpack<S: Source>(archive: &mut Reader<S>, layer: &Tree, lowers: &[Lower], policy: Policy) -> Result<Unpacked> {
    let merged = Merged { layer, lowers, overlay: policy.overlay };
    let mut unpacker = Unpacker { merged, policy, done: Unpacked::default(), times: Vec::new(), parent: None };
    for count in 0.. {
        let Some(entry) = archive.next_entry().map_err(|cause| Error::system("read layer", cause))? else { break };
        if count >= ENTRIES_LIMIT {
            return Err(Error::invalid("layer", format!("more than {ENTRIES_LIMIT} entries")));
        }
        unpacker.entry(&entry, archive).map_err(|failure| failure.describe(&entry))?;
    }
    unpacker.finish()
}

/// Why an entry could not be unpacked.
enum Failure {
    System(Errno),
    Data(io::Error),
    Refused(&'static str),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

impl Failure {
    fn describe(self, entry: &Entry) -> Error {
        let step = format!("unpack {}", String::from_utf8_lossy(&entry.path));
        match self {
            Self::System(Errno::INVAL) => Error::system(step, Errno::INVAL).remedy(format!(
                "its owner {}:{} may be outside of the mapped ids; enlarge the ranges in /etc/subuid and /etc/subgid",
                entry.uid, entry.gid
            )),
            Self::System(errno) => Error::system(step, errno),
            Self::Data(cause) => Error::system(step, cause),
            Self::Refused(reason) => Error::invalid(step, reason),
        }
    }
}

/// The directory that the last entry was put into; entries come in runs of neighbours.
struct Parent {
    /// As the archive names it.
    parts: Vec<Vec<u8>>,
    /// Where it really is.
    path: Vec<u8>,
    handle: OwnedFd,
}

struct Unpacker<'a> {
    merged: Merged<'a>,
    policy: Policy,
    done: Unpacked,
    /// Directories' times, set last because every new entry changes them.
    times: Vec<(Vec<u8>, (u64, u32))>,
    parent: Option<Parent>,
}

impl Unpacker<'_> {
    fn entry<S: Source>(&mut self, entry: &Entry, data: &mut Reader<S>) -> std::result::Result<(), Failure> {
        let parts = components(&entry.path).ok_or(Failure::Refused("a name with .. is not allowed in a layer"))?;
        let Some((name, parents)) = parts.split_last() else {
            // `/.` as a link would replace the root itself (CVE-2021-29136).
            if entry.kind != Kind::Directory {
                return Err(Failure::Refused("the root of a layer must be a directory"));
            }
            metadata::apply(self.merged.layer.root(), entry, self.policy, &mut self.done.left_out)?;
            self.times.push((Vec::new(), entry.mtime));
            return Ok(());
        };
        self.enter(parents)?;
        match name.strip_prefix(b".wh.") {
            Some(b".wh..opq") => self.opaque(),
            // aufs' own bookkeeping.
            Some(rest) if rest.starts_with(b".wh.") => Ok(()),
            Some(b"" | b"." | b"..") => Err(Failure::Refused("a whiteout without a name")),
            Some(hidden) => self.whiteout(hidden),
            None => self.create(name, entry, data),
        }
    }

    /// Makes the directory `parts` the current one.
    fn enter(&mut self, parts: &[&[u8]]) -> std::result::Result<(), Failure> {
        if self.parent.as_ref().is_some_and(|parent| parent.parts == parts) {
            return Ok(());
        }
        let (layer, policy, overlay) = (self.merged.layer, self.policy, self.policy.overlay);
        let path = self.merged.resolve(parts, |path, below| -> std::result::Result<(), Failure> {
            let (parent, name) = tree::split(path);
            let parent = layer.directory(parent)?;
            let was_whiteout = unlink_whiteout(&parent, name)?;
            let made = make_directory(&parent, name)?;
            if was_whiteout {
                overlay.set_opaque(&made)?;
            }
            metadata::copy(made, below.as_ref(), policy).map_err(Failure::from)
        })?;
        let handle = layer.directory(&path)?;
        self.parent = Some(Parent { parts: parts.iter().map(|part| part.to_vec()).collect(), path, handle });
        Ok(())
    }

    /// The current directory's handle, and the path of `name` in it.
    fn place(&self, name: &[u8]) -> std::result::Result<(&OwnedFd, Vec<u8>), Failure> {
        let parent = self.parent.as_ref().ok_or(Failure::System(Errno::NOENT))?;
        let mut path = parent.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Ok((&parent.handle, path))
    }

    /// `.wh..wh..opq`: nothing from below shows in the current directory.
    fn opaque(&mut self) -> std::result::Result<(), Failure> {
        let parent = self.parent.as_ref().ok_or(Failure::System(Errno::NOENT))?;
        if parent.path.is_empty() {
            self.done.opaque_root = !self.merged.lowers.is_empty();
        } else if self.merged.below(&parent.path)?.is_some() {
            self.merged.overlay.set_opaque(&parent.handle)?;
        }
        Ok(())
    }

    /// `.wh.NAME`: what the layers below have at `name` is gone; an entry of this layer stays. A whiteout is only made
    /// where it hides something, as overlay shows it as a file in a directory that is not merged.
    fn whiteout(&mut self, name: &[u8]) -> std::result::Result<(), Failure> {
        let (parent, path) = self.place(name)?;
        if self.merged.below(&path)?.is_none() {
            return Ok(());
        }
        match tree::stat_at(parent.as_fd(), name)? {
            Some(stat) if tree::kind(&stat) == FileType::Directory => {
                let directory = self.merged.layer.directory(&path)?;
                self.merged.overlay.set_opaque(directory)?;
            }
            Some(_) => {}
            None => rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?,
        }
        Ok(())
    }

    /// An ordinary entry at `name` in the current directory; whatever this layer had there is replaced.
    fn create<S: Source>(
        &mut self,
        name: &[u8],
        entry: &Entry,
        data: &mut Reader<S>,
    ) -> std::result::Result<(), Failure> {
        if matches!(entry.kind, Kind::CharDevice(0, 0)) {
            return Err(Failure::Refused("a device 0:0 would be taken for a whiteout"));
        }
        if let Kind::HardLink(target) = &entry.kind {
            return self.hard_link(name, target);
        }
        let (_, path) = self.place(name)?;
        let directory = entry.kind == Kind::Directory;
        let (kept, was_whiteout) = self.make_room(name, directory)?;
        let (parent, _) = self.place(name)?;
        let policy = self.policy;
        match &entry.kind {
            Kind::Directory => {
                let made = if kept { self.merged.layer.directory(&path)? } else { make_directory(parent, name)? };
                if was_whiteout {
                    self.merged.overlay.set_opaque(&made)?;
                }
                metadata::apply(made, entry, policy, &mut self.done.left_out)?;
                self.times.push((path, entry.mtime));
            }
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = File::from(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
                write_data(&file, entry, data)?;
                metadata::apply(&file, entry, policy, &mut self.done.left_out)?;
                rustix::fs::futimens(&file, &metadata::times(entry.mtime))?;
            }
            Kind::Symlink(target) => {
                rustix::fs::symlinkat(target.as_slice(), parent, name)?;
                metadata::apply_at(parent, name, entry, policy)?;
                self.done.left_out.xattrs += entry.xattrs.len() as u64;
                // The name of a current directory may mean another place from now on.
                self.parent = None;
            }
            Kind::Fifo => {
                rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
                metadata::apply_at(parent, name, entry, policy)?;
            }
            Kind::CharDevice(..) | Kind::BlockDevice(..) if !policy.devices => self.done.left_out.devices += 1,
            Kind::CharDevice(major, minor) => {
                rustix::fs::mknodat(
                    parent,
                    name,
                    FileType::CharacterDevice,
                    Mode::RUSR | Mode::WUSR,
                    makedev(*major, *minor),
                )?;
                metadata::apply_at(parent, name, entry, policy)?;
            }
            Kind::BlockDevice(major, minor) => {
                rustix::fs::mknodat(
                    parent,
                    name,
                    FileType::BlockDevice,
                    Mode::RUSR | Mode::WUSR,
                    makedev(*major, *minor),
                )?;
                metadata::apply_at(parent, name, entry, policy)?;
            }
            Kind::HardLink(_) => {}
        }
        Ok(())
    }

    /// Removes what this layer has at `name`, but keeps a directory when the new entry is one too.
    /// Answers whether one was kept, and whether a whiteout was there.
    fn make_room(&mut self, name: &[u8], for_directory: bool) -> std::result::Result<(bool, bool), Failure> {
        let (parent, _) = self.place(name)?;
        let Some(stat) = tree::stat_at(parent.as_fd(), name)? else { return Ok((false, false)) };
        if for_directory && tree::kind(&stat) == FileType::Directory {
            return Ok((true, false));
        }
        tree::remove(parent.as_fd(), std::ffi::OsStr::from_bytes(name))?;
        let hid_directory = tree::kind(&stat) == FileType::Directory || tree::kind(&stat) == FileType::Symlink;
        if hid_directory {
            let parts = self.parent.take().map(|parent| parent.parts).unwrap_or_default();
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            self.enter(&parts)?;
        }
        Ok((false, tree::is_whiteout(&stat)))
    }

    /// A second name for a file of this layer; both directories are held by handles (CVE-2026-50163).
    fn hard_link(&mut self, name: &[u8], target: &[u8]) -> std::result::Result<(), Failure> {
        let parts = components(target).ok_or(Failure::Refused("a hard link to a name with .. is not allowed"))?;
        let Some((target, parents)) = parts.split_last() else {
            return Err(Failure::Refused("a hard link to the root"));
        };
        let missing =
            |_: &[u8], _: Option<Stat>| Err(Failure::Refused("a hard link to a file that is not in this layer"));
        let source = self.merged.layer.directory(&self.merged.resolve(parents, missing)?)?;
        let Some(original) = tree::stat_at(source.as_fd(), target)? else {
            return Err(Failure::Refused("a hard link to a file that is not in this layer"));
        };
        if tree::kind(&original) == FileType::Directory || tree::is_whiteout(&original) {
            return Err(Failure::Refused("a hard link to something that is not a file"));
        }
        let (parent, _) = self.place(name)?;
        if tree::stat_at(parent.as_fd(), name)?
            .is_some_and(|old| (old.st_dev, old.st_ino) == (original.st_dev, original.st_ino))
        {
            return Ok(());
        }
        self.make_room(name, false)?;
        let (parent, _) = self.place(name)?;
        // No AT_SYMLINK_FOLLOW: a link to a symbolic link is a second name of the link itself.
        rustix::fs::linkat(&source, *target, parent, name, AtFlags::empty())?;
        self.parent = None;
        Ok(())
    }

    /// Sets the directories' times.
    fn finish(self) -> Result<Unpacked> {
        for (path, time) in &self.times {
            // A later entry may have replaced the directory.
            let Ok(directory) = self.merged.layer.directory(path) else { continue };
            rustix::fs::futimens(directory, &metadata::times(*time))
                .map_err(|errno| Error::system(format!("set the time of {}", String::from_utf8_lossy(path)), errno))?;
        }
        Ok(self.done)
    }
}

/// A new directory, open.
fn make_directory(parent: &OwnedFd, name: &[u8]) -> std::result::Result<OwnedFd, Failure> {
    rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Removes a whiteout at `name`; answers whether there was one.
fn unlink_whiteout(parent: &OwnedFd, name: &[u8]) -> std::result::Result<bool, Failure> {
    let was = tree::stat_at(parent.as_fd(), name)?.is_some_and(|stat| tree::is_whiteout(&stat));
    if was {
        rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
    }
    Ok(was)
}

/// Copies an entry's data into `file`, leaving a sparse file's holes.
fn write_data<S: Source>(file: &File, entry: &Entry, data: &mut Reader<S>) -> std::result::Result<(), Failure> {
    let whole = [(0, entry.size)];
    let mut buffer = vec![0; 128 << 10];
    for (offset, length) in entry.pieces.as_deref().unwrap_or(&whole) {
        let (mut at, end) = (*offset, offset + length);
        while at < end {
            let part = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let count = data.read(&mut buffer[..part]).map_err(Failure::Data)?;
            if count == 0 {
                return Err(Failure::Data(io::ErrorKind::UnexpectedEof.into()));
            }
            file.write_all_at(&buffer[..count], at).map_err(Failure::Data)?;
            at += count as u64;
        }
    }
    if entry.pieces.is_some() {
        file.set_len(entry.size).map_err(Failure::Data)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
