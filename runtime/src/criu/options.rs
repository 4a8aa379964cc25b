//! What CRIU is asked for: `criu_opts`.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use super::wire::Message;

/// `--manage-cgroups-mode`: what is done with the properties of cgroups (criu(8)).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum CgroupsMode {
    /// They are restored where CRIU makes the cgroup.
    #[default]
    Soft = 3,
    /// They are restored always.
    Full = 4,
    /// Restored, and the cgroups must not be there before.
    Strict = 5,
    /// Cgroups are no business of CRIU's.
    Ignore = 0,
}

/// What a caller may want of dump and restore alike.
#[derive(Clone, Debug, Default)]
pub struct SharedOptions {
    /// TCP connections are kept.
    pub tcp_established: bool,
    /// Unix sockets may lead outside of the container.
    pub ext_unix_sk: bool,
    /// The session and terminal may be the caller's.
    pub shell_job: bool,
    /// File locks are kept.
    pub file_locks: bool,
    /// Memory images are freed as soon as they are used, or as they are the same as in a parent image.
    pub auto_dedup: bool,
    /// Memory stays behind and comes when it is touched.
    pub lazy_pages: bool,
    /// The network namespace comes back empty.
    pub empty_network: bool,
    /// What happens to properties of cgroups.
    pub cgroups: CgroupsMode,
}

/// What dump and restore have in common.
#[derive(Clone, Debug)]
pub struct Common<'a> {
    /// The directory of the images.
    pub images: BorrowedFd<'a>,
    /// Its path.
    pub images_path: &'a Path,
    /// Where logs are written, if not there.
    pub work: Option<(BorrowedFd<'a>, &'a Path)>,
    /// The root file system, on the host.
    pub root: &'a Path,
    /// What the caller wants.
    pub options: SharedOptions,
    /// A file of more options (annotation `org.criu.config`).
    pub configuration: Option<&'a str>,
    /// Mounts from outside: the path in the container, and for restore the source on the host.
    pub mounts: Vec<External>,
}

/// A mount whose content is not the container's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct External {
    /// In the container.
    pub path: PathBuf,
    /// What to mount there, or what it is called in the images.
    pub source: PathBuf,
}

/// Where memory is sent instead of to images.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PageServer {
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u16,
}

impl std::str::FromStr for PageServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.rsplit_once(':').and_then(|(address, port)| Some((address, port.parse().ok()?)));
        match parsed {
            Some((address, port)) if !address.is_empty() && port > 0 => Ok(Self { address: address.to_owned(), port }),
            _ => Err(format!("{text:?} is not ADDRESS:PORT")),
        }
    }
}

/// CLONE_NEWNET, for `empty_ns`.
const NETWORK: i64 = libc::CLONE_NEWNET as i64;

impl Common<'_> {
    /// Where CRIU's log of that name is.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.work.map_or(self.images_path, |(_, path)| path).join(name)
    }

    fn message(&self, log: &str) -> Message {
        let mut message = Message::default();
        message.number(1, self.images.as_raw_fd().into());
        message
            .truth(4, self.options.ext_unix_sk)
            .truth(5, self.options.tcp_established)
            .truth(7, self.options.shell_job);
        message.truth(8, self.options.file_locks).number(9, 4).bytes(10, log).truth(12, true);
        message.bytes(13, path(self.root)).truth(16, self.options.auto_dedup);
        if let Some((work, _)) = self.work {
            message.number(17, work.as_raw_fd().into());
        }
        for mount in &self.mounts {
            message.message(23, &pair(path(&mount.path), path(&mount.source)));
        }
        message.truth(24, self.options.cgroups != CgroupsMode::Ignore).number(34, self.options.cgroups as i64);
        if self.options.empty_network {
            message.number(38, NETWORK);
        }
        message.truth(48, self.options.lazy_pages).truth(50, true);
        if let Some(file) = self.configuration {
            message.bytes(51, file);
        }
        message
    }
}

/// What to write to images.
pub struct Dump<'a> {
    /// As for restore.
    pub common: Common<'a>,
    /// The container's first process.
    pub pid: i32,
    /// Only the memory, and everything goes on.
    pub pre_dump: bool,
    /// Everything goes on afterwards.
    pub leave_running: bool,
    /// Connections that are being made are left out.
    pub tcp_skip_in_flight: bool,
    /// Files that have no name any more get one.
    pub link_remap: bool,
    /// The images of a pre-dump, relative to these.
    pub parent: Option<&'a Path>,
    /// Where memory goes.
    pub page_server: Option<&'a PageServer>,
    /// The cgroup by which the processes are held.
    pub freezer: Option<PathBuf>,
    /// The only hierarchies, as /proc/PID/cgroup calls them, whose cgroups are written; none: all.
    pub hierarchies: Vec<String>,
    /// Namespaces that are not the container's: `net[4026531992]:key`.
    pub namespaces: Vec<String>,
}

impl Dump<'_> {
    pub(super) const LOG: &'static str = "dump.log";

    pub(super) fn message(&self) -> Message {
        let mut message = self.common.message(Self::LOG);
        message.number(2, self.pid.into()).truth(3, self.leave_running).truth(18, self.link_remap);
        if let Some(server) = self.page_server {
            let mut place = Message::default();
            place.bytes(1, &server.address).number(2, server.port.into());
            message.message(11, &place);
        }
        if let Some(parent) = self.parent {
            message.bytes(14, path(parent)).truth(15, true);
        }
        for namespace in &self.namespaces {
            message.bytes(37, namespace);
        }
        for hierarchy in &self.hierarchies {
            message.bytes(43, hierarchy);
        }
        if let Some(freezer) = &self.freezer {
            message.bytes(44, path(freezer));
        }
        message.truth(46, self.tcp_skip_in_flight);
        message
    }
}

/// A descriptor for a restored process, in the place of one that is called `key` in the images.
pub struct Inherited {
    /// Such as `pipe:[123]`.
    pub key: String,
    /// The number it has here and in CRIU.
    pub number: RawFd,
    /// Held until CRIU runs.
    pub held: Option<OwnedFd>,
}

impl Inherited {
    pub(super) fn file(&self) -> Option<&OwnedFd> {
        self.held.as_ref()
    }
}

/// What to make from images.
pub struct Restore<'a> {
    /// As for dump.
    pub common: Common<'a>,
    /// Descriptors from here.
    pub inherited: &'a [Inherited],
    /// Namespaces to join: type and file.
    pub namespaces: Vec<(&'static str, PathBuf)>,
    /// Where the cgroups of the images' processes are made: controller and path.
    pub cgroups: Vec<(String, String)>,
    /// Another AppArmor or SELinux profile, `TYPE:NAME`.
    pub lsm_profile: Option<&'a str>,
    /// Another SELinux context for mounts.
    pub lsm_mount_context: Option<&'a str>,
}

impl Restore<'_> {
    pub(super) const LOG: &'static str = "restore.log";

    pub(super) fn message(&self) -> Message {
        let mut message = self.common.message(Self::LOG);
        // Its parent is this process; device files may have moved.
        message.truth(6, true).truth(26, true);
        for (controller, path) in &self.cgroups {
            let mut root = Message::default();
            root.bytes(1, controller).bytes(2, path);
            message.message(25, &root);
        }
        for inherited in self.inherited {
            let mut file = Message::default();
            file.bytes(1, &inherited.key).number(2, inherited.number.into());
            message.message(27, &file);
        }
        for (kind, file) in &self.namespaces {
            message.message(39, &pair(kind.as_bytes(), path(file)));
        }
        if let Some(profile) = self.lsm_profile {
            message.bytes(53, profile);
        }
        if let Some(context) = self.lsm_mount_context {
            message.bytes(63, context);
        }
        message
    }
}

/// `ext_mount_map` and `join_namespace`: two strings.
fn pair(first: &[u8], second: &[u8]) -> Message {
    let mut message = Message::default();
    message.bytes(1, first).bytes(2, second);
    message
}

fn path(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers() {
        assert_eq!("10.0.0.1:27".parse(), Ok(PageServer { address: "10.0.0.1".into(), port: 27 }));
        for bad in ["", ":1", "host", "host:", "host:0", "host:65536"] {
            assert!(bad.parse::<PageServer>().is_err(), "{bad}");
        }
    }
}
