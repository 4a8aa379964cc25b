//! Packing a directory of this machine into a layer.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::error::{Context, Error, Result};

/// What the kernel shows for an id that has no mapping (`/proc/sys/kernel/overflowuid`).
const OVERFLOW_ID: u32 = 65534;

/// Writes all of `directory` as a tar archive, in the order of the names. Sockets are left out, as in every image.
///
/// # Errors
/// Something can not be read, or `target` not written.
pub(super) fn pack(directory: &Path, target: impl Write) -> Result<()> {
    let mut builder = Builder::new(target);
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(inner) = pending.pop() {
        let path = directory.join(&inner);
        // The directory that was named may be a link; nothing below it is followed.
        let metadata = if inner.as_os_str().is_empty() { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let metadata = metadata.on("examine", &path)?;
        check_name(&inner)?;
        add(&mut builder, &inner, &path, &metadata, &mut links).on("pack", &path)?;
        if metadata.is_dir() {
            let mut children = Vec::new();
            for entry in fs::read_dir(&path).on("read", &path)? {
                children.push(inner.join(entry.on("read", &path)?.file_name()));
            }
            children.sort_by(|a, b| b.cmp(a));
            pending.extend(children);
        }
    }
    builder.finish().step(|| "write layer")
}

fn add(
    builder: &mut Builder<impl Write>,
    inner: &Path,
    path: &Path,
    metadata: &fs::Metadata,
    links: &mut HashMap<(u64, u64), PathBuf>,
) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_socket() {
        return Ok(());
    }
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(unpacked_id(metadata.uid()).into());
    header.set_gid(unpacked_id(metadata.gid()).into());
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header.set_size(0);
    let name = if inner.as_os_str().is_empty() { Path::new("./") } else { inner };
    if !kind.is_dir() && metadata.nlink() > 1 {
        let first = links.entry((metadata.dev(), metadata.ino())).or_insert_with(|| inner.to_path_buf());
        if first != inner {
            header.set_entry_type(EntryType::Link);
            return builder.append_link(&mut header, name, &*first);
        }
    }
    if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        return builder.append_link(&mut header, name, fs::read_link(path)?);
    }
    append_capability(builder, path)?;
    if kind.is_file() {
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        return builder.append_data(&mut header, name, Exactly { file: File::open(path)?, left: metadata.len() });
    }
    let kind_in_header = if kind.is_dir() {
        EntryType::Directory
    } else if kind.is_fifo() {
        EntryType::Fifo
    } else if kind.is_char_device() {
        EntryType::Char
    } else {
        EntryType::Block
    };
    header.set_entry_type(kind_in_header);
    if kind.is_char_device() || kind.is_block_device() {
        header.set_device_major(rustix::fs::major(metadata.rdev()))?;
        header.set_device_minor(rustix::fs::minor(metadata.rdev()))?;
    }
    builder.append_data(&mut header, name, io::empty())
}

/// The owner that a file gets in an image. The overflow id stands for everybody who is not mapped in a user namespace
/// (user_namespaces(7)), and owns nothing elsewhere; such files become root's.
fn unpacked_id(id: u32) -> u32 {
    if id == OVERFLOW_ID { 0 } else { id }
}

/// File capabilities, the one attribute that programs need to work.
fn append_capability(builder: &mut Builder<impl Write>, path: &Path) -> io::Result<()> {
    let mut value = [0; 64];
    match rustix::fs::lgetxattr(path, "security.capability", &mut value[..]) {
        Ok(length) => builder.append_pax_extensions([("SCHILY.xattr.security.capability", &value[..length])]),
        Err(_) => Ok(()),
    }
}

/// A file that must have as many bytes as its header says.
struct Exactly {
    file: File,
    left: u64,
}

impl io::Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read(&mut buffer[..part])?;
        if count == 0 && part > 0 {
            return Err(io::Error::other("the file became shorter while it was read"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Refuses a name that would be taken for a whiteout.
fn check_name(path: &Path) -> Result<()> {
    if path.file_name().is_some_and(|name| name.as_bytes().starts_with(b".wh.")) {
        return Err(Error::invalid(path.display(), "names that start with .wh. can not be kept in an image"));
    }
    Ok(())
}
