//! The argument and environment arrays that the kernel laid on the stack.

use core::cell::Cell;
use core::marker::PhantomData;

use super::text::Text;

/// The rest of an array of strings: a command line from some word on, or an environment. It ends with a null pointer.
#[derive(Clone, Copy)]
pub struct Words<'a>(*const Cell<*const u8>, PhantomData<&'a ()>);

impl<'a> Words<'a> {
    /// # Safety
    /// `first` must point to pointers to strings and a null pointer, all of them alive and written by nobody else for as
    /// long as `'a`.
    pub(super) unsafe fn new(first: *mut *const u8) -> Self {
        Self(first.cast(), PhantomData)
    }

    /// These words, for a test; a [`CommandLine`] needs one.
    #[cfg(test)]
    pub fn of(words: &[&str]) -> Self {
        let text = |word: &&str| std::ffi::CString::new(*word).unwrap().into_raw().cast_const().cast();
        let pointers: Vec<*const u8> = words.iter().map(text).chain([std::ptr::null()]).collect();
        // SAFETY: as asked for, and for ever.
        unsafe { Words::new(pointers.leak().as_mut_ptr()) }
    }

    fn slot(&self) -> &'a Cell<*const u8> {
        // SAFETY: never behind the null pointer of the array that `new` was promised.
        unsafe { &*self.0 }
    }

    /// The first word, if there is one.
    pub fn first(&self) -> Option<Text<'a>> {
        // SAFETY: `new` was promised strings; what `with_first` puts there lives while it is there.
        unsafe { Text::from_ptr(self.slot().get()) }
    }

    /// Takes the word behind the first, if there is one.
    pub fn next_value(&mut self) -> Option<Text<'a>> {
        self.next()?;
        self.first()
    }

    /// The value of the variable whose name, and `=`, is `name`: the first one when there are several, as for
    /// `getenv(3)`.
    #[inline(never)]
    pub fn value(mut self, name: Text<'_>) -> Option<Text<'a>> {
        self.find_map(|entry| entry.after(name))
    }

    /// The array, as `execve(2)` wants it.
    pub fn as_ptr(&self) -> *const *const u8 {
        self.0.cast()
    }

    /// Calls `call` while `word` stands in the place of the first word, which there must be.
    pub fn with_first(&self, word: Text<'_>, call: impl FnOnce()) {
        let before = self.slot().get();
        if !before.is_null() {
            self.slot().set(word.as_ptr());
            call();
            self.slot().set(before);
        }
    }
}

/// A command line: the word that was taken last, which at first is the program's name, and those behind it.
#[derive(Clone, Copy)]
pub struct CommandLine<'a>(Words<'a>);

impl<'a> CommandLine<'a> {
    /// # Safety
    /// As for [`Words::new`], and there must be a word.
    #[cfg(not(test))]
    pub(super) unsafe fn new(first: *mut *const u8) -> Self {
        // SAFETY: passed on.
        Self(unsafe { Words::new(first) })
    }

    /// This command line, for a test.
    #[cfg(test)]
    pub fn of(words: &[&str]) -> Self {
        assert!(!words.is_empty());
        Self(Words::of(words))
    }

    /// The words from the last one taken on.
    pub fn from_last(self) -> Words<'a> {
        self.0
    }

    /// The words that were not taken.
    pub fn rest(self) -> Words<'a> {
        // SAFETY: there is a word, so that what follows is another or the null pointer.
        Words(unsafe { self.0.0.add(1) }, PhantomData)
    }

    /// The next word, if there is one.
    pub fn peek(self) -> Option<Text<'a>> {
        self.rest().first()
    }
}

impl<'a> Iterator for CommandLine<'a> {
    type Item = Text<'a>;

    fn next(&mut self) -> Option<Text<'a>> {
        let next = self.peek()?;
        self.0 = self.rest();
        Some(next)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Text<'a>;

    fn next(&mut self) -> Option<Text<'a>> {
        let word = self.first()?;
        // SAFETY: not at the null pointer, so that at most it is next.
        self.0 = unsafe { self.0.add(1) };
        Some(word)
    }
}
