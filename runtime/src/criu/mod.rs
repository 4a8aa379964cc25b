//! CRIU's service, for `checkpoint` and `restore` (criu(8); its messages are those of images/rpc.proto in its sources).
//!
//! `criu swrk FD` serves one caller over a `SOCK_SEQPACKET` socket. It opens descriptors that requests name in the
//! caller's /proc/PID/fd, but those to be inherited by restored processes it must have itself.

mod options;
mod wire;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

pub use self::options::{CgroupsMode, Common, Dump, External, Inherited, PageServer, Restore, SharedOptions};
use self::wire::Message;
use crate::channel::{receive_bytes, send_bytes};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::process::ordinary_process;

/// `criu_req_type`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Request {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
}

/// As CRIU calls it.
impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dump => "DUMP",
            Self::Restore => "RESTORE",
            Self::PreDump => "PRE_DUMP",
            Self::Notify => "NOTIFY",
        })
    }
}

/// Something that CRIU tells while it works, and waits for the answer.
#[derive(Debug)]
pub struct Notice {
    /// Which moment it is, such as `post-restore` (criu(8), `--action-script`).
    pub moment: String,
    /// The first process's number, here.
    pub pid: Option<i32>,
    /// A terminal's master.
    pub descriptor: Option<OwnedFd>,
}

/// A running CRIU.
pub struct Service {
    socket: OwnedFd,
    process: Child,
    program: PathBuf,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let _ = self.process.wait();
    }
}

impl Service {
    /// Starts CRIU with this process's standard descriptors and `inherited` ones.
    ///
    /// # Errors
    /// When there is no CRIU.
    pub fn start(program: &Path, inherited: &[Inherited]) -> Result<Self> {
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (socket, theirs) = pair.step(|| "make the socket for CRIU")?;
        let hand_over =
            |file: &OwnedFd| rustix::io::fcntl_setfd(file, FdFlags::empty()).step(|| "hand CRIU a descriptor");
        hand_over(&theirs)?;
        inherited.iter().filter_map(Inherited::file).try_for_each(hand_over)?;
        let mut command = Command::new(program);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        ordinary_process(&mut command);
        let process = command.spawn().map_err(|cause| missing(program, cause))?;
        Ok(Self { socket, process, program: program.to_owned() })
    }

    /// Its process's number.
    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// Writes the processes to images.
    ///
    /// # Errors
    /// CRIU's, with what its log says last.
    pub fn dump(self, dump: &Dump<'_>, on_notice: &mut dyn FnMut(Notice) -> Result<()>) -> Result<()> {
        let request = if dump.pre_dump { Request::PreDump } else { Request::Dump };
        self.call_explained(request, &dump.message(), dump.common.log(Dump::LOG), on_notice).map(drop)
    }

    /// Makes the processes from images; the number of the first, which is a child of this process.
    ///
    /// # Errors
    /// As for [`Service::dump`].
    pub fn restore(self, restore: &Restore<'_>, on_notice: &mut dyn FnMut(Notice) -> Result<()>) -> Result<i32> {
        let log = restore.common.log(Restore::LOG);
        let answer = self.call_explained(Request::Restore, &restore.message(), log, on_notice)?;
        answer.ok_or_else(|| Error::new(Kind::System, "CRIU does not say which process it has restored"))
    }

    fn call_explained(
        &self,
        request: Request,
        options: &Message,
        log: PathBuf,
        on_notice: &mut dyn FnMut(Notice) -> Result<()>,
    ) -> Result<Option<i32>> {
        // What an earlier attempt has left there is no explanation of this one.
        let _ = std::fs::remove_file(&log);
        self.call(request, options, on_notice).map_err(|error| explain(error, &log, &self.program))
    }

    /// Sends a request and answers CRIU's questions until it is done: the restored process, if it says so.
    fn call(
        &self,
        request: Request,
        options: &Message,
        on_notice: &mut dyn FnMut(Notice) -> Result<()>,
    ) -> Result<Option<i32>> {
        let mut message = Message::default();
        message.number(1, request as i64).message(2, options);
        self.send(&message)?;
        let strange = || Error::new(Kind::System, "CRIU says what nobody understands");
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let (length, descriptor) = receive_bytes(self.socket.as_fd(), &mut bytes).step(|| "hear CRIU's answer")?;
            if length == 0 {
                return Err(Error::new(Kind::System, "CRIU ended without an answer"));
            }
            let fields = wire::read(&bytes[..length]).ok_or_else(strange)?;
            let kind = wire::number(&fields, 1).ok_or_else(strange)?;
            if wire::number(&fields, 2) != Some(1) {
                let errno = wire::number(&fields, 7).unwrap_or(0);
                return Err(Error::new(Kind::System, format!("criu failed: type {request} errno {errno}")));
            }
            if kind != Request::Notify as u64 {
                let restored = wire::bytes(&fields, 4).and_then(wire::read);
                return Ok(restored.and_then(|fields| wire::number(&fields, 1)).map(|pid| pid as i32));
            }
            let notice = wire::bytes(&fields, 5).and_then(wire::read).ok_or_else(strange)?;
            let moment = wire::bytes(&notice, 1).map(String::from_utf8_lossy).unwrap_or_default().into_owned();
            on_notice(Notice { moment, pid: wire::number(&notice, 2).map(|pid| pid as i32), descriptor })?;
            let mut heard = Message::default();
            heard.number(1, Request::Notify as i64).truth(3, true);
            self.send(&heard)?;
        }
    }

    fn send(&self, message: &Message) -> Result<()> {
        send_bytes(self.socket.as_fd(), message.as_bytes(), None).step(|| "tell CRIU what to do")
    }
}

fn missing(program: &Path, cause: std::io::Error) -> Error {
    let error = Error::system(format!("run {}", program.display()), cause);
    error.remedy("checkpoints need CRIU: install the package criu, or name it with --criu")
}

/// Adds what went wrong first as CRIU's log has it, and whether CRIU fits the kernel at all.
fn explain(error: Error, log: &Path, program: &Path) -> Error {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // Its own limit of open files it raises if it can; other programs' errors have no place in its sources.
    let is_cause =
        |line: &&str| line.contains("Error (") && !line.contains("rlimit: Can't setup RLIMIT_NOFILE for self");
    let place = match text.lines().find(is_cause) {
        Some(line) => format!("{}: {}", log.display(), line.trim()),
        None => format!("see {}", log.display()),
    };
    match unfit(program) {
        Some(cause) => {
            error.remedy(format!("CRIU does not work on this kernel ({} check): {cause}", program.display()))
        }
        None => error.remedy(place),
    }
}

/// Why CRIU does not work on this kernel at all, if it does not. Asked only after a failure: it looks for more than most
/// containers need, and takes longer than many a dump.
fn unfit(program: &Path) -> Option<String> {
    let mut check = Command::new(program);
    check.arg("check").stdin(Stdio::null());
    ordinary_process(&mut check);
    let checked = check.output().ok().filter(|checked| !checked.status.success())?;
    let said = String::from_utf8_lossy(&checked.stderr);
    let cause = said.lines().find(|line| line.contains("Error")).unwrap_or("it does not say why");
    Some(cause.trim().to_owned())
}
