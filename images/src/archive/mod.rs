//! Reading tar archives of strangers: ustar, pax and GNU headers, every extension bounded.
//!
//! The fields of a header are decoded by the `tar` crate; the walk from entry to entry is ours, because readers that
//! disagree about an entry's size or about a broken record have been a source of smuggled files (RUSTSEC-2026-0068,
//! RUSTSEC-2025-0110, CVE-2017-14992): the pax size always wins, a malformed record is an error, and no extension can
//! ask for more memory than [`EXTENSION_LIMIT`].

mod pax;
mod sparse;

use std::fs::File;
use std::io::{self, BufReader, Read};

use pax::Records;
use tar::{EntryType, Header};

/// The largest extended header or long name: 1 MiB, as in Go's archive/tar.
pub const EXTENSION_LIMIT: u64 = 1 << 20;
/// The unit of the format.
const BLOCK: u64 = 512;

/// What an entry is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A regular file; its bytes are read from the [`Reader`].
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// A hard link to the entry of this name.
    HardLink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device (major, minor).
    CharDevice(u32, u32),
    /// A block device (major, minor).
    BlockDevice(u32, u32),
}

/// One entry's header; numbers are checked, names are raw bytes as in the archive.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path as written.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky bit.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds and nanoseconds since 1970.
    pub mtime: (u64, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// A file's length, holes included.
    pub size: u64,
    /// A sparse file's pieces (offset, length) in order; `None` when all of the file is in the archive.
    pub pieces: Option<Vec<(u64, u64)>>,
    /// Where the data starts in the archive.
    pub offset: u64,
}

/// Where an archive's bytes come from.
pub trait Source: Read {
    /// Leaves out `count` bytes.
    ///
    /// # Errors
    /// The archive is shorter than that.
    fn advance(&mut self, mut count: u64) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        while count > 0 {
            let part = buffer.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            let read = self.read(&mut buffer[..part])?;
            if read == 0 {
                return Err(truncated());
            }
            count -= read as u64;
        }
        Ok(())
    }
}

/// A stream that can only be read.
pub struct Stream<R>(pub R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Source for Stream<R> {}

/// A file on disk, in which data is skipped without reading it.
pub struct Seekable {
    file: BufReader<File>,
    position: u64,
    length: u64,
}

impl Seekable {
    /// Reads `file` from its start.
    ///
    /// # Errors
    /// The file can not be examined.
    pub fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file: BufReader::new(file), position: 0, length })
    }
}

impl Read for Seekable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Source for Seekable {
    fn advance(&mut self, count: u64) -> io::Result<()> {
        if count > self.length.saturating_sub(self.position) {
            return Err(truncated());
        }
        self.position += count;
        self.file.seek_relative(i64::try_from(count).map_err(|_| truncated())?)
    }
}

/// Walks through an archive; reading from it gives the current entry's data.
pub struct Reader<S> {
    source: S,
    position: u64,
    /// Bytes of the current entry not read yet, and the padding after them.
    data: u64,
    padding: u64,
}

impl<S: Source> Reader<S> {
    /// An archive that starts where `source` is.
    pub fn new(source: S) -> Self {
        Self { source, position: 0, data: 0, padding: 0 }
    }

    /// The stream behind the archive, standing after the last block that was read.
    pub fn into_source(self) -> S {
        self.source
    }

    /// The next entry, `None` at the end of the archive. Data of the entry before that was not read is left out.
    ///
    /// # Errors
    /// A truncated or malformed archive, or an extension larger than [`EXTENSION_LIMIT`].
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let (mut records, mut long_name, mut long_link) = (None, None, None);
        loop {
            self.skip_data()?;
            let Some(header) = self.header()? else {
                return if records.is_some() || long_name.is_some() || long_link.is_some() {
                    Err(truncated())
                } else {
                    Ok(None)
                };
            };
            let once = |seen: bool| {
                if seen { Err(corrupt("two headers of one kind describe the same entry")) } else { Ok(()) }
            };
            match header.entry_type() {
                EntryType::XHeader => {
                    once(records.is_some())?;
                    records = Some(Records::parse(&self.extension(&header)?)?);
                }
                EntryType::XGlobalHeader => {
                    let global = Records::parse(&self.extension(&header)?)?;
                    // Engines ignore global records, tar(1) applies them: those that would make a difference are refused.
                    if ["size", "path", "linkpath", "uid", "gid"].iter().any(|key| global.get(key).is_some())
                        || global.has_prefix("GNU.sparse.")
                    {
                        return Err(corrupt("a global pax header changes names, sizes or owners"));
                    }
                }
                EntryType::GNULongName => {
                    once(long_name.is_some())?;
                    long_name = Some(until_nul(self.extension(&header)?));
                }
                EntryType::GNULongLink => {
                    once(long_link.is_some())?;
                    long_link = Some(until_nul(self.extension(&header)?));
                }
                _ => return self.entry(&header, &records.unwrap_or_default(), long_name, long_link).map(Some),
            }
        }
    }

    /// The entry that `header` starts, with what the extensions before it say.
    fn entry(
        &mut self,
        header: &Header,
        records: &Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> io::Result<Entry> {
        let path = match records.get("path") {
            Some(path) => path.to_vec(),
            None => long_name.unwrap_or_else(|| header.path_bytes().into_owned()),
        };
        let link = || match records.get("linkpath") {
            Some(link) => link.to_vec(),
            None => long_link
                .clone()
                .unwrap_or_else(|| header.link_name_bytes().map(|l| l.into_owned()).unwrap_or_default()),
        };
        let device = || device_numbers(header);
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if header.as_old().linkflag[0] == 0 && path.ends_with(b"/") => {
                Kind::Directory
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(link()),
            EntryType::Link => Kind::HardLink(link()),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => device().map(|(major, minor)| Kind::CharDevice(major, minor))?,
            EntryType::Block => device().map(|(major, minor)| Kind::BlockDevice(major, minor))?,
            other => {
                return Err(corrupt(format!(
                    "{}: entries of type {:?} are not supported",
                    show(&path),
                    char::from(other.as_byte())
                )));
            }
        };
        // Only files have data; a size that another kind claims is ignored, as in Go's reader, which made the archive.
        let stored = match (&kind, records.number("size")?) {
            (Kind::File, Some(size)) => size,
            (Kind::File, None) => size_field(header)?,
            _ => 0,
        };
        self.data = stored;
        self.padding = stored.next_multiple_of(BLOCK) - stored;
        let mut entry = Entry {
            path,
            kind,
            mode: if blank(&header.as_old().mode) { 0 } else { header.mode()? & 0o7777 },
            uid: id(records.number("uid")?, &header.as_old().uid, || header.uid())?,
            gid: id(records.number("gid")?, &header.as_old().gid, || header.gid())?,
            mtime: match records.time("mtime")? {
                Some(time) => time,
                None if blank(&header.as_old().mtime) || header.as_old().mtime[0] == 0xff => (0, 0),
                None => (header.mtime()?.min(i64::MAX as u64), 0),
            },
            xattrs: records.xattrs(),
            size: stored,
            pieces: None,
            offset: self.position,
        };
        if header.entry_type() == EntryType::GNUSparse {
            self.old_gnu_sparse(header, &mut entry)?;
        } else if records.has_prefix("GNU.sparse.") {
            self.pax_sparse(records, &mut entry)?;
        }
        if entry.path.contains(&0) || matches!(&entry.kind, Kind::Symlink(l) | Kind::HardLink(l) if l.contains(&0)) {
            return Err(corrupt(format!("{}: a name contains a NUL byte", show(&entry.path))));
        }
        Ok(entry)
    }

    /// One header block with a right checksum; `None` at the end of the archive.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let mut filled = 0;
        let bytes = header.as_mut_bytes();
        while filled < bytes.len() {
            match self.source.read(&mut bytes[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(truncated()),
                count => filled += count,
            }
        }
        self.position += BLOCK;
        if bytes.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum: u32 =
            bytes.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) }).sum();
        if header.cksum().ok() != Some(sum) {
            return Err(corrupt("not a tar archive, or a damaged one: wrong header checksum"));
        }
        Ok(Some(header))
    }

    /// The data of an extension header.
    fn extension(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = size_field(header)?;
        if size > EXTENSION_LIMIT {
            return Err(corrupt(format!("an extended header of {size} bytes; the limit is {EXTENSION_LIMIT}")));
        }
        self.data = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        let mut data = Vec::new();
        self.read_to_end(&mut data)?;
        Ok(data)
    }

    fn skip_data(&mut self) -> io::Result<()> {
        let rest = self.data + self.padding;
        self.source.advance(rest)?;
        self.position += rest;
        (self.data, self.padding) = (0, 0);
        Ok(())
    }
}

impl<S: Source> Read for Reader<S> {
    /// The current entry's data; a truncated archive is an error, not an end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = buffer.len().min(usize::try_from(self.data).unwrap_or(usize::MAX));
        if part == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut buffer[..part])?;
        if count == 0 {
            return Err(truncated());
        }
        self.data -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

/// An error about the archive's form.
fn corrupt(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is truncated")
}

/// A name for messages.
fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|b| *b == 0) {
        name.truncate(end);
    }
    name
}

/// A numeric field that was never filled in.
fn blank(field: &[u8]) -> bool {
    field.iter().all(|b| *b == 0 || *b == b' ')
}

/// Major and minor number; fields that were never filled in are 0.
fn device_numbers(header: &Header) -> io::Result<(u32, u32)> {
    // Both header forms have the two numbers at the same place.
    let bytes = header.as_bytes();
    let major = if blank(&bytes[329..337]) { 0 } else { header.device_major()?.unwrap_or(0) };
    let minor = if blank(&bytes[337..345]) { 0 } else { header.device_minor()?.unwrap_or(0) };
    Ok((major, minor))
}

/// The header's size field; negative base-256 numbers and those over 63 bits are errors.
fn size_field(header: &Header) -> io::Result<u64> {
    let field = &header.as_old().size;
    if blank(field) {
        return Ok(0);
    }
    let size = header.entry_size()?;
    // The four bytes that the decoder drops, and the sign.
    if size > i64::MAX as u64 || (field[0] & 0x80 != 0 && (field[0] != 0x80 || field[1..4].iter().any(|b| *b != 0))) {
        return Err(corrupt("an entry's size does not fit 63 bits"));
    }
    Ok(size)
}

/// An owner: the pax record, else the header's field, and always a real 32-bit id (CVE-2024-40635: no wrapping).
fn id(record: Option<u64>, field: &[u8], decode: impl FnOnce() -> io::Result<u64>) -> io::Result<u32> {
    let id = match record {
        Some(id) => id,
        None if blank(field) => 0,
        None => decode()?,
    };
    u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| corrupt(format!("owner id {id} is out of range")))
}

#[cfg(test)]
mod tests;
