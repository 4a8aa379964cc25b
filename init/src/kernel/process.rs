//! Processes: starting one, replacing it, and hearing of its end.

use core::ffi::c_void;

use linux_raw_sys::general::{
    __NR_execve, __NR_getpgid, __NR_getpid, __NR_getsid, __NR_prctl, __NR_setpgid, __NR_setsid, __NR_wait4, WNOHANG,
    WUNTRACED,
};
use linux_raw_sys::prctl::{PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG};

use crate::signal::Signal;
use crate::start::{Text, Words, syscall, vfork};

/// A process number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Pid(pub i32);

/// This process.
pub fn own_pid() -> Pid {
    // SAFETY: takes nothing.
    Pid(unsafe { syscall!(__NR_getpid) })
}

/// The group of this process.
pub fn own_group() -> Pid {
    // SAFETY: takes no pointer.
    Pid(unsafe { syscall!(__NR_getpgid, 0) })
}

/// The session of this process.
pub fn own_session() -> Pid {
    // SAFETY: takes no pointer.
    Pid(unsafe { syscall!(__NR_getsid, 0) })
}

/// Makes this process the leader of a new session and group, `setsid(2)`.
pub fn new_session() {
    // SAFETY: takes nothing.
    unsafe { syscall!(__NR_setsid) };
}

/// Makes this process the leader of a new group, `setpgid(2)`.
pub fn new_group() {
    // SAFETY: takes no pointer.
    unsafe { syscall!(__NR_setpgid, 0, 0) };
}

/// Asks that orphans below this process become its children, `PR_SET_CHILD_SUBREAPER(2const)` (Linux 3.4).
pub fn become_subreaper() {
    // SAFETY: takes no pointer.
    unsafe { syscall!(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1) };
}

/// Asks for `signal` when the parent ends, `PR_SET_PDEATHSIG(2const)`.
pub fn signal_on_parent_death(signal: Signal) -> i32 {
    // SAFETY: takes no pointer.
    unsafe { syscall!(__NR_prctl, PR_SET_PDEATHSIG, signal.number()) }
}

/// What wait4 reports of a child, `wait(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change(pub u32);

impl Change {
    /// The signal that stopped it, if one did.
    pub fn stopped_by(self) -> Option<Signal> {
        if self.0 & 0xff == 0x7f { Signal::new((self.0 >> 8) as u8) } else { None }
    }

    /// The signal that ended it; 0: none did.
    pub fn killed_by(self) -> u8 {
        self.0 as u8 & 0x7f
    }

    /// Its exit code as a shell reports it: 128+n when signal n ended it.
    pub fn code(self) -> u8 {
        if self.killed_by() != 0 { 128 + self.killed_by() } else { (self.0 >> 8) as u8 }
    }
}

/// Takes the next child that changed, without waiting, `wait4(2)`, and says how: its pid; 0: none did, and there are
/// children; `ECHILD`: there are no children.
pub fn next_change(with_stops: bool, change: &mut Change) -> i32 {
    let options = if with_stops { WNOHANG | WUNTRACED } else { WNOHANG };
    // SAFETY: the kernel fills in the status.
    unsafe { syscall!(__NR_wait4, u32::MAX, &raw mut change.0, options, 0) }
}

/// Waits until `child` has ended, `wait4(2)`.
pub fn reap(child: Pid) {
    // SAFETY: no status is asked for.
    unsafe { syscall!(__NR_wait4, child.0, 0, 0, 0) };
}

/// `execve(2)`: returns only why it failed.
#[inline(never)]
pub fn execute(path: Text<'_>, words: Words<'_>, environment: Words<'_>) -> i32 {
    // SAFETY: `path` ends with a NUL; the arrays are of strings and end with a null pointer, as their types promise.
    unsafe { syscall!(__NR_execve, path.as_ptr(), words.as_ptr(), environment.as_ptr()) }
}

/// A process that is about to become another program.
pub trait Become {
    /// Becomes it, in the new process; or notes why not, and returns.
    fn become_it(&mut self);
}

/// Starts a process that runs `child.become_it()` in this one's memory, and returns its pid as soon as it executed another
/// program or ended, `clone(2)` with `CLONE_VM | CLONE_VFORK`.
///
/// Nothing is copied, not even page tables, and what the child leaves in `child` says how it went.
///
/// # Errors
/// `EAGAIN` when the number of processes is limited, `ENOMEM`.
pub fn spawn<T: Become>(child: &mut T) -> i32 {
    unsafe extern "C" fn run<T: Become>(child: *mut c_void) -> ! {
        // SAFETY: `spawn` passes a `T` that nobody else touches until this process is gone.
        unsafe { &mut *child.cast::<T>() }.become_it();
        super::exit(127)
    }
    // SAFETY: this process sleeps until the child has another memory or none, so that what the child changes in it is
    // `child`, which is the child's alone meanwhile, and what lies on the stack below this call.
    unsafe { vfork(run::<T>, (&raw mut *child).cast()) }
}
