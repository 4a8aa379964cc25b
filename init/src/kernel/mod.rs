//! The kernel's services that an init needs, each a safe function named after its system call.

pub mod file;
pub mod process;
pub mod signals;
pub mod terminal;

use linux_raw_sys::general::{__NR_clock_gettime, __NR_exit_group, __kernel_timespec, CLOCK_MONOTONIC};

use crate::start::syscall4;

/// An error number, `errno(3)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub u16);

/// Makes a system call and tells a result from an error: errors are -4095 to -1. Not in line, because what every call
/// has in common would be there as many times.
///
/// # Safety
/// As for [`syscall4`].
#[inline(never)]
unsafe fn call(number: u32, a: usize, b: usize, c: usize, d: usize) -> Result<usize, Errno> {
    // SAFETY: the caller vouches for the arguments.
    check(unsafe { syscall4(number, a, b, c, d) })
}

fn check(result: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&result) { Err(Errno(-result as u16)) } else { Ok(result as usize) }
}

/// Ends the process with status `code`, `exit_group(2)`.
pub fn exit(code: u8) -> ! {
    loop {
        // SAFETY: takes no pointer, and does not return.
        _ = unsafe { call(__NR_exit_group, code.into(), 0, 0, 0) };
    }
}

/// Nanoseconds on the clock that never jumps, `clock_gettime(2)` of `CLOCK_MONOTONIC`.
pub fn now() -> u64 {
    let mut time = __kernel_timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is what the call fills in.
    _ = unsafe { call(__NR_clock_gettime, CLOCK_MONOTONIC as usize, &raw mut time as usize, 0, 0) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
