//! 64-bit ARM: the entry point, the system call instruction, the start of a child and the functions that copy.
//!
//! Calling conventions: Procedure Call Standard for the Arm 64-bit Architecture, and `syscall(2)` for the kernel's.

use core::arch::{asm, naked_asm};
use core::ffi::c_void;

use linux_raw_sys::general::__NR_clone;

/// `EM_AARCH64`, this machine's number in an ELF header.
pub const ELF_MACHINE: u16 = 183;

/// Where the kernel starts the program: the stack pointer is all it passes.
#[cfg(not(test))]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "bl {entry}", "brk #1", entry = sym super::entry)
}

/// Makes system call `number` and returns what the kernel does: a result, or a negated error number.
///
/// # Safety
/// The arguments must be what that system call wants: pointers must be valid for what the kernel does with them.
#[inline(always)]
pub unsafe fn syscall4(number: u32, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the caller vouches for the arguments; the kernel changes only x0.
    unsafe {
        asm!("svc #0", in("x8") number as usize, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
             options(nostack));
    }
    result
}

/// As [`syscall4`], with the two arguments that only `mmap(2)` needs.
///
/// # Safety
/// As for [`syscall4`].
#[inline(always)]
pub unsafe fn syscall6(number: u32, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let result;
    // SAFETY: as in `syscall4`.
    unsafe {
        asm!("svc #0", in("x8") number as usize, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
             in("x4") e, in("x5") f, options(nostack));
    }
    result
}

/// `clone(2)`: runs `child(argument)` in a new process on the stack that ends at `stack_top`, and returns its pid (or
/// a negated error number) to the caller.
///
/// # Safety
/// `flags` must hold `CLONE_VM | CLONE_VFORK`, `stack_top` must be 16-byte aligned with room for what `child` does, and
/// `child` must leave alone whatever the caller relies on, since both share their memory.
#[unsafe(naked)]
pub unsafe extern "C" fn clone_with_stack(
    flags: usize,
    stack_top: *mut u8,
    child: unsafe extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> isize {
    naked_asm!(
        "mov x9, x2", // the kernel preserves every register but x0
        "mov x10, x3",
        "mov x2, xzr",
        "mov x3, xzr",
        "mov x4, xzr",
        "mov x8, {clone}",
        "svc #0",
        "cbz x0, 2f",
        "ret",
        "2:",
        "mov x29, xzr",
        "mov x0, x10",
        "blr x9",
        "brk #1",
        clone = const __NR_clone,
    )
}

/// The functions that compiled code calls for copying and comparing, byte by byte: an init copies very little.
/// In assembler, because a loop in Rust may be compiled into a call of the very function it implements.
#[cfg(not(test))]
mod memory {
    use core::arch::naked_asm;

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        naked_asm!(
            "mov x3, x0",
            "2: cbz x2, 3f",
            "ldrb w4, [x1], #1",
            "strb w4, [x3], #1",
            "sub x2, x2, #1",
            "b 2b",
            "3: ret",
        )
    }

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        naked_asm!(
            "sub x3, x0, x1",
            "cmp x3, x2",
            "b.hs {memcpy}", // the start of `to` does not lie in `from`
            "2: cbz x2, 3f",
            "sub x2, x2, #1",
            "ldrb w4, [x1, x2]",
            "strb w4, [x0, x2]",
            "b 2b",
            "3: ret",
            memcpy = sym memcpy,
        )
    }

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
        naked_asm!("mov x3, x0", "2: cbz x2, 3f", "strb w1, [x3], #1", "sub x2, x2, #1", "b 2b", "3: ret")
    }

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
        naked_asm!(
            "mov x3, x0",
            "mov w0, wzr",
            "2: cbz x2, 3f",
            "ldrb w4, [x3], #1",
            "ldrb w5, [x1], #1",
            "sub x2, x2, #1",
            "subs w0, w4, w5",
            "b.eq 2b",
            "3: ret",
        )
    }

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
        naked_asm!("b {memcmp}", memcmp = sym memcmp)
    }

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(text: *const u8) -> usize {
        naked_asm!("mov x1, x0", "2: ldrb w2, [x1], #1", "cbnz w2, 2b", "sub x0, x1, x0", "sub x0, x0, #1", "ret")
    }
}
