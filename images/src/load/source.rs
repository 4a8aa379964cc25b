//! A directory or an archive from which named files are read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::archive::{Kind, Reader, Seekable};
use crate::error::{Context, Error, Kind as ErrorKind, Result};
use crate::store::{Staging, read_bounded};
use crate::unpack::merged::components;

/// The most entries of an archive of an image: a manifest, configurations and layers.
const ENTRIES_LIMIT: usize = 1 << 16;
/// The largest archive that is unpacked from gzip before it is read: 256 GiB.
const ARCHIVE_LIMIT: u64 = 256 << 30;

/// Where an image's files come from.
pub enum Source {
    /// A directory on disk, or one below it.
    Directory(File),
    /// A tar archive and what is in it.
    Archive(Arc<File>, HashMap<String, Item>),
}

/// What an archive has under a name.
#[derive(Clone, Debug)]
pub enum Item {
    /// Bytes from here on, and how many.
    Bytes(u64, u64),
    /// The item of another name (`docker save` of old used symbolic links for equal layers).
    Link(String),
}

/// A file of a source, being read.
pub struct Content {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Content {
    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..part], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Source {
    /// Opens a directory, a tar archive, or a tar archive with gzip (which is unpacked into `staging` first).
    ///
    /// # Errors
    /// It is none of these, or damaged.
    pub fn open(path: &Path, staging: &Staging) -> Result<Self> {
        // O_NONBLOCK: a named pipe must not make us wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty()).step(|| "open")?);
        let kind = file.metadata().step(|| "examine")?.file_type();
        if kind.is_dir() {
            return Ok(Self::Directory(file));
        }
        if !kind.is_file() {
            return Err(Error::new(ErrorKind::Invalid, "is neither a directory nor a file"));
        }
        let file = if is_gzip(&file).step(|| "read")? { decompress(file, staging)? } else { file };
        Self::index(file)
    }

    /// Notes where everything in an archive is.
    fn index(file: File) -> Result<Self> {
        let file = Arc::new(file);
        let mut items = HashMap::new();
        let seekable = file.try_clone().and_then(Seekable::new).step(|| "read archive")?;
        let mut reader = Reader::new(seekable);
        while let Some(entry) = reader.next_entry().step(|| "read archive")? {
            if items.len() >= ENTRIES_LIMIT {
                return Err(Error::invalid("archive", format!("more than {ENTRIES_LIMIT} entries: not an image")));
            }
            let Some(name) = name_of(&entry.path) else { continue };
            match entry.kind {
                Kind::File if entry.pieces.is_none() => drop(items.insert(name, Item::Bytes(entry.offset, entry.size))),
                Kind::HardLink(target) => {
                    drop(name_of(&target).and_then(|target| items.insert(name, Item::Link(target))))
                }
                Kind::Symlink(target) => {
                    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                    if let Some(target) = join(directory, &target) {
                        items.insert(name, Item::Link(target));
                    }
                }
                _ => {}
            }
        }
        Ok(Self::Archive(file, items))
    }

    /// The file `name`; `None` when there is none.
    ///
    /// # Errors
    /// It is not a regular file, or can not be opened.
    pub fn file(&self, name: &str) -> Result<Option<Content>> {
        match self {
            Self::Directory(directory) => open_in(directory, name),
            Self::Archive(file, items) => {
                let mut found = items.get(name);
                for _ in 0..8 {
                    match found {
                        None => return Ok(None),
                        Some(Item::Link(target)) => found = items.get(target),
                        Some(Item::Bytes(at, size)) => {
                            let end = at.checked_add(*size).ok_or_else(|| Error::invalid(name, "is too large"))?;
                            return Ok(Some(Content { file: file.clone(), at: *at, end }));
                        }
                    }
                }
                Err(Error::invalid(name, "too many links"))
            }
        }
    }

    /// The file `name`, which must be there.
    ///
    /// # Errors
    /// It is missing, or as for [`Source::file`].
    pub fn required(&self, name: &str) -> Result<Content> {
        self.file(name)?.ok_or_else(|| Error::invalid(name, "is missing from the image"))
    }

    /// All of the file `name`, at most `limit` bytes.
    ///
    /// # Errors
    /// As for [`Source::required`], or it is longer.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        read_bounded(self.required(name)?, limit, name)
    }
}

/// Opens a regular file inside `directory`; links lead nowhere else.
fn open_in(directory: &File, name: &str) -> Result<Option<Content>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match crate::resolve::open(directory, name, flags, resolve) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(Error::system(format!("open {name}"), errno)),
    };
    let metadata = file.metadata().on("examine", name)?;
    if !metadata.is_file() {
        return Err(Error::invalid(name, "is not a regular file"));
    }
    Ok(Some(Content { file: Arc::new(file), at: 0, end: metadata.len() }))
}

/// Whether a file starts as RFC 1952 says.
pub fn is_gzip(file: &File) -> io::Result<bool> {
    let mut magic = [0; 2];
    Ok(file.read_at(&mut magic, 0)? == 2 && magic == [0x1f, 0x8b])
}

/// Unpacks an archive that is compressed as a whole.
fn decompress(file: File, staging: &Staging) -> Result<File> {
    let path = staging.path("archive");
    let mut target = File::options().read(true).write(true).create_new(true).open(&path).on("create", &path)?;
    let copied =
        io::copy(&mut MultiGzDecoder::new(file).take(ARCHIVE_LIMIT + 1), &mut target).step(|| "decompress archive")?;
    if copied > ARCHIVE_LIMIT {
        return Err(Error::invalid("archive", format!("longer than {ARCHIVE_LIMIT} bytes")));
    }
    io::Seek::rewind(&mut target).on("read", &path)?;
    Ok(target)
}

fn name_of(path: &[u8]) -> Option<String> {
    let parts = components(path)?;
    String::from_utf8(parts.join(&b"/"[..])).ok()
}

/// The name that a link in `directory` leads to, inside the archive.
fn join(directory: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { directory.split('/').collect() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    Some(parts.join("/"))
}
