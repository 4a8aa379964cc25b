//! Inside the container: carries out [`Inside`](crate::plan::Inside), then becomes the container's program.
//!
//! The stage is this same executable, started by the launcher from a handle that can not be written through
//! (CVE-2019-5736), with one channel to the launcher and no other descriptor that the plan does not name.

mod console;
mod copy_up;
mod devices;
mod environment;
mod explain;
mod id_mapping;
mod mounts;
mod namespaces;
mod pivot;
mod procfs;
mod program;
mod protected_paths;
mod root;
mod scheduling;
mod standard_descriptors;
mod user;

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::DumpableBehavior;
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, Go, Report};
use crate::error::{Context, Error, Kind, Result};
use crate::launch::hooks;
use crate::plan::{Inside, InsideHooks, MountKind, NamespaceKind, Process, Start, Step};
use crate::state::{Document, Status};
use crate::sys::process::{exit_now, inherited_descriptor};
use crate::trace;

pub(crate) use self::id_mapping::map_ids;
pub(crate) use self::mounts::open_source;
pub(crate) use self::namespaces::become_root;
use self::procfs::Procfs;
pub(crate) use self::root::Root;
pub(crate) use self::scheduling::{set_initial_affinity, set_scheduling};

/// How the launcher names the stage (`argv[0]`): the program that a caller of this library links must call
/// [`enter_if_stage`] first of all.
pub const NAME: &str = "pipkin-stage";

/// The stage's `comm` while it waits for `start`: the kernel replaces it when the program begins, so that a container's
/// status can be read from its process.
pub(crate) const WAITING: &CStr = c"pipkin-created";

/// In bytes; a message between stage and launcher has room for more.
const LONGEST_ERROR: usize = 8 * 1024;

/// What the stage is asked to do, as it is sent.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum Request<'a> {
    /// [`Task::Boot`]
    Boot(&'a Inside),
    /// [`Task::Join`]
    Join(&'a Exec),
}

/// What the stage is asked to do, as it is received.
#[derive(Debug, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is exactly one, for the life of the process")]
pub enum Task {
    /// Make a container.
    Boot(Inside),
    /// Run one more program in a container.
    Join(Exec),
}

/// One more program in a running container.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Exec {
    /// The container's first process, in the launcher's pid namespace; joined by descriptor.
    pub namespaces: Vec<NamespaceKind>,
    /// Whether to become root of a user namespace that was joined.
    pub user_namespace: bool,
    /// The container's name.
    pub id: String,
    /// As [`Inside::new_keyring`].
    pub new_keyring: bool,
    /// The program.
    pub process: Process,
}

/// If this process was started as the stage, does its work and never returns; else returns at once.
///
/// Call it first in `main`, before anything else is set up.
pub fn enter_if_stage() {
    let mut arguments = std::env::args_os();
    if arguments.next().is_some_and(|name| name == NAME) {
        let numbers: Option<Vec<i32>> = arguments.map(|number| number.to_str()?.parse().ok()).collect();
        exit_now(run(&numbers.unwrap_or_default()));
    }
}

fn run(descriptors: &[i32]) -> i32 {
    // Until the program is executed nobody in the container may look into this process (CVE-2016-9962).
    let hidden = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let taken: std::result::Result<Vec<OwnedFd>, _> = descriptors.iter().map(|fd| inherited_descriptor(*fd)).collect();
    let (Ok(()), Ok(taken)) = (hidden, taken) else { return not_for_people() };
    let mut taken = taken.into_iter();
    let (Some(channel), Some(task)) = (taken.next(), taken.next()) else { return not_for_people() };
    let channel = Channel::from(channel);
    trace::begin_in_stage();
    let task = read_task(task);
    trace::step("read the plan");
    let result = task.and_then(|task| match task {
        Task::Boot(inside) => boot(&inside, &channel, taken.next()),
        Task::Join(exec) => join(&exec, &channel, taken.next()),
    });
    match result {
        Ok(never) => match never {},
        Err(error) => {
            trace::flush();
            tell_failure(&channel, error);
            1
        }
    }
}

/// The launcher prints it; if it is gone, nobody is interested any more.
fn tell_failure(channel: &Channel, error: Error) {
    let _ = channel.send(&Report::Failed(error.shortened(LONGEST_ERROR)), None);
}

fn not_for_people() -> i32 {
    eprintln!("{NAME}: this is the inner half of pipkin-runtime, started by itself only");
    1
}

fn read_task(file: OwnedFd) -> Result<Task> {
    let length = rustix::fs::fstat(&file).step(|| "stat the plan")?.st_size as usize;
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match rustix::io::pread(&file, &mut bytes[filled..], filled as u64).step(|| "read the plan")? {
            0 => break,
            count => filled += count,
        }
    }
    postcard::from_bytes(&bytes[..filled])
        .map_err(|cause| Error::new(Kind::System, format!("decode the plan: {cause}")))
}

/// Makes the container and becomes its program.
fn boot(inside: &Inside, channel: &Channel, start: Option<OwnedFd>) -> Result<Infallible> {
    rustix::process::umask(Mode::empty());
    namespaces::enter(inside, channel)?;
    rustix::process::setsid().step(|| "start a session (setsid)")?;
    trace::step("namespaces, session");
    let procfs = Procfs::of_container(inside)?;
    if inside.new_keyring {
        procfs.join_session_keyring(&inside.id, &inside.process)?;
    }
    trace::step("keyring");
    if inside.waits_for_devices {
        channel.wait_for(Go::DevicesMoved)?;
        trace::step("wait for network devices");
    }
    if inside.loopback {
        crate::sys::network::bring_loopback_up().step(|| "bring the interface lo up")?;
        trace::step("loopback");
    }
    let root = pivot::open_rootfs(&inside.rootfs)?;
    if inside.new_cgroup_namespace {
        namespaces::unshare(NamespaceKind::Cgroup)?;
    }
    trace::step("root file system, cgroup namespace");
    let mut received = receive_sources(inside)?;
    let terminal = carry_out_steps(inside, &root, &mut received, channel)?;
    if inside.waits_for_hooks {
        channel.send(&Report::ReadyForHooks, None)?;
        channel.wait_for(Go::HooksDone)?;
        trace::step("wait for hooks");
    }
    if let Some(inside_hooks) = &inside.hooks {
        hooks::run(
            "createContainer",
            &inside_hooks.create_container,
            &own_state(inside_hooks, Status::Creating),
            None,
        )?;
    }
    pivot::make_readonly(&root, &inside.rootfs)?;
    pivot::create_working_directory(&root, &inside.process.cwd)?;
    pivot::change_root(&root, &inside.rootfs)?;
    trace::step("pivot_root");
    if inside.start == Start::AtOnce {
        // The launcher's answer comes while the rest is done.
        channel.send(&Report::Rooted, None)?;
    }
    namespaces::set_names(inside)?;
    for sysctl in &inside.sysctls {
        procfs.write_sysctl(sysctl)?;
    }
    procfs.set_exec_labels(&inside.process)?;
    drop((root, procfs));
    trace::step("names, sysctls");
    let prepared = program::prepare(&inside.process, terminal)?;
    trace::step("limits, user, working directory, find the program");
    // Before the launcher hears that all is ready: whoever looks after `create` must see a created container.
    if inside.start == Start::OnRequest {
        rustix::thread::set_name(WAITING).step(|| "name the process")?;
    }
    channel.send(&Report::Ready, None)?;
    channel.wait_for(Go::Proceed)?;
    trace::step("wait for the launcher");
    match (inside.start, start) {
        (Start::OnRequest, Some(socket)) => {
            let caller = program::wait_for_start(&socket)?;
            trace::step("wait for start");
            // `start` waits for the end of its connection: silence means that the program runs.
            let Err(error) = run_start_hooks(inside).and_then(|()| prepared.execute(&caller));
            let _ = caller.send(&Report::Failed(error.shortened(LONGEST_ERROR)), None);
            exit_now(1)
        }
        _ => run_start_hooks(inside).and_then(|()| prepared.execute(channel)),
    }
}

fn run_start_hooks(inside: &Inside) -> Result<()> {
    match &inside.hooks {
        Some(inside_hooks) => {
            hooks::run("startContainer", &inside_hooks.start_container, &own_state(inside_hooks, Status::Created), None)
        }
        None => Ok(()),
    }
}

/// The state as seen in the container: its process is this one, by its number here.
fn own_state(hooks: &InsideHooks, status: Status) -> Document {
    hooks.state.at(status, Some(rustix::process::getpid().as_raw_nonzero().get()))
}

/// The bind mounts' sources that only the launcher may open; they were left open for the stage.
fn receive_sources(inside: &Inside) -> Result<Vec<(usize, OwnedFd)>> {
    let take = |(index, number): &(usize, i32)| {
        let file = inherited_descriptor(*number).step(|| format!("mounts[{index}]: take the source over"))?;
        Ok((*index, file))
    };
    inside.opened_sources.iter().map(take).collect()
}

/// The ordered list of the plan, and the terminal after /dev is there.
fn carry_out_steps(
    inside: &Inside,
    root: &Root,
    received: &mut Vec<(usize, OwnedFd)>,
    channel: &Channel,
) -> Result<Option<console::Terminal>> {
    let mut devices = devices::Maker::new(root, inside.new_user_namespace);
    let mut protected = protected_paths::Protector::new(root);
    let mut terminal = None;
    let mut unfinished = Vec::new();
    let mut steps = inside.steps.iter().peekable();
    let mut awaits_network = inside.awaits_network;
    while let Some(Step::Mount(mount)) = steps.next_if(|step| matches!(step, Step::Mount(_))) {
        if awaits_network && mount.kind.may_depend_on_network() {
            namespaces::join_network(channel)?;
            awaits_network = false;
        }
        unfinished.extend(mounts::mount(root, mount, received)?);
        trace::step_of(|| format!("mount {}", mount.destination.display()));
    }
    if awaits_network {
        namespaces::join_network(channel)?;
    }
    while let Some(step) = steps.next_if(|step| matches!(step, Step::Device(_) | Step::Symlink { .. })) {
        match step {
            Step::Device(device) => devices.make(device)?,
            Step::Symlink { path, target } => devices.link(path, target)?,
            _ => {}
        }
    }
    drop(devices);
    trace::step("devices and links");
    if let Some(size) = inside.process.terminal {
        let opened = console::Terminal::open(root, size)?;
        opened.mount_as_console(root)?;
        channel.send(&Report::Console, Some(opened.master.as_fd()))?;
        terminal = Some(opened);
    }
    for mount in unfinished {
        mount.finish()?;
    }
    for step in steps {
        match step {
            Step::ReadonlyPath(path) => protected.make_readonly(path)?,
            Step::MaskedPath(path) => protected.mask(path)?,
            Step::Mount(_) | Step::Device(_) | Step::Symlink { .. } => {}
        }
    }
    trace::step("readonly and masked paths");
    Ok(terminal)
}

/// Joins a running container and becomes one more program in it.
fn join(exec: &Exec, channel: &Channel, init: Option<OwnedFd>) -> Result<Infallible> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let init = init.ok_or_else(|| Error::new(Kind::System, "the container's process was not handed over"))?;
    namespaces::join_process(exec, init)?;
    channel.wait_for(Go::Join)?;
    namespaces::hand_over_to_child(channel, &|| run_inside(exec, channel))
}

/// In all of the container's namespaces.
fn run_inside(exec: &Exec, channel: &Channel) -> Result<Infallible> {
    if exec.user_namespace {
        // The launcher knows this process now, and has raised the limits that only it can raise.
        channel.wait_for(Go::Mapped)?;
    }
    rustix::process::setsid().step(|| "start a session (setsid)")?;
    let procfs = Procfs::of_process(&exec.process)?;
    if exec.new_keyring {
        procfs.join_session_keyring(&exec.id, &exec.process)?;
    }
    procfs.set_exec_labels(&exec.process)?;
    drop(procfs);
    let top = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .step(|| "open the container's root")?;
    let root = Root::from(top);
    let mut terminal = None;
    if let Some(size) = exec.process.terminal {
        let opened = console::Terminal::open(&root, size)?;
        channel.send(&Report::Console, Some(opened.master.as_fd()))?;
        terminal = Some(opened);
    }
    let prepared = program::prepare(&exec.process, terminal)?;
    channel.send(&Report::Ready, None)?;
    channel.wait_for(Go::Proceed)?;
    prepared.execute(channel)
}

/// Makes what is missing of the places that are mounted on, for CRIU, which makes none. What is below a file system of the
/// container's own comes back with that.
pub(crate) fn make_mount_points(rootfs: &std::path::Path, steps: &[Step]) -> Result<()> {
    let top = rustix::fs::open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .on("open the root file system", rootfs)?;
    let root = Root::from(top);
    let mut own: Vec<&std::path::Path> = Vec::new();
    for step in steps {
        let Step::Mount(mount) = step else { continue };
        let path = mount.destination.as_path();
        if own.iter().any(|own| path.starts_with(own)) {
            continue;
        }
        let is_file = match &mount.kind {
            MountKind::Bind { source, .. } => !source.is_dir(),
            _ => {
                own.push(path);
                false
            }
        };
        let made = if is_file { root.create_file(path) } else { root.create_directory(path) };
        made.step(|| format!("mounts[{}]: make {}", mount.index, path.display()))?;
    }
    Ok(())
}
