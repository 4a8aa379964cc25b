//! Files: what it takes to read `/proc` and the head of a program, and to write a line.

use core::ffi::CStr;

use linux_raw_sys::general::{
    __NR_chdir, __NR_close, __NR_close_range, __NR_faccessat, __NR_getdents64, __NR_openat, __NR_read, __NR_readlinkat,
    __NR_write, AT_FDCWD, F_OK, O_CLOEXEC, O_DIRECTORY, O_NOCTTY, O_NONBLOCK, O_RDONLY, O_RDWR, X_OK,
};

use super::{Errno, call};
use crate::words::split_at;

/// An open file, closed when dropped.
pub struct File(i32);

/// For what a [`File`] is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its content.
    Read,
    /// Its content, and that of a terminal may be changed.
    Terminal,
    /// Its names, for [`File::entries`].
    Directory,
}

impl File {
    /// `openat(2)`. Never waits for the other end of a FIFO, never becomes a controlling terminal, never inherited.
    pub fn open(path: &CStr, access: Access) -> Result<Self, Errno> {
        let mode = match access {
            Access::Read => O_RDONLY,
            Access::Terminal => O_RDWR,
            Access::Directory => O_RDONLY | O_DIRECTORY,
        };
        let flags = mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
        // SAFETY: `path` ends with a NUL.
        let fd = unsafe { call(__NR_openat, AT_FDCWD as usize, path.as_ptr() as usize, flags as usize, 0) };
        fd.map(|fd| Self(fd as i32))
    }

    /// Its number, and it stays open.
    pub fn keep(self) -> i32 {
        let number = self.0;
        core::mem::forget(self);
        number
    }

    /// `read(2)`, once: as much as there is and fits.
    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        // SAFETY: the kernel writes within `buffer` only.
        unsafe { call(__NR_read, self.0 as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0) }
    }

    /// `getdents64(2)`: calls `each` with the name of every entry of this directory.
    pub fn entries(&self, each: &mut dyn FnMut(&[u8])) -> Result<(), Errno> {
        /// `struct linux_dirent64`: where the length of an entry is, and where its name begins.
        const LENGTH_AT: usize = 16;
        const NAME_AT: usize = 19;
        let mut buffer = [0_u64; 256];
        loop {
            let size = size_of_val(&buffer);
            // SAFETY: the kernel writes within `buffer` only, which is aligned as it wants it.
            let length = unsafe { call(__NR_getdents64, self.0 as usize, buffer.as_mut_ptr() as usize, size, 0) };
            let length = length?;
            if length == 0 {
                return Ok(());
            }
            // SAFETY: the kernel filled in `length` bytes of `buffer`; any bytes are valid.
            let mut rest = unsafe { core::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), length) };
            while let Some(&[low, high]) = rest.get(LENGTH_AT..LENGTH_AT + 2) {
                let (entry, next) = rest.split_at(usize::from(u16::from_ne_bytes([low, high])).clamp(1, rest.len()));
                let name = entry.get(NAME_AT..).unwrap_or_default();
                each(split_at(name, 0).0);
                rest = next;
            }
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: takes no pointer; the number is ours.
        _ = unsafe { call(__NR_close, self.0 as usize, 0, 0, 0) };
    }
}

/// Reads the beginning of a file: as much as there is and fits. Nothing, if it can not be read.
#[inline(never)]
pub fn read_head<'a>(path: &CStr, buffer: &'a mut [u8]) -> &'a [u8] {
    match File::open(path, Access::Read).and_then(|file| file.read(buffer)) {
        Ok(length) => buffer.get(..length).unwrap_or_default(),
        Err(_) => b"",
    }
}

/// `write(2)` of all of `bytes` to standard output (1) or standard error (2). What can not be written is lost: an init
/// has nowhere else to say it.
pub fn write(fd: i32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads within `bytes` only.
        let written = unsafe { call(__NR_write, fd as usize, bytes.as_ptr() as usize, bytes.len(), 0) };
        match written {
            Ok(written) if written > 0 => bytes = bytes.get(written..).unwrap_or_default(),
            _ => return,
        }
    }
}

/// Whether this process may execute the file `path`, `access(2)`.
pub fn is_executable(path: &CStr) -> bool {
    access(path, X_OK)
}

/// Whether there is a file `path`, `access(2)`.
pub fn exists(path: &CStr) -> bool {
    access(path, F_OK)
}

fn access(path: &CStr, mode: u32) -> bool {
    // SAFETY: `path` ends with a NUL.
    let result = unsafe { call(__NR_faccessat, AT_FDCWD as usize, path.as_ptr() as usize, mode as usize, 0) };
    result.is_ok()
}

/// What the symbolic link `path` says, `readlink(2)`.
pub fn read_link<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let (path, room) = (path.as_ptr() as usize, buffer.len());
    // SAFETY: `path` ends with a NUL; the kernel writes within `buffer` only.
    let length = unsafe { call(__NR_readlinkat, AT_FDCWD as usize, path, buffer.as_mut_ptr() as usize, room) };
    length.map(|length| &buffer[..length.min(room)])
}

/// Makes `/` the working directory, so that an init keeps no file system busy, `chdir(2)`.
pub fn leave_working_directory() {
    // SAFETY: the path ends with a NUL.
    _ = unsafe { call(__NR_chdir, c"/".as_ptr() as usize, 0, 0, 0) };
}

/// Closes every descriptor but the standard three, `close_range(2)` (Linux 5.9).
pub fn close_inherited() {
    // SAFETY: takes no pointer; no `File` is alive when the supervisor calls this.
    _ = unsafe { call(__NR_close_range, 3, u32::MAX as usize, 0, 0) };
}
