//! Signals: blocking, waiting for, and sending them.

use linux_raw_sys::general::{
    __NR_kill, __NR_rt_sigaction, __NR_rt_sigprocmask, __NR_rt_sigqueueinfo, __NR_rt_sigtimedwait, __kernel_timespec,
    SIG_SETMASK,
};

use super::process::Pid;
use crate::signal::Signal;
use crate::start::syscall;

/// A set of signals, `sigset_t` as the kernel has it: bit n-1 for signal n.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// Every signal.
    pub const ALL: Self = Self(u64::MAX);
    /// Every signal that does not queue.
    pub const STANDARD: Self = Self(u64::MAX >> 33);

    /// This signal alone.
    pub const fn of(signal: Signal) -> Self {
        Self(1 << (signal.number() - 1))
    }

    /// Whether `signal` is in it.
    pub fn contains(self, signal: Signal) -> bool {
        self.0 >> (signal.number() - 1) & 1 == 1
    }
}

/// Who sent a signal, how, and with which value: the fields of `siginfo_t` that forwarding needs, and room for the rest.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SignalInfo {
    /// Number of the signal.
    pub number: i32,
    error: i32,
    /// How it was sent: [`SignalInfo::QUEUED`], or another of the `SI_` codes.
    pub code: i32,
    padding: i32,
    /// The sender.
    pub sender: Pid,
    user: u32,
    value: usize,
    rest: [usize; 12],
}

const _: () = assert!(size_of::<SignalInfo>() == 128);

impl SignalInfo {
    /// `SI_QUEUE`: sent by `sigqueue(3)`, with a value.
    pub const QUEUED: i32 = -1;

    /// No signal.
    pub const EMPTY: Self =
        Self { number: 0, error: 0, code: 0, padding: 0, sender: Pid(0), user: 0, value: 0, rest: [0; 12] };

    /// The signal.
    pub fn signal(&self) -> Signal {
        Signal::from_kernel(self.number)
    }

    /// Makes another signal of it, with the same sender and value.
    pub fn set_signal(&mut self, signal: Signal) {
        self.number = signal.number().into();
    }
}

/// Sets which signals wait instead of taking effect, and returns which did before, `sigprocmask(2)`.
#[inline(never)]
pub fn block(set: SignalSet) -> SignalSet {
    let mut before = SignalSet(0);
    // SAFETY: both sets are 8 bytes and live through the call.
    unsafe { syscall!(__NR_rt_sigprocmask, SIG_SETMASK, &raw const set, &raw mut before, size_of::<SignalSet>()) };
    before
}

/// Waits for a blocked signal of `set`, for at most `limit` nanoseconds, takes it, and says in `info` all about
/// it, `sigtimedwait(2)`. Returns its number.
///
/// # Errors
/// `EAGAIN` when the time is over, `EINTR` when a stop and `SIGCONT` came between.
#[inline(never)]
pub fn wait(set: SignalSet, limit: Option<u64>, info: Option<&mut SignalInfo>) -> i32 {
    const SECOND: u64 = 1_000_000_000;
    let time =
        limit.map(|limit| __kernel_timespec { tv_sec: (limit / SECOND) as i64, tv_nsec: (limit % SECOND) as i64 });
    let time = time.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let info = info.map_or(core::ptr::null_mut(), core::ptr::from_mut);
    // SAFETY: `SignalInfo` has the size of `siginfo_t`; the set is 8 bytes; `time` is null or a timespec.
    unsafe { syscall!(__NR_rt_sigtimedwait, &raw const set, info, time, size_of::<SignalSet>()) }
}

/// Sends `signal` to process `to`, to its group when negated, to the own group when 0, and when -1 to all of the PID
/// namespace but its PID 1 and the sender, `kill(2)`.
pub fn send(signal: Signal, to: i32) -> i32 {
    // SAFETY: takes no pointer.
    unsafe { syscall!(__NR_kill, to, signal.number()) }
}

/// Sends the signal in `info` to process `to`, from the sender and with the value that it says, `sigqueue(3)`. It must
/// have come [`SignalInfo::QUEUED`].
///
/// # Errors
/// `EAGAIN` when the user's queue is full (`RLIMIT_SIGPENDING`).
pub fn queue(info: &SignalInfo, to: Pid) -> i32 {
    // SAFETY: `info` has the size of `siginfo_t` and lives through the call.
    unsafe { syscall!(__NR_rt_sigqueueinfo, to.0, info.number, &raw const *info) }
}

/// How a process treats a signal, `struct sigaction` as the kernel has it: handler, flags, restorer, mask. All zeros is
/// `SIG_DFL`, and right after execve anything else is `SIG_IGN`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Action([usize; 4]);

impl Action {
    /// `SIG_DFL`
    pub const DEFAULT: Self = Self([0; 4]);
}

/// Sets how this process treats `signal`, and returns how it did before, `sigaction(2)`.
#[inline(never)]
pub fn set_action(signal: Signal, action: &Action) -> Action {
    let mut before = Action::DEFAULT;
    let size = size_of::<SignalSet>();
    // SAFETY: both are as the kernel wants them and live through the call. An `Action` holds no handler but the two that
    // are none.
    unsafe { syscall!(__NR_rt_sigaction, signal.number(), &raw const *action, &raw mut before, size) };
    before
}
