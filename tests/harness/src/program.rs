//! Programs under a deadline: nothing a test starts can hang it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How long anything may take before it counts as hung. Generous: it is never reached when all is well.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A command line to be run under a deadline, in a process group of its own.
pub struct Program {
    command: Command,
    line: String,
    deadline: Duration,
}

impl Program {
    /// The program at that path, or of that name on `PATH`; stdin is empty.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let line = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).process_group(0);
        Self { command, line, deadline: DEADLINE }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.line = format!("{} {}", self.line, arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// One environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// An environment without anything from the caller.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.command.env_clear();
        self
    }

    /// The working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Other ids than the caller's; supplementary groups are dropped.
    #[must_use]
    pub fn ids(mut self, uid: u32, gid: u32) -> Self {
        self.command.uid(uid).gid(gid);
        self
    }

    /// What it reads on stdin.
    #[must_use]
    pub fn input(mut self, bytes: &[u8]) -> Self {
        let mut file = File::from(memory_file());
        file.write_all(bytes).expect("write to memory");
        std::io::Seek::rewind(&mut file).expect("rewind memory");
        self.command.stdin(file);
        self
    }

    /// An open file or pipe as stdin.
    #[must_use]
    pub fn stdin(mut self, file: impl Into<Stdio>) -> Self {
        self.command.stdin(file);
        self
    }

    /// Starts it with a terminal ([`crate::Terminal::open`]) as stdin, stdout, stderr and controlling terminal: what it says is
    /// heard there. For the caller's own ids only.
    ///
    /// # Panics
    /// When it can not be started.
    pub fn start_on(self, terminal: &Path) -> Running {
        let open = || File::options().read(true).write(true).open(terminal).expect("open the terminal");
        let mut command = Command::new("setsid");
        // Not the leader of a group yet, so that setsid(1) need not fork.
        command.arg("--ctty").arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        command.stdin(open()).stdout(open()).stderr(open());
        let child = command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", self.line));
        let (stdout, err) = (File::from(memory_file()), memory_file());
        Running { child: Some(child), stdout, heard: String::new(), err, line: self.line, deadline: self.deadline }
    }

    /// Another deadline than [`DEADLINE`].
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end and gives what it said. Output goes to memory, so a process that it leaves behind with the same
    /// stdout does not hold up the caller.
    ///
    /// # Panics
    /// When it can not be started, or is still running at the deadline: then its whole group is killed first.
    pub fn run(mut self) -> Finished {
        let (out, err) = (memory_file(), memory_file());
        self.command.stdout(out.try_clone().expect("dup")).stderr(err.try_clone().expect("dup"));
        let started = Instant::now();
        let child = self.command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", self.line));
        let status = finish(child, &self.line, started + self.deadline, &out, &err);
        Finished { line: self.line, status, out, err, took: started.elapsed() }
    }

    /// Starts it, its stdout a pipe that the test can follow.
    ///
    /// # Panics
    /// When it can not be started.
    pub fn start(mut self) -> Running {
        let err = memory_file();
        self.command.stdout(Stdio::piped()).stderr(err.try_clone().expect("dup"));
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", self.line));
        let stdout = File::from(OwnedFd::from(child.stdout.take().expect("piped")));
        Running { child: Some(child), stdout, heard: String::new(), err, line: self.line, deadline: self.deadline }
    }
}

/// A file that is nowhere but in memory.
fn memory_file() -> OwnedFd {
    memfd_create("output", MemfdFlags::CLOEXEC).expect("memfd_create")
}

/// Everything in such a file, read through a description of its own so that the writer's offset stays where it is.
fn contents(file: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    let bytes = std::fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("read memory");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn finish(mut child: Child, line: &str, end: Instant, out: &OwnedFd, err: &OwnedFd) -> ExitStatus {
    if ended(&child, end) {
        return child.wait().expect("wait");
    }
    kill_group(&mut child);
    panic!("{line}: still running at the deadline; killed\nstdout: {}\nstderr: {}", contents(out), contents(err));
}

fn ended(child: &Child, end: Instant) -> bool {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("pidfd_open");
    await_readable(&pidfd, end)
}

fn kill_group(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// Waits until the descriptor is readable or hung up: `false` when the time is over first.
pub(crate) fn await_readable(fd: &impl AsFd, end: Instant) -> bool {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// Waits for a file to appear, by inotify on its directory.
///
/// # Panics
/// When it has not appeared within [`DEADLINE`].
pub fn await_path(path: &Path) {
    use rustix::fs::inotify;
    let end = Instant::now() + DEADLINE;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).expect("inotify_init");
    let parent = path.parent().expect("a path with a directory");
    inotify::add_watch(&watch, parent, inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO).expect("watch");
    let mut watch = File::from(watch);
    while std::fs::symlink_metadata(path).is_err() {
        assert!(await_readable(&watch, end), "{} did not appear", path.display());
        let _ = watch.read(&mut [0; 4096]);
    }
}

/// Waits for something the kernel gives no event for, looking every millisecond.
///
/// # Panics
/// When it has not become true within [`DEADLINE`].
pub fn await_true(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: did not come true");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Copies a program so that it can be executed at once.
///
/// Another process copies it: a descriptor that this one writes through would be inherited by whatever another test starts at
/// the same moment, and as long as anybody can write to a program the kernel does not execute it (ETXTBSY, execve(2)).
pub fn install(source: &Path, target: &Path) {
    Program::new("install").args(["-m", "755"]).arg(source).arg(target).run().ok();
}

/// Writes a script so that it can be executed at once; see [`install`].
pub fn install_text(target: &Path, text: impl AsRef<[u8]>) {
    Program::new("install").args(["-m", "755", "/dev/stdin"]).arg(target).input(text.as_ref()).run().ok();
}

/// Reaps a process that has become a child of the test (an `exec --detach`, whose launcher is gone), when it ends.
///
/// A test is a subreaper, as an engine's monitor is, and has a monitor's duty: as long as an ended process of a container is
/// not reaped, the kernel does not let the container's init end either.
pub fn adopt(pid: i32) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let pidfd = pidfd_open(Pid::from_raw(pid).expect("a pid"), PidfdFlags::empty()).expect("pidfd_open");
    std::thread::spawn(move || waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED));
}

/// A program that has ended.
pub struct Finished {
    line: String,
    /// How it ended.
    pub status: ExitStatus,
    out: OwnedFd,
    err: OwnedFd,
    /// How long it took.
    pub took: Duration,
}

impl Finished {
    /// What it, and whoever shares its stdout, has written until now.
    pub fn stdout(&self) -> String {
        contents(&self.out)
    }

    /// What it, and whoever shares its stderr, has written until now.
    pub fn stderr(&self) -> String {
        contents(&self.err)
    }

    /// The exit code as a shell shows it: 128+n for a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Everything about it, for a failed assertion.
    pub fn all(&self) -> String {
        format!("{}\nexit code: {}\nstdout: {}\nstderr: {}", self.line, self.code(), self.stdout(), self.stderr())
    }

    /// It ended well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// It ended with that code.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{}", self.all());
        self
    }

    /// It failed with that code, and said one line on stderr that contains each of the texts, in whatever case.
    ///
    /// # Panics
    /// When it did otherwise.
    #[track_caller]
    pub fn fails(self, code: i32, texts: &[&str]) -> Self {
        assert_eq!(self.code(), code, "{}", self.all());
        let stderr = self.stderr();
        assert_eq!(stderr.trim_end().lines().count(), 1, "an error is one line: {}", self.all());
        for text in texts {
            assert!(
                stderr.to_lowercase().contains(&text.to_lowercase()),
                "the error does not say {text:?}: {}",
                self.all()
            );
        }
        self
    }
}

/// A program that was started and not yet waited for. Dropping it kills its whole group.
pub struct Running {
    child: Option<Child>,
    stdout: File,
    heard: String,
    err: OwnedFd,
    line: String,
    deadline: Duration,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Follows stdout until the text has been seen, and gives everything heard so far.
    ///
    /// # Panics
    /// When stdout ends, or the deadline comes, before that.
    #[track_caller]
    pub fn hear(&mut self, text: &str) -> &str {
        let end = Instant::now() + self.deadline;
        while !self.heard.contains(text) {
            let more = self.more(end);
            assert!(
                more,
                "{}: did not say {text:?}\nstdout: {}\nstderr: {}",
                self.line,
                self.heard,
                contents(&self.err)
            );
        }
        &self.heard
    }

    /// What it has written to stderr until now.
    pub fn stderr(&self) -> String {
        contents(&self.err)
    }

    /// Sends the signal to the process, not to its group.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("not waited for");
        rustix::process::kill_process(Pid::from_child(child), signal).expect("kill");
    }

    /// Waits for its end and gives what it said.
    ///
    /// # Panics
    /// When it is still running at the deadline: then its whole group is killed first.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        let started = Instant::now();
        let end = started + self.deadline;
        let mut child = self.child.take().expect("waited for once");
        if !ended(&child, end) {
            kill_group(&mut child);
            panic!("{}: still running\nstdout: {}\nstderr: {}", self.line, self.heard, contents(&self.err));
        }
        let status = child.wait().expect("wait");
        // Others may hold the pipe open still: take what is there and do not wait for more.
        while self.more(Instant::now()) {}
        let out = memory_file();
        File::from(out.try_clone().expect("dup")).write_all(self.heard.as_bytes()).expect("write to memory");
        let err = self.err.try_clone().expect("dup");
        Finished { line: self.line.clone(), status, out, err, took: started.elapsed() }
    }

    fn more(&mut self, end: Instant) -> bool {
        let mut buffer = [0; 65536];
        if !await_readable(&self.stdout, end) {
            return false;
        }
        let count = self.stdout.read(&mut buffer).unwrap_or(0);
        self.heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
        count > 0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            kill_group(child);
        }
    }
}
