use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::exit_status;
use crate::container::{CheckpointOptions, CreateOptions, Images, RestoreOptions, Runtime};
use crate::criu::{CgroupsMode, PageServer, SharedOptions};
use crate::error::{Error, Result};

/// Write a running container to images with CRIU, and end it.
#[derive(Args, Debug)]
pub(super) struct Checkpoint {
    #[command(flatten)]
    images: ImageFlags,
    /// The images of an earlier --pre-dump, relative to --image-path.
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Let the container go on.
    #[arg(long)]
    leave_running: bool,
    /// Leave out TCP connections that are being made.
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Give files that are open but have no name any more one.
    #[arg(long)]
    link_remap: bool,
    /// A descriptor that gets a zero byte when --lazy-pages can be asked for.
    #[arg(long, value_name = "N", requires = "lazy_pages")]
    status_fd: Option<i32>,
    /// Send memory there, to `criu page-server`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<PageServer>,
    /// Write the memory alone, and let the container go on.
    #[arg(long)]
    pre_dump: bool,
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// Make a container from images of `checkpoint`, and let it go on.
#[derive(Args, Debug)]
pub(super) struct Restore {
    #[command(flatten)]
    images: ImageFlags,
    /// The directory with config.json.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// A Unix socket that gets the master side of the container's terminal.
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Do not wait for the end.
    #[arg(short, long)]
    detach: bool,
    /// Write the process's number there.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Do not wait for the container's processes whose parents have ended; whoever started this command gets them.
    #[arg(long)]
    no_subreaper: bool,
    /// For runc's callers; refused, because CRIU restores the mounts as they were.
    #[arg(long, hide = true)]
    no_pivot: bool,
    /// Another AppArmor or SELinux profile for the container's processes.
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// Another SELinux context for the container's mounts.
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// What both have.
#[derive(Args, Debug)]
struct ImageFlags {
    /// The directory of the images.
    #[arg(long, value_name = "DIR", default_value = "checkpoint")]
    image_path: PathBuf,
    /// Where CRIU writes its log, if not there.
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// Keep open TCP connections.
    #[arg(long)]
    tcp_established: bool,
    /// Allow Unix sockets that lead outside of the container.
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow the container's session and terminal to be those of a shell.
    #[arg(long)]
    shell_job: bool,
    /// Memory stays behind and is fetched when it is touched.
    #[arg(long)]
    lazy_pages: bool,
    /// Keep file locks.
    #[arg(long)]
    file_locks: bool,
    /// What happens to properties of cgroups.
    #[arg(long, value_name = "MODE", default_value = "soft")]
    manage_cgroups_mode: CgroupsMode,
    /// Restore this namespace empty.
    #[arg(long, value_name = "NAMESPACE")]
    empty_ns: Vec<EmptyNamespace>,
    /// Free memory images that have been used, or are the same as their parents'.
    #[arg(long)]
    auto_dedup: bool,
}

/// CRIU can leave no other out.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum EmptyNamespace {
    Network,
}

impl ImageFlags {
    fn images(self) -> Images {
        let options = SharedOptions {
            tcp_established: self.tcp_established,
            ext_unix_sk: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
            empty_network: !self.empty_ns.is_empty(),
            cgroups: self.manage_cgroups_mode,
        };
        Images { path: self.image_path, work_path: self.work_path, options }
    }
}

impl Checkpoint {
    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        let options = CheckpointOptions {
            images: self.images.images(),
            parent_path: self.parent_path,
            leave_running: self.leave_running,
            pre_dump: self.pre_dump,
            tcp_skip_in_flight: self.tcp_skip_in_flight,
            link_remap: self.link_remap,
            page_server: self.page_server,
            status_fd: self.status_fd,
        };
        runtime.checkpoint(&self.id, &options)
    }
}

impl Restore {
    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<u8> {
        if self.no_pivot {
            return Err(Error::invalid("--no-pivot", "CRIU restores the mounts as they were: leave it out"));
        }
        let create = CreateOptions {
            bundle: self.bundle,
            console_socket: self.console_socket,
            pid_file: self.pid_file,
            no_subreaper: self.no_subreaper,
            ..CreateOptions::default()
        };
        let options = RestoreOptions {
            images: self.images.images(),
            create,
            detach: self.detach,
            lsm_profile: self.lsm_profile,
            lsm_mount_context: self.lsm_mount_context,
        };
        runtime.restore(&self.id, &options).map(exit_status)
    }
}
