//! sched_setattr(2), ioprio_set(2) and set_mempolicy(2).

use nix::errno::Errno;
use rustix::process::Pid;

/// `struct sched_attr`, version 1 (56 bytes, Linux 5.3).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SchedulerAttributes {
    /// Of this structure, in bytes.
    pub size: u32,
    /// `SCHED_*`
    pub policy: u32,
    /// `SCHED_FLAG_*`
    pub flags: u64,
    /// For the ordinary policies.
    pub nice: i32,
    /// For the real-time policies.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, in nanoseconds, as the next two.
    pub runtime: u64,
    /// From the beginning of the period.
    pub deadline: u64,
    /// How often.
    pub period: u64,
    /// With `SCHED_FLAG_UTIL_CLAMP_MIN`.
    pub least_utilization: u32,
    /// With `SCHED_FLAG_UTIL_CLAMP_MAX`.
    pub most_utilization: u32,
}

fn number(pid: Option<Pid>) -> libc::pid_t {
    pid.map_or(0, |pid| pid.as_raw_nonzero().get())
}

/// Sets the scheduling of a process; without a number, of the caller.
pub fn sched_setattr(pid: Option<Pid>, attributes: &SchedulerAttributes) -> Result<(), Errno> {
    let attributes = SchedulerAttributes { size: size_of::<SchedulerAttributes>() as u32, ..*attributes };
    // SAFETY: the structure has the layout of struct sched_attr, carries its own size and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, number(pid), std::ptr::from_ref(&attributes), 0) };
    Errno::result(result).map(drop)
}

/// Sets the I/O priority of a process; without a number, of the caller. The value is `class << 13 | level`.
pub fn ioprio_set(pid: Option<Pid>, value: i32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, number(pid), value) };
    Errno::result(result).map(drop)
}

/// Lets the caller run on every CPU that its cgroup allows (sched_setaffinity(2)). rustix's set of CPUs can only be filled one by one,
/// which is a thousand steps of every start.
pub fn run_on_all_cpus() -> Result<(), Errno> {
    let all = [u64::MAX; libc::CPU_SETSIZE as usize / u64::BITS as usize];
    // SAFETY: the kernel reads as many bytes as it is told; 0 is the caller.
    let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&all), all.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Sets the caller's default policy for memory nodes; bit n of the words is node n.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel reads one bit less than it is told.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * u64::BITS as usize + 1 };
    let pointer = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the mask has as many bits as the kernel reads, or is null for none.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode as libc::c_int, pointer, bits) };
    Errno::result(result).map(drop)
}
