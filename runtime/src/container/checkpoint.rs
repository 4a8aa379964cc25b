//! `checkpoint` and `restore`, by CRIU.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use rustix::process::Pid;

use super::create::{absolute, check_terminal};
use super::{CreateOptions, Runtime, delete};
use crate::cgroup::Cgroup;
use crate::criu::{CgroupsMode, Common, Dump, External, Inherited, Notice, PageServer, Restore, Service};
use crate::error::{Context, Error, Kind, Result};
use crate::launch::{Child, Foreground, Outcome, hooks, send_master, write_pid_file};
use crate::plan::{self, Host, MountKind, NamespaceKind, Plan, Request, Start, Step};
use crate::stage::Root;
use crate::state::{Directory, Identity, Record, Status};
use crate::sys::mount::{MountAttributes, mount_setattr};
use crate::{channel, config, log};

/// What `checkpoint` and `restore` have in common; the words are CRIU's (criu(8)).
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// The directory of the images.
    pub path: PathBuf,
    /// Where CRIU writes its log, if not there.
    pub work_path: Option<PathBuf>,
    /// Keep TCP connections.
    pub tcp_established: bool,
    /// Unix sockets may lead outside of the container.
    pub ext_unix_sk: bool,
    /// The session and terminal may be those of the caller.
    pub shell_job: bool,
    /// Keep file locks.
    pub file_locks: bool,
    /// Free memory images that are used or the same as their parents'.
    pub auto_dedup: bool,
    /// Leave memory behind until it is touched.
    pub lazy_pages: bool,
    /// Restore the network namespace empty.
    pub empty_network: bool,
    /// What happens to properties of cgroups.
    pub cgroups: CgroupsMode,
}

/// What `checkpoint` takes beside the container's name.
#[derive(Clone, Debug, Default)]
pub struct CheckpointOptions {
    /// The images.
    pub images: Images,
    /// The images of a pre-dump, relative to these.
    pub parent_path: Option<PathBuf>,
    /// The container goes on.
    pub leave_running: bool,
    /// Only the memory, and the container goes on.
    pub pre_dump: bool,
    /// Leave connections out that are being made.
    pub tcp_skip_in_flight: bool,
    /// Give files that have no name any more one.
    pub link_remap: bool,
    /// Where memory is sent.
    pub page_server: Option<PageServer>,
    /// A descriptor that gets a zero byte when lazy pages can be asked for.
    pub status_fd: Option<i32>,
}

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

/// What descriptors 0 to 2 were, as runc keeps it.
const DESCRIPTORS: &str = "descriptors.json";
/// What CRIU calls namespaces that are joined.
const EXTERNAL: [(NamespaceKind, &str); 2] =
    [(NamespaceKind::Network, "extRootNetNS"), (NamespaceKind::Pid, "extRootPidNS")];

/// Its type and its file.
type JoinedNamespace = (&'static str, PathBuf);

impl Runtime {
    /// Writes a running container to images; it ends with that unless it is to go on.
    pub fn checkpoint(&self, id: &str, options: &CheckpointOptions) -> Result<()> {
        let (directory, record, status) = self.lock(id)?;
        if status != Status::Running {
            return Err(Error::new(Kind::State, format!("Container cannot be checkpointed in {status} state: {id}")));
        }
        let init = directory.init()?.ok_or_else(|| Error::new(Kind::State, format!("container not running: {id}")))?;
        let spec = directory.configuration()?.spec;
        let plan = self.compile_again(&record, &spec)?;
        let service = Service::start(&self.criu, &[])?;
        let images = open_images(&options.images, true)?;
        let mut common = images.common(&options.images, &record.rootfs, &spec);
        common.mounts = external_mounts(&plan, Some(&root_of(init.pid)?));
        if !options.pre_dump {
            keep_descriptors(&options.images.path, init.pid)?;
        }
        let dump = Dump {
            common,
            pid: init.pid,
            pre_dump: options.pre_dump,
            leave_running: options.leave_running,
            tcp_skip_in_flight: options.tcp_skip_in_flight,
            link_remap: options.link_remap,
            parent: options.parent_path.as_deref(),
            page_server: options.page_server.as_ref(),
            freezer: record.cgroup.as_ref().and_then(|cgroup| cgroup.open().freezer_directory()),
            namespaces: external_namespaces(&plan)?,
        };
        service.dump(&dump, &mut |notice| {
            if let ("status-ready", Some(number)) = (notice.moment.as_str(), options.status_fd) {
                let file =
                    crate::sys::process::inherited_descriptor(number).step(|| format!("--status-fd {number}"))?;
                rustix::io::write(&file, &[0]).step(|| format!("--status-fd {number}"))?;
            }
            Ok(())
        })?;
        match options.leave_running || options.pre_dump {
            true => Ok(()),
            false => delete::remove(&directory, &record),
        }
    }

    /// Makes a container from images and lets it go on: its exit status; 0 at once when detached.
    pub fn restore(&self, id: &str, options: &RestoreOptions) -> Result<i32> {
        crate::state::check_id(id)?;
        let bundle = absolute(&options.create.bundle)?;
        let config = config::load(&bundle)?;
        let host = Host::detect()?;
        let plan = plan::compile(&self.request(id, &bundle), &config.spec, &host)?;
        plan.warnings.iter().for_each(log::warn);
        check_terminal(&plan, &options.create, options.detach)?;
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
        let outcome = foreground.attend(&child, channel, terminal, None);
        if directory.lock()? {
            delete::remove(&directory, &record)?;
        }
        match outcome? {
            Outcome::Exited(status) => Ok(status),
            Outcome::Failed(error) => Err(error),
        }
    }

    fn request<'a>(&self, id: &'a str, bundle: &'a Path) -> Request<'a> {
        Request {
            id,
            bundle,
            cgroups: self.cgroups,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            listen_fds: 0,
            start: Start::AtOnce,
        }
    }

    /// What was decided when the container was made.
    fn compile_again(&self, record: &Record, spec: &oci_spec::runtime::Spec) -> Result<Plan> {
        plan::compile(&self.request(&record.document.id, &record.document.bundle), spec, &Host::detect()?)
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
        let root = mount_root(self.directory, &self.plan.inside.rootfs.path)?;
        crate::stage::make_mount_points(&root, &self.plan.inside.steps)?;
        let (inherited, namespaces) = self.inherited()?;
        let service = Service::start(&self.runtime.criu, &inherited)?;
        let cgroups = self.enter_cgroup(service.pid())?;
        let mut common = images.common(&self.options.images, &root, &config.spec);
        common.mounts = external_mounts(self.plan, None);
        let restore = Restore {
            common,
            inherited: &inherited,
            namespaces,
            cgroups,
            lsm_profile: self.options.lsm_profile.as_deref(),
            lsm_mount_context: self.options.lsm_mount_context.as_deref(),
        };
        let mut terminal = None;
        let pid = service.restore(&restore, &mut |notice| self.hear(notice, &mut terminal))?;
        let pid = Pid::from_raw(pid).ok_or_else(|| Error::new(Kind::System, "CRIU has restored a process 0"))?;
        let child = Child::adopted(pid)?;
        self.directory.write_init(&Identity::of(pid)?)?;
        if let Some(path) = &self.options.create.pid_file {
            write_pid_file(path, pid)?;
        }
        Ok((child, terminal))
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
        let text = std::fs::read(&path).on("read", &path)?;
        let names: Vec<String> = serde_json::from_slice(&text).map_err(std::io::Error::from).on("decode", &path)?;
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

/// The open directories of the images.
struct OpenImages<'a> {
    path: &'a Path,
    directory: OwnedFd,
    work: Option<(OwnedFd, &'a Path)>,
}

fn open_images(images: &Images, make: bool) -> Result<OpenImages<'_>> {
    let open = |path: &Path| {
        if make {
            match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::system(format!("make the directory {}", path.display()), errno)),
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).on("open the images' directory", path)
    };
    let work = images.work_path.as_deref().map(|path| Ok((open(path)?, path))).transpose()?;
    Ok(OpenImages { path: &images.path, directory: open(&images.path)?, work })
}

impl OpenImages<'_> {
    fn common<'a>(&'a self, images: &Images, root: &'a Path, spec: &'a oci_spec::runtime::Spec) -> Common<'a> {
        let annotations = spec.annotations().as_ref();
        let configuration = match annotations.and_then(|annotations| annotations.get("org.criu.config")) {
            // As runc: empty says that there is none.
            Some(file) => Some(file.as_str()).filter(|file| !file.is_empty()),
            None => Some("/etc/criu/runc.conf"),
        };
        Common {
            images: self.directory.as_fd(),
            images_path: self.path,
            work: self.work.as_ref().map(|(file, path)| (file.as_fd(), *path)),
            root,
            tcp_established: images.tcp_established,
            ext_unix_sk: images.ext_unix_sk,
            shell_job: images.shell_job,
            file_locks: images.file_locks,
            auto_dedup: images.auto_dedup,
            lazy_pages: images.lazy_pages,
            empty_network: images.empty_network,
            cgroups: images.cgroups,
            configuration,
            mounts: Vec::new(),
        }
    }
}

/// The root file system of a container's first process.
fn root_of(pid: i32) -> Result<Root> {
    let path = Path::new("/proc").join(pid.to_string()).join("root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).map(Root::from).on("open", &path)
}

/// Bind mounts, the cgroups of version 1 and what masks files. For a dump, of the container with that root.
fn external_mounts(plan: &Plan, dumped: Option<&Root>) -> Vec<External> {
    let mut mounts = Vec::new();
    let mut add = |path: &Path, source: &Path| {
        let source = if dumped.is_some() { path } else { source };
        mounts.push(External { path: path.to_owned(), source: source.to_owned() });
    };
    for step in &plan.inside.steps {
        match step {
            Step::Mount(mount) => match &mount.kind {
                MountKind::Bind { source, .. } => add(&mount.destination, source),
                MountKind::Cgroup(view) if !plan.namespaces.makes(NamespaceKind::Cgroup) => {
                    for hierarchy in view.hierarchies.iter().filter(|hierarchy| !hierarchy.name.is_empty()) {
                        add(&mount.destination.join(&hierarchy.name), &hierarchy.directory);
                    }
                }
                MountKind::Filesystem { .. } | MountKind::Remount { .. } | MountKind::Cgroup(_) => {}
            },
            Step::Device(device) if plan.inside.new_user_namespace => add(&device.path, &device.path),
            _ => {}
        }
    }
    let null = Path::new("/dev/null");
    match dumped {
        // Every masked file is the same mount source, which has one name in the images.
        Some(root) => {
            let masked = plan.inside.steps.iter().filter_map(|step| match step {
                Step::MaskedPath(path) => Some(path),
                _ => None,
            });
            for path in masked {
                let seen = root.open(path, OFlags::PATH).and_then(|file| rustix::fs::fstat(&file));
                if seen.is_ok_and(|seen| !FileType::from_raw_mode(seen.st_mode).is_dir()) {
                    mounts.push(External { path: path.clone(), source: null.to_owned() });
                }
            }
        }
        None => mounts.push(External { path: null.to_owned(), source: null.to_owned() }),
    }
    mounts
}

/// `net[INODE]:KEY` for each that is joined.
fn external_namespaces(plan: &Plan) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for join in &plan.namespaces.join {
        if let Some((_, key)) = EXTERNAL.into_iter().find(|(kind, _)| *kind == join.kind) {
            let stat = rustix::fs::stat(&join.path).on("stat", &join.path)?;
            names.push(format!("{}[{}]:{key}", join.kind.file(), stat.st_ino));
        }
    }
    Ok(names)
}

fn keep_descriptors(images: &Path, pid: i32) -> Result<()> {
    let name = |number: i32| {
        let link = rustix::fs::readlinkat(CWD, format!("/proc/{pid}/fd/{number}"), Vec::new());
        link.map_or(String::new(), |link| link.to_string_lossy().into_owned())
    };
    let names: Vec<String> = (0..3).map(name).collect();
    let path = images.join(DESCRIPTORS);
    let text = serde_json::to_vec(&names).map_err(std::io::Error::from).on("encode", &path)?;
    std::fs::write(&path, text).on("write", &path)
}

/// CRIU wants the root file system as a mount of its own whose parent nobody has covered. It gets one in a mount namespace
/// of this command, so that nothing of it is seen or left on the host.
fn mount_root(directory: &Directory, rootfs: &Path) -> Result<PathBuf> {
    let step = || "make a mount namespace for CRIU";
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).step(step)?;
    let top = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).step(step)?;
    let cut = MountAttributes { propagation: libc::MS_SLAVE, ..MountAttributes::default() };
    mount_setattr(&top, &cut, true).step(step)?;
    rustix::fs::mkdirat(directory, "criu-root", Mode::from_raw_mode(0o755)).step(|| "make the directory for CRIU")?;
    let place = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd()))
        .step(|| "look up the container's directory")?
        .join("criu-root");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, rootfs, flags).on("open the root file system", rootfs)?;
    rustix::mount::move_mount(&tree, "", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .on("mount the root file system on", &place)?;
    rustix::fs::statat(CWD, &place, AtFlags::empty()).on("stat", &place)?;
    Ok(place)
}
