//! The main child: found in PATH and executed as `execvp(3)` does it, with the signals, the terminal and the
//! environment that it is entitled to.

use crate::job::Job;
use crate::kernel::errno::{EACCES, ENAMETOOLONG, ENODEV, ENOENT, ENOEXEC, ENOTDIR, ESTALE, ETIMEDOUT};
use crate::kernel::file;
use crate::kernel::process::{self, Become, Pid};
use crate::kernel::signals::{self, Action, SignalSet};
use crate::kernel::terminal::{self, Terminal};
use crate::line::Line;
use crate::options::Isolation;
use crate::signal::Signal;
use crate::start::{CommandLine, Text, Words};
use crate::text;
use crate::words::number;

/// `PATH_MAX` and more: what does not fit is cut, and the kernel refuses what is left as too long.
const PATH_ROOM: usize = 4096 + 2;
const SHELL: Text<'static> = Text::of(c"/bin/sh");

/// The command to run and what it inherits.
pub struct Command<'a> {
    /// The command line up to the command.
    pub words: CommandLine<'a>,
    /// The first of the command's words.
    pub name: Text<'a>,
    /// The environment.
    pub environment: Words<'a>,
    /// What to isolate it in.
    pub isolation: Isolation,
    /// The signals to block in it: those that were blocked in the init.
    pub blocked: SignalSet,
    /// What to do with SIGCHLD in it: what was done in the init.
    pub on_child: Action,
    /// The init.
    pub parent: Pid,
    /// Why it was not executed; 0 as long as that is not known.
    pub failure: i32,
}

impl<'a> Command<'a> {
    /// Starts the command. Its pid, or a negated error number, which is also in `failure` when there was a process.
    pub fn start(&mut self) -> i32 {
        let pid = process::spawn(self);
        if self.failure == 0 {
            return pid;
        }
        // Nobody else gives back what it took.
        Job::new(Pid(pid), true).give_back_terminal();
        process::reap(Pid(pid));
        self.failure
    }

    /// The directories in which it is looked for, with `:` between; `None` when its name is a path.
    pub fn directories(&self) -> Option<Text<'a>> {
        let name = self.name;
        let is_path = name.is_empty() || { name }.any(|byte| byte == b'/');
        // Without PATH as `execvp(3)`.
        (!is_path).then(|| self.environment.value(Text::of(c"PATH=")).unwrap_or(Text::of(c"/bin:/usr/bin")))
    }

    /// The files that may be meant.
    pub fn candidates(&self) -> Candidates<'a> {
        let directories = self.directories().unwrap_or(Text::of(c""));
        Candidates { name: self.name, directories: Some(directories), path: [0; PATH_ROOM] }
    }

    /// Executes the first file that can be, or returns why none can.
    fn search(&self) -> i32 {
        let mut failure = ENOENT;
        let mut candidates = self.candidates();
        while candidates.advance() {
            match self.execute(candidates.path()) {
                // Elsewhere, perhaps.
                ENOENT | ENODEV | ENOTDIR | ETIMEDOUT | ESTALE => {}
                ENAMETOOLONG if candidates.are_left() => {}
                errno => failure = errno,
            }
            if failure != ENOENT && failure != EACCES {
                break;
            }
        }
        failure
    }

    /// Executes `path`, by the shell if the kernel does not know what it is, as `execvp(3)` does.
    fn execute(&self, path: Text<'_>) -> i32 {
        let words = self.words.rest();
        let errno = process::execute(path, words, self.environment);
        // Of a file that is no text, another machine's program, say, the shell would complain line by line.
        let mut head = [0; 129];
        if errno == ENOEXEC && file::read_head(path, &mut head[..128]) == Text::within(&mut head).bytes().len() {
            // The shell takes the place of the word before the command.
            let with_shell = self.words.from_last();
            with_shell.with_first(SHELL, || {
                words.with_first(path, || _ = process::execute(SHELL, with_shell, self.environment));
            });
        }
        errno
    }
}

impl Become for Command<'_> {
    fn become_it(&mut self) {
        match self.isolation {
            Isolation::None => {}
            Isolation::Group => enter_new_group(),
            Isolation::Session => {
                process::new_session();
                terminal::take_stdin();
            }
        }
        signals::set_action(Signal::CHLD, &self.on_child);
        signals::block(self.blocked);
        // Whether sockets were passed to the init, which means them for its child, `sd_listen_fds(3)`.
        let mut variables = self.environment;
        while let Some(entry) = variables.first() {
            let pid = entry.after(Text::of(c"LISTEN_PID=")).and_then(|mut pid| number(&mut pid, u64::MAX));
            if pid == Some(self.parent.0 as u64) {
                let mut entry = Line::new();
                let entry = entry.add(text!("LISTEN_PID=#"), process::own_pid().0 as u64, self.name).as_text();
                // This memory is the init's, too, where a failure must not be seen before it is one.
                return variables.with_first(entry, || self.failure = self.search());
            }
            variables.next();
        }
        self.failure = self.search();
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

/// The files that a command's name may mean, in turn.
pub struct Candidates<'a> {
    name: Text<'a>,
    directories: Option<Text<'a>>,
    path: [u8; PATH_ROOM],
}

impl Candidates<'_> {
    /// Whether there are more.
    pub fn are_left(&self) -> bool {
        self.directories.is_some()
    }

    /// The path: `directory/name`, or `name` when the directory is empty.
    pub fn path(&mut self) -> Text<'_> {
        Text::within(&mut self.path)
    }

    /// Goes on to the next path, if there is one.
    #[inline(never)]
    pub fn advance(&mut self) -> bool {
        let Some(mut rest) = self.directories.take() else { return false };
        let mut length = 0;
        let mut push = |byte| {
            if let Some(place) = self.path.get_mut(length) {
                *place = byte;
                length += 1;
            }
        };
        let mut last = 0;
        while let Some(byte) = rest.next() {
            if byte == b':' {
                self.directories = Some(rest);
                break;
            }
            push(byte);
            last = byte;
        }
        if last != 0 {
            push(b'/');
        }
        self.name.into_iter().for_each(&mut push);
        push(0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(name: &str, directories: &str) -> Vec<String> {
        let [name, directories] = [name, directories].map(|text| std::ffi::CString::new(text).unwrap());
        let (name, directories) = (Text::of(&name), Some(Text::of(&directories)));
        let mut candidates = Candidates { name, directories, path: [0; PATH_ROOM] };
        let mut paths = Vec::new();
        while candidates.advance() {
            paths.push(String::from_utf8(candidates.path().bytes().to_vec()).unwrap());
        }
        paths
    }

    #[test]
    fn paths_are_joined_as_execvp_does() {
        assert_eq!(candidates("sh", "/bin"), ["/bin/sh"]);
        assert_eq!(candidates("sh", "/a:/bin/::/c:"), ["/a/sh", "/bin//sh", "sh", "/c/sh", "sh"]);
        assert_eq!(candidates("./a/b", ""), ["./a/b"]);
        assert_eq!(candidates("", ""), [""]);
        // What is too long for the kernel stays too long.
        for length in [4095 - 2, 4096 - 2, 5000, 100_000] {
            let [long, sh] = &candidates("x", &format!("{}:/bin", "d".repeat(length)))[..] else { panic!() };
            assert_eq!((long.len(), sh.as_str()), ((length + 2).min(4097), "/bin/x"));
        }
    }
}
