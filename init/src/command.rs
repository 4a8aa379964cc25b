//! The main child: found in PATH and executed as `execvp(3)` does it, with the signals, the terminal and the
//! environment that it is entitled to.

use core::ffi::CStr;

use crate::kernel::file;
use crate::kernel::process::{self, Pid};
use crate::kernel::signals::{self, Disposition, SignalSet};
use crate::kernel::terminal::{self, Terminal};
use crate::kernel::{Errno, exit};
use crate::line::Line;
use crate::options::Isolation;
use crate::signal::{Signal, decimal};
use crate::start::{CommandLine, Environment, c_str};
use crate::words::{parts, split_at};

const ENOENT: Errno = Errno(2);
const ENOEXEC: Errno = Errno(8);
const EACCES: Errno = Errno(13);
/// Where commands are looked for without PATH, `execvp(3)`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";
const SHELL: &CStr = c"/bin/sh";

/// The command to run and what it inherits.
pub struct Command<'a> {
    /// The words, the command's being those from `first` on.
    pub words: &'a mut CommandLine,
    /// The environment.
    pub environment: &'a mut Environment,
    /// Where in `words` the command begins: at least 1, since the init's own name comes before.
    pub first: usize,
    /// What to isolate it in.
    pub isolation: Isolation,
    /// The signals to block in it: those that were blocked in the init.
    pub blocked: SignalSet,
    /// What to do with SIGCHLD in it: what was done in the init.
    pub on_child: Disposition,
}

/// Why the command did not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// `clone(2)` failed.
    NoProcess(Errno),
    /// `execve(2)` failed.
    NotExecuted(Errno),
}

impl Command<'_> {
    /// Starts the command.
    pub fn start(&mut self) -> Result<Pid, Failure> {
        /// What the process that becomes the command shares with the init until it has.
        struct Run<'a, 'b> {
            command: &'a mut Command<'b>,
            parent: Pid,
            failure: Option<Errno>,
        }
        let mut run = Run { command: self, parent: process::own_pid(), failure: None };
        let pid = process::spawn(&mut run, |run| {
            run.failure = Some(run.command.become_it(run.parent));
            exit(127)
        });
        let pid = pid.map_err(Failure::NoProcess)?;
        match run.failure {
            None => Ok(pid),
            Some(errno) => {
                process::reap(pid);
                Err(Failure::NotExecuted(errno))
            }
        }
    }

    /// The command's name.
    pub fn name(&self) -> &'static [u8] {
        self.words.get(self.first).map_or(b"", CStr::to_bytes)
    }

    /// The directories in which it is looked for, with `:` between; `None` when its name is a path.
    pub fn directories(&self) -> Option<&'static [u8]> {
        (!is_path(self.name())).then(|| self.environment.get("PATH").unwrap_or(DEFAULT_PATH))
    }

    /// In the new process: becomes the command, or returns why not.
    fn become_it(&mut self, parent: Pid) -> Errno {
        match self.isolation {
            Isolation::None => {}
            Isolation::Group => enter_new_group(),
            Isolation::Session => {
                process::new_session();
                terminal::take_stdin();
            }
        }
        signals::set_disposition(Signal::CHLD, self.on_child);
        signals::block(self.blocked);
        if self.is_listener(parent) {
            let mut entry = Line::new();
            entry.text("LISTEN_PID=").number(process::own_pid().0 as u64).text("\0");
            let entry = c_str(entry.as_bytes()).unwrap_or_default();
            let Self { words, environment, first, .. } = self;
            return environment.with_replaced("LISTEN_PID", entry, |environment| search(words, *first, environment));
        }
        search(self.words, self.first, self.environment)
    }

    /// Whether sockets were passed to the init, which means them for its child, `sd_listen_fds(3)`.
    fn is_listener(&self, parent: Pid) -> bool {
        let meant_for = self.environment.get("LISTEN_PID").and_then(|pid| decimal(pid, i32::MAX as u64));
        meant_for == Some(parent.0 as u64)
    }
}

/// Leads a new group, in the foreground of the terminal if the old one was. Who was not there would take it from
/// somebody else.
fn enter_new_group() {
    let terminal = Terminal::controlling().filter(|terminal| terminal.foreground() == process::own_group());
    process::new_group();
    if let Some(terminal) = terminal {
        terminal.set_foreground(process::own_pid());
    }
}

/// Whether a command's name is not looked for in PATH.
fn is_path(name: &[u8]) -> bool {
    split_at(name, b'/').1.is_some()
}

/// Executes the command from the first directory of PATH that has it, or returns why not.
fn search(words: &mut CommandLine, first: usize, environment: &Environment) -> Errno {
    let name = words.get(first).map_or(b"".as_slice(), CStr::to_bytes);
    let mut path = ExecutablePath::new();
    if name.is_empty() {
        return ENOENT;
    }
    if is_path(name) {
        return execute(path.join(b"", name), words, first, environment);
    }
    let mut failure = ENOENT;
    for directory in parts(environment.get("PATH").unwrap_or(DEFAULT_PATH), b':') {
        match execute(path.join(directory, name), words, first, environment) {
            EACCES => failure = EACCES,
            ENOENT => {}
            Errno(19 | 20 | 36 | 110 | 116) => {} // ENODEV, ENOTDIR, ENAMETOOLONG, ETIMEDOUT, ESTALE: elsewhere, perhaps
            errno => return errno,
        }
    }
    failure
}

/// Executes `path`, by the shell if the kernel does not know what it is, as `execvp(3)` does.
fn execute(path: Option<&CStr>, words: &mut CommandLine, first: usize, environment: &Environment) -> Errno {
    const ENAMETOOLONG: Errno = Errno(36);
    let Some(path) = path else { return ENAMETOOLONG };
    match process::execute(path, words, first, environment) {
        ENOEXEC if !is_binary(path) => {}
        errno => return errno,
    }
    // The shell takes the place of the word before the command, which is the init's.
    words.with_replaced(first, path, |words| {
        words.with_replaced(first - 1, SHELL, |words| process::execute(SHELL, words, first - 1, environment))
    });
    ENOEXEC
}

/// Whether the file is no text, which the shell would complain of line by line: another machine's program, say.
fn is_binary(path: &CStr) -> bool {
    split_at(file::read_head(path, &mut [0; 128]), 0).1.is_some()
}

/// The path of a file that may be executed.
pub struct ExecutablePath([u8; Self::LONGEST]);

impl ExecutablePath {
    /// `PATH_MAX`
    const LONGEST: usize = 4096;

    /// Room for a path.
    pub fn new() -> Self {
        Self([0; Self::LONGEST])
    }

    /// `directory/name`, or `name` when there is no directory. `None`: that is too long.
    pub fn join(&mut self, directory: &[u8], name: &[u8]) -> Option<&CStr> {
        let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        let mut length = 0;
        for part in [directory, separator, name, b"\0"] {
            self.0.get_mut(length..length + part.len())?.copy_from_slice(part);
            length += part.len();
        }
        c_str(&self.0)
    }
}

impl Default for ExecutablePath {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_as_execvp_does() {
        let mut path = ExecutablePath::new();
        assert_eq!(path.join(b"/bin", b"sh"), Some(c"/bin/sh"));
        assert_eq!(path.join(b"", b"sh"), Some(c"sh"));
        assert_eq!(path.join(b"", b"./a/b"), Some(c"./a/b"));
        assert_eq!(path.join(&[b'd'; 4000], &[b'n'; 94]).map(CStr::count_bytes), Some(4095));
        assert_eq!(path.join(&[b'd'; 4000], &[b'n'; 95]), None);
    }
}
