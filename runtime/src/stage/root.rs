//! The container's root file system as a handle: every path below it is hostile, and resolved inside it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// As many symbolic links as the kernel follows in one path (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// The root file system's topmost directory. Nothing that is looked up through it can lead out of it: not by `..`,
/// not by symbolic links, not by magic links, not by a race (openat2(2), `RESOLVE_IN_ROOT`; CVE-2021-30465).
pub(crate) struct Root(OwnedFd);

impl From<OwnedFd> for Root {
    fn from(directory: OwnedFd) -> Self {
        Self(directory)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Root {
    /// Opens what is there, with these flags and `O_CLOEXEC`.
    pub fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::empty())
    }

    /// As [`Root::open`], but a symbolic link anywhere in the path is an error (`ELOOP`).
    pub fn open_without_links(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::NO_SYMLINKS)
    }

    fn resolve(&self, path: &Path, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // EAGAIN: something was renamed while `..` was resolved; an attacker can do that, but not for ever.
        for _ in 0..64 {
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// A directory there, made with its parents (mode 0755) where they are missing.
    pub fn create_directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        self.create_last_directory(path).or_else(|_| self.create_missing_directories(path))
    }

    /// Where the last component alone is missing, and no link is in its place: as in a new /dev.
    fn create_last_directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let (parent, name) = path.parent().zip(path.file_name()).ok_or(Errno::INVAL)?;
        let parent = self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => open_directory(parent.as_fd(), name),
            Err(errno) => Err(errno),
        }
    }

    /// A file there, made empty with its parents where they are missing; what is there is opened, whatever it is.
    pub fn create_file(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, &*name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        rustix::fs::openat(&parent, &*name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// The directory that holds a path's last component, made where it is missing, and that component.
    pub fn parent(&self, path: &Path) -> Result<(OwnedFd, OsString), Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = self.create_directory(path.parent().unwrap_or(Path::new("/")))?;
        Ok((parent, name.to_owned()))
    }

    /// Walks component by component. A link that leads nowhere yet is followed by making what it names, inside the
    /// root, as other runtimes do (/var/run -> /run in an image without /run).
    fn create_missing_directories(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let mut links = 0;
        let mut pending = components(path);
        let mut current = self.top()?;
        let mut depth: Vec<OwnedFd> = Vec::new();
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                current = depth.pop().map_or_else(|| self.top(), Ok)?;
                continue;
            }
            let next = match open_directory(current.as_fd(), &name) {
                Err(Errno::NOENT) => match rustix::fs::mkdirat(&current, &*name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => open_directory(current.as_fd(), &name),
                    Err(errno) => Err(errno),
                },
                other => other,
            };
            match next {
                Ok(next) => depth.push(std::mem::replace(&mut current, next)),
                // O_DIRECTORY with O_NOFOLLOW says ENOTDIR for a symbolic link.
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = rustix::fs::readlinkat(&current, &*name, Vec::new()).map_err(|_| Errno::NOTDIR)?;
                    let target = OsString::from_vec(target.into_bytes());
                    if target.as_bytes().starts_with(b"/") {
                        current = self.top()?;
                        depth.clear();
                    }
                    for component in components(Path::new(&target)).into_iter().rev() {
                        pending.push_front(component);
                    }
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(current)
    }

    fn top(&self) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.0, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// The path of an open file as the kernel knows it, through this process's own procfs.
pub(super) fn path_of(file: BorrowedFd<'_>) -> Result<OsString, Errno> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(OsString::from_vec(rustix::fs::readlinkat(CWD, link, Vec::new())?.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Directory(std::path::PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pipkin-test-root-{name}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("root")).unwrap();
            Self(path)
        }

        fn root(&self) -> Root {
            let path = self.0.join("root");
            Root(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap())
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn links_and_dots_stay_inside() {
        let directory = Directory::new("inside");
        let inside = directory.0.join("root");
        symlink("/../../../../absolute", inside.join("link")).unwrap();
        symlink("../../..", inside.join("up")).unwrap();
        let root = directory.root();
        root.create_directory(Path::new("/link/a/b")).unwrap();
        assert!(inside.join("absolute/a/b").is_dir());
        root.create_directory(Path::new("/up/c")).unwrap();
        assert!(inside.join("c").is_dir());
        root.create_file(Path::new("/up/up/d/file")).unwrap();
        assert!(inside.join("d/file").is_file());
        assert!(!directory.0.join("c").exists() && !directory.0.join("d").exists());
    }

    #[test]
    fn a_link_in_the_last_place_is_followed_inside() {
        let directory = Directory::new("last");
        symlink("/made/below", directory.0.join("root/last")).unwrap();
        directory.root().create_directory(Path::new("/last")).unwrap();
        assert!(directory.0.join("root/made/below").is_dir());
        assert!(directory.0.join("root/last").is_symlink());
        directory.root().create_directory(Path::new("/made/beside")).unwrap();
        assert!(directory.0.join("root/made/beside").is_dir());
    }

    #[test]
    fn links_in_a_circle_end() {
        let directory = Directory::new("circle");
        symlink("two", directory.0.join("root/one")).unwrap();
        symlink("one", directory.0.join("root/two")).unwrap();
        assert_eq!(directory.root().create_directory(Path::new("/one/x")).unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn a_file_is_not_a_directory() {
        let directory = Directory::new("file");
        std::fs::write(directory.0.join("root/file"), "").unwrap();
        assert_eq!(directory.root().create_directory(Path::new("/file/x")).unwrap_err(), Errno::NOTDIR);
    }
}
