//! System calls, bare.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{AT_FDCWD, O_CLOEXEC};

/// One system call with up to six arguments; the number of an error is negative, as the kernel returns it.
pub fn call<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> isize {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: this program is single-threaded, its pointers are to live values, and nothing else reads errno.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 { -(std::io::Error::last_os_error().raw_os_error().unwrap_or(1) as isize) } else { result as isize }
}

/// The result of a system call that must work; otherwise the end, with the line of the caller on stderr.
#[track_caller]
pub fn must(result: isize) -> usize {
    if result < 0 {
        let line = std::panic::Location::caller().line();
        eprintln!("floor: line {line}: {}", std::io::Error::from_raw_os_error(-result as i32));
        std::process::exit(125);
    }
    result as usize
}

pub fn at(path: &CStr) -> usize {
    path.as_ptr() as usize
}

#[track_caller]
pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: u64, data: &CStr) {
    must(call(libc::SYS_mount, [at(source), at(target), at(kind), flags as usize, at(data)]));
}

#[track_caller]
pub fn open(path: &CStr, flags: i32) -> usize {
    must(call(libc::SYS_openat, [AT_FDCWD as usize, at(path), (flags | O_CLOEXEC) as usize, 0]))
}

#[track_caller]
pub fn write(fd: usize, text: &[u8]) {
    must(call(libc::SYS_write, [fd, text.as_ptr() as usize, text.len()]));
}

#[track_caller]
pub fn mkdir(path: &CStr, mode: usize) {
    must(call(libc::SYS_mkdirat, [AT_FDCWD as usize, at(path), mode]));
}

pub fn close(fd: usize) {
    call(libc::SYS_close, [fd]);
}

pub fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// Executes it; does not return.
pub fn execute(program: &CStr, arguments: &[CString]) -> ! {
    let arguments: Vec<usize> = arguments.iter().map(|argument| at(argument)).chain([0]).collect();
    let environment = [at(c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), at(c"TERM=xterm"), 0];
    must(call(libc::SYS_execve, [at(program), arguments.as_ptr() as usize, environment.as_ptr() as usize]));
    std::process::exit(125)
}

/// A process that executes another program (`child` does not come back), with these flags, and in a cgroup of version 2 if there is
/// one. It has this process's memory to itself meanwhile, its stack, too, so that nothing is copied.
#[cfg(target_arch = "x86_64")]
pub fn clone_to_execute(flags: u64, cgroup: usize, child: &dyn Fn()) -> usize {
    let arguments = clone_arguments(flags | (libc::CLONE_VM | libc::CLONE_VFORK) as u64, cgroup);
    let result: isize;
    // SAFETY: as after vfork(2), the child begins with the caller's registers and stack, and goes on below the caller's frames, who
    // stands still until the child has left this memory; it never comes back from `enter`, whose argument, a live reference, is in
    // a register that system calls keep. The caller is as after any system call.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "and rsp, -16",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") arguments.as_ptr(),
            in("rsi") size_of_val(&arguments),
            in("r12") std::ptr::from_ref(&child),
            in("r13") enter as extern "C" fn(&&dyn Fn()) -> !,
            out("rcx") _,
            out("r11") _,
        );
    }
    must(result)
}

#[cfg(target_arch = "x86_64")]
extern "C" fn enter(child: &&dyn Fn()) -> ! {
    child();
    std::process::exit(125)
}

/// The same with a copy of the memory.
#[cfg(not(target_arch = "x86_64"))]
pub fn clone_to_execute(flags: u64, cgroup: usize, child: &dyn Fn()) -> usize {
    let arguments = clone_arguments(flags, cgroup);
    let number = must(call(libc::SYS_clone3, [arguments.as_ptr() as usize, size_of_val(&arguments)]));
    if number == 0 {
        child();
        std::process::exit(125);
    }
    number
}

/// struct clone_args (clone3(2)): flags, three of no use here, exit signal, stack, size, tls, set_tid, its size, cgroup.
fn clone_arguments(flags: u64, cgroup: usize) -> [u64; 11] {
    // CLONE_INTO_CGROUP (linux/sched.h); with CLONE_PARENT there is no signal of its own.
    let flags = if cgroup == 0 { flags } else { flags | 0x2_0000_0000 };
    let signal = if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 };
    [flags, 0, 0, 0, signal, 0, 0, 0, 0, 0, cgroup as u64]
}

/// Waits for a child; its exit code, or 128 and the number of the signal.
pub fn wait(child: usize) -> libc::c_int {
    let mut status: libc::c_int = 0;
    must(call(libc::SYS_wait4, [child, &raw mut status as usize, 0, 0]));
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}
