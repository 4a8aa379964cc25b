//! Makes a container: everything up to the start of its program.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::process::{Pid, Signal};

use super::foreground::Foreground;
use super::notify::{NotifyRelay, NotifySocket};
use super::process::Child;
use super::task::{MEMORY_REMEDY, Setting, Started, start_stage};
use super::{
    console, executable, hooks, id_maps, limits, mount_sources, net_devices, network, pidfd_socket, seccomp_agent,
};
use crate::cgroup::Cgroup;
use crate::channel::{Channel, Go, Report};
use crate::error::{Context, Error, Kind, Result};
use crate::log;
use crate::plan::{Host, IdMaps, NamespaceKind, Plan, Scheduling, Start};
use crate::resctrl;
use crate::seccomp::NewProfile;
use crate::stage::{Request, set_scheduling};
use crate::state::{Directory, Identity, Record, Status, Unpublished};
use crate::trace;

/// What is to be booted, and what its caller wants of it.
pub struct Boot<'a> {
    /// Everything decided.
    pub plan: &'a mut Plan,
    /// What is kept; what is made in another way than planned is written into it.
    pub record: &'a mut Record,
    /// What it was decided with.
    pub host: &'a Host,
    /// The container's directory, locked.
    pub directory: &'a Directory,
    /// Where the terminal's master goes; without it the caller gets it.
    pub console_socket: Option<&'a Path>,
    /// Where the process's number is written.
    pub pid_file: Option<&'a Path>,
    /// Where the process's descriptor goes.
    pub pidfd_socket: Option<&'a Path>,
    /// The text of config.json, for later `exec`s.
    pub configuration: &'a [u8],
    /// The seccomp profile, when no cache had its filter: kept while the stage works.
    pub new_profile: Option<&'a NewProfile>,
    /// The service manager that hears the program.
    pub notify_socket: Option<&'a NotifySocket>,
    /// Who may interrupt it.
    pub caller: Option<&'a Foreground>,
}

impl Boot<'_> {
    /// Whether nobody is to hear of the container before its program begins: then the stage, once it is ready, waits for nothing.
    fn may_start_when_ready(&self) -> bool {
        self.plan.inside.start == Start::AtOnce
            && self.console_socket.is_none()
            && self.pid_file.is_none()
            && self.pidfd_socket.is_none()
            && self.notify_socket.is_none()
    }
}

/// A container whose stage is told to go on: at once or when started.
pub struct Booted {
    /// Its first process.
    pub child: Child,
    /// Its channel: ends without a message when the program runs.
    pub channel: Channel,
    /// Its terminal, unless that went to the console socket.
    pub terminal: Option<OwnedFd>,
    /// Its cgroup.
    pub cgroup: Option<Cgroup>,
    /// Its NOTIFY_SOCKET, when it is started at once; else `start` makes it.
    pub notify: Option<NotifyRelay>,
}

/// Makes the container. On failure nothing is left of it.
pub fn boot(boot: Boot<'_>) -> Result<Booted> {
    let mut undo = Undo {
        directory: Some(boot.directory),
        cgroup: None,
        resctrl: None,
        child: None,
        devices: None,
        poststop: None,
    };
    if boot.plan.namespaces.makes(NamespaceKind::Mount) {
        check_rootfs(&boot.plan.inside.rootfs.path)?;
    }
    boot.directory.write_record(boot.record)?;
    trace::step("write the state");
    if boot.notify_socket.is_some() {
        boot.directory.make_notify_directory()?;
    }
    let start_socket = match boot.plan.inside.start {
        Start::OnRequest => Some(boot.directory.listen_for_start()?),
        Start::AtOnce => None,
    };
    let mut doors = Vec::new();
    if let Some(plan) = &boot.plan.cgroup {
        // Written before it is made: whoever deletes the container then finds it.
        let cgroup = undo.cgroup.insert(Cgroup::create(plan)?);
        cgroup.restrict_empty()?;
        doors = cgroup.doors()?;
        trace::step("make the cgroup");
    }
    if let Some(made) = undo.cgroup.as_ref().map(Cgroup::record)
        && boot.record.cgroup.as_ref() != Some(&made)
    {
        // Without rights there can be less of it than was planned.
        boot.plan.inside.show_cgroup(&made, &boot.host.cgroups);
        boot.record.cgroup = Some(made);
        boot.directory.write_record(boot.record)?;
    }
    if let Some(plan) = &boot.plan.resctrl {
        let place = plan.place()?;
        boot.record.resctrl = Some(place.clone());
        // Written before it is made: whoever deletes the container then finds it.
        boot.directory.write_record(boot.record)?;
        plan.create(&place)?;
        undo.resctrl = Some(place);
    }
    let sources = mount_sources::open(&mut boot.plan.inside)?;
    // What the stage has no right to in a user namespace.
    let scheduling = match boot.plan.namespaces.has_own(NamespaceKind::User) {
        true => std::mem::take(&mut boot.plan.inside.process.scheduling),
        false => Scheduling::default(),
    };
    let joins_first = boot.plan.namespaces.join_before_clone();
    let behind_systemd = undo.cgroup.as_ref().map(Cgroup::is_behind_systemd).transpose()?.unwrap_or(false);
    let setting = Setting {
        clone_flags: if joins_first { 0 } else { boot.plan.clone_flags() },
        cgroup: undo.cgroup.as_ref().filter(|_| !behind_systemd).and_then(Cgroup::clone_into),
        doors: &doors,
        extra: start_socket.as_ref().map(AsFd::as_fd),
        sources: &sources,
        oom_score_adj: boot.plan.oom_score_adj,
        preserve_fds: boot.plan.inside.process.preserve_fds,
        user_namespace: boot.plan.namespaces.has_own(NamespaceKind::User),
        may_be_frozen: false,
        visible: !boot.plan.namespaces.makes(NamespaceKind::Pid),
    };
    let Started { child, channel, mount } = start_stage(Request::Boot(&boot.plan.inside), &setting)?;
    // From the first hook on, what hooks have done is undone by hooks (runtime.md, "Lifecycle").
    undo.poststop = Some(&*boot.record).filter(|record| !record.hooks.poststop.is_empty()).cloned();
    drop((doors, start_socket, sources));
    undo.child = Some(child);
    if joins_first {
        let maps = boot.plan.id_maps.as_ref();
        let (child, first) = wait_for_clone(undo.child.take(), maps, &channel, boot.caller)?;
        undo.child = Some(child);
        first.map(|first| first.wait()).transpose()?;
    }
    let Some(child) = &undo.child else { return Err(gone(None)) };
    if !boot.plan.net_devices.is_empty() {
        let moved = net_devices::move_into(&boot.plan.net_devices, &boot.plan.namespaces, child.pid());
        undo.devices = Some(moved.map_err(|error| first_cause(error, &channel, child))?);
    }
    if let Some(shares) = &boot.record.resctrl {
        shares.enter(child.pid()).map_err(|error| first_cause(error, &channel, child))?;
    }
    set_scheduling(Some(child.pid()), &scheduling).map_err(|error| first_cause(error, &channel, child))?;
    // Before it has its ids: until then it waits.
    if let Some(cgroup) = undo.cgroup.as_ref().filter(|_| behind_systemd) {
        cgroup.attach_by_systemd(child.pid(), None).map_err(|error| first_cause(error, &channel, child))?;
    }
    let terminal = attend(&boot, child, undo.cgroup.as_ref(), &channel, mount)
        .map_err(|error| first_cause(error, &channel, child))?;
    let notify = match (boot.plan.inside.start, boot.notify_socket) {
        (Start::AtOnce, Some(manager)) => Some(NotifyRelay::new(boot.directory.notify_directory()?.as_fd(), manager)?),
        _ => None,
    };
    if !boot.may_start_when_ready() {
        channel.send(&Go::Proceed, None).map_err(|error| first_cause(error, &channel, child))?;
    }
    if let (Start::AtOnce, Some(agent)) = (boot.plan.inside.start, &boot.plan.seccomp_agent) {
        let pid = child.pid().as_raw_nonzero().get();
        let state = boot.record.document.at(Status::Creating, Some(pid));
        seccomp_agent::serve(agent, &channel, child.as_fd(), pid, &state)?;
    }
    trace::step("tell the stage to go on");
    let (child, cgroup) = undo.keep();
    let child = child.ok_or_else(|| gone(None))?;
    Ok(Booted { child, channel, terminal, cgroup, notify })
}

/// Everything that the launcher does while the stage works.
fn attend(
    boot: &Boot<'_>,
    child: &Child,
    cgroup: Option<&Cgroup>,
    channel: &Channel,
    mount: Option<executable::Mount>,
) -> Result<Option<OwnedFd>> {
    if boot.plan.inside.awaits_network {
        channel.send(&Go::Network, Some(network::make()?.as_fd()))?;
        trace::step("make the network namespace");
    }
    if let (Some(score), Some(_)) = (boot.plan.oom_score_adj, &boot.plan.id_maps) {
        set_oom_score(child.pid(), score)?;
    }
    if boot.plan.namespaces.has_own(NamespaceKind::User) {
        limits::raise(child.pid(), &boot.plan.inside.process.rlimits)?;
    }
    if let Some(maps) = boot.plan.id_maps.as_ref().filter(|_| !boot.plan.namespaces.maps_before_clone()) {
        id_maps::write(child.pid(), maps)?;
        channel.send(&Go::Mapped, None)?;
    }
    if !boot.plan.net_devices.is_empty() {
        channel.send(&Go::DevicesMoved, None)?;
    }
    if let Some(cgroup) = cgroup {
        cgroup.restrict()?;
        trace::step("restrict its devices");
    }
    // While the stage works: nobody waits for it.
    boot.directory.write_configuration(boot.configuration)?;
    let mut init = Some(boot.directory.write_init(&Identity::of(child.pid())?)?);
    // From then on it is a container: until now it is being created, and its launcher's death is its end.
    let mut publish = || init.take().map_or(Ok(()), Unpublished::publish);
    trace::step("keep what later commands need");
    // The container's program does not run before.
    drop(mount);
    trace::step("put the stage's executable out of reach");
    if let (Some(profile), Some(filter)) = (boot.new_profile, &boot.plan.inside.process.seccomp) {
        profile.keep(filter);
        trace::step("keep the seccomp filter");
    }
    let terminal = wait_until_ready(channel, child, boot.console_socket, boot.caller, |stop| match stop {
        Stop::ForHooks => {
            run_hooks(boot, child)?;
            channel.send(&Go::HooksDone, None)
        }
        Stop::Rooted if boot.may_start_when_ready() => {
            publish()?;
            channel.send(&Go::Proceed, None)
        }
        Stop::Rooted => Ok(()),
    })?;
    if let Some(socket) = boot.pidfd_socket {
        pidfd_socket::send(socket, "standard", child.as_fd())?;
    }
    log::debug(|| format!("process {} is ready", child.pid().as_raw_nonzero()));
    trace::step("wait until the stage is ready");
    publish()?;
    if let Some(path) = boot.pid_file {
        write_pid_file(path, child.pid())?;
    }
    Ok(terminal)
}

/// Where the stage tells that it has come, on the way to being ready.
pub(super) enum Stop {
    /// [`Report::ReadyForHooks`]
    ForHooks,
    /// [`Report::Rooted`]
    Rooted,
}

/// Until the stage has done all but the start; `at` is called at each stop. The terminal's master, unless it went to the
/// console socket.
pub(super) fn wait_until_ready(
    channel: &Channel,
    child: &Child,
    console_socket: Option<&Path>,
    caller: Option<&Foreground>,
    mut at: impl FnMut(Stop) -> Result<()>,
) -> Result<Option<OwnedFd>> {
    let mut terminal = None;
    loop {
        if let (Some(caller), false) = (caller, channel.has_early()) {
            caller.await_readable(channel.as_fd())?;
        }
        match channel.receive_report()? {
            Some((Report::Ready, _)) => break,
            Some((Report::Failed(error), _)) => return Err(error),
            Some((Report::Console, Some(master))) => terminal = Some(master),
            Some((Report::ReadyForHooks, _)) => at(Stop::ForHooks)?,
            Some((Report::Rooted, _)) => at(Stop::Rooted)?,
            Some((other, _)) => {
                return Err(Error::new(Kind::System, format!("the stage reports {other:?} out of turn")));
            }
            None => return Err(gone(Some(child))),
        }
    }
    match (console_socket, terminal) {
        (Some(socket), Some(master)) => console::send_master(socket, master.as_fd()).map(|()| None),
        (_, terminal) => Ok(terminal),
    }
}

fn run_hooks(boot: &Boot<'_>, child: &Child) -> Result<()> {
    let pid = Some(child.pid().as_raw_nonzero().get());
    let state = boot.record.document.at(Status::Creating, pid);
    hooks::run("prestart", &boot.plan.hooks.prestart, &state, boot.caller)?;
    hooks::run("createRuntime", &boot.plan.hooks.create_runtime, &state, boot.caller)
}

/// The stage joined its namespaces and goes on as another process: that, and the first one, which ends soon.
///
/// Both report over one channel, so that the second's first words may come before the first's last.
pub(super) fn wait_for_clone(
    first: Option<Child>,
    maps: Option<&IdMaps>,
    channel: &Channel,
    caller: Option<&Foreground>,
) -> Result<(Child, Option<Child>)> {
    let mut early = Vec::new();
    let result = loop {
        if let Some(first) = &first
            && let Err(error) = wait_for_word(first, channel, caller)
        {
            break Err(error);
        }
        match channel.receive::<Report>()? {
            Some((Report::Cloned(pid), _)) => match Pid::from_raw(pid) {
                Some(pid) => break Child::adopted(pid),
                None => break Err(Error::new(Kind::System, "the stage reports a process 0")),
            },
            Some((Report::Unmapped, _)) => {
                let written = match (&first, maps) {
                    (Some(first), Some(maps)) => id_maps::write(first.pid(), maps),
                    _ => Ok(()),
                };
                if let Err(error) = written.and_then(|()| channel.send(&Go::Mapped, None)) {
                    break Err(error);
                }
            }
            Some(report) => early.push(report),
            None => match early.pop() {
                Some((Report::Failed(error), _)) => break Err(error),
                _ => break Err(gone(first.as_ref())),
            },
        }
    };
    channel.put_back(early);
    // When it failed it may have been waited for already, to say why.
    match (&result, &first) {
        // One that is frozen ends when it is thawed.
        (Err(error), Some(first)) if error.kind() == Kind::Interrupted => first.send_kill(),
        (Err(_), Some(first)) => first.kill(),
        _ => {}
    }
    Ok((result?, first))
}

/// Until there is something to receive. A stage that was killed after it cloned can not say any more as what it goes on, and
/// the clone, which holds the channel as well, waits: it ends when the channel does.
///
/// The caller may interrupt it: in a paused container it takes until that is resumed.
fn wait_for_word(stage: &Child, channel: &Channel, caller: Option<&Foreground>) -> Result<()> {
    loop {
        caller.map_or(Ok(()), Foreground::check)?;
        let mut waiting = vec![PollFd::new(channel, PollFlags::IN), PollFd::new(stage, PollFlags::IN)];
        if let Some(caller) = caller {
            waiting.push(PollFd::from_borrowed_fd(caller.signals(), PollFlags::IN));
        }
        match rustix::event::poll(&mut waiting, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for the stage", errno)),
            Ok(_) => {
                let (word, ended) = (!waiting[0].revents().is_empty(), !waiting[1].revents().is_empty());
                if !word && !ended {
                    continue;
                }
                // Its last word may have come between the two looks of one poll(2).
                return if word || !ended || is_readable(channel) { Ok(()) } else { Err(gone(Some(stage))) };
            }
        }
    }
}

/// Whether there is something to receive, now; or of a process, whether it has ended (pidfd_open(2)).
pub(super) fn is_readable(file: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// When the stage has failed already, what it says is the cause of whatever then failed here; and when it is gone without a word,
/// that is.
pub(super) fn first_cause(error: Error, channel: &Channel, child: &Child) -> Error {
    while is_readable(channel) {
        match channel.receive_report() {
            Ok(Some((Report::Failed(cause), _))) => return cause,
            Ok(Some(_)) => {}
            Ok(None) if error.errno() == Some(libc::EPIPE) => return gone(Some(child)),
            _ => break,
        }
    }
    error
}

/// The stage ended without a word.
pub(super) fn gone(child: Option<&Child>) -> Error {
    let status = child.and_then(|child| child.wait().ok());
    let text = match status {
        Some(137) => format!("was killed: {MEMORY_REMEDY}"),
        // Its last word takes memory, too.
        Some(1) => format!("could not say why it ended: {MEMORY_REMEDY}"),
        Some(status) => format!("ended with status {status}"),
        None => "ended".to_owned(),
    };
    Error::new(
        Kind::System,
        format!("unable to start container process: the process that sets the container up {text}"),
    )
}

/// A directory itself: a symbolic link could lead elsewhere by the time it is mounted.
fn check_rootfs(path: &Path) -> Result<()> {
    let invalid = |what: &str| Err(Error::invalid("root.path", format!("{} {what}", path.display())));
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(()),
            FileType::Symlink => invalid("is a symbolic link; name the directory it leads to"),
            _ => invalid("is not a directory"),
        },
        Err(rustix::io::Errno::NOENT) => invalid("does not exist"),
        Err(errno) => Err(Error::system(format!("root.path: stat {}", path.display()), errno)),
    }
}

/// proc_pid_oom_score_adj(5)
pub(super) fn set_oom_score(pid: Pid, score: i32) -> Result<()> {
    write_oom_score(&format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero()), score)
}

/// As [`set_oom_score`], for the calling process: the stage can not be written to from outside by an ordinary user.
pub(super) fn write_oom_score(path: &str, score: i32) -> Result<()> {
    let step = || format!("process.oomScoreAdj: write {score} to {path}");
    let file = rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).step(step)?;
    // On the stack: the caller may be a child that shares the launcher's memory.
    let mut text = [0; 11];
    let mut rest = &mut text[..];
    let _ = write!(rest, "{score}");
    let length = 11 - rest.len();
    rustix::io::write(&file, &text[..length]).map(drop).map_err(|errno| {
        let error = Error::system(step(), errno);
        match errno {
            rustix::io::Errno::ACCESS => error.remedy("lowering it needs CAP_SYS_RESOURCE"),
            _ => error,
        }
    })
}

/// Complete or not at all: engines poll for it.
pub(crate) fn write_pid_file(path: &Path, pid: Pid) -> Result<()> {
    let temporary = path.with_file_name(format!(".{}", path.file_name().unwrap_or_default().to_string_lossy()));
    // A stale one, or a link that somebody has put there, is not written through.
    let _ = std::fs::remove_file(&temporary);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary);
    let written = file.and_then(|mut file| file.write_all(pid.as_raw_nonzero().to_string().as_bytes()));
    written.on("write", &temporary)?;
    std::fs::rename(&temporary, path).on("rename to", path)
}

/// What has been made so far; dropped without [`Undo::keep`] it is unmade.
struct Undo<'a> {
    directory: Option<&'a Directory>,
    cgroup: Option<Cgroup>,
    resctrl: Option<resctrl::Record>,
    child: Option<Child>,
    devices: Option<net_devices::Moved>,
    poststop: Option<Record>,
}

impl Undo<'_> {
    fn keep(mut self) -> (Option<Child>, Option<Cgroup>) {
        self.directory = None;
        self.poststop = None;
        self.resctrl = None;
        if let Some(devices) = self.devices.take() {
            devices.keep();
        }
        (self.child.take(), self.cgroup.take())
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        // Before their network namespace ends.
        drop(self.devices.take());
        if let Some(child) = &self.child {
            let _ = rustix::process::pidfd_send_signal(child, Signal::KILL);
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill();
        }
        if let Some(child) = &self.child {
            child.kill();
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.remove();
        }
        if let Some(shares) = &self.resctrl {
            let _ = shares.remove();
        }
        if let Some(directory) = self.directory {
            let _ = directory.remove();
        }
        if let Some(record) = &self.poststop {
            let state = record.document.at(Status::Stopped, None);
            for error in hooks::run_all("poststop", &record.hooks.poststop, &state, None) {
                log::warn(error);
            }
        }
    }
}
