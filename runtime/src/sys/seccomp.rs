//! seccomp(2).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::error::{Error, Kind, Result};

const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;

/// `SECCOMP_FILTER_FLAG_*` of linux/seccomp.h.
pub mod flag {
    /// All threads of the process.
    pub const TSYNC: u32 = 1 << 0;
    /// Tell the kernel's log of everything but SECCOMP_RET_ALLOW.
    pub const LOG: u32 = 1 << 1;
    /// Leave the processor's speculative store bypass on.
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// Return a listener.
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// Tell a failure of TSYNC by ESRCH.
    pub const TSYNC_ESRCH: u32 = 1 << 4;
    /// While the agent has a notification, only a fatal signal interrupts the call.
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// One instruction of classic BPF, as `struct sock_filter` of linux/filter.h.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip when a jump's test holds.
    pub jt: u8,
    /// How many to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// `struct sock_fprog` of linux/filter.h.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Loads a filter for the calling thread. The listener, where `flags` ask for one, is CLOEXEC.
///
/// # Errors
/// What the kernel refuses; a program that is too long is told as `EINVAL`, as the kernel does.
pub fn set_mode_filter(instructions: &[Instruction], flags: u32) -> Result<Option<OwnedFd>> {
    let length = u16::try_from(instructions.len()).map_err(|_| explain(Errno::EINVAL))?;
    let program = Program { length, instructions: instructions.as_ptr() };
    // SAFETY: `program` and the instructions it points to live across the call; the kernel copies them.
    let result = Errno::result(unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, libc::c_ulong::from(flags), &raw const program)
    });
    match result.map_err(explain)? {
        listener if flags & flag::NEW_LISTENER != 0 => {
            // SAFETY: the kernel has just made this descriptor for us.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(listener as RawFd) }))
        }
        0 => Ok(None),
        thread => Err(Error::new(
            Kind::System,
            format!("load the seccomp filter: thread {thread} has another filter and can not be given this one"),
        )),
    }
}

fn explain(errno: Errno) -> Error {
    let error = Error::system("load the seccomp filter", errno);
    match errno {
        Errno::EACCES => error.remedy("neither process.noNewPrivileges is set nor is CAP_SYS_ADMIN left"),
        Errno::EBUSY => error.remedy("the runtime itself runs under a filter with a listener (SCMP_ACT_NOTIFY)"),
        Errno::EINVAL => error.remedy("this kernel does not know one of the profile's flags or actions"),
        Errno::ENOSYS => error.remedy("this kernel has no seccomp, or a filter around the runtime hides it"),
        _ => error,
    }
}

/// Whether the kernel understands these `SECCOMP_FILTER_FLAG_*`. Changes nothing: the program is missing.
pub fn flags_are_supported(flags: u32) -> bool {
    let no_program = std::ptr::null::<Program>();
    // SAFETY: the kernel fails with EFAULT on the null pointer, after it has looked at the flags.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, libc::c_ulong::from(flags), no_program) };
    Errno::result(result) == Err(Errno::EFAULT)
}
