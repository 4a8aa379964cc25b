//! Signals: blocking, waiting for, and sending them.

use linux_raw_sys::general::{
    __NR_kill, __NR_rt_sigaction, __NR_rt_sigprocmask, __NR_rt_sigqueueinfo, __NR_rt_sigtimedwait, __kernel_timespec,
    SIG_SETMASK, kernel_sigaction,
};

use super::{Errno, call, process::Pid};
use crate::signal::Signal;

/// A set of signals, `sigset_t` as the kernel has it: bit n-1 for signal n.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// Every signal.
    pub const ALL: Self = Self(u64::MAX);
    /// Every signal that does not queue.
    pub const STANDARD: Self = Self(u64::MAX >> 33);

    /// This set without `signal`.
    pub fn without(self, signal: Signal) -> Self {
        Self(self.0 & !(1 << (signal.number() - 1)))
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
    #[cfg(target_pointer_width = "64")]
    padding: i32,
    /// The sender.
    pub sender: Pid,
    user: u32,
    value: usize,
    rest: [usize; 12],
}

impl SignalInfo {
    /// `SI_QUEUE`: sent by `sigqueue(3)`, with a value.
    pub const QUEUED: i32 = -1;

    /// No signal.
    pub const EMPTY: Self =
        Self { number: 0, error: 0, code: 0, padding: 0, sender: Pid(0), user: 0, value: 0, rest: [0; 12] };
}

/// Sets which signals wait instead of taking effect, and returns which did before, `sigprocmask(2)`.
pub fn block(set: SignalSet) -> SignalSet {
    let mut before = SignalSet(0);
    let (new, old) = (&raw const set as usize, &raw mut before as usize);
    // SAFETY: both sets are 8 bytes and live through the call.
    _ = unsafe { call(__NR_rt_sigprocmask, SIG_SETMASK as usize, new, old, size_of::<SignalSet>()) };
    before
}

/// Waits for a blocked signal of `set`, for at most `limit` nanoseconds, and takes it, `sigtimedwait(2)`.
///
/// # Errors
/// `EAGAIN` when the time is over, `EINTR` when a stop and `SIGCONT` came between.
pub fn wait(set: SignalSet, limit: Option<u64>) -> Result<SignalInfo, Errno> {
    let mut info = SignalInfo::EMPTY;
    let limit = limit.map(|limit| __kernel_timespec {
        tv_sec: (limit / 1_000_000_000) as i64,
        tv_nsec: (limit % 1_000_000_000) as i64,
    });
    let limit = limit.as_ref().map_or(0, |limit| core::ptr::from_ref(limit) as usize);
    let (set, into) = (&raw const set as usize, &raw mut info as usize);
    // SAFETY: `SignalInfo` has the size of `siginfo_t`; the set is 8 bytes; `limit` is null or a timespec.
    unsafe { call(__NR_rt_sigtimedwait, set, into, limit, size_of::<SignalSet>()) }.map(|_| info)
}

/// To whom a signal is sent, `kill(2)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One process.
    Process(Pid),
    /// Every process of the group with this leader.
    Group(Pid),
    /// Every process of the sender's own group.
    OwnGroup,
    /// Every process of the PID namespace but its PID 1 and the sender.
    Everyone,
}

/// `kill(2)`.
pub fn send(signal: Signal, to: Target) -> Result<(), Errno> {
    let to = match to {
        Target::Process(pid) => pid.0,
        Target::Group(leader) => -leader.0,
        Target::OwnGroup => 0,
        Target::Everyone => -1,
    };
    // SAFETY: takes no pointer.
    unsafe { call(__NR_kill, to as usize, signal.number().into(), 0, 0) }.map(drop)
}

/// `sigqueue(3)`: sends `signal` with the sender and the value of `info`, which came with [`SignalInfo::QUEUED`].
///
/// # Errors
/// `EAGAIN` when the user's queue is full (`RLIMIT_SIGPENDING`).
pub fn queue(signal: Signal, info: &SignalInfo, to: Pid) -> Result<(), Errno> {
    let info = SignalInfo { number: signal.number().into(), ..*info };
    let at = &raw const info as usize;
    // SAFETY: `info` has the size of `siginfo_t` and lives through the call.
    unsafe { call(__NR_rt_sigqueueinfo, to.0 as usize, signal.number().into(), at, 0) }.map(drop)
}

/// How a process treats a signal that it does not handle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// `SIG_DFL`
    Default,
    /// `SIG_IGN`, which execve keeps.
    Ignore,
}

/// Sets the disposition of `signal`, and returns the one before, `sigaction(2)`.
pub fn set_disposition(signal: Signal, disposition: Disposition) -> Disposition {
    const SIG_IGN: usize = 1;
    let action = |handler: usize| kernel_sigaction {
        // SAFETY: an address as the kernel has it, 0 and 1 being SIG_DFL and SIG_IGN. It is never called here.
        sa_handler_kernel: unsafe { core::mem::transmute::<usize, Option<unsafe extern "C" fn(i32)>>(handler) },
        sa_flags: 0,
        sa_restorer: None,
        // SAFETY: a plain array of integers.
        sa_mask: unsafe { core::mem::zeroed() },
    };
    let new = action(if disposition == Disposition::Ignore { SIG_IGN } else { 0 });
    let mut old = action(0);
    let (new, before) = (&raw const new as usize, &raw mut old as usize);
    // SAFETY: both structures are as the kernel wants them and live through the call.
    _ = unsafe { call(__NR_rt_sigaction, signal.number().into(), new, before, size_of::<SignalSet>()) };
    match old.sa_handler_kernel {
        Some(handler) if handler as usize == SIG_IGN => Disposition::Ignore,
        _ => Disposition::Default,
    }
}
