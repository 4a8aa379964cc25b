//! A program under test that runs: its output, its signals, its end, and the end of all that it started.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use super::{DEADLINE, Init, probe};

/// How an init is to be started.
pub struct Launch {
    command: Command,
    namespace: bool,
    mark: String,
}

impl Init {
    /// This init with `options` in front of `command`.
    pub fn launch(&self, options: &[&str], command: &[&str]) -> Launch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut launch = Command::new(&self.path);
        launch.args(options).args(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["TINI_", "DUMB_INIT_", "CATATONIT_", "PIPKIN_INIT_", "LISTEN_"].iter().any(|it| name.starts_with(it)) {
                launch.env_remove(name);
            }
        }
        launch.env("INIT_TEST_MARK", &mark).current_dir("/tmp");
        Launch { command: launch, namespace: false, mark }
    }

    /// This init in front of the probe in this mode.
    pub fn probe(&self, options: &[&str], mode: &str) -> Launch {
        // For options that take an optional argument, and for tini, which looks for its options behind the command.
        let mut options = options.to_vec();
        options.push("--");
        self.launch(&options, &[probe()]).env("INIT_PROBE", mode)
    }
}

impl Launch {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn envs(mut self, variables: &[(&str, &str)]) -> Self {
        self.command.envs(variables.iter().copied());
        self
    }

    pub fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn directory(mut self, path: &std::path::Path) -> Self {
        self.command.current_dir(path);
        self
    }

    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self
    }

    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.command.stderr(stderr);
        self
    }

    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Runs `prepare` in the process that becomes the init.
    pub fn prepare(mut self, prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        // SAFETY: the closures of these tests make system calls only.
        unsafe { self.command.pre_exec(prepare) };
        self
    }

    /// As PID 1 of a PID namespace with its own `/proc`.
    pub fn in_the_place_of_pid1(mut self) -> Self {
        let mut outer = Command::new("unshare");
        outer.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
        outer.arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => outer.env(name, value),
                None => outer.env_remove(name),
            };
        }
        outer.current_dir("/tmp").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command = outer;
        self.namespace = true;
        self
    }

    pub fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        let (to, lines) = channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if to.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let (to, errors) = channel();
        if let Some(mut output) = child.stderr.take() {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = output.read_to_end(&mut text);
                let _ = to.send(String::from_utf8_lossy(&text).into_owned());
            });
        }
        let started = child.id() as i32;
        let mut running = Running { child, lines, errors, mark: self.mark, init: started, status: None };
        if self.namespace {
            running.init = await_child_of(started, &mut running);
        }
        running
    }

    /// Starts it and waits for its end: exit code (128+n for a signal), standard output, standard error.
    pub fn finish(self) -> (i32, String, String) {
        let mut running = self.start();
        let code = running.wait();
        (code, running.rest(), running.errors())
    }
}

/// A running init. Everything it started ends with it.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
    mark: String,
    init: i32,
    status: Option<i32>,
}

impl Running {
    /// The init's pid, as seen from here.
    pub fn pid(&self) -> i32 {
        self.init
    }

    /// Sends `signal` to the init.
    pub fn signal(&self, signal: i32) {
        // SAFETY: takes no pointer; the init is not reaped before `wait`.
        assert_eq!(unsafe { libc::kill(self.init, signal) }, 0, "kill {signal}: {}", std::io::Error::last_os_error());
    }

    /// The next line that was written to standard output.
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no output in time"),
            Err(RecvTimeoutError::Disconnected) => panic!("standard output ended"),
        }
    }

    /// Reads lines up to one that begins with `start`, and returns what follows in that.
    pub fn await_line(&mut self, start: &str) -> String {
        loop {
            let line = self.line();
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Whether nothing is written for this long.
    pub fn is_silent_for(&self, time: std::time::Duration) -> bool {
        matches!(self.lines.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }

    /// Waits for the init's end: its exit code, 128+n for signal n.
    pub fn wait(&mut self) -> i32 {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            if Instant::now() > until {
                let state = std::fs::read_to_string(format!("/proc/{}/status", self.init)).unwrap_or_default();
                panic!("the init does not end:\n{state}");
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    pub fn try_wait(&mut self) -> Option<i32> {
        if self.status.is_none()
            && let Some(status) = self.child.try_wait().unwrap()
        {
            self.status = Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap()));
        }
        self.status
    }

    /// What is left of standard output, which ends when the last process that has it does.
    pub fn rest(&mut self) -> String {
        let mut text = String::new();
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Err(RecvTimeoutError::Disconnected) => return text,
                Err(RecvTimeoutError::Timeout) => panic!("standard output does not end; so far: {text}"),
            }
        }
    }

    /// Standard error, when the last process that has it has ended.
    pub fn errors(&mut self) -> String {
        self.errors.recv_timeout(DEADLINE).expect("standard error does not end")
    }

    /// The pids of all processes that belong to this init, itself included.
    pub fn processes(&self) -> Vec<i32> {
        let mark = format!("INIT_TEST_MARK={}", self.mark);
        pids()
            .filter(|pid| {
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
            })
            .collect()
    }

    /// Zombies that are the init's children.
    pub fn zombies(&self) -> usize {
        pids().filter(|pid| stat(*pid).is_some_and(|(state, parent)| state == 'Z' && parent == self.init)).count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What forks while it is killed is found in the next round.
        for _ in 0..1000 {
            let left = self.processes();
            for pid in &left {
                // SAFETY: takes no pointer; a process of this test, by its mark.
                unsafe { libc::kill(*pid, libc::SIGKILL) };
            }
            if left.is_empty() && self.try_wait().is_some() {
                return;
            }
            let _ = self.child.kill();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

/// Waits until `condition` holds.
pub fn await_true(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn await_child_of(parent: i32, running: &mut Running) -> i32 {
    let until = Instant::now() + DEADLINE;
    loop {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        if let Some(child) = children.split_whitespace().next() {
            return child.parse().unwrap();
        }
        // It may have come and gone.
        if running.try_wait().is_some() || Instant::now() > until {
            return parent;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

pub fn pids() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// State and parent of a process.
pub fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 2..].split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// A field of `/proc/PID/status`.
pub fn status_field(pid: i32, field: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let lines: HashMap<_, _> = status.lines().filter_map(|line| line.split_once(":\t")).collect();
    lines.get(field).map(|value| value.trim().to_string())
}
