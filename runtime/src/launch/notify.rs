//! `NOTIFY_SOCKET`: what a container's program tells its service manager, passed on (sd_notify(3)).
//!
//! The container gets a socket of its own, because the service manager's is not there for it, and because process numbers
//! in messages would be those of its own pid namespace.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
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

/// How long it may take to have room for what the program said before its end.
const LAST_WORDS: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// So many messages of the container are looked at before anything else has its turn.
const AT_ONCE: usize = 32;

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
///
/// Nothing here waits for a service manager that does not read: what it has no room for is kept, and until it has, no more
/// is taken from the container.
pub struct NotifyRelay {
    socket: OwnedFd,
    manager: OwnedFd,
    /// What the manager has had no room for yet: one message, and perhaps MAINPID after it.
    kept: RefCell<VecDeque<String>>,
    /// It has been said that the manager does not listen (any more).
    warned: Cell<bool>,
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
        let address = SocketAddrUnix::new(&path).step(step)?;
        // Whoever the program is, it may write to it. A later chmod(2) would follow a link that somebody put there.
        let umask = rustix::process::umask(rustix::fs::Mode::empty());
        let bound = rustix::net::bind(&socket, &address);
        rustix::process::umask(umask);
        bound.step(step)?;
        rustix::net::connect(&to_manager, &manager.0)
            .step(|| "connect to the service manager (NOTIFY_SOCKET)")
            .map_err(|error| error.remedy("unset NOTIFY_SOCKET when nobody listens there"))?;
        Ok(Self { socket, manager: to_manager, kept: RefCell::default(), warned: Cell::new(false) })
    }

    /// What has to happen before [`NotifyRelay::pass_on`] has something to do.
    pub fn waits_for(&self) -> PollFd<'_> {
        if self.kept.borrow().is_empty() {
            PollFd::new(&self.socket, PollFlags::IN)
        } else {
            PollFd::new(&self.manager, PollFlags::OUT)
        }
    }

    /// Passes on what has come, a part of it when it is much. After READY=1 the service manager is told which process is
    /// the service's. Whether the program is ready.
    pub fn pass_on(&self, main: Pid) -> bool {
        let mut ready = false;
        let mut bytes = [0; 4096];
        for _ in 0..AT_ONCE {
            if !self.send_kept() {
                break;
            }
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
                    let mut kept = self.kept.borrow_mut();
                    kept.push_back(lines.join("\n"));
                    if lines.contains(&"READY=1") {
                        kept.push_back(format!("MAINPID={}", main.as_raw_nonzero()));
                        ready = true;
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.send_kept();
        ready
    }

    /// After the program's end: what it had said by then. Others may share the socket, so there is an end to it.
    pub fn pass_on_last_words(&self, main: Pid) {
        const TURNS: usize = 64;
        for _ in 0..TURNS {
            self.pass_on(main);
            if !self.await_room(&LAST_WORDS) {
                log::warn("NOTIFY_SOCKET: the service manager does not read; the container's last messages are lost");
                return;
            }
            let mut more = [PollFd::new(&self.socket, PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if !rustix::event::poll(&mut more, Some(&now)).is_ok_and(|ready| ready > 0) {
                return;
            }
        }
    }

    /// Until the program is ready, or has ended.
    pub fn until_ready(&self, program: BorrowedFd<'_>, main: Pid) -> Result<()> {
        loop {
            let mut waiting = [self.waits_for(), PollFd::from_borrowed_fd(program, PollFlags::IN)];
            match rustix::event::poll(&mut waiting, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("wait for the container's READY=1", errno)),
            }
            let ended = !waiting[1].revents().is_empty();
            if self.pass_on(main) {
                return self.wait_until_heard();
            }
            if ended {
                self.pass_on_last_words(main);
                return Ok(());
            }
        }
    }

    /// Sends what is kept, as far as there is room. Whether all of it has gone.
    fn send_kept(&self) -> bool {
        let mut kept = self.kept.borrow_mut();
        while let Some(message) = kept.front() {
            match rustix::net::send(&self.manager, message.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return false,
                // sd_notify(3) does not fail where nobody listens any more; nor does this.
                Err(errno) => self.warn_once(errno),
            }
            kept.pop_front();
        }
        true
    }

    fn warn_once(&self, errno: Errno) {
        if !self.warned.replace(true) {
            log::warn(format_args!("NOTIFY_SOCKET: send to the service manager: {errno}; no more is said of this"));
        }
    }

    /// Sends what is kept. Whether there was room for it in that time.
    fn await_room(&self, limit: &Timespec) -> bool {
        while !self.send_kept() {
            if !self.await_writable(limit) {
                return false;
            }
        }
        true
    }

    fn await_writable(&self, limit: &Timespec) -> bool {
        let mut waiting = [PollFd::new(&self.manager, PollFlags::OUT)];
        matches!(rustix::event::poll(&mut waiting, Some(limit)), Ok(1) | Err(Errno::INTR))
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
        if !self.await_room(&BARRIER) || !self.await_writable(&BARRIER) {
            log::warn("NOTIFY_SOCKET: the service manager does not read; it may not hear that the container is ready");
            return Ok(());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if let Err(errno) = rustix::net::sendmsg(&self.manager, &message, &mut ancillary, flags) {
            self.warn_once(errno);
            return Ok(());
        }
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
