//! Joins, makes and completes namespaces from inside.

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use rustix::process::DumpableBehavior;
use rustix::system::Uname;
use rustix::thread::{Gid, Uid};

use super::Exec;
use crate::channel::{Channel, Go, Report};
use crate::error::{Context, Error, Result};
use crate::plan::{Inside, Join, NamespaceKind, Namespaces, TimeOffset};
use crate::sys::process::{CloneOptions, Cloned, clone3, clone3_to_execute, exit_now};
use crate::trace;

/// Ends up in all namespaces of the plan but the cgroup's, and the network's where the launcher makes that.
pub(super) fn enter(inside: &Inside, channel: &Channel) -> Result<()> {
    let opened = open_all(&inside.namespaces.join)?;
    let offsets = open_time_offsets(inside)?;
    for (join, file) in inside.namespaces.join.iter().zip(&opened) {
        check_own(join, file, inside)?;
        let flag = CloneFlags::from_bits_retain(join.kind.clone_flag() as i32);
        nix::sched::setns(file.as_fd(), flag).step(|| named(join, "join"))?;
    }
    drop(opened);
    if inside.namespaces.joins(NamespaceKind::User) {
        become_root()?;
    }
    if inside.namespaces.join_before_clone() {
        if inside.namespaces.maps_before_clone() {
            make_mapped_user_namespace(channel)?;
        }
        if inside.namespaces.makes(NamespaceKind::Time) {
            make_time_namespace(inside, offsets)?;
        }
        continue_as_child(inside.namespaces.clone_flags(), &inside.namespaces, channel)?;
        if inside.new_user_namespace && !inside.namespaces.maps_before_clone() {
            channel.wait_for(Go::Mapped)?;
            become_root()?;
        }
    }
    Ok(())
}

/// The file in /proc that moves the clocks of a time namespace made later, while nothing is joined.
///
/// The files of a process that nobody may look into are the host's root's, and an ordinary user can only open them while it is not
/// such a process. Once in a user namespace whose root can see it, it has to be one: it still has the host's files (CVE-2016-9962).
/// The kernel asks who opened the file, not who writes (file_ns_capable).
fn open_time_offsets(inside: &Inside) -> Result<Option<OwnedFd>> {
    if !inside.namespaces.makes(NamespaceKind::Time) || inside.time_offsets.is_empty() {
        return Ok(None);
    }
    let path = "/proc/self/timens_offsets";
    set_dumpable(DumpableBehavior::Dumpable)?;
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).on("open", path);
    set_dumpable(DumpableBehavior::NotDumpable)?;
    file.map(Some)
}

/// The new user namespace of an ordinary user, mapped before anything else is made in it. The launcher, which has no more rights than
/// this process, writes the maps to its files in /proc; nobody else is in the namespace.
fn make_mapped_user_namespace(channel: &Channel) -> Result<()> {
    set_dumpable(DumpableBehavior::Dumpable)?;
    unshare(NamespaceKind::User)?;
    channel.send(&Report::Unmapped, None)?;
    channel.wait_for(Go::Mapped)?;
    set_dumpable(DumpableBehavior::NotDumpable)?;
    become_root()
}

fn set_dumpable(behavior: DumpableBehavior) -> Result<()> {
    rustix::process::set_dumpable_behavior(behavior).step(|| "change who may look into the own process")
}

/// A time namespace, owned by the new user namespace if there is one. Its clocks are moved before anybody is in it: this
/// process's children will be, it itself will not (time_namespaces(7)).
fn make_time_namespace(inside: &Inside, offsets: Option<OwnedFd>) -> Result<()> {
    unshare(NamespaceKind::Time)?;
    offsets.map_or(Ok(()), |file| write_time_offsets(&file, &inside.time_offsets))
}

/// In one write: the kernel takes no more (proc_timens_set_offset).
fn write_time_offsets(file: &OwnedFd, offsets: &[TimeOffset]) -> Result<()> {
    let line = |offset: &TimeOffset| format!("{} {} {}\n", offset.clock.number(), offset.seconds, offset.nanoseconds);
    let lines: String = offsets.iter().map(line).collect();
    rustix::io::write(file, lines.as_bytes()).map(drop).map_err(|errno| {
        let asked: Vec<String> = offsets.iter().map(ToString::to_string).collect();
        let error = Error::system(format!("linux.timeOffsets: move the clocks {}", asked.join(", ")), errno);
        match errno {
            rustix::io::Errno::RANGE => error.remedy("a clock would be before 0, or more than 146 years ahead"),
            _ => error,
        }
    })
}

/// A path may lead to the runtime's own namespace, whose kernel parameters are the host's (CVE-2022-0811), as are its root
/// and its name.
fn check_own(join: &Join, file: &OwnedFd, inside: &Inside) -> Result<()> {
    let sysctl = inside.sysctls.iter().find(|sysctl| sysctl.namespace == join.kind);
    let used = match join.kind {
        NamespaceKind::Mount => Some("root"),
        NamespaceKind::Uts if inside.hostname.is_some() => Some("hostname"),
        NamespaceKind::Uts if inside.domainname.is_some() => Some("domainname"),
        _ => None,
    };
    if sysctl.is_none() && used.is_none() {
        return Ok(());
    }
    let joined = rustix::fs::fstat(file).step(|| named(join, "stat"))?;
    let own = rustix::fs::stat(format!("/proc/self/ns/{}", join.kind.file())).step(|| named(join, "stat"))?;
    if (joined.st_dev, joined.st_ino) != (own.st_dev, own.st_ino) {
        return Ok(());
    }
    let field = match sysctl {
        Some(sysctl) => format!("linux.sysctl[{:?}]", sysctl.path.replace('/', ".")),
        None => used.unwrap_or_default().to_owned(),
    };
    Err(Error::invalid(
        field,
        format!(
            "not allowed in the host's {} namespace, which linux.namespaces[{}].path leads to",
            join.kind.name(),
            join.index
        ),
    ))
}

fn named(join: &Join, verb: &str) -> String {
    format!("linux.namespaces[{}]: {verb} the {} namespace {}", join.index, join.kind.name(), join.path.display())
}

/// All of them, before the first is joined: after that the paths may mean something else.
fn open_all(joins: &[Join]) -> Result<Vec<OwnedFd>> {
    let open = |join: &Join| {
        rustix::fs::open(&join.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
            let error = Error::system(named(join, "open"), errno);
            if errno == rustix::io::Errno::NOENT {
                error.remedy("does the process or bind mount still exist?")
            } else {
                error
            }
        })
    };
    joins.iter().map(open).collect()
}

/// Goes on as a new process whose parent is the launcher; this one ends.
fn continue_as_child(flags: u64, namespaces: &Namespaces, channel: &Channel) -> Result<()> {
    let options = CloneOptions { flags: flags | libc::CLONE_PARENT as u64, ..CloneOptions::default() };
    match clone3(&options).step(|| format!("clone into new namespaces ({})", names(namespaces)))? {
        Cloned::Child => Ok(()),
        Cloned::Parent { pid, .. } => {
            channel.send(&Report::Cloned(pid.as_raw_nonzero().get()), None)?;
            exit_now(0)
        }
    }
}

fn names(namespaces: &Namespaces) -> String {
    namespaces.new.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

/// A new user namespace gives all capabilities but leaves the ids of the caller; files have to be root's.
pub(crate) fn become_root() -> Result<()> {
    // Refused where setgroups is denied (a single mapped id), and then there is nothing to drop either.
    let _ = rustix::thread::set_thread_groups(&[]);
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        .step(|| "become group 0 of the user namespace")
        .map_err(|error| error.remedy("is gid 0 mapped in linux.gidMappings?"))?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
        .step(|| "become user 0 of the user namespace")
        .map_err(|error| error.remedy("is uid 0 mapped in linux.uidMappings?"))
}

/// Makes one more namespace, from here.
pub(super) fn unshare(kind: NamespaceKind) -> Result<()> {
    let flag = CloneFlags::from_bits_retain(kind.clone_flag() as i32);
    nix::sched::unshare(flag).step(|| format!("make a {} namespace", kind.name()))
}

/// The network namespace that the launcher has made meanwhile.
pub(super) fn join_network(channel: &Channel) -> Result<()> {
    let file = channel.wait_for_descriptor(Go::Network)?;
    nix::sched::setns(file.as_fd(), CloneFlags::CLONE_NEWNET).step(|| "join the container's network namespace")?;
    trace::step("wait for the network namespace");
    Ok(())
}

/// `hostname` and `domainname`. In a uts namespace that is joined they often are what they shall be: all containers of a pod
/// name the pod's, and not all of them have the right to set it.
pub(super) fn set_names(inside: &Inside) -> Result<()> {
    let joined = inside.namespaces.joins(NamespaceKind::Uts).then(rustix::system::uname);
    let is = |name: Option<&CStr>, wanted: &str| name.is_some_and(|name| name.to_bytes() == wanted.as_bytes());
    if let Some(name) = inside.hostname.as_ref().filter(|name| !is(joined.as_ref().map(Uname::nodename), name)) {
        rustix::system::sethostname(name.as_bytes()).step(|| format!("set the hostname {name:?}"))?;
    }
    if let Some(name) = inside.domainname.as_ref().filter(|name| !is(joined.as_ref().map(Uname::domainname), name)) {
        rustix::system::setdomainname(name.as_bytes()).step(|| format!("set the domainname {name:?}"))?;
    }
    Ok(())
}

/// Joins all namespaces of a running container at once, by its process's descriptor. Of the pid namespace only children will be.
pub(super) fn join_process(exec: &Exec, init: OwnedFd) -> Result<()> {
    let flags = exec.namespaces.iter().fold(0, |flags, kind| flags | kind.clone_flag());
    if flags != 0 {
        nix::sched::setns(init.as_fd(), CloneFlags::from_bits_retain(flags as i32))
            .step(|| "join the container's namespaces")?;
    }
    drop(init);
    if exec.user_namespace { become_root() } else { Ok(()) }
}

/// Ends as soon as its child, the launcher's now, has executed a program; `child` does that, after the launcher has been told.
///
/// The child has this process's memory to itself meanwhile: nothing is copied, and nothing has to be taken apart behind it.
pub(super) fn hand_over_to_child(channel: &Channel, child: &dyn Fn() -> Result<Infallible>) -> Result<Infallible> {
    let (number, told) = (Cell::new(0), Cell::new(false));
    let options = CloneOptions { flags: libc::CLONE_PARENT as u64, cgroup: None, number: Some(&number) };
    let tell = |number| channel.send(&Report::Cloned(number), None);
    let go_on = || {
        // Where the memory is a copy, it was made before the number was known.
        let first = if number.get() == 0 { Ok(()) } else { tell(number.get()) };
        told.set(first.is_ok());
        let Err(error) = first.and_then(|()| child());
        super::tell_failure(channel, error);
    };
    let (pid, _) = clone3_to_execute(&options, &go_on).step(|| "clone into the container's pid namespace")?;
    // Also when it was killed at once: who does not know it does not wait for it, and a pid namespace ends only when everybody in
    // it has been waited for.
    if !told.get() {
        tell(pid.as_raw_nonzero().get())?;
    }
    exit_now(0)
}
