//! x86-64: the entry point, the system call instruction, the start of a child and the string instructions.
//!
//! Calling conventions: System V ABI for AMD64, and `syscall(2)` for the kernel's.

use core::arch::{asm, naked_asm};
use core::ffi::c_void;

use linux_raw_sys::general::__NR_clone;

/// `EM_X86_64`, this machine's number in an ELF header.
pub const ELF_MACHINE: u16 = 62;

/// Where the kernel starts the program: the stack pointer is all it passes.
#[cfg(not(test))]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    // The kernel aligned the stack to 16 bytes; the call pushes the return address which the ABI expects.
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "call {entry}", "ud2", entry = sym super::entry)
}

/// Makes system call `number` and returns what the kernel does: a result, or a negated error number.
///
/// # Safety
/// The arguments must be what that system call wants: pointers must be valid for what the kernel does with them.
#[inline(always)]
pub unsafe fn syscall4(number: u32, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the caller vouches for the arguments; the kernel changes only rax, rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
             in("r10") d, lateout("rcx") _, lateout("r11") _, options(nostack));
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
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
             in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
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
        "mov r8, rdx", // the kernel preserves r8 and r9, and looks at r8 only with CLONE_SETTLS
        "mov r9, rcx",
        "xor edx, edx",
        "xor r10d, r10d",
        "mov eax, {clone}",
        "syscall",
        "test eax, eax",
        "jz 2f",
        "ret",
        "2:",
        "xor ebp, ebp",
        "mov rdi, r9",
        "call r8",
        "ud2",
        clone = const __NR_clone,
    )
}

/// The functions that compiled code calls for copying and comparing. Microcoded string instructions are quick enough
/// for what an init copies, and two bytes long.
#[cfg(not(test))]
mod memory {
    use core::arch::naked_asm;

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        naked_asm!("mov rax, rdi", "mov rcx, rdx", "rep movsb", "ret")
    }

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        naked_asm!(
            "mov rax, rdi",
            "mov rcx, rdx",
            "mov r8, rdi",
            "sub r8, rsi",
            "cmp r8, rdx",
            "jb 2f", // the start of `to` lies in `from`: from the end
            "rep movsb",
            "ret",
            "2:",
            "lea rdi, [rdi + rdx - 1]",
            "lea rsi, [rsi + rdx - 1]",
            "std",
            "rep movsb",
            "cld",
            "ret",
        )
    }

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
        naked_asm!("mov r8, rdi", "mov eax, esi", "mov rcx, rdx", "rep stosb", "mov rax, r8", "ret")
    }

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
        naked_asm!(
            "mov rcx, rdx",
            "xor eax, eax", // also sets the flags for a length of 0
            "repe cmpsb",
            "je 2f",
            "movzx eax, byte ptr [rdi - 1]",
            "movzx ecx, byte ptr [rsi - 1]",
            "sub eax, ecx",
            "2:",
            "ret",
        )
    }

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
        naked_asm!("jmp {memcmp}", memcmp = sym memcmp)
    }

    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(text: *const u8) -> usize {
        naked_asm!("xor eax, eax", "or rcx, -1", "repne scasb", "not rcx", "lea rax, [rcx - 1]", "ret")
    }
}
