//! 64-bit ARM: the entry point, the system call instruction, the start of a child and the functions that copy.
//!
//! Calling conventions: Procedure Call Standard for the Arm 64-bit Architecture, and `syscall(2)` for the kernel's.

use core::arch::naked_asm;
use core::ffi::c_void;

use linux_raw_sys::general::{__NR_clone, CLONE_VFORK, CLONE_VM, SIGCHLD};

/// `EM_AARCH64`, this machine's number in an ELF header.
pub const ELF_MACHINE: u16 = 183;

/// Where the kernel starts the program: the stack pointer is all it passes.
#[cfg(not(test))]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "bl {entry}", "brk #1", entry = sym super::entry)
}

/// Makes a system call with as many arguments as there are, and returns what the kernel does: a result, or a negated
/// error number. Both fit into 32 bits for all calls that are made here.
#[macro_export]
macro_rules! syscall {
    ($number:expr) => {
        $crate::start::syscall!($number, 0)
    };
    ($number:expr, $a:expr $(, $b:expr $(, $c:expr $(, $d:expr)?)?)?) => {{
        let result: usize;
        core::arch::asm!(
            "svc #0",
            in("x8") $number as usize,
            inlateout("x0") $a as usize => result,
            $(in("x1") $b as usize, $(in("x2") $c as usize, $(in("x3") $d as usize,)?)?)?
            options(nostack),
        );
        result as i32
    }};
}
/// `clone(2)` with `CLONE_VM | CLONE_VFORK`: runs `child(argument)` in a new process, in this one's memory and below
/// what this one has on its stack, and returns its pid (or a negated error number) when it has another program or none.
///
/// # Safety
/// `child` must leave alone whatever the caller relies on, since both share their memory.
#[unsafe(naked)]
pub unsafe extern "C" fn vfork(child: unsafe extern "C" fn(*mut c_void) -> !, argument: *mut c_void) -> i32 {
    naked_asm!(
        "mov x9, x0", // the kernel preserves every register but x0
        "mov x10, x1",
        "mov x0, {flags}",
        "mov x1, xzr", // the same stack, whose other user sleeps
        "mov x8, {clone}",
        "svc #0",
        "cbz x0, 2f",
        "ret",
        "2:",
        "mov x0, x10",
        "br x9",
        flags = const CLONE_VM | CLONE_VFORK | SIGCHLD,
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
