//! The kernel's services that an init needs, each a safe function named after its system call. They return what the
//! kernel does: a result, or an error number negated.

pub mod file;
pub mod process;
pub mod signals;
pub mod terminal;

use linux_raw_sys::general::{__NR_clock_gettime, __NR_exit_group, __kernel_timespec, CLOCK_MONOTONIC};

use crate::start::syscall;

#[allow(missing_docs, reason = "the names are those of errno(3)")]
pub mod errno {
    pub const ENOENT: i32 = -2;
    pub const ESRCH: i32 = -3;
    pub const E2BIG: i32 = -7;
    pub const ENOEXEC: i32 = -8;
    pub const EAGAIN: i32 = -11;
    pub const ENOMEM: i32 = -12;
    pub const EACCES: i32 = -13;
    pub const ENODEV: i32 = -19;
    pub const ENOTDIR: i32 = -20;
    pub const ETXTBSY: i32 = -26;
    pub const ENAMETOOLONG: i32 = -36;
    pub const ETIMEDOUT: i32 = -110;
    pub const ESTALE: i32 = -116;
}

/// Ends the process with status `code`, `exit_group(2)`.
pub fn exit(code: u8) -> ! {
    loop {
        // SAFETY: takes no pointer, and does not return.
        unsafe { syscall!(__NR_exit_group, code) };
    }
}

/// Nanoseconds on the clock that never jumps, `clock_gettime(2)` of `CLOCK_MONOTONIC`.
#[inline(never)]
pub fn now() -> u64 {
    let mut time = __kernel_timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is what the call fills in.
    unsafe { syscall!(__NR_clock_gettime, CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
