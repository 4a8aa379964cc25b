//! Compiled filters, kept on disk by the text of their profile.
//!
//! A filter is a container's wall, so nothing here is believed that is not proved: an entry counts only when nobody but
//! its owner, who is the caller, can have written it, when it is complete, when this very compiler made it, and when it
//! holds the whole text that is asked about, byte for byte. Everything else is as if it were not there, and is replaced.

use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxSeccomp;
use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{Compiled, Filter, compile, verify};
use crate::error::{Context, Error, Kind, Problems, Result};
use crate::log;

/// Below the root of all containers, where no container can have this name.
const DIRECTORY: &str = "@seccomp";

/// An entry that is being written. Whoever writes has the lock on the directory, so that there is one at most.
const TEMPORARY: &str = "new";

/// A host's containers have a handful of profiles.
const MOST_ENTRIES: usize = 32;

/// Docker's profile makes 8 to 13 KiB. The directory is in memory on most machines.
const LARGEST: usize = 256 * 1024;

/// Who has compiled: another format, machine, source, library or compiler of Rust, and it is somebody else (build.rs).
const COMPILER: &str = concat!("pipkin seccomp 1, ", env!("PIPKIN_BUILD"));

/// What is in an entry, after eight bytes of [`digest`] over all of it.
#[derive(Deserialize, Serialize)]
struct Entry<'a> {
    compiler: &'a str,
    profile: &'a [u8],
    filter: Cow<'a, Filter>,
    warnings: Cow<'a, [String]>,
}

/// The compiled filters below one root.
#[derive(Clone, Debug)]
pub struct Cache {
    path: PathBuf,
}

impl Cache {
    /// Below a directory for containers. Nothing is made until a filter is kept.
    pub fn below(root: &Path) -> Self {
        Self { path: root.join(DIRECTORY) }
    }

    /// The filter of the profile with exactly this text, if it is there and beyond doubt.
    pub fn find(&self, profile: &[u8]) -> Option<Compiled> {
        let found = self.read(profile);
        found.unwrap_or_else(|error| {
            log::debug(|| format!("the seccomp cache is not used: {error}"));
            None
        })
    }

    fn read(&self, profile: &[u8]) -> Result<Option<Compiled>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(&self.path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.on("open", &self.path)?,
        };
        check(&directory, FileType::Directory, &self.path)?;
        let name = name_of(profile);
        let path = self.path.join(&name);
        // A pipe in its place must not hold anybody up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&directory, &name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.on("open", &path)?,
        };
        let stat = check(&file, FileType::RegularFile, &path)?;
        match stat.st_nlink {
            // Replaced a moment ago.
            0 => return Ok(None),
            1 => {}
            _ => return Err(distrusted(&path, "has another name, too")),
        }
        let length = usize::try_from(stat.st_size).ok().filter(|length| *length <= LARGEST);
        let length = length.ok_or_else(|| distrusted(&path, "is too large"))?;
        let bytes = read_exactly(&file, length).on("read", &path)?;
        let compiled = decode(&bytes, profile).map_err(|what| distrusted(&path, what))?;
        Ok(Some(compiled))
    }

    /// Compiles the profile with this text anew and keeps the filter for [`Cache::find`]. It must be the one in force, which
    /// was compiled from a whole configuration: `in_force`. One with a listener is not kept, for its agent is in the profile.
    ///
    /// Whatever goes wrong is no error: then there is no entry. While somebody else keeps one, nothing is done.
    pub fn keep(&self, profile: &[u8], in_force: &Filter) {
        if in_force.notify || profile.len() > LARGEST {
            return;
        }
        // The text alone, strictly: what counts for it does not depend on what was around it.
        let parsed: Option<LinuxSeccomp> = crate::config::from_json(profile).ok();
        let compiled = parsed.and_then(|parsed| compile(&parsed, &mut Problems::default()));
        let Some((_, warnings)) = compiled.filter(|(filter, _)| filter == in_force) else { return };
        let Some(bytes) = encode(profile, in_force, &warnings).filter(|bytes| bytes.len() <= LARGEST) else { return };
        if let Err(error) = self.write(&name_of(profile), &bytes) {
            log::debug(|| format!("the seccomp filter is not kept: {error}"));
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let directory = self.make()?;
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            other => other.on("lock", &self.path)?,
        }
        // Of somebody who was killed.
        remove(&directory, TEMPORARY).on("remove", self.path.join(TEMPORARY))?;
        make_room(&directory, name).on("remove from", &self.path)?;
        let written = write_new(&directory, bytes).and_then(|()| {
            // Complete or not at all, and over whatever is there.
            rustix::fs::renameat(&directory, TEMPORARY, &directory, name)
        });
        if written.is_err() {
            let _ = remove(&directory, TEMPORARY);
        }
        written.on("write", self.path.join(name))
    }

    /// The directory, with nothing in it that others may have written.
    fn make(&self) -> Result<OwnedFd> {
        let make = || match rustix::fs::mkdir(&self.path, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Error::system(format!("make the directory {}", self.path.display()), errno)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::open(&self.path, flags, Mode::empty());
        make()?;
        let directory = match open() {
            // A link, or a file: it leads nowhere good. Removed is the link itself.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                remove(CWD, &self.path).on("remove", &self.path)?;
                make()?;
                open()
            }
            other => other,
        };
        let directory = directory.on("open", &self.path)?;
        let stat = rustix::fs::fstat(&directory).on("stat", &self.path)?;
        if is_own(&stat) && others_may_write(&stat) {
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o700)).on("close to others", &self.path)?;
            for name in names(&directory).on("read", &self.path)? {
                remove(&directory, &name).on("remove", self.path.join(&name))?;
            }
        }
        check(&directory, FileType::Directory, &self.path)?;
        Ok(directory)
    }
}

/// A profile whose filter a cache does not have.
#[derive(Debug)]
pub struct NewProfile {
    cache: Cache,
    text: Vec<u8>,
}

impl NewProfile {
    /// The profile with this text.
    pub fn new(cache: Cache, text: &[u8]) -> Self {
        Self { cache, text: text.to_owned() }
    }

    /// As [`Cache::keep`].
    pub fn keep(&self, in_force: &Filter) {
        self.cache.keep(&self.text, in_force);
    }
}

/// An entry that others may have written proves nothing.
fn check(file: &OwnedFd, kind: FileType, path: &Path) -> Result<Stat> {
    let stat = rustix::fs::fstat(file).on("stat", path)?;
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(distrusted(path, "is something else than it should be"));
    }
    if !is_own(&stat) {
        return Err(distrusted(path, format!("belongs to user {}", stat.st_uid)));
    }
    if others_may_write(&stat) {
        return Err(distrusted(path, format!("can be written by others: its mode is {:o}", stat.st_mode & 0o7777)));
    }
    Ok(stat)
}

fn is_own(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

fn others_may_write(stat: &Stat) -> bool {
    stat.st_mode & 0o022 != 0
}

fn distrusted(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Damaged, format!("{} {what}", path.display()))
}

/// As many bytes, or as many as there are.
fn read_exactly(file: &OwnedFd, length: usize) -> std::result::Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < length {
        match rustix::io::retry_on_intr(|| rustix::io::read(file, &mut bytes[read..]))? {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

fn write_new(directory: &OwnedFd, bytes: &[u8]) -> std::result::Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, TEMPORARY, flags, Mode::from_raw_mode(0o600))?;
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::retry_on_intr(|| rustix::io::write(&file, &bytes[written..]))?;
    }
    Ok(())
}

/// So that with one more under this name there are not too many: the oldest go.
fn make_room(directory: &OwnedFd, name: &str) -> std::result::Result<(), Errno> {
    let others = names(directory)?.into_iter().filter(|other| other != name);
    let mut others: Vec<_> = others
        .filter_map(|other| {
            let stat = rustix::fs::statat(directory, &other, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some(((stat.st_mtime, stat.st_mtime_nsec), other))
        })
        .collect();
    if others.len() < MOST_ENTRIES {
        return Ok(());
    }
    others.sort();
    others.iter().take(others.len() + 1 - MOST_ENTRIES).try_for_each(|(_, other)| remove(directory, other))
}

fn names(directory: &OwnedFd) -> std::result::Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        // Entries have plain names; anything else is somebody's own.
        if let Ok(name) = entry?.file_name().to_str().map(str::to_owned)
            && !matches!(name.as_str(), "." | "..")
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// What is not there is removed already, and a directory is nothing of ours.
fn remove(directory: impl AsFd, name: impl rustix::path::Arg) -> std::result::Result<(), Errno> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
        other => other,
    }
}

/// Of the text and of who compiles it: two versions of the runtime do not take turns with one entry.
fn name_of(profile: &[u8]) -> String {
    format!("{:016x}", digest(digest(0, COMPILER.as_bytes()), profile))
}

fn encode(profile: &[u8], filter: &Filter, warnings: &[String]) -> Option<Vec<u8>> {
    let entry = Entry { compiler: COMPILER, profile, filter: Cow::Borrowed(filter), warnings: warnings.into() };
    let body = postcard::to_allocvec(&entry).ok()?;
    Some([&digest(0, &body).to_le_bytes()[..], &body].concat())
}

/// The filter, or what is wrong with the entry.
fn decode(bytes: &[u8], profile: &[u8]) -> std::result::Result<Compiled, &'static str> {
    let (sum, body) = bytes.split_first_chunk::<8>().ok_or("is too short")?;
    if u64::from_le_bytes(*sum) != digest(0, body) {
        return Err("is not as it was written");
    }
    let Ok((Entry { compiler, profile: kept, filter, warnings }, [])) = postcard::take_from_bytes(body) else {
        return Err("has another format");
    };
    if compiler != COMPILER {
        return Err("was compiled by another pipkin");
    }
    if kept != profile {
        return Err("is about another profile");
    }
    if filter.notify || !verify::is_sound(&filter.program, filter.flags) {
        return Err("has a program that was never compiled");
    }
    Ok((filter.into_owned(), warnings.into_owned()))
}

/// For names, and to find damage: each step can be undone, so that a change of one word always shows. It keeps nobody
/// from making an entry on purpose; that the directory's permissions do.
fn digest(start: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sum = words.iter().fold(start, |sum, word| step(sum, u64::from_le_bytes(*word)));
    step(step(sum, u64::from_le_bytes(last)), bytes.len() as u64)
}

#[cfg(test)]
mod tests;
