//! The argument and environment arrays that the kernel laid on the stack.

use core::ffi::{CStr, c_char};

/// The program's arguments, in place.
pub struct CommandLine {
    count: usize,
    first: *mut *const c_char,
}

impl CommandLine {
    /// # Safety
    /// `first` must point to `count` strings and a null pointer, all of them alive and writable by nobody else for as
    /// long as the process lives.
    #[cfg(not(test))]
    pub(super) unsafe fn new(count: usize, first: *mut *const c_char) -> Self {
        Self { count, first }
    }

    /// Argument `index`, if there are so many.
    pub fn get(&self, index: usize) -> Option<&'static CStr> {
        if index >= self.count {
            return None;
        }
        // SAFETY: `new` asked for `count` strings that live as long as the process.
        Some(unsafe { CStr::from_ptr(*self.first.add(index)) })
    }

    /// The array from argument `index` on, as `execve(2)` wants it.
    pub fn tail(&self, index: usize) -> *const *const c_char {
        // SAFETY: within the array, whose last element (a null pointer) has index `count`.
        unsafe { self.first.add(index.min(self.count)) }
    }

    /// Calls `call` with `word` in the place of argument `index`.
    pub fn with_replaced<T>(&mut self, index: usize, word: &CStr, call: impl FnOnce(&mut Self) -> T) -> T {
        if index >= self.count {
            return call(self);
        }
        // SAFETY: `new` asked for a writable array of `count` elements; `word` outlives its stay there.
        unsafe {
            let place = self.first.add(index);
            let before = place.replace(word.as_ptr());
            let result = call(self);
            *place = before;
            result
        }
    }
}

/// The environment, in place.
pub struct Environment {
    first: *mut *const c_char,
}

impl Environment {
    /// # Safety
    /// `first` must point to strings and a null pointer, all of them alive and writable by nobody else for as long as
    /// the process lives.
    #[cfg(not(test))]
    pub(super) unsafe fn new(first: *mut *const c_char) -> Self {
        Self { first }
    }

    /// The variables, as `NAME=value`.
    pub fn iter(&self) -> impl Iterator<Item = &'static [u8]> + '_ {
        (0..).map_while(|index| self.entry(index))
    }

    /// The value of `name`, the first one when there are several, as `getenv(3)` finds it.
    pub fn get(&self, name: &str) -> Option<&'static [u8]> {
        self.iter().find_map(|entry| value_of(entry, name))
    }

    /// The array, as `execve(2)` wants it.
    pub fn as_ptr(&self) -> *const *const c_char {
        self.first
    }

    /// Calls `call` with `entry`, a whole `NAME=value`, in the place of the variable `name`, if there is one.
    pub fn with_replaced<T>(&mut self, name: &str, entry: &CStr, call: impl FnOnce(&mut Self) -> T) -> T {
        let Some(index) = self.iter().position(|old| value_of(old, name).is_some()) else {
            return call(self);
        };
        // SAFETY: `iter` found an element at `index`, `new` asked for a writable array, and `entry` outlives its stay.
        unsafe {
            let place = self.first.add(index);
            let before = place.replace(entry.as_ptr());
            let result = call(self);
            *place = before;
            result
        }
    }

    fn entry(&self, index: usize) -> Option<&'static [u8]> {
        // SAFETY: `iter` counts up and stops at the null pointer that ends the array.
        let word = unsafe { *self.first.add(index) };
        // SAFETY: `new` asked for strings that live as long as the process.
        (!word.is_null()).then(|| unsafe { CStr::from_ptr(word) }.to_bytes())
    }
}

/// The value in `entry`, a whole `NAME=value`, when it is that of `name`.
fn value_of<'a>(entry: &'a [u8], name: &str) -> Option<&'a [u8]> {
    entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// The string in `bytes` up to its NUL.
pub fn c_str(bytes: &[u8]) -> Option<&CStr> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    // SAFETY: the first NUL is the last of these bytes.
    Some(unsafe { CStr::from_bytes_with_nul_unchecked(bytes.get_unchecked(..=end)) })
}
