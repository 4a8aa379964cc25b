//! Files: what it takes to read `/proc` and the head of a program, and to write a line.

use linux_raw_sys::general::{
    __NR_chdir, __NR_close, __NR_close_range, __NR_faccessat, __NR_getdents64, __NR_openat, __NR_read, __NR_readlinkat,
    __NR_write, AT_FDCWD, F_OK, O_CLOEXEC, O_DIRECTORY, O_NOCTTY, O_NONBLOCK, O_RDONLY, O_RDWR, X_OK,
};

use crate::start::{Text, syscall};

/// For what a file is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Access {
    /// Its content.
    Read = O_RDONLY,
    /// Its content, and that of a terminal may be changed.
    Terminal = O_RDWR,
    /// Its names, for [`Names`].
    Directory = O_RDONLY | O_DIRECTORY,
}

/// `openat(2)`. Never waits for the other end of a FIFO, never becomes a controlling terminal, never inherited.
#[inline(never)]
pub fn open(path: Text<'_>, access: Access) -> i32 {
    let flags = access as u32 | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    // SAFETY: `path` ends with a NUL.
    unsafe { syscall!(__NR_openat, AT_FDCWD, path.as_ptr(), flags) }
}

/// `close(2)`
pub fn close(fd: i32) {
    // SAFETY: takes no pointer.
    unsafe { syscall!(__NR_close, fd) };
}

/// Reads the beginning of a file: as much as there is and fits. Returns how much; nothing, if it can not be read.
#[inline(never)]
pub fn read_head(path: Text<'_>, buffer: &mut [u8]) -> usize {
    let fd = open(path, Access::Read);
    // SAFETY: the kernel writes within `buffer` only.
    let length = unsafe { syscall!(__NR_read, fd, buffer.as_mut_ptr(), buffer.len()) };
    close(fd);
    length.max(0) as usize
}

/// The names in a directory, in turn, `getdents64(2)`.
pub struct Names {
    fd: i32,
    at: usize,
    filled: usize,
    entries: [u64; 256],
}

impl Names {
    /// Those in the directory `path`; none, if it can not be read.
    pub fn of(path: Text<'_>) -> Self {
        Self { fd: open(path, Access::Directory), at: 0, filled: 0, entries: const { [0; 256] } }
    }

    /// Whether the directory can be read.
    pub fn are_readable(&self) -> bool {
        self.fd >= 0
    }

    /// The next one. After the last, the directory is closed.
    #[inline(never)]
    pub fn advance(&mut self) -> Option<Text<'_>> {
        /// `struct linux_dirent64`: where the length of an entry is, and where its name begins.
        const LENGTH_AT: usize = 16;
        const NAME_AT: usize = 19;
        let size = size_of_val(&self.entries);
        let room = self.entries.as_mut_ptr().cast::<u8>();
        if self.at >= self.filled {
            // SAFETY: the kernel writes within `entries` only, which is aligned as it wants it.
            let filled = unsafe { syscall!(__NR_getdents64, self.fd, room, size) };
            if filled <= 0 {
                close(self.fd);
                return None;
            }
            self.at = 0;
            self.filled = filled as usize;
        }
        // SAFETY: any bytes are valid, and `room` has so many.
        let entry = unsafe { core::slice::from_raw_parts_mut(room, size) }.get_mut(self.at..)?;
        let &mut [low, high] = entry.get_mut(LENGTH_AT..LENGTH_AT + 2)? else { return None };
        self.at += usize::from(u16::from_ne_bytes([low, high]));
        Some(Text::within(entry.get_mut(NAME_AT..)?))
    }
}

/// `write(2)` of all of `bytes` to standard output (1) or standard error (2). What can not be written is lost: an init
/// has nowhere else to say it.
#[inline(never)]
pub fn write(fd: i32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads within `bytes` only.
        let written = unsafe { syscall!(__NR_write, fd, bytes.as_ptr(), bytes.len()) };
        match bytes.get(written as usize..) {
            Some(rest) if written > 0 => bytes = rest,
            _ => return,
        }
    }
}

/// Whether this process may execute the file `path`, `access(2)`.
pub fn is_executable(path: Text<'_>) -> bool {
    access(path, X_OK)
}

/// Whether there is a file `path`, `access(2)`.
pub fn exists(path: Text<'_>) -> bool {
    access(path, F_OK)
}

#[inline(never)]
fn access(path: Text<'_>, mode: u32) -> bool {
    // SAFETY: `path` ends with a NUL.
    unsafe { syscall!(__NR_faccessat, AT_FDCWD, path.as_ptr(), mode) == 0 }
}

/// What the symbolic link `path` says, `readlink(2)`; nothing, if it can not be read.
pub fn read_link<'a>(path: Text<'_>, buffer: &'a mut [u8]) -> &'a [u8] {
    let room = buffer.len();
    // SAFETY: `path` ends with a NUL; the kernel writes within `buffer` only.
    let length = unsafe { syscall!(__NR_readlinkat, AT_FDCWD, path.as_ptr(), buffer.as_mut_ptr(), room) };
    buffer.get(..length.max(0) as usize).unwrap_or_default()
}

/// Makes `/` the working directory, so that an init keeps no file system busy, `chdir(2)`.
pub fn leave_working_directory() {
    // SAFETY: the path ends with a NUL.
    unsafe { syscall!(__NR_chdir, c"/".as_ptr()) };
}

/// Closes every descriptor but the standard three, `close_range(2)`; one by one, up to what nobody inherits, where that is
/// refused: before Linux 5.9, and by seccomp profiles of that time.
pub fn close_inherited() {
    // SAFETY: takes no pointer; no file is open when the supervisor calls this.
    if unsafe { syscall!(__NR_close_range, 3, u32::MAX, 0) } == 0 {
        return;
    }
    (3..4096).for_each(close);
}
