//! One more program in a running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::process::Pid;

use super::boot::{first_cause, is_readable, wait_for_clone, wait_until_ready, write_pid_file};
use super::foreground::Foreground;
use super::process::Child;
use super::task::{Setting, Started, start_stage};
use super::{limits, pidfd_socket, seccomp_agent};
use crate::cgroup::{Cgroup, SubCgroups};
use crate::channel::{Channel, Go};
use crate::error::{Error, Kind, Result};
use crate::plan::{NamespaceKind, NumberList, Process, Scheduling, SeccompAgent};
use crate::seccomp::NewProfile;
use crate::stage::{Exec, Request, set_initial_affinity, set_scheduling};
use crate::state::{Identity, Record, Status};

/// What is to run, and where.
pub struct Join<'a> {
    /// The container.
    pub record: &'a Record,
    /// Its first process.
    pub init: Identity,
    /// The same, opened.
    pub init_process: BorrowedFd<'a>,
    /// The program.
    pub process: Process,
    /// Who answers for system calls that the seccomp filter asks about.
    pub seccomp_agent: Option<SeccompAgent>,
    /// The seccomp profile, when no cache had its filter: kept while the stage works.
    pub new_profile: Option<NewProfile>,
    /// Written from outside.
    pub oom_score_adj: Option<i32>,
    /// The CPUs until the program is in the container's cgroup.
    pub initial_affinity: Option<NumberList>,
    /// Where the terminal's master goes; without it the caller gets it.
    pub console_socket: Option<&'a Path>,
    /// Where the process's number is written.
    pub pid_file: Option<&'a Path>,
    /// Where the process's descriptor goes.
    pub pidfd_socket: Option<&'a Path>,
    /// Cgroups below the container's.
    pub cgroups: &'a SubCgroups,
    /// Whether the container is paused, and the program is to begin when it is resumed.
    pub paused: bool,
}

/// A program that is told to begin.
pub struct Joined {
    /// Its process.
    pub child: Child,
    /// The one before it, which ends when the program runs or has failed to.
    pub first: Option<Child>,
    /// Its channel: ends without a message when the program runs.
    pub channel: Channel,
    /// Its terminal, unless that went to the console socket.
    pub terminal: Option<OwnedFd>,
}

/// Starts the program. On failure nothing is left of it. A caller in the foreground may interrupt it.
pub fn join(join: &Join<'_>, caller: Option<&Foreground>) -> Result<Joined> {
    let not_running = || Error::new(Kind::State, "cannot exec in a container that is not running: its init is gone");
    if is_readable(&join.init_process) {
        return Err(not_running());
    }
    let init_pid = Pid::from_raw(join.init.pid).ok_or_else(not_running)?;
    let cgroup = join.record.cgroup.as_ref().map(crate::cgroup::Record::open);
    let (beside, doors) = match &cgroup {
        Some(cgroup) => cgroup.entrances(init_pid, join.cgroups)?,
        None if !join.cgroups.is_empty() => return Err(join.cgroups.refused("the container has no cgroup of its own")),
        None => (None, Vec::new()),
    };
    let behind_systemd = cgroup.as_ref().map(Cgroup::is_behind_systemd).transpose()?.unwrap_or(false);
    let user_namespace = join.record.namespaces.contains(&NamespaceKind::User);
    let mut process = join.process.clone();
    // What the stage has no right to in a user namespace.
    let scheduling = if user_namespace { std::mem::take(&mut process.scheduling) } else { Scheduling::default() };
    join.initial_affinity.as_ref().map(set_initial_affinity).transpose()?;
    let task = Exec {
        namespaces: join.record.namespaces.clone(),
        user_namespace,
        id: join.record.document.id.clone(),
        new_keyring: !join.record.no_new_keyring,
        process,
    };
    let setting = Setting {
        clone_flags: 0,
        cgroup: beside.as_ref().filter(|_| !behind_systemd).map(AsFd::as_fd),
        doors: &doors,
        extra: Some(join.init_process),
        sources: &[],
        oom_score_adj: join.oom_score_adj,
        preserve_fds: join.process.preserve_fds,
        user_namespace,
        may_be_frozen: join.paused,
        visible: !join.record.namespaces.contains(&NamespaceKind::Pid),
    };
    let Started { child: first, channel, mount } = start_stage(Request::Join(&task), &setting)?;
    drop(mount);
    // Whoever does not hear it any more is gone, and what it has left to say comes next.
    let _ = channel.send(&Go::Join, None);
    let (child, first) = wait_for_clone(Some(first), None, &channel, caller)?;
    let attach = || match cgroup.as_ref().filter(|_| behind_systemd) {
        Some(cgroup) => cgroup.attach_by_systemd(child.pid(), beside.as_ref().map(AsFd::as_fd)),
        None => Ok(()),
    };
    let enter_shares = || join.record.resctrl.as_ref().map_or(Ok(()), |shares| shares.enter(child.pid()));
    let attended = attach()
        .and_then(|()| enter_shares())
        .and_then(|()| set_scheduling(Some(child.pid()), &scheduling))
        .and_then(|()| attend(join, &child, &channel, caller));
    match attended {
        Ok(terminal) => Ok(Joined { child, first, channel, terminal }),
        Err(error) => {
            let error = first_cause(error, &channel, &child);
            child.kill();
            // It ends with its child. The error that led here is the one to report.
            let _ = first.map(|first| first.wait());
            Err(error)
        }
    }
}

fn attend(join: &Join<'_>, child: &Child, channel: &Channel, caller: Option<&Foreground>) -> Result<Option<OwnedFd>> {
    if join.record.namespaces.contains(&NamespaceKind::User) {
        limits::raise(child.pid(), &join.process.rlimits)?;
        channel.send(&Go::Mapped, None)?;
    }
    let hands_out = join.console_socket.is_some() || join.pid_file.is_some() || join.pidfd_socket.is_some();
    if !hands_out {
        // Nobody is to hear of it before it begins: once it is ready it need not wait.
        channel.send(&Go::Proceed, None)?;
    }
    if let (Some(profile), Some(filter)) = (&join.new_profile, &join.process.seccomp) {
        profile.keep(filter);
    }
    let terminal = wait_until_ready(channel, child, join.console_socket, caller, |_| Ok(()))?;
    if let Some(socket) = join.pidfd_socket {
        pidfd_socket::send(socket, "setns", child.as_fd())?;
    }
    if let Some(path) = join.pid_file {
        write_pid_file(path, child.pid())?;
    }
    if hands_out {
        channel.send(&Go::Proceed, None)?;
    }
    if let Some(agent) = &join.seccomp_agent {
        let pid = child.pid().as_raw_nonzero().get();
        let state = join.record.document.at(Status::Running, Some(join.init.pid));
        seccomp_agent::serve(agent, channel, child.as_fd(), pid, &state)?;
    }
    Ok(terminal)
}
