//! Strings as the kernel has them.

use core::ffi::CStr;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A string that ends with a NUL, as the kernel passes arguments and takes paths: one pointer, read from its front.
///
/// It never gets behind its NUL, and cannot be written through. [`CStr`] would be two words wherever it goes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Text<'a>(NonNull<u8>, PhantomData<&'a [u8]>);

// SAFETY: what it points to is only read.
unsafe impl Send for Text<'_> {}
// SAFETY: as above.
unsafe impl Sync for Text<'_> {}

impl<'a> Text<'a> {
    /// `Text::of(c"literal")`
    pub const fn of(text: &'a CStr) -> Self {
        // SAFETY: a reference is not null.
        Self(unsafe { NonNull::new_unchecked(text.as_ptr().cast_mut().cast()) }, PhantomData)
    }

    /// The bytes of `room` before its first NUL; the last byte of `room` becomes one.
    pub fn within(room: &'a mut [u8]) -> Self {
        match room {
            [.., last] => *last = 0,
            [] => return Self::of(c""),
        }
        Self(NonNull::from(room).cast(), PhantomData)
    }

    /// # Safety
    /// `first` must be null or point to a string that ends with a NUL and that nobody changes for as long as `'a`.
    pub(super) unsafe fn from_ptr(first: *const u8) -> Option<Self> {
        NonNull::new(first.cast_mut()).map(|first| Self(first, PhantomData))
    }

    /// For a system call.
    pub fn as_ptr(self) -> *const u8 {
        self.0.as_ptr()
    }

    /// All of it.
    pub fn bytes(self) -> &'a [u8] {
        // SAFETY: it ends with a NUL and nobody changes it, as all that make a `Text` have promised.
        unsafe { CStr::from_ptr(self.0.as_ptr().cast()) }.to_bytes()
    }

    /// The first byte; 0 at the end.
    pub fn first(self) -> u8 {
        // SAFETY: at most at the NUL.
        unsafe { self.0.read() }
    }

    /// Whether nothing is left.
    pub fn is_empty(self) -> bool {
        self.first() == 0
    }

    /// Takes `byte` off, if it is the first.
    pub fn strip(&mut self, byte: u8) -> bool {
        let found = self.first() == byte && byte != 0;
        if found {
            self.next();
        }
        found
    }

    /// What follows `prefix`, if it begins so.
    #[inline(never)]
    pub fn after(mut self, prefix: Text<'_>) -> Option<Self> {
        prefix.into_iter().all(|byte| self.strip(byte)).then_some(self)
    }
}

impl Iterator for Text<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let byte = self.first();
        if byte == 0 {
            return None;
        }
        // SAFETY: not at the NUL, so that at most it is next.
        self.0 = unsafe { self.0.add(1) };
        Some(byte)
    }
}

/// Two texts are equal when their bytes are.
impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl core::fmt::Debug for Text<'_> {
    fn fmt(&self, to: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(to, "{}", self.bytes().escape_ascii())
    }
}
