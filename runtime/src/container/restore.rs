//! `restore`, by CRIU.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::process::Pid;

use super::checkpoint::{DESCRIPTORS, EXTERNAL, Images, OpenImages, external_mounts, open_images};
use super::create::{absolute, check_terminal};
use super::{CreateOptions, Runtime, delete};
use crate::cgroup::Cgroup;
use crate::criu::{CgroupsMode, Inherited, Notice, Restore, Service};
use crate::error::{Context, Error, Kind, Result};
use crate::launch::{Child, Foreground, Outcome, hooks, send_master, write_pid_file};
use crate::plan::{self, Host, NamespaceKind, Plan};
use crate::state::{Directory, Identity, Record, Status};
use crate::sys::mount::{MountAttributes, mount_setattr};
use crate::{channel, config, log};

/// Its type and its file.
type JoinedNamespace = (&'static str, PathBuf);

/// What `restore` takes beside the container's name.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// The images.
    pub images: Images,
    /// As for `run`: bundle, console socket, pid file, subreaper.
    pub create: CreateOptions,
    /// Do not wait for the end.
    pub detach: bool,
    /// Another AppArmor or SELinux profile, `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// Another SELinux context for mounts.
    pub lsm_mount_context: Option<String>,
}

impl Runtime {
    /// Makes a container from images and lets it go on: its exit status; 0 at once when detached.
    pub fn restore(&self, id: &str, options: &RestoreOptions) -> Result<i32> {
        crate::state::check_id(id)?;
        let bundle = absolute(&options.create.bundle)?;
        let config = config::load(&bundle)?;
        let host = Host::detect()?;
        let plan = plan::compile(&self.restore_request(id, &bundle), &config.spec, &host)?;
        plan.warnings.iter().for_each(log::warn);
        check_terminal(&plan, &options.create, options.detach)?;
        // Before anything is opened: CRIU mounts things in the directories that it is given, and can in its own namespace only.
        leave_host_mounts()?;
        let images = open_images(&options.images, false)?;
        let foreground = match options.detach {
            true => None,
            false => Some(Foreground::enter(None, !options.create.no_subreaper)?),
        };
        let directory = self.store.create(id)?;
        let mut record = Record::of(&plan, &config.spec);
        let mut restoring =
            Restoring { runtime: self, options, plan: &plan, directory: &directory, record: &mut record, cgroup: None };
        let restored = restoring.restore(&images, &config);
        let (child, terminal) = match restored {
            Ok(restored) => restored,
            Err(error) => {
                restoring.undo();
                return Err(error);
            }
        };
        let Some(foreground) = foreground else { return Ok(0) };
        directory.unlock()?;
        // Its other end is gone: the program runs.
        let (channel, _) = channel::pair()?;
        let outcome = foreground.attend(&child, None, channel, terminal, None);
        if directory.lock()? {
            delete::remove(&directory, &record)?;
        }
        match outcome? {
            Outcome::Exited(status) => Ok(status),
            Outcome::Failed(error) => Err(error),
        }
    }
}

/// A container that is being restored.
struct Restoring<'a> {
    runtime: &'a Runtime,
    options: &'a RestoreOptions,
    plan: &'a Plan,
    directory: &'a Directory,
    record: &'a mut Record,
    cgroup: Option<Cgroup>,
}

impl Restoring<'_> {
    fn restore(&mut self, images: &OpenImages<'_>, config: &config::Config) -> Result<(Child, Option<OwnedFd>)> {
        self.directory.write_record(self.record)?;
        self.directory.write_configuration(&config.text)?;
        if let Some(plan) = &self.plan.cgroup {
            let cgroup = Cgroup::create(plan)?;
            self.record.cgroup = Some(cgroup.record());
            self.cgroup = Some(cgroup);
            self.directory.write_record(self.record)?;
        }
        let root = RootForCriu::mount(self.directory, &self.plan.inside.rootfs.path)?;
        crate::stage::make_mount_points(&root.path, &self.plan.inside.steps)?;
        let (inherited, namespaces) = self.inherited()?;
        let service = Service::start(&self.runtime.criu, &inherited)?;
        let cgroups = self.enter_cgroup(service.pid())?;
        let mut common = images.common(&self.options.images, &root.path, &config.spec);
        common.mounts = external_mounts(self.plan, None);
        if self.cgroup.is_none() {
            common.options.cgroups = CgroupsMode::Ignore;
        }
        let restore = Restore {
            common,
            inherited: &inherited,
            namespaces,
            cgroups,
            lsm_profile: self.options.lsm_profile.as_deref(),
            lsm_mount_context: self.options.lsm_mount_context.as_deref(),
        };
        let mut terminal = None;
        let restored = service.restore(&restore, &mut |notice| self.hear(notice, &mut terminal));
        let pid = restored.map_err(|error| match self.plan.inside.new_user_namespace && images.are_hidden() {
            true => error.remedy(format_args!(
                "CRIU looks for more files there as root of the container's user namespace: chmod o+x {}",
                self.options.images.path.display()
            )),
            false => error,
        })?;
        let pid = Pid::from_raw(pid).ok_or_else(|| Error::new(Kind::System, "CRIU has restored a process 0"))?;
        let child = Child::adopted(pid)?;
        match self.remember(pid) {
            Ok(()) => Ok((child, terminal)),
            Err(error) => {
                child.kill();
                Err(error)
            }
        }
    }

    fn remember(&self, pid: Pid) -> Result<()> {
        self.directory.write_init(&Identity::of(pid)?)?.publish()?;
        self.options.create.pid_file.as_deref().map_or(Ok(()), |path| write_pid_file(path, pid))
    }

    /// What has to be done before the processes go on.
    fn hear(&self, notice: Notice, terminal: &mut Option<OwnedFd>) -> Result<()> {
        match notice.moment.as_str() {
            "setup-namespaces" => {
                let state = self.record.document.at(Status::Creating, notice.pid);
                hooks::run("prestart", &self.plan.hooks.prestart, &state, None)?;
                hooks::run("createRuntime", &self.plan.hooks.create_runtime, &state, None)
            }
            "post-restore" => self.cgroup.as_ref().map_or(Ok(()), Cgroup::restrict),
            "orphan-pts-master" => match (&self.options.create.console_socket, notice.descriptor) {
                (Some(socket), Some(master)) => send_master(socket, master.as_fd()),
                (None, Some(master)) => {
                    *terminal = Some(master);
                    Ok(())
                }
                (_, None) => Err(Error::new(Kind::System, "CRIU has sent no terminal")),
            },
            _ => Ok(()),
        }
    }

    /// CRIU makes the processes where it is itself; the paths in every hierarchy.
    fn enter_cgroup(&self, pid: i32) -> Result<Vec<(String, String)>> {
        if let (Some(cgroup), Some(pid)) = (&self.cgroup, Pid::from_raw(pid)) {
            cgroup.enter(pid)?;
            cgroup.enter_unified(pid)?;
        }
        let file = format!("/proc/{pid}/cgroup");
        let text = std::fs::read_to_string(&file).on("read", &file)?;
        let entry = |line: &str| {
            let mut fields = line.splitn(3, ':').skip(1).map(str::to_owned);
            Some((fields.next()?, fields.next()?))
        };
        Ok(text.lines().filter_map(entry).collect())
    }

    /// Descriptors 0 to 2 in the place of the pipes that they were, and namespaces that are there already.
    fn inherited(&self) -> Result<(Vec<Inherited>, Vec<JoinedNamespace>)> {
        let path = self.options.images.path.join(DESCRIPTORS);
        let text = config::read_bounded(&path)?;
        let names: Vec<String> = config::from_json(&text).map_err(std::io::Error::from).on("decode", &path)?;
        let pipes = names.into_iter().take(3).enumerate().filter(|(_, name)| name.starts_with("pipe:"));
        let mut inherited: Vec<Inherited> =
            pipes.map(|(number, key)| Inherited { key, number: number as i32, held: None }).collect();
        let mut joined = Vec::new();
        for join in &self.plan.namespaces.join {
            if let Some((_, key)) = EXTERNAL.into_iter().find(|(kind, _)| *kind == join.kind) {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let file = rustix::fs::open(&join.path, flags, Mode::empty()).on("open", &join.path)?;
                inherited.push(Inherited { key: key.to_owned(), number: file.as_raw_fd(), held: Some(file) });
            } else if join.kind == NamespaceKind::Cgroup {
                let message = "CRIU can not restore into a cgroup namespace that is there already";
                return Err(Error::invalid(format!("linux.namespaces[{}]", join.index), message));
            } else {
                joined.push((join.kind.file(), join.path.clone()));
            }
        }
        Ok((inherited, joined))
    }

    fn undo(&self) {
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
        let _ = self.directory.remove();
    }
}

/// From here on this command has mounts of its own; what the host takes away goes away here, too.
fn leave_host_mounts() -> Result<()> {
    let step = || "make a mount namespace for CRIU";
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).step(step)?;
    let top = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).step(step)?;
    let cut = MountAttributes { propagation: libc::MS_SLAVE, ..MountAttributes::default() };
    mount_setattr(&top, &cut, true).step(step)
}

/// The root file system where CRIU wants it: a mount of its own whose parent nobody has covered, in this command's
/// namespace, so that nothing of it is seen or left on the host. Gone when this is: nobody who removes the container's
/// directory may ever meet the container's files there.
struct RootForCriu {
    path: PathBuf,
}

impl RootForCriu {
    fn mount(directory: &Directory, rootfs: &Path) -> Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let tree = rustix::mount::open_tree(CWD, rootfs, flags).on("open the root file system", rootfs)?;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd()))
            .step(|| "look up the container's directory")?
            .join("criu-root");
        rustix::fs::mkdirat(CWD, &path, Mode::from_raw_mode(0o700)).on("make the directory", &path)?;
        rustix::mount::move_mount(&tree, "", CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .on("mount the root file system on", &path)?;
        Ok(Self { path })
    }
}

impl Drop for RootForCriu {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
        let _ = rustix::fs::unlinkat(CWD, &self.path, AtFlags::REMOVEDIR);
    }
}
