//! The directory of all containers, and that of one.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Identity, ProcessState, Record, Status};
use crate::config::{self, Config, Running};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::in_initial_user_namespace;
use crate::seccomp::Cache;

/// The longest state that is believed.
const LARGEST: u64 = 16 * 1024 * 1024;

const RECORD: &str = "state.json";
const INIT: &str = "init";
const START: &str = "start.sock";
const CONFIGURATION: &str = "config.json";
const NOTIFY: &str = "notify";

/// All containers below one root (`--root`).
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Nothing is made until the first container is.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// /run/pipkin for root of the machine, $XDG_RUNTIME_DIR/pipkin for others, also for root of a user namespace.
    pub fn default_root() -> PathBuf {
        let user_directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
        match user_directory {
            Some(directory) if !rustix::process::geteuid().is_root() || !in_initial_user_namespace() => {
                Path::new(&directory).join("pipkin")
            }
            _ => PathBuf::from("/run/pipkin"),
        }
    }

    /// Where they are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is kept of the seccomp profiles of all of them.
    pub fn filters(&self) -> Cache {
        Cache::below(&self.root)
    }

    /// Where the container of that name has, or would have, the directory for its NOTIFY_SOCKET; absolute.
    pub fn notify_path(&self, id: &str) -> Result<PathBuf> {
        Ok(std::path::absolute(&self.root).on("look up", &self.root)?.join(id).join(NOTIFY))
    }

    /// Makes the directory of a new container, and holds its lock.
    pub fn create(&self, id: &str) -> Result<Directory> {
        check_id(id)?;
        let path = self.root.join(id);
        let make = || rustix::fs::mkdirat(CWD, &path, Mode::from_raw_mode(0o700));
        let made = match make() {
            Err(Errno::NOENT) => {
                use std::os::unix::fs::DirBuilderExt;
                // Sticky: what is in $XDG_RUNTIME_DIR may be tidied away after six hours otherwise (XDG Base Directory Specification).
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o1700).create(&self.root);
                made.on("make the directory", &self.root)?;
                make()
            }
            other => other,
        };
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return Err(Error::new(Kind::Exists, format!("container with given ID already exists: {id}")));
            }
            Err(errno) => return Err(Error::system(format!("make the directory {}", path.display()), errno)),
        }
        let directory = self.open(id)?;
        if !directory.lock()? {
            // Between mkdir and the lock a `delete --force` took it for a left-over.
            return Err(Error::new(Kind::NotFound, format!("container {id} was deleted while it was created")));
        }
        Ok(directory)
    }

    /// The directory of a container that is there.
    pub fn open(&self, id: &str) -> Result<Directory> {
        check_id(id)?;
        let path = self.root.join(id);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => {
                check_owner(&rustix::fs::fstat(&file).on("stat", &path)?, &path)?;
                Ok(Directory { id: id.to_owned(), path, file })
            }
            Err(Errno::NOENT) => Err(Error::new(Kind::NotFound, format!("container {id} does not exist"))),
            Err(errno) => Err(Error::system(format!("open {}", path.display()), errno)),
        }
    }

    /// The names of all, sorted.
    pub fn list(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::system(format!("read {}", self.root.display()), error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.on("read", &self.root)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if check_id(&name).is_ok() && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Everything in a directory, but nothing of what is mounted there (openat2(2), `RESOLVE_NO_XDEV`): that may be somebody's data.
fn remove_below(directory: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let below = rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve)?;
        remove_below(below.as_fd())?;
        rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// Letters, digits and `_+-.`, as runc has it, so that a name is never a path.
pub fn check_id(id: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id.len() > 255 || id == "." || id == ".." || !id.chars().all(good) {
        return Err(Error::invalid(
            "container id",
            format!("invalid id format: {id:?} must be 1 to 255 letters, digits or _ + - . characters"),
        ));
    }
    Ok(())
}

/// One container's directory.
#[derive(Debug)]
pub struct Directory {
    id: String,
    path: PathBuf,
    file: OwnedFd,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A file that is complete but not there yet under its name.
#[must_use = "without publish() it is never there"]
pub struct Unpublished<'a> {
    directory: &'a Directory,
    temporary: String,
    path: PathBuf,
}

impl Unpublished<'_> {
    /// Gives it its name.
    pub fn publish(self) -> Result<()> {
        let name = self.path.file_name().unwrap_or_default();
        let directory = &self.directory.file;
        rustix::fs::renameat(directory, &self.temporary, directory, name).on("rename", &self.path)
    }
}

impl Directory {
    /// The container's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until no other command works on the container; released when this is dropped. `false`: it is deleted.
    pub fn lock(&self) -> Result<bool> {
        loop {
            match rustix::fs::flock(&self.file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                other => break other.on("lock", &self.path)?,
            }
        }
        Ok(rustix::fs::fstat(&self.file).on("stat", &self.path)?.st_nlink > 0)
    }

    /// Lets other commands work on the container; [`Directory::lock`] can be called again.
    pub fn unlock(&self) -> Result<()> {
        rustix::fs::flock(&self.file, FlockOperation::Unlock).on("unlock", &self.path)
    }

    /// As [`Directory::lock`], but without waiting: `None` when another command has the lock.
    pub fn try_lock(&self) -> Result<Option<bool>> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            other => {
                other.on("lock", &self.path)?;
                Ok(Some(rustix::fs::fstat(&self.file).on("stat", &self.path)?.st_nlink > 0))
            }
        }
    }

    /// Locks a container that must still be there.
    pub fn lock_existing(&self) -> Result<()> {
        if self.lock()? {
            return Ok(());
        }
        Err(Error::new(Kind::NotFound, format!("container {} does not exist", self.id)))
    }

    /// Keeps the record.
    pub fn write_record(&self, record: &Record) -> Result<()> {
        self.write(RECORD, record)
    }

    /// The record; `None` when the launcher died before it wrote it.
    pub fn record(&self) -> Result<Option<Record>> {
        self.read(RECORD)
    }

    /// The record of a container that is completely there.
    pub fn existing_record(&self) -> Result<Record> {
        self.record()?.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("container {} does not exist: it is only half made", self.id))
                .remedy("its creator died; remove it with delete --force")
        })
    }

    /// Keeps the text of config.json: the bundle may change, or be gone, by the time of an `exec`.
    pub fn write_configuration(&self, text: &[u8]) -> Result<()> {
        let path = self.path.join(CONFIGURATION);
        // Not renamed: nobody looks for it before the file `init` says that the container is complete.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&self.file, CONFIGURATION, flags, Mode::from_raw_mode(0o600)).on("create", &path)?;
        write_all(&file, text, &path)
    }

    /// The configuration that the container was made with.
    pub fn configuration(&self) -> Result<Config> {
        let (path, text) = self.text_of_configuration()?;
        config::of_text(&path, text)
    }

    /// What one more program in it needs of the same.
    pub fn configuration_to_join(&self) -> Result<Box<Running>> {
        let (path, text) = self.text_of_configuration()?;
        Ok(config::running_of_text(&path, &text)?.0)
    }

    fn text_of_configuration(&self) -> Result<(PathBuf, Vec<u8>)> {
        let path = self.path.join(CONFIGURATION);
        let text = self.read_bytes(CONFIGURATION)?.ok_or_else(|| {
            Error::new(Kind::Damaged, format!("{} is not there: the state is damaged", path.display()))
        })?;
        Ok((path, text))
    }

    /// Makes the directory for the container's NOTIFY_SOCKET.
    pub fn make_notify_directory(&self) -> Result<()> {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&self.file, NOTIFY, mode).on("make the directory", self.path.join(NOTIFY))?;
        // The container's user has to come in, whatever the caller's umask is.
        rustix::fs::fchmod(self.notify_directory()?, mode).on("open to everybody", self.path.join(NOTIFY))
    }

    /// The directory for the container's NOTIFY_SOCKET.
    pub fn notify_directory(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.file, NOTIFY, flags, Mode::empty()).on("open", self.path.join(NOTIFY))
    }

    /// Keeps the container's first process.
    ///
    /// Written now, it counts when it is published.
    pub fn write_init(&self, init: &Identity) -> Result<Unpublished<'_>> {
        self.prepare(INIT, init)
    }

    /// The container's first process, whether or not it is still there.
    pub fn init(&self) -> Result<Option<Identity>> {
        self.read(INIT)
    }

    /// The status, from the kernel.
    pub fn status(&self, record: &Record) -> Result<Status> {
        let Some(init) = self.init()? else { return Ok(Status::Creating) };
        let Some(process) = init.state()? else { return Ok(Status::Stopped) };
        self.status_with(record, &process)
    }

    /// As [`Directory::status`], with the container's first process, if it is there.
    pub fn status_and_init(&self, record: &Record) -> Result<(Status, Option<(Identity, OwnedFd)>)> {
        let Some(init) = self.init()? else { return Ok((Status::Creating, None)) };
        let Some((pidfd, process)) = init.open_and_look()? else { return Ok((Status::Stopped, None)) };
        Ok((self.status_with(record, &process)?, Some((init, pidfd))))
    }

    fn status_with(&self, record: &Record, process: &ProcessState) -> Result<Status> {
        if record.cgroup.as_ref().map_or(Ok(false), |cgroup| cgroup.open().is_frozen())? {
            return Ok(Status::Paused);
        }
        // A program can take any name, but it can not make the socket.
        let waits = process.name.as_bytes() == crate::stage::WAITING.to_bytes() && self.waits_for_start();
        Ok(if waits { Status::Created } else { Status::Running })
    }

    fn waits_for_start(&self) -> bool {
        rustix::fs::statat(&self.file, START, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// The socket on which a created container waits.
    pub fn listen_for_start(&self) -> Result<OwnedFd> {
        let step = || format!("make the start socket of {}", self.id);
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .step(step)?;
        rustix::net::bind(&socket, &self.start_address()?).step(step)?;
        rustix::net::listen(&socket, 1).step(step)?;
        Ok(socket)
    }

    /// Tells a created container to go on; the end of the connection says that its program runs.
    pub fn connect_to_start(&self) -> Result<OwnedFd> {
        let step = || format!("connect to the start socket of {}", self.id);
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .step(step)?;
        rustix::net::connect(&socket, &self.start_address()?).step(step)?;
        Ok(socket)
    }

    /// The container has been started.
    pub fn remove_start(&self) -> Result<()> {
        match rustix::fs::unlinkat(&self.file, START, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::system("remove the start socket", errno)),
        }
    }

    /// Through the descriptor: a socket's path must be shorter than 108 bytes, a root's may be longer (unix(7)).
    fn start_address(&self) -> Result<SocketAddrUnix> {
        let path = format!("/proc/self/fd/{}/{START}", self.file.as_raw_fd());
        SocketAddrUnix::new(path).step(|| "name the start socket")
    }

    /// Removes everything. Nothing there is fine.
    pub fn remove(&self) -> Result<()> {
        for name in [START, INIT, CONFIGURATION, RECORD] {
            match rustix::fs::unlinkat(&self.file, name, AtFlags::empty()) {
                // A directory in the place of a file goes with the rest.
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(errno) => return Err(Error::system(format!("remove {}/{name}", self.path.display()), errno)),
            }
        }
        match rustix::fs::unlinkat(CWD, &self.path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // A launcher died while it wrote one of the files, or there is a NOTIFY_SOCKET.
            Err(Errno::NOTEMPTY) => {
                remove_below(self.file.as_fd()).on("remove what is in", &self.path)?;
                rustix::fs::unlinkat(CWD, &self.path, AtFlags::REMOVEDIR).on("remove", &self.path)
            }
            Err(errno) => Err(Error::system(format!("remove {}", self.path.display()), errno)),
        }
    }

    /// Written beside it and renamed: the file is there completely or not at all.
    fn write(&self, name: &str, content: &impl Serialize) -> Result<()> {
        self.prepare(name, content)?.publish()
    }

    fn prepare(&self, name: &str, content: &impl Serialize) -> Result<Unpublished<'_>> {
        let path = self.path.join(name);
        // A record seldom has more.
        let mut bytes = Vec::with_capacity(2048);
        serde_json::to_writer(&mut bytes, content).map_err(std::io::Error::from).on("encode", &path)?;
        let temporary = format!(".{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.file, &temporary, flags, Mode::from_raw_mode(0o600)).on("create", &path)?;
        write_all(&file, &bytes, &path)?;
        Ok(Unpublished { directory: self, temporary, path })
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(bytes) = self.read_bytes(name)? else { return Ok(None) };
        config::from_json(&bytes).map(Some).map_err(|error| damaged(&self.path.join(name), error))
    }

    fn read_bytes(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path.join(name);
        // A pipe in its place must not hold anybody up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.file, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(damaged(&path, "it is a symbolic link")),
            Err(errno) => return Err(Error::system(format!("open {}", path.display()), errno)),
        };
        let stat = rustix::fs::fstat(&file).on("stat", &path)?;
        check_owner(&stat, &path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(damaged(&path, "it is not a regular file"));
        }
        // Room for the end, too, which is told by a read of nothing.
        let mut bytes = Vec::with_capacity(stat.st_size.clamp(0, LARGEST as i64) as usize + 1);
        std::fs::File::from(file).take(LARGEST).read_to_end(&mut bytes).on("read", &path)?;
        Ok(Some(bytes))
    }
}

/// What is read here says which processes and cgroups are killed, so nobody else may have written it.
fn check_owner(stat: &Stat, path: &Path) -> Result<()> {
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid == own {
        return Ok(());
    }
    let text = format!("{} belongs to user {}, not to {own}: it is not believed", path.display(), stat.st_uid);
    Err(Error::new(Kind::System, text).remedy("run as that user"))
}

fn damaged(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::new(Kind::Damaged, format!("{} can not be read: {cause}", path.display()))
        .remedy("remove the container with delete --force")
}

fn write_all(file: &OwnedFd, bytes: &[u8], path: &Path) -> Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::write(file, &bytes[written..]).on("write", path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_never_paths() {
        for good in ["a", "A-b_c.d+1", "0"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../x", "a b", "ä", "a\n", &"x".repeat(256)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_of_one_name() {
        let root = std::env::temp_dir().join(format!("pipkin-test-store-{}", std::process::id()));
        let store = Store::new(&root);
        let first = store.create("x").unwrap();
        assert_eq!(store.create("x").unwrap_err().kind(), Kind::Exists);
        assert_eq!(store.open("y").unwrap_err().kind(), Kind::NotFound);
        assert_eq!(store.list().unwrap(), ["x"]);
        first.remove().unwrap();
        assert!(!first.lock().unwrap());
        std::fs::remove_dir(&root).unwrap();
    }
}
