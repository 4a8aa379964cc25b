//! x86-64: the entry point, the system call instruction, the start of a child and the string instructions.
//!
//! Calling conventions: System V ABI for AMD64, and `syscall(2)` for the kernel's.

use core::arch::naked_asm;
use core::ffi::c_void;

use linux_raw_sys::general::{__NR_clone, CLONE_VFORK, CLONE_VM, SIGCHLD};

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

/// Makes a system call with as many arguments as there are, and returns what the kernel does: a result, or a negated
/// error number. Both fit into 32 bits for all calls that are made here. In line, where it takes no more room than a call
/// of a function would.
#[macro_export]
macro_rules! syscall {
    ($number:expr $(, $a:expr $(, $b:expr $(, $c:expr $(, $d:expr)?)?)?)?) => {{
        let result: i32;
        core::arch::asm!(
            "syscall",
            inlateout("eax") $number as i32 => result,
            $(in("rdi") $a as usize, $(in("rsi") $b as usize, $(in("rdx") $c as usize, $(in("r10") $d as usize,)?)?)?)?
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
        result
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
        "mov r8, rdi", // the kernel preserves r8 and r9, and looks at r8 only with CLONE_SETTLS
        "mov r9, rsi",
        "mov edi, {flags}",
        "xor esi, esi", // the same stack, whose other user sleeps
        "mov eax, {clone}",
        "syscall",
        "test eax, eax",
        "jz 2f",
        "ret",
        "2:",
        "mov rdi, r9",
        "jmp r8", // as this function's caller would have called it; what the parent returns to stays on the stack
        flags = const CLONE_VM | CLONE_VFORK | SIGCHLD,
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
