//! bpf(2) for one purpose: a device program on a cgroup (`BPF_PROG_TYPE_CGROUP_DEVICE`, Linux 4.15).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const PROG_QUERY: libc::c_long = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// More programs than this on one cgroup are not expected (the kernel's own limit is 64).
const MAX_PROGRAMS: usize = 64;

/// One instruction of eBPF, as the kernel's `struct bpf_insn`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Instruction {
    /// Operation, class and source.
    pub code: u8,
    /// Destination register in the low half, source register in the high half (little endian).
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

#[derive(Default)]
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

#[derive(Default)]
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[derive(Default)]
#[repr(C)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[derive(Default)]
#[repr(C)]
struct Id {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Loads a device program. The kernel verifies it; the handle is close-on-exec.
///
/// # Errors
/// `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN` (or `CAP_SYS_ADMIN`) in the first user namespace, `EINVAL` or
/// `EACCES` when the verifier refuses the program, `ENOSYS` on a kernel without bpf(2).
pub fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut name = [0u8; 16];
    name[..14].copy_from_slice(b"pipkin_devices");
    let mut attributes = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name: name,
        ..Load::default()
    };
    // SAFETY: `attributes` points to `program` and `license`, which outlive the call; the kernel only reads them.
    let fd = unsafe { bpf(PROG_LOAD, &mut attributes) }?;
    // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches the program beside those of the parents (`BPF_F_ALLOW_MULTI`); with `instead_of`, atomically in its place.
///
/// # Errors
/// `EPERM` without privilege or when an ancestor's program forbids it, `EINVAL` where the kernel does not know
/// `BPF_F_REPLACE` (before 5.6), `ENOENT` when `instead_of` is not attached.
pub fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, instead_of: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut attributes = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI | if instead_of.is_some() { REPLACE } else { 0 },
        replace_bpf_fd: instead_of.map_or(0, |old| old.as_raw_fd() as u32),
    };
    // SAFETY: plain numbers; no pointers.
    unsafe { bpf(PROG_ATTACH, &mut attributes) }.map(drop)
}

/// Detaches one program.
///
/// # Errors
/// `ENOENT` when it is not attached, `EPERM` without privilege.
pub fn detach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        ..Attach::default()
    };
    // SAFETY: plain numbers; no pointers.
    unsafe { bpf(PROG_DETACH, &mut attributes) }.map(drop)
}

/// Handles on the device programs attached to this very cgroup (not to its parents).
///
/// # Errors
/// `EPERM` without privilege; whatever opening a program by id reports.
pub fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let mut attributes = Query {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGRAMS as u32,
        ..Query::default()
    };
    // SAFETY: `prog_ids` points to `prog_cnt` writable numbers that outlive the call.
    unsafe { bpf(PROG_QUERY, &mut attributes) }?;
    let count = (attributes.prog_cnt as usize).min(MAX_PROGRAMS);
    ids[..count].iter().map(|&id| by_id(id)).collect()
}

fn by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = Id { id, ..Id::default() };
    // SAFETY: plain numbers; no pointers.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attributes) }?;
    // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attributes` must be the command's part of `union bpf_attr`, its pointers valid for what the command does.
unsafe fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the size given is that of `attributes`; the caller vouches for the rest.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
