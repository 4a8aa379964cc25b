//! Processes: clone3(2), execveat(2), close_range(2), keyrings and the like.

use std::cell::Cell;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use rustix::process::Pid;

/// What [`clone3`] returned, and to whom.
pub enum Cloned {
    /// In the caller: the new process, by number in the caller's pid namespace and by descriptor.
    Parent {
        /// Its process id.
        pid: Pid,
        /// Its pidfd, CLOEXEC.
        pidfd: OwnedFd,
    },
    /// In the new process.
    Child,
}

/// What clone3(2) is asked for.
#[derive(Default)]
pub struct CloneOptions<'a> {
    /// `CLONE_NEW*` and `CLONE_PARENT`.
    pub flags: u64,
    /// The cgroup v2 directory to be born in (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Where the child's number is written before it begins (`CLONE_PARENT_SETTID`): in the caller's memory, by the caller's pid
    /// namespace.
    pub number: Option<&'a Cell<i32>>,
}

/// `struct clone_args`, version 2 (88 bytes).
#[derive(Default)]
#[repr(C)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Beyond 32 bits, which libc's constant is not (include/uapi/linux/sched.h).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

impl CloneOptions<'_> {
    /// Whether the kernel lets the child share the caller's memory: a time namespace has its own vDSO data.
    #[cfg(target_arch = "x86_64")]
    fn may_share_memory(&self) -> bool {
        const CLONE_NEWTIME: u64 = 0x80;
        self.flags & CLONE_NEWTIME == 0
    }

    fn arguments(&self, pidfd: &mut RawFd) -> CloneArguments {
        let mut arguments = CloneArguments {
            flags: self.flags | libc::CLONE_PIDFD as u64,
            pidfd: std::ptr::from_mut(pidfd) as u64,
            // With CLONE_PARENT the kernel takes the caller's own exit signal and insists on 0 here.
            exit_signal: if self.flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 },
            ..CloneArguments::default()
        };
        if let Some(cgroup) = self.cgroup {
            arguments.flags |= CLONE_INTO_CGROUP;
            arguments.cgroup = cgroup.as_raw_fd() as u64;
        }
        if let Some(number) = self.number {
            arguments.flags |= libc::CLONE_PARENT_SETTID as u64;
            arguments.parent_tid = number.as_ptr() as u64;
        }
        arguments
    }
}

/// Forks into new namespaces (clone3(2)): the child continues from here with a copy of the memory.
///
/// The runtime has one thread, so the child may do everything that the parent may.
pub fn clone3(options: &CloneOptions<'_>) -> Result<Cloned, Errno> {
    let mut pidfd: RawFd = -1;
    let mut arguments = options.arguments(&mut pidfd);
    // SAFETY: without CLONE_VM the child has its own copy of the address space and of the stack, as after fork(2);
    // the process has one thread, so no lock is held by another. The arguments outlive the call and their size is
    // passed with them; pidfd and number point to live variables.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut arguments), size_of::<CloneArguments>()) };
    match Errno::result(result)? {
        0 => Ok(Cloned::Child),
        pid => {
            let (pid, pidfd) = new_child(pid as i32, pidfd)?;
            Ok(Cloned::Parent { pid, pidfd })
        }
    }
}

/// A process that is there to execute another program: `child` does that, and if it comes back the process ends. The caller
/// stands still until then.
///
/// Where the kernel allows it, parent and child share the memory meanwhile (`CLONE_VM`, `CLONE_VFORK`), so that no page
/// tables are copied and no page is copied on the first write to it (50 us of a boot); the stack, too, whose pages are there
/// already. `child` must therefore not wait for the caller, and whatever it changes in memory stays changed.
#[cfg(target_arch = "x86_64")]
pub fn clone3_to_execute(options: &CloneOptions<'_>, child: &dyn Fn()) -> Result<(Pid, OwnedFd), Errno> {
    if !options.may_share_memory() {
        return fork_to_execute(options, child);
    }
    let mut pidfd: RawFd = -1;
    let mut arguments = options.arguments(&mut pidfd);
    arguments.flags |= (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    let result: i64;
    // SAFETY: as after vfork(2), the child begins with the caller's registers and stack. It goes on below the caller's frames,
    // where nothing is kept that the caller needs, and the caller stands still until the child has left this memory. It never
    // comes back from `enter_child`, whose argument, a live reference, is in a register that system calls keep. No signal handler
    // but those of faults is installed, that could run on the stack of both. The caller is as after any system call.
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
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") std::ptr::from_mut(&mut arguments),
            in("rsi") size_of::<CloneArguments>(),
            in("r12") std::ptr::from_ref(&child),
            in("r13") enter_child as extern "C" fn(&&dyn Fn()) -> !,
            out("rcx") _,
            out("r11") _,
        );
    }
    if result < 0 {
        return Err(Errno::from_raw(-result as i32));
    }
    new_child(result as i32, pidfd)
}

#[cfg(target_arch = "x86_64")]
extern "C" fn enter_child(child: &&dyn Fn()) -> ! {
    child();
    exit_now(1)
}

/// As on x86-64, with a copy of the memory.
#[cfg(not(target_arch = "x86_64"))]
pub fn clone3_to_execute(options: &CloneOptions<'_>, child: &dyn Fn()) -> Result<(Pid, OwnedFd), Errno> {
    fork_to_execute(options, child)
}

/// With a copy of the memory: the child may wait for the caller.
pub fn fork_to_execute(options: &CloneOptions<'_>, child: &dyn Fn()) -> Result<(Pid, OwnedFd), Errno> {
    match clone3(options)? {
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Cloned::Child => {
            child();
            exit_now(1)
        }
    }
}

fn new_child(pid: i32, pidfd: RawFd) -> Result<(Pid, OwnedFd), Errno> {
    let pid = Pid::from_raw(pid).ok_or(Errno::ESRCH)?;
    // SAFETY: the kernel stored a new descriptor there that nobody else owns.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Ends the process at once: nothing is flushed, no destructor runs. For the child of a [`clone3`].
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) only ends the process.
    unsafe { libc::_exit(status) }
}

/// Strings as execve(2) wants them, made beforehand: who shares its memory with another process and may be killed at any moment
/// must not allocate.
pub struct Strings<'a> {
    pointers: Vec<*const libc::c_char>,
    strings: PhantomData<&'a CStr>,
}

impl<'a> FromIterator<&'a CStr> for Strings<'a> {
    fn from_iter<I: IntoIterator<Item = &'a CStr>>(strings: I) -> Self {
        let pointers = strings.into_iter().map(CStr::as_ptr).chain([std::ptr::null()]).collect();
        Self { pointers, strings: PhantomData }
    }
}

/// Executes `file` itself, not a path to it (execveat(2) with `AT_EMPTY_PATH`). Returns only on failure; allocates nothing.
pub fn execute_handle(file: BorrowedFd<'_>, arguments: &Strings<'_>, environment: &Strings<'_>) -> Errno {
    let (arguments, environment) = (arguments.pointers.as_ptr(), environment.pointers.as_ptr());
    // SAFETY: both end with a null pointer, and what they point to outlives them.
    unsafe {
        libc::syscall(libc::SYS_execveat, file.as_raw_fd(), c"".as_ptr(), arguments, environment, libc::AT_EMPTY_PATH)
    };
    Errno::last()
}

/// Marks every descriptor from `first` on close-on-exec (close_range(2), Linux 5.11).
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: marks descriptors only; none is closed before the next exec.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_uint)
    };
    Errno::result(result).map(drop)
}

/// Closes what the child of a clone has a copy of. The number's owner is the caller of the clone, whose descriptor stays.
pub fn close_copy(descriptor: BorrowedFd<'_>) {
    // SAFETY: the child's table of descriptors is its own, and until it executes a program or ends it uses this one no more.
    unsafe { libc::close(descriptor.as_raw_fd()) };
}

/// Takes over a descriptor that this process was started with; it becomes close-on-exec.
///
/// Fails with `EBADF` when there is none of that number.
pub fn inherited_descriptor(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_SETFD fails on a number that is no descriptor and changes nothing else.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and at its start the process has no other owner for it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A descriptor that stays open for as long as this process lives, such as standard input.
pub fn standard_descriptor(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: F_GETFD has no effect.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open and nobody in this program closes the standard descriptors.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Opens /dev/null in the place of each standard descriptor that the caller has closed, so that none of them becomes
/// anything else by accident.
pub fn open_standard_descriptors() {
    for number in 0..=2 {
        // The lowest free number is the one that is missing.
        if standard_descriptor(number).is_none()
            && let Ok(null) = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())
        {
            std::mem::forget(null);
        }
    }
}

/// Ignores SIGPIPE: a write to a pipe that nobody reads is an error to be handled. Programs that are executed later get the
/// default back.
pub fn write_errors_not_signals() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Resets every signal's disposition to the default and unblocks all: what a new program expects to find.
pub fn reset_signals() -> Result<(), Errno> {
    // SAFETY: an all-zero sigaction is SIG_DFL without flags; changing dispositions touches no memory of ours.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=libc::SIGRTMAX() {
            // SIGKILL and SIGSTOP can not be changed, two real-time signals belong to the C library: all refuse.
            libc::sigaction(signal, &default, std::ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        Errno::result(libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut())).map(drop)
    }
}

/// Joins a new session keyring of that name (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`), so that the container does
/// not see the caller's keys.
pub fn join_session_keyring(name: &CStr) -> Result<i32, Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the name is a C string that outlives the call.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    Errno::result(serial).map(|serial| serial as i32)
}

/// Drops a capability from the bounding set (prctl(2), `PR_CAPBSET_DROP`).
pub fn drop_bounding(capability: u8) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) }).map(drop)
}

/// Raises a capability in the ambient set (prctl(2), `PR_CAP_AMBIENT_RAISE`).
pub fn raise_ambient(capability: u8) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    let result =
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, libc::c_ulong::from(capability), 0, 0) };
    Errno::result(result).map(drop)
}

/// Sets the effective, permitted and inheritable sets at once (capset(2)); bit n is capability n.
pub fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let word = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    // SAFETY: version 3 takes a header and two data structures, all of which outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, std::ptr::from_ref(&header), data.as_ptr()) };
    Errno::result(result).map(drop)
}

/// A real-time signal by number, for kill(2) only; `None` for other numbers.
pub fn realtime_signal(number: i32) -> Option<rustix::process::Signal> {
    if !(libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number) {
        return None;
    }
    // SAFETY: the signals below SIGRTMIN, which the C library uses itself, are excluded.
    Some(unsafe { rustix::process::Signal::from_raw_unchecked(number) })
}

/// Lets a child begin as any program expects to: signals at their defaults and not blocked, new files with mode 0755 and
/// 0644.
pub fn ordinary_process(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let set_up = || {
        reset_signals()?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        Ok(())
    };
    // SAFETY: between fork and exec it makes async-signal-safe system calls only.
    unsafe { command.pre_exec(set_up) };
}
