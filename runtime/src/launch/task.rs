//! Starts the stage: clone, cgroup, exec.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;

use super::boot::write_oom_score;
use super::executable::{self, Executable};
use super::process::Child;
use crate::cgroup;
use crate::channel::{self, Channel, Go, Report};
use crate::error::{Context, Error, Kind, Result};
use crate::stage::{NAME, Request, become_root};
use crate::sys::process::{
    CloneOptions, Strings, clone3_to_execute, close_on_exec_from, execute_handle, fork_to_execute,
};
use crate::trace;

/// What a stage that dies of a lack of memory mostly dies of.
pub(super) const MEMORY_REMEDY: &str = "is the memory limit (linux.resources.memory.limit) too small?";

/// What a limit on namespaces is told by.
pub(super) const NAMESPACES_REMEDY: &str = "a limit on namespaces is reached; see /proc/sys/user/max_*_namespaces";

/// What the stage gets beside its task.
pub(super) struct Setting<'a> {
    /// `CLONE_NEW*` for the clone.
    pub clone_flags: u64,
    /// The cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Through which it enters the other hierarchies.
    pub doors: &'a [OwnedFd],
    /// One more descriptor for it: the start socket, or the process to join.
    pub extra: Option<BorrowedFd<'a>>,
    /// Opened for the stage; the plan has their numbers.
    pub sources: &'a [OwnedFd],
    /// Written by the child itself, unless its new user namespace takes the right to it away.
    pub oom_score_adj: Option<i32>,
    /// How many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
    /// Whether the container's root may be root of a user namespace only.
    pub user_namespace: bool,
    /// Whether the cgroup may be frozen: then the child stands still before it executes anything.
    pub may_be_frozen: bool,
    /// Whether there may be processes of containers that see it from the beginning: those in the launcher's own pid namespace.
    pub visible: bool,
}

/// A stage at its work.
pub(super) struct Started {
    /// Its process.
    pub child: Child,
    /// What it reports over.
    pub channel: Channel,
    /// To be dropped before anybody in a container can see the stage.
    pub mount: Option<executable::Mount>,
}

/// Clones, and lets the child become the stage; goes on at once.
pub(super) fn start_stage(task: Request<'_>, setting: &Setting<'_>) -> Result<Started> {
    let Executable { file: program, mount } = executable::open(setting.user_namespace)?;
    let mount = mount.filter(|_| !setting.visible);
    let task = write_task(task)?;
    let (ours, theirs) = channel::pair()?;
    let mut arguments = vec![c_string(NAME.to_owned())?];
    for descriptor in [Some(theirs.as_fd()), Some(task.as_fd()), setting.extra].into_iter().flatten() {
        arguments.push(c_string(descriptor.as_raw_fd().to_string())?);
    }
    let handed_over = [Some(theirs.as_fd()), Some(task.as_fd()), setting.extra].into_iter().flatten();
    let mut handed_over: Vec<BorrowedFd<'_>> = handed_over.chain(setting.sources.iter().map(AsFd::as_fd)).collect();
    let mut environment = Vec::new();
    if let Some((file, variable)) = trace::for_stage() {
        handed_over.push(file);
        environment.push(c_string(variable)?);
    }
    let options = CloneOptions { flags: setting.clone_flags, cgroup: setting.cgroup, number: None };
    let arguments: Strings<'_> = arguments.iter().map(CString::as_c_str).collect();
    let environment: Strings<'_> = environment.iter().map(CString::as_c_str).collect();
    trace::step("encode the plan for the stage");
    let child = || {
        mount.iter().for_each(executable::Mount::close_copy);
        let error = become_stage(program.as_fd(), &arguments, &environment, &handed_over, setting, &theirs);
        let _ = theirs.send(&Report::Failed(error), None);
    };
    // With a new user namespace the child waits for its maps, which the launcher writes; and a launcher whose child is frozen
    // could not be interrupted.
    let child_waits = setting.clone_flags & libc::CLONE_NEWUSER as u64 != 0 || setting.may_be_frozen;
    let cloned = if child_waits { fork_to_execute(&options, &child) } else { clone3_to_execute(&options, &child) };
    let (pid, pidfd) = cloned.map_err(|errno| explain_clone(errno, setting))?;
    trace::step("clone the stage into its namespaces, until it is executed");
    Ok(Started { child: Child::new(pid, pidfd), channel: ours, mount })
}

fn explain_clone(errno: nix::errno::Errno, setting: &Setting<'_>) -> Error {
    let error = Error::system("clone3 into the container's namespaces", errno);
    let user = setting.clone_flags & libc::CLONE_NEWUSER as u64 != 0;
    match errno {
        nix::errno::Errno::EPERM if !user => {
            error.remedy("an ordinary user needs a user namespace: add {\"type\": \"user\"} to linux.namespaces, or use `spec --rootless`")
        }
        nix::errno::Errno::EPERM => error.remedy("user namespaces are not allowed here; see kernel.unprivileged_userns_clone and user.max_user_namespaces"),
        nix::errno::Errno::ENOSPC => error.remedy(NAMESPACES_REMEDY),
        nix::errno::Errno::EBUSY | nix::errno::Errno::EOPNOTSUPP => error.remedy("the cgroup has handed its controllers to cgroups below it"),
        _ => error,
    }
}

/// In the child. It allocates nothing unless it fails: it shares its memory with the launcher, and may be killed at any moment.
fn become_stage(
    program: BorrowedFd<'_>,
    arguments: &Strings<'_>,
    environment: &Strings<'_>,
    handed_over: &[BorrowedFd<'_>],
    setting: &Setting<'_>,
    channel: &Channel,
) -> Error {
    // Before its user is mapped an exec would take all capabilities in the new user namespace away.
    if setting.clone_flags & libc::CLONE_NEWUSER as u64 != 0
        && let Err(error) = channel.wait_for(Go::Mapped).and_then(|()| become_root())
    {
        return error;
    }
    if let Err(error) = cgroup::enter_through(setting.doors) {
        return error;
    }
    if let (Some(score), false) = (setting.oom_score_adj, setting.clone_flags & libc::CLONE_NEWUSER as u64 != 0)
        && let Err(error) = write_oom_score("/proc/self/oom_score_adj", score)
    {
        return error;
    }
    // Whatever the caller left open stays outside (CVE-2024-21626).
    if let Err(errno) = close_on_exec_from(3 + setting.preserve_fds) {
        return Error::system("close what the caller left open", errno);
    }
    for descriptor in handed_over {
        if let Err(errno) = rustix::io::fcntl_setfd(descriptor, FdFlags::empty()) {
            return Error::system("hand a descriptor to the stage", errno);
        }
    }
    let errno = execute_handle(program, arguments, environment);
    let error = Error::system("execute the stage", errno);
    match errno {
        // Of a few short words there can only be too many for the memory that they are copied to.
        nix::errno::Errno::ENOMEM | nix::errno::Errno::E2BIG => error.remedy(MEMORY_REMEDY),
        _ => error,
    }
}

/// The plan goes through memory, because a message has a limit and a plan has not.
fn write_task(task: Request<'_>) -> Result<OwnedFd> {
    let step = || "hand the plan to the stage";
    // Without a seccomp filter a plan is a fraction of it.
    let bytes = postcard::to_extend(&task, Vec::with_capacity(8192))
        .map_err(|cause| Error::new(Kind::System, format!("encode the plan: {cause}")))?;
    let file = rustix::fs::memfd_create("pipkin-plan", MemfdFlags::CLOEXEC).step(step)?;
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::write(&file, &bytes[written..]).step(step)?;
    }
    Ok(file)
}

/// Whether the caller left open what it wants the program to have, the first of them for socket activation. To be asked
/// before anything else is opened.
pub(crate) fn check_preserved(count: u32, listen_fds: u32) -> Result<()> {
    for number in 3..count.saturating_add(3) {
        let there = i32::try_from(number).ok().and_then(crate::sys::process::standard_descriptor).is_some();
        if !there {
            let (name, count) = match listen_fds {
                sockets if number - 3 < sockets => ("LISTEN_FDS", sockets),
                sockets => ("--preserve-fds", count - sockets),
            };
            let first = if name == "LISTEN_FDS" { 3 } else { listen_fds.saturating_add(3) };
            return Err(Error::invalid(
                name,
                format!("{count} asks for that many descriptors from {first} on, but {number} is not open"),
            ));
        }
    }
    Ok(())
}

fn c_string(text: String) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(Kind::System, "a NUL in an argument of the stage"))
}
