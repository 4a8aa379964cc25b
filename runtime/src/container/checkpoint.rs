//! `checkpoint`, by CRIU, and what `restore` shares with it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Runtime, delete};
use crate::cgroup;
use crate::criu::{CgroupsMode, Common, Dump, External, PageServer, Service, SharedOptions};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::{self, Host, MountKind, NamespaceKind, Plan, Request, Start, Step};
use crate::stage::Root;
use crate::state::{Record, Status};

/// What `checkpoint` and `restore` have in common; the words are CRIU's (criu(8)).
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// The directory of the images.
    pub path: PathBuf,
    /// Where CRIU writes its log, if not there.
    pub work_path: Option<PathBuf>,
    /// What is wanted of CRIU.
    pub options: SharedOptions,
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

/// What descriptors 0 to 2 were, as runc keeps it.
pub(super) const DESCRIPTORS: &str = "descriptors.json";
/// What CRIU calls namespaces that are joined.
pub(super) const EXTERNAL: [(NamespaceKind, &str); 2] =
    [(NamespaceKind::Network, "extRootNetNS"), (NamespaceKind::Pid, "extRootPidNS")];

impl Runtime {
    /// Writes a running container to images; it ends with that unless it is to go on.
    pub fn checkpoint(&self, id: &str, options: &CheckpointOptions) -> Result<()> {
        let (directory, record, status) = self.lock(id)?;
        if status != Status::Running {
            let error = Error::new(Kind::State, format!("Container cannot be checkpointed in {status} state: {id}"));
            return Err(match status {
                // CRIU would wait for ever for processes that can not move, or thaw them for good.
                Status::Paused => error.remedy("resume it first"),
                _ => error,
            });
        }
        let init = directory.init()?.ok_or_else(|| Error::new(Kind::State, format!("container not running: {id}")))?;
        let spec = directory.configuration()?.spec;
        let plan = self.compile_again(&record, &spec)?;
        let service = Service::start(&self.criu, &[])?;
        let images = open_images(&options.images, true)?;
        let mut common = images.common(&options.images, &record.rootfs, &spec);
        common.mounts = external_mounts(&plan, Some(&root_of(init.pid)?));
        if record.cgroup.is_none() {
            // It is in the caller's, with who knows what else.
            common.options.cgroups = CgroupsMode::Ignore;
        }
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
            hierarchies: own_hierarchies(record.cgroup.as_ref(), init.pid)?,
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

    pub(super) fn restore_request<'a>(&self, id: &'a str, bundle: &'a Path) -> Request<'a> {
        Request { start: Start::AtOnce, ..Request::new(id, bundle, self.cgroups) }
    }

    /// What was decided when the container was made.
    fn compile_again(&self, record: &Record, spec: &oci_spec::runtime::Spec) -> Result<Box<Plan>> {
        plan::compile(&self.restore_request(&record.document.id, &record.document.bundle), spec, &Host::detect()?)
    }
}

/// The open directories of the images.
pub(super) struct OpenImages<'a> {
    path: &'a Path,
    directory: OwnedFd,
    work: Option<(OwnedFd, &'a Path)>,
}

pub(super) fn open_images(images: &Images, make: bool) -> Result<OpenImages<'_>> {
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
    /// Whether a user of another namespace can not even see which files are not there.
    pub fn are_hidden(&self) -> bool {
        rustix::fs::fstat(&self.directory).is_ok_and(|stat| stat.st_mode & Mode::XOTH.as_raw_mode() == 0)
    }

    pub fn common<'a>(&'a self, images: &Images, root: &'a Path, spec: &'a oci_spec::runtime::Spec) -> Common<'a> {
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
            options: images.options.clone(),
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

/// Bind mounts, those of cgroups included, and what masks files. For a dump, of the container with that root.
pub(super) fn external_mounts(plan: &Plan, dumped: Option<&Root>) -> Vec<External> {
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
                    for hierarchy in &view.hierarchies {
                        match hierarchy.name.as_str() {
                            "" => add(&mount.destination, &hierarchy.directory),
                            name => add(&mount.destination.join(name), &hierarchy.directory),
                        }
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

/// CRIU writes, and makes again, all that is below the cgroup of the first process: where that is not the container's own,
/// it would be other containers'. The hierarchies where it is; none when that is everywhere.
fn own_hierarchies(cgroup: Option<&cgroup::Record>, pid: i32) -> Result<Vec<String>> {
    let Some(cgroup) = cgroup else { return Ok(Vec::new()) };
    let file = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&file).on("read", &file)?;
    let is_own = |key: &str| cgroup.hierarchies().any(|own| own == key);
    match text.lines().filter_map(|line| line.split(':').nth(1)).all(is_own) {
        true => Ok(Vec::new()),
        false => Ok(cgroup.hierarchies().map(str::to_owned).collect()),
    }
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
