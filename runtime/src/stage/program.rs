//! Becomes the container's program.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::console::Terminal;
use super::{environment, explain, scheduling, standard_descriptors, user};
use crate::channel::Channel;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::{Process, Rlimit, limit_error};
use crate::seccomp;
use crate::sys::process::{close_on_exec_from, exit_now, reset_signals};
use crate::trace;

/// execvp(3) of the C library looks here when there is no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything is set and found; what is left is the filter, the capabilities and the exec.
pub(super) struct Prepared<'a> {
    process: &'a Process,
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

/// Does all that can fail before the container counts as created: directory, terminal, ids, and the program is found.
pub(super) fn prepare<'a>(process: &'a Process, terminal: Option<Terminal>) -> Result<Prepared<'a>> {
    match terminal {
        Some(terminal) => terminal.take(&process.user)?,
        None => standard_descriptors::settle(&process.user),
    }
    scheduling::set_scheduling(None, &process.scheduling)?;
    scheduling::settle(process)?;
    set_limits(&process.rlimits)?;
    let entered = enter_working_directory(process);
    user::become_user(&process.user, &process.capabilities)?;
    // Some directories only their owner may enter, such as a home on NFS.
    if entered.is_err() {
        enter_working_directory(process)?;
    }
    check_working_directory()?;
    rustix::process::umask(Mode::from_raw_mode(process.user.umask.unwrap_or(0o022)));
    let program = find(process)?;
    let arguments = process.args.iter().map(|word| CString::new(word.as_str()));
    let arguments = arguments
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| Error::invalid("process.args", "has a NUL in it"))?;
    let environment = environment::compile(&process.env, process.user.uid)?;
    Ok(Prepared { process, program, arguments, environment })
}

/// The last moment: afterwards this is the program's user, and before it a low limit would hinder the set-up.
fn set_limits(rlimits: &[Rlimit]) -> Result<()> {
    for limit in rlimits {
        let Some(resource) = limit.resource() else { continue };
        let value = |value: u64| (value != u64::MAX).then_some(value);
        let limits = rustix::process::Rlimit { current: value(limit.soft), maximum: value(limit.hard) };
        rustix::process::setrlimit(resource, limits).map_err(|errno| limit_error(*limit, errno))?;
    }
    Ok(())
}

fn enter_working_directory(process: &Process) -> Result<()> {
    rustix::process::chdir(&process.cwd)
        .step(|| format!("change to the working directory {} (process.cwd)", process.cwd.display()))
}

/// A working directory outside of the root would be a door to the host; the kernel then names it "(unreachable)"
/// (getcwd(3); CVE-2024-21626).
fn check_working_directory() -> Result<()> {
    let cwd = rustix::process::getcwd(Vec::new()).step(|| "look up the working directory")?;
    if cwd.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(Error::new(
        Kind::Invalid,
        "process.cwd: the working directory is outside of the container's root (CVE-2024-21626)",
    ))
}

/// Looks for the program as execvp(3) does, with the container's PATH, root and user.
fn find(process: &Process) -> Result<CString> {
    let name = process.args[0].as_str();
    let c_string = |path: &str| CString::new(path).map_err(|_| Error::invalid("process.args[0]", "has a NUL in it"));
    let not_executable = |path: &str, errno: Errno| {
        let kind = if errno == Errno::NOENT { Kind::CommandNotFound } else { Kind::CommandNotExecutable };
        Error::system(format!("unable to start container process: exec: {name:?}: stat {path}"), errno).with_kind(kind)
    };
    if name.contains('/') {
        check_executable(name).map_err(|errno| not_executable(name, errno))?;
        return c_string(name);
    }
    let path = environment::value(&process.env, "PATH").unwrap_or(DEFAULT_PATH);
    let mut denied = None;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{directory}/{name}");
        match check_executable(&candidate) {
            Ok(()) => return c_string(&candidate),
            Err(Errno::ACCESS) => denied = Some(candidate),
            Err(_) => {}
        }
    }
    match denied {
        Some(candidate) => Err(not_executable(&candidate, Errno::ACCESS)),
        None => Err(Error::new(
            Kind::CommandNotFound,
            format!("unable to start container process: exec: {name:?}: executable file not found in $PATH ({path})"),
        )),
    }
}

fn check_executable(path: &str) -> std::result::Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    // With the effective ids and capabilities, as the exec will.
    rustix::fs::accessat(rustix::fs::CWD, path, rustix::fs::Access::EXEC_OK, rustix::fs::AtFlags::EACCESS)
}

impl Prepared<'_> {
    /// The program takes this process over; returns only when it can not.
    pub fn execute(&self, channel: &Channel) -> Result<Infallible> {
        let process = self.process;
        close_on_exec_from(3 + process.preserve_fds).step(|| "close what is open beside the program's descriptors")?;
        if process.no_new_privileges {
            rustix::thread::set_no_new_privs(true).step(|| "set no_new_privs")?;
        }
        // Without no_new_privs a filter needs CAP_SYS_ADMIN, which the program may not have; with it the filter comes
        // last, so that it need not allow the runtime's own calls.
        let filter = process.seccomp.as_ref();
        let last_words = || {
            trace::step("what is left before the filter");
            trace::flush();
        };
        if !process.no_new_privileges {
            if filter.is_some() {
                user::put_permitted_in_force()?;
            }
            last_words();
            load(filter, channel)?;
            user::limit_capabilities(&process.capabilities)?;
            reset_signals().step(|| "reset the signals")?;
        } else {
            user::limit_capabilities(&process.capabilities)?;
            reset_signals().step(|| "reset the signals")?;
            last_words();
            load(filter, channel)?;
        }
        let arguments: Vec<&CStr> = self.arguments.iter().map(CString::as_c_str).collect();
        let environment: Vec<&CStr> = self.environment.iter().map(CString::as_c_str).collect();
        let Err(errno) = nix::unistd::execve(&self.program, &arguments, &environment);
        Err(explain::execution(&self.program, errno))
    }
}

fn load(filter: Option<&seccomp::Filter>, channel: &Channel) -> Result<()> {
    match filter.map(seccomp::load).transpose()?.flatten() {
        Some(listener) => channel.hand_over_listener(listener.as_raw_fd()),
        None => Ok(()),
    }
}

/// The created container waits here until `start` connects; the connection says how it went.
///
/// As PID 1 it would not hear signals that have no handler, so it takes them itself: a created container can be
/// stopped by SIGTERM like a running one.
pub(super) fn wait_for_start(socket: &OwnedFd) -> Result<Channel> {
    let mut signals = SigSet::all();
    for kept in [
        Signal::SIGCHLD,
        Signal::SIGURG,
        Signal::SIGWINCH,
        Signal::SIGCONT,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ] {
        signals.remove(kept);
    }
    signals.thread_block().step(|| "block signals")?;
    let signal_file = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).step(|| "wait for signals")?;
    loop {
        let mut waiting = [PollFd::new(socket, PollFlags::IN), PollFd::new(&signal_file, PollFlags::IN)];
        match rustix::event::poll(&mut waiting, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for start", errno)),
        }
        let (starting, signalled) = (waiting[0].revents(), waiting[1].revents());
        if signalled.contains(PollFlags::IN)
            && let Ok(Some(signal)) = signal_file.read_signal()
        {
            exit_now(128 + signal.ssi_signo as i32);
        }
        if starting.contains(PollFlags::IN) {
            match rustix::net::accept_with(socket.as_fd(), SocketFlags::CLOEXEC) {
                Ok(caller) => return Ok(Channel::from(caller)),
                Err(Errno::INTR | Errno::AGAIN | Errno::CONNABORTED) => {}
                Err(errno) => return Err(Error::system("accept the start", errno)),
            }
        }
    }
}
