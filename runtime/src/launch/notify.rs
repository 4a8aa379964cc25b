//! `NOTIFY_SOCKET`: what a container's program tells its service manager, passed on (sd_notify(3)).
//!
//! The container gets a socket of its own, because the service manager's is not there for it, and because process numbers
//! in messages would be those of its own pid namespace.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::process::Pid;

use crate::error::{Context, Error, Result};
use crate::log;

/// Where the container finds its socket.
const DIRECTORY_INSIDE: &str = "/run/notify";
const NAME: &str = "notify.sock";

/// What is passed on. Not MAINPID, which the runtime knows better, and nothing that comes with descriptors.
const PASSED_ON: [&str; 8] =
    ["READY=", "STATUS=", "RELOADING=", "STOPPING=", "MONOTONIC_USEC=", "ERRNO=", "WATCHDOG=", "EXTEND_TIMEOUT_USEC="];

/// How long the service manager may take to say that it has read everything.
const BARRIER: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// The service manager's socket, as `NOTIFY_SOCKET` names it: a path, or an abstract name that begins with `@`.
#[derive(Clone, Debug)]
pub struct NotifySocket(SocketAddrUnix);

impl NotifySocket {
    /// Of the caller's environment.
    ///
    /// # Errors
    /// When it is no address.
    pub fn of_caller() -> Result<Option<Self>> {
        use std::os::unix::ffi::OsStrExt;
        let Some(value) = std::env::var_os("NOTIFY_SOCKET").filter(|value| !value.is_empty()) else { return Ok(None) };
        let address = match value.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            path => SocketAddrUnix::new(path),
        };
        address.step(|| format!("NOTIFY_SOCKET: {value:?}")).map(|address| Some(Self(address)))
    }
}

/// Shows the directory of the socket to the container, and tells its program.
pub(crate) fn notify_inside(spec: &mut Spec, directory: &Path) {
    let mut mount = oci_spec::runtime::Mount::default();
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    mount
        .set_destination(DIRECTORY_INSIDE.into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(directory.into()))
        .set_options(Some(options));
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    if let Some(mut process) = spec.process().clone() {
        let mut env = process.env().clone().unwrap_or_default();
        env.push(format!("NOTIFY_SOCKET={DIRECTORY_INSIDE}/{NAME}"));
        process.set_env(Some(env));
        spec.set_process(Some(process));
    }
}

/// The container's socket, and whom it leads to.
pub struct NotifyRelay {
    socket: OwnedFd,
    manager: OwnedFd,
}

impl AsFd for NotifyRelay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl NotifyRelay {
    /// Makes the container's socket in that directory of the host.
    pub fn new(directory: BorrowedFd<'_>, manager: &NotifySocket) -> Result<Self> {
        use std::os::fd::AsRawFd;
        let step = || "make the container's NOTIFY_SOCKET";
        let datagrams =
            || rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).step(step);
        let (socket, to_manager) = (datagrams()?, datagrams()?);
        // A socket's path has to be short (unix(7)), that of a state need not be.
        let path = format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd());
        let _ = rustix::fs::unlinkat(directory, NAME, rustix::fs::AtFlags::empty());
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).step(step)?).step(step)?;
        // Whoever the program is, it may write to it.
        rustix::fs::chmod(Path::new(&path), rustix::fs::Mode::from_raw_mode(0o777)).step(step)?;
        rustix::net::connect(&to_manager, &manager.0)
            .step(|| "connect to the service manager (NOTIFY_SOCKET)")
            .map_err(|error| error.remedy("unset NOTIFY_SOCKET when nobody listens there"))?;
        Ok(Self { socket, manager: to_manager })
    }

    /// Passes everything on that has come. After READY=1 the service manager is told which process is the service's.
    /// Whether the program is ready.
    pub fn pass_on(&self, main: Pid) -> bool {
        let mut ready = false;
        let mut bytes = [0; 4096];
        loop {
            let mut no_descriptors = RecvAncillaryBuffer::default();
            let mut slices = [IoSliceMut::new(&mut bytes)];
            // Descriptors that come with it are closed: sd_notify_barrier(3) is answered so.
            match rustix::net::recvmsg(&self.socket, &mut slices, &mut no_descriptors, RecvFlags::DONTWAIT) {
                Ok(message) => {
                    let text = String::from_utf8_lossy(&bytes[..message.bytes]);
                    let known = |line: &&str| PASSED_ON.iter().any(|name| line.starts_with(name));
                    let lines: Vec<&str> = text.lines().filter(known).collect();
                    if lines.is_empty() {
                        continue;
                    }
                    self.tell(&lines.join("\n"));
                    if lines.contains(&"READY=1") {
                        self.tell(&format!("MAINPID={}", main.as_raw_nonzero()));
                        ready = true;
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => return ready,
            }
        }
    }

    /// Until the program is ready, or has ended.
    pub fn until_ready(&self, program: BorrowedFd<'_>, main: Pid) -> Result<()> {
        loop {
            let mut waiting = [PollFd::new(self, PollFlags::IN), PollFd::from_borrowed_fd(program, PollFlags::IN)];
            match rustix::event::poll(&mut waiting, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("wait for the container's READY=1", errno)),
            }
            let ended = !waiting[1].revents().is_empty();
            if self.pass_on(main) {
                return self.wait_until_heard();
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// sd_notify(3) does not fail where nobody listens any more; nor does this.
    fn tell(&self, message: &str) {
        if let Err(errno) = rustix::net::send(&self.manager, message.as_bytes(), SendFlags::NOSIGNAL) {
            log::warn(format_args!("NOTIFY_SOCKET: send {message:?}: {errno}"));
        }
    }

    /// sd_notify_barrier(3): a service manager looks up who sent a message, so this process must not end before it has.
    fn wait_until_heard(&self) -> Result<()> {
        let step = || "wait for the service manager to hear the container";
        let (heard, sent) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step(step)?;
        let descriptors = [sent.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let message = [IoSlice::new(b"BARRIER=1")];
        rustix::net::sendmsg(&self.manager, &message, &mut ancillary, SendFlags::NOSIGNAL).step(step)?;
        drop(sent);
        let mut waiting = [PollFd::new(&heard, PollFlags::IN)];
        match rustix::event::poll(&mut waiting, Some(&BARRIER)) {
            Ok(0) => log::warn("NOTIFY_SOCKET: the service manager did not answer BARRIER=1 within 30 s"),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system(step(), errno)),
        }
        Ok(())
    }
}
