//! Processes: starting one, replacing it, and hearing of its end.

use core::ffi::{CStr, c_void};

use linux_raw_sys::general::{
    __NR_execve, __NR_getpgid, __NR_getpid, __NR_getsid, __NR_mmap, __NR_munmap, __NR_prctl, __NR_setpgid, __NR_setsid,
    __NR_wait4, CLONE_VFORK, CLONE_VM, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE, WNOHANG, WUNTRACED,
};
use linux_raw_sys::prctl::{PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG};

use super::{Errno, call, check};
use crate::signal::Signal;
use crate::start::{CommandLine, Environment, clone_with_stack, syscall6};

/// A process number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Pid(pub i32);

fn pid_from(result: Result<usize, Errno>) -> Pid {
    Pid(result.unwrap_or(0) as i32) // these never fail
}

/// This process.
pub fn own_pid() -> Pid {
    // SAFETY: takes no pointer.
    pid_from(unsafe { call(__NR_getpid, 0, 0, 0, 0) })
}

/// The group of this process.
pub fn own_group() -> Pid {
    // SAFETY: takes no pointer.
    pid_from(unsafe { call(__NR_getpgid, 0, 0, 0, 0) })
}

/// The session of this process.
pub fn own_session() -> Pid {
    // SAFETY: takes no pointer.
    pid_from(unsafe { call(__NR_getsid, 0, 0, 0, 0) })
}

/// Makes this process the leader of a new session and group, `setsid(2)`.
pub fn new_session() {
    // SAFETY: takes no pointer.
    _ = unsafe { call(__NR_setsid, 0, 0, 0, 0) };
}

/// Makes this process the leader of a new group, `setpgid(2)`.
pub fn new_group() {
    // SAFETY: takes no pointer.
    _ = unsafe { call(__NR_setpgid, 0, 0, 0, 0) };
}

/// Asks that orphans below this process become its children, `PR_SET_CHILD_SUBREAPER(2const)` (Linux 3.4).
pub fn become_subreaper() -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    unsafe { call(__NR_prctl, PR_SET_CHILD_SUBREAPER as usize, 1, 0, 0) }.map(drop)
}

/// Asks for `signal` when the parent ends, `PR_SET_PDEATHSIG(2const)`.
pub fn signal_on_parent_death(signal: Signal) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    unsafe { call(__NR_prctl, PR_SET_PDEATHSIG as usize, signal.number().into(), 0, 0) }.map(drop)
}

/// What happened to a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It ended with this status.
    Exited(u8),
    /// It was ended by this signal.
    Killed(Signal),
    /// It was stopped by this signal.
    Stopped(Signal),
}

impl Change {
    /// Reads the status that wait4 reports, `wait(2)`.
    fn decode(status: u32) -> Self {
        let (low, high) = ((status & 0x7f) as u8, (status >> 8) as u8);
        match (status & 0xff, Signal::new(low), Signal::new(high)) {
            (0x7f, _, Some(signal)) => Self::Stopped(signal),
            (_, Some(signal), _) => Self::Killed(signal),
            _ => Self::Exited(high),
        }
    }
}

/// Takes the next child that changed, without waiting, `wait4(2)`. `None`: none did, and there are children.
///
/// # Errors
/// `ECHILD`: there are no children.
pub fn next_change(with_stops: bool) -> Result<Option<(Pid, Change)>, Errno> {
    let mut status = 0_u32;
    let options = if with_stops { WNOHANG | WUNTRACED } else { WNOHANG };
    // SAFETY: the kernel fills in `status`.
    let pid = unsafe { call(__NR_wait4, usize::MAX, &raw mut status as usize, options as usize, 0) }?;
    Ok((pid != 0).then(|| (Pid(pid as i32), Change::decode(status))))
}

/// Waits until `child` has ended, `wait4(2)`.
pub fn reap(child: Pid) {
    // SAFETY: no status is asked for.
    _ = unsafe { call(__NR_wait4, child.0 as usize, 0, 0, 0) };
}

/// `execve(2)` of `path` with the arguments from `first` on: returns only why it failed.
pub fn execute(path: &CStr, arguments: &CommandLine, first: usize, environment: &Environment) -> Errno {
    let (argv, envp) = (arguments.tail(first) as usize, environment.as_ptr() as usize);
    // SAFETY: `path` ends with a NUL; the arrays are of strings and end with a null pointer, as their types promise.
    match unsafe { call(__NR_execve, path.as_ptr() as usize, argv, envp, 0) } {
        Ok(_) => Errno(0),
        Err(errno) => errno,
    }
}

/// Starts a process that runs `child(shared)` in this one's memory, on a stack of its own, and returns its pid as soon
/// as it executed another program or ended, `clone(2)` with `CLONE_VM | CLONE_VFORK`.
///
/// Nothing is copied, not even page tables, and what the child leaves in `shared` says how it went.
///
/// # Errors
/// `EAGAIN` when the number of processes is limited, `ENOMEM`.
pub fn spawn<T>(shared: &mut T, child: fn(&mut T) -> !) -> Result<Pid, Errno> {
    const STACK: usize = 32 * 1024;
    const SIGCHLD: usize = 17;

    struct Start<'a, T> {
        shared: &'a mut T,
        child: fn(&mut T) -> !,
    }
    unsafe extern "C" fn run<T>(start: *mut c_void) -> ! {
        // SAFETY: `spawn` passes a `Start<T>` that nobody else touches until this process is gone.
        let start = unsafe { &mut *start.cast::<Start<T>>() };
        (start.child)(start.shared)
    }

    let protection = (PROT_READ | PROT_WRITE) as usize;
    let flags = (MAP_PRIVATE | MAP_ANONYMOUS) as usize;
    // SAFETY: asks for new memory.
    let stack = check(unsafe { syscall6(__NR_mmap, [0, STACK, protection, flags, usize::MAX, 0]) })?;
    let mut start = Start { shared, child };
    // SAFETY: the stack is page-aligned, new, and nobody else's. This process sleeps until the child has another
    // memory or none, so that `start` and what it refers to are the child's alone for as long as it can use them.
    let pid = unsafe {
        clone_with_stack(
            (CLONE_VM | CLONE_VFORK) as usize | SIGCHLD,
            (stack + STACK) as *mut u8,
            run::<T>,
            (&raw mut start).cast(),
        )
    };
    // SAFETY: the mapping made above, which nobody uses any more.
    _ = unsafe { call(__NR_munmap, stack, STACK, 0, 0) };
    check(pid).map(|pid| Pid(pid as i32))
}
