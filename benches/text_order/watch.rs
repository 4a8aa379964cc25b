//! Which functions a program and its children enter, by a breakpoint on each that is taken away when it is met.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use pipkin_harness::Lab;

use crate::map::Map;

// Who entered a function, as bits.

/// The launcher of `run`.
pub const RUN_LAUNCHER: u8 = 1;
/// Its stage.
pub const RUN_STAGE: u8 = 2;
/// The launcher of `exec`.
pub const EXEC_LAUNCHER: u8 = 4;
/// Its stage.
pub const EXEC_STAGE: u8 = 8;
/// Both of a `run` with a seccomp profile.
pub const CONFINED: u8 = 16;
const OTHER: u8 = 32;

/// `int3`
const BREAKPOINT: u8 = 0xcc;

/// What a command is.
#[derive(Clone, Copy)]
pub enum Part {
    /// The way most containers begin.
    Run,
    /// The same with an engine's profile, whose filter is there.
    Confined,
    /// Into a running one.
    Exec,
    /// Less frequent.
    Other,
}

/// Follows commands of a program.
pub struct Watcher<'a> {
    program: &'a Path,
    /// Its functions' addresses.
    functions: Vec<u64>,
    states: PathBuf,
    /// Whether it shall see cgroup v2 alone.
    pub pure_v2: bool,
    entered: Vec<(u64, u8)>,
    /// A container's first process outlives the command that made it.
    processes: HashMap<Pid, Process>,
    /// Children of whom their parents' stops told, and children that stopped before they did.
    announced: HashSet<Pid>,
    early: HashSet<Pid>,
}

/// A process that executes the program.
struct Process {
    memory: File,
    /// What the breakpoints stand for.
    bytes: HashMap<u64, u8>,
    part: u8,
}

impl<'a> Watcher<'a> {
    /// Watches a program that has its symbols.
    pub fn new(lab: &Lab, program: &'a Path, map: &Map) -> Self {
        let output = Command::new("nm").args(["--defined-only", "--print-size"]).arg(program).output().expect("nm");
        let text = String::from_utf8_lossy(&output.stdout);
        // What was written in assembly may have no size.
        let function = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [address, _, "t" | "T" | "w" | "W" | "i", _] | [address, "t" | "T", _] => {
                u64::from_str_radix(address, 16).ok()
            }
            _ => None,
        };
        let functions: Vec<u64> =
            text.lines().filter_map(function).filter(|address| map.section(*address).is_some()).collect();
        assert!(functions.len() > 1000, "{}: without symbols", program.display());
        Self {
            program,
            functions,
            states: lab.directory("states"),
            pure_v2: false,
            entered: Vec::new(),
            processes: HashMap::new(),
            announced: HashSet::new(),
            early: HashSet::new(),
        }
    }

    /// The functions that were entered, by address, and by whom: each once for each process, in the order in which that was.
    pub fn entered(&self) -> &[(u64, u8)] {
        &self.entered
    }

    /// Runs a command of the program to its end.
    #[allow(clippy::zombie_processes, reason = "it is waited for by its number")]
    pub fn follow(&mut self, part: Part, arguments: &[&str]) {
        let own_view =
            if self.pure_v2 { "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; " } else { "" };
        // It tells when it is there, and waits until it is watched.
        let script = format!("{own_view}echo ready; read -r word; exec \"$@\" > /dev/null");
        let mut child = Command::new("unshare")
            .args(["-m", "sh", "-ec", &script, "sh"])
            .arg(self.program)
            .arg("--root")
            .arg(&self.states)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let pid = Pid::from_raw(child.id() as i32);
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("read");
        assert_eq!(line, "ready\n");
        let options = Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE;
        ptrace::seize(pid, options).expect("seize");
        child.stdin.take().expect("piped").write_all(b"\n").expect("write");
        let status = self.watch(pid, part);
        assert_eq!(status, 0, "{arguments:?}");
    }

    fn watch(&mut self, first: Pid, part: Part) -> i32 {
        loop {
            let status = waitpid(None, Some(WaitPidFlag::__WALL)).expect("wait");
            match status {
                WaitStatus::Exited(pid, status) if pid == first => return status,
                WaitStatus::Signaled(pid, signal, _) if pid == first => panic!("ended by {signal}"),
                WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => {
                    self.processes.remove(&pid);
                    match self.begin(pid, part) {
                        Some(process) => {
                            self.processes.insert(pid, process);
                            resume(pid, None);
                        }
                        // Another program: the container's.
                        None if pid != first => ptrace::detach(pid, None).expect("detach"),
                        None => resume(pid, None),
                    }
                }
                WaitStatus::PtraceEvent(
                    pid,
                    _,
                    libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE,
                ) => {
                    let child = Pid::from_raw(ptrace::getevent(pid).expect("the child's number") as i32);
                    // Its memory is its parent's, or a copy with all breakpoints.
                    if let Some(parent) = self.processes.get(&pid) {
                        let child_process =
                            Process { memory: memory(child), bytes: parent.bytes.clone(), part: parent.part };
                        self.processes.insert(child, child_process);
                    }
                    self.announced.insert(child);
                    if self.early.remove(&child) {
                        resume(child, None);
                    }
                    resume(pid, None);
                }
                // It waits until it is known what its memory is.
                WaitStatus::PtraceEvent(pid, ..) if pid != first && !self.announced.contains(&pid) => {
                    self.early.insert(pid);
                }
                WaitStatus::Stopped(pid, Signal::SIGTRAP) => {
                    let met = self.meet(pid);
                    resume(pid, (!met).then_some(Signal::SIGTRAP));
                }
                WaitStatus::Stopped(pid, signal) => resume(pid, Some(signal)),
                WaitStatus::PtraceEvent(pid, ..) => resume(pid, None),
                _ => {}
            }
        }
    }

    /// Puts the breakpoints into a process that has just executed the program; `None` when it was another one.
    fn begin(&self, pid: Pid, part: Part) -> Option<Process> {
        let own = std::fs::metadata(self.program).expect("the program");
        let its = std::fs::metadata(format!("/proc/{pid}/exe")).expect("the process's program");
        if (own.dev(), own.ino()) != (its.dev(), its.ino()) {
            return None;
        }
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).expect("the command line");
        let part = match (part, line.starts_with(b"pipkin-stage")) {
            (Part::Run, false) => RUN_LAUNCHER,
            (Part::Run, true) => RUN_STAGE,
            (Part::Exec, false) => EXEC_LAUNCHER,
            (Part::Exec, true) => EXEC_STAGE,
            (Part::Confined, _) => CONFINED,
            (Part::Other, _) => OTHER,
        };
        let memory = memory(pid);
        let mut bytes = HashMap::new();
        for address in &self.functions {
            let mut byte = [0];
            memory.read_exact_at(&mut byte, *address).expect("read the text");
            if byte[0] != BREAKPOINT {
                bytes.insert(*address, byte[0]);
                memory.write_all_at(&[BREAKPOINT], *address).expect("write a breakpoint");
            }
        }
        Some(Process { memory, bytes, part })
    }

    /// Notes a function that has been entered, and lets the process go on there; whether it was that.
    fn meet(&mut self, pid: Pid) -> bool {
        let Some(process) = self.processes.get_mut(&pid) else { return false };
        let mut registers = ptrace::getregs(pid).expect("registers");
        let address = registers.rip - 1;
        let Some(byte) = process.bytes.get(&address) else { return false };
        self.entered.push((address, process.part));
        process.memory.write_all_at(&[*byte], address).expect("take a breakpoint away");
        registers.rip = address;
        ptrace::setregs(pid, registers).expect("registers");
        true
    }
}

fn memory(pid: Pid) -> File {
    OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem")).expect("the process's memory")
}

fn resume(pid: Pid, signal: Option<Signal>) {
    // Whoever was killed meanwhile is told by the next wait.
    let _ = ptrace::cont(pid, signal);
}
