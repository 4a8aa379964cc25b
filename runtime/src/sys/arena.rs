//! Memory for a program that lives for milliseconds.
//!
//! A boot asks for memory some five hundred times, mostly for a few dozen bytes, and the C library executes two hundred
//! instructions for each piece and its return: a quarter of what launcher and stage do. Here small pieces are cut from one region
//! and kept in lists by their size when they come back, which is ten instructions each. Whatever is larger, aligned to more than
//! usual, or asked for when the region is used up comes from the C library: a long life and a large configuration cost what
//! they always did.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;

/// In bytes: 9 KiB are used for the default configuration, 23 with Docker's seccomp profile. Pages that nobody touched cost nothing.
const REGION: usize = 256 << 10;
/// In bytes: sizes are rounded up to a multiple of it, addresses are multiples of it.
const STEP: usize = 16;
const SIZES: usize = 32;
/// In bytes.
const LARGEST: usize = STEP * SIZES;

unsafe extern "C" {
    /// Not 0 as long as there is no second thread (glibc's sys/single_threaded.h).
    static __libc_single_threaded: std::ffi::c_char;
}

/// The allocator: for a program's `#[global_allocator]`.
pub struct Arena;

#[repr(align(16))]
struct OfOneThread<T>(UnsafeCell<T>);

// SAFETY: the blocks and the region are touched only as long as the process has one thread.
unsafe impl<T> Sync for OfOneThread<T> {}

static MEMORY: OfOneThread<[u8; REGION]> = OfOneThread(UnsafeCell::new([0; REGION]));
static BLOCKS: OfOneThread<Blocks> = OfOneThread(UnsafeCell::new(Blocks::new(MEMORY.0.get().cast())));

/// The pieces of one region of [`REGION`] bytes.
struct Blocks {
    region: *mut u8,
    /// So many bytes of it have been cut.
    cut: usize,
    /// Those that came back, by size; each begins with the address of the next.
    free: [*mut u8; SIZES],
}

impl Blocks {
    const fn new(region: *mut u8) -> Self {
        Self { region, cut: 0, free: [null_mut(); SIZES] }
    }

    /// A piece of at least `size` bytes, at most [`LARGEST`]; null when the region is used up.
    ///
    /// # Safety
    /// What was [put](Self::put) back is not used any more.
    #[inline]
    unsafe fn take(&mut self, size: usize) -> *mut u8 {
        let list = list_of(size);
        let block = self.free[list];
        if !block.is_null() {
            // SAFETY: whoever put it back wrote the next one's address there.
            self.free[list] = unsafe { block.cast::<*mut u8>().read() };
            return block;
        }
        let length = (list + 1) * STEP;
        if REGION - self.cut < length {
            return null_mut();
        }
        // SAFETY: within the region, as was just seen.
        let block = unsafe { self.region.add(self.cut) };
        self.cut += length;
        block
    }

    /// Keeps a piece for the next who asks for one of its size.
    ///
    /// # Safety
    /// It was [taken](Self::take) with this size, and is not used any more.
    #[inline]
    unsafe fn put(&mut self, block: *mut u8, size: usize) {
        let list = list_of(size);
        // SAFETY: it is the caller's, as large as a step at least, and aligned to one.
        unsafe { block.cast::<*mut u8>().write(self.free[list]) };
        self.free[list] = block;
    }

    #[inline]
    fn has(&self, block: *mut u8) -> bool {
        block.addr().wrapping_sub(self.region.addr()) < REGION
    }
}

#[inline]
fn list_of(size: usize) -> usize {
    size.div_ceil(STEP).max(1) - 1
}

#[inline]
fn is_alone() -> bool {
    // SAFETY: the C library writes it where a thread is made or has ended, and only while there is no other.
    unsafe { (&raw const __libc_single_threaded).read_volatile() != 0 }
}

// SAFETY: a piece is given to one caller until it comes back: either it is newly cut, and cuts do not overlap, or it was in a
// list. It is at least as large as its layout says and aligned to a step. The lists are touched only while there is one thread, and
// no signal handler of this program allocates; a process that shares this memory (`CLONE_VM`) does so while its parent stands still.
unsafe impl GlobalAlloc for Arena {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as said above; layouts that reach the C library are the caller's.
        unsafe {
            if layout.size() <= LARGEST && layout.align() <= STEP && is_alone() {
                let block = (*BLOCKS.0.get()).take(layout.size());
                if !block.is_null() {
                    return block;
                }
            }
            System.alloc(layout)
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`; a piece of the region may have been used before.
        unsafe {
            if layout.size() > LARGEST || layout.align() > STEP {
                // It has pages of zeros, which cost nothing until they are touched.
                return System.alloc_zeroed(layout);
            }
            let block = self.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as said above; what is not of the region came from the C library. A piece that comes back while there are more
        // threads than one is not used again.
        unsafe {
            if !(*BLOCKS.0.get()).has(block) {
                System.dealloc(block, layout);
            } else if is_alone() {
                (*BLOCKS.0.get()).put(block, layout.size());
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches for the new size; what is copied fits both pieces.
        unsafe {
            if !(*BLOCKS.0.get()).has(block) {
                return System.realloc(block, layout, size);
            }
            if list_of(size) == list_of(layout.size()) {
                return block;
            }
            let other = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !other.is_null() {
                other.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> Vec<u128> {
        vec![0; REGION / STEP]
    }

    #[test]
    fn pieces_do_not_overlap_and_keep_what_is_in_them() {
        let mut memory = region();
        let mut blocks = Blocks::new(memory.as_mut_ptr().cast());
        let mut held: Vec<(*mut u8, usize, u8)> = Vec::new();
        let mut number = 1_u32;
        for turn in 0..20_000_u32 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let size = (number >> 8) as usize % (LARGEST + 1);
            // Always about a hundred are held.
            if number % 200 < held.len() as u32 {
                let (block, size, mark) = held.swap_remove((number >> 4) as usize % held.len());
                // SAFETY: taken with this size, and put back once.
                unsafe {
                    assert!(std::slice::from_raw_parts(block, size).iter().all(|byte| *byte == mark));
                    blocks.put(block, size);
                }
            } else {
                // SAFETY: what is put back is not used.
                let block = unsafe { blocks.take(size) };
                assert!(!block.is_null() && blocks.has(block) && block.addr() % STEP == 0);
                // SAFETY: it is as long as was asked for.
                unsafe { block.write_bytes(turn as u8, size) };
                held.push((block, size, turn as u8));
            }
        }
    }

    #[test]
    fn a_region_ends() {
        let mut memory = region();
        let mut blocks = Blocks::new(memory.as_mut_ptr().cast());
        // SAFETY: each is put back at most once.
        unsafe {
            let all: Vec<*mut u8> = (0..REGION / LARGEST).map(|_| blocks.take(LARGEST)).collect();
            assert!(all.iter().all(|block| !block.is_null()));
            assert!(blocks.take(0).is_null() && blocks.take(LARGEST).is_null());
            blocks.put(all[1], LARGEST);
            assert_eq!(blocks.take(LARGEST - STEP + 1), all[1], "sizes of one step share a list");
            assert!(!blocks.has(all[0].wrapping_sub(1)) && !blocks.has(all[0].wrapping_add(REGION)));
        }
    }
}
