//! libseccomp, in a small C program beside the test: a static test program can not load the library itself.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator};
use pipkin_runtime::seccomp::Instruction;

/// What libseccomp gives for a name that it does not know (`__NR_SCMP_ERROR`).
pub const UNKNOWN: i64 = -1;

pub struct Oracle {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// libseccomp's refusal.
#[derive(Debug)]
pub struct Refused {
    pub errno: i32,
}

impl Oracle {
    /// Builds and starts it.
    pub fn start() -> Self {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp/oracle.c");
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("seccomp-oracle-{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let built = Command::new("cc").args(["-O2", "-Wall", "-o"]).arg(&program).args([source, "-lseccomp"]).status();
        assert!(built.expect("cc is needed").success(), "building the oracle needs libseccomp-dev");
        let child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("start the oracle");
        std::fs::remove_file(&program).expect("remove the oracle's file");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { input: child.stdin.take(), output, child }
    }

    fn send(&mut self, text: &str) {
        self.input.as_mut().expect("running").write_all(text.as_bytes()).expect("write to the oracle");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("read from the oracle");
        assert!(line.ends_with('\n'), "the oracle died");
        line.trim_end().to_owned()
    }

    /// The number of a system call as libseccomp has it: below -1 for one that exists elsewhere.
    pub fn resolve(&mut self, token: u32, name: &str) -> i64 {
        self.send(&format!("resolve {token:#x} {name}\n"));
        self.line().parse().expect("a number")
    }

    /// libseccomp's program for a profile, given to it in the way runc does.
    pub fn compile(&mut self, profile: &LinuxSeccomp, setup: Setup) -> Result<Vec<Instruction>, Refused> {
        self.send(&(commands(profile, setup) + "emit\n"));
        let answer = self.line();
        let mut words = answer.split(' ');
        let kind = words.next();
        let number: usize = words.next().and_then(|n| n.parse().ok()).expect("a number");
        if kind == Some("error") {
            return Err(Refused { errno: number as i32 });
        }
        let mut bytes = vec![0; number];
        self.output.read_exact(&mut bytes).expect("read the program");
        let instruction = |b: &[u8]| Instruction {
            code: u16::from_ne_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        };
        Ok(bytes.chunks(8).map(instruction).collect())
    }

    /// Nanoseconds of each of `rounds` compilations.
    pub fn time(&mut self, profile: &LinuxSeccomp, setup: Setup, rounds: usize) -> Vec<u64> {
        self.send(&(commands(profile, setup) + &format!("time {rounds}\n")));
        self.line().split(' ').map(|n| n.parse().expect("a number")).collect()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

/// How libseccomp is set up.
#[derive(Clone, Copy, Default)]
pub struct Setup {
    /// For programs of another machine than this one: leave its own architecture out.
    pub foreign: bool,
    /// `SCMP_FLTATR_CTL_OPTIMIZE` 2, which runc sets for profiles with more than 32 rules.
    pub binary_tree: bool,
}

fn commands(profile: &LinuxSeccomp, setup: Setup) -> String {
    let default = profile.default_action().as_u32(profile.default_errno_ret());
    let mut text = format!("filter {default:#x}\n");
    let architectures: BTreeSet<u32> = profile.architectures().iter().flatten().map(|arch| *arch as u32).collect();
    for token in architectures.iter().filter(|token| **token != Arch::ScmpArchNative as u32) {
        text += &format!("arch {token:#x}\n");
    }
    if setup.foreign {
        text += "only\n";
    }
    if setup.binary_tree {
        text += "optimize 2\n";
    }
    for entry in profile.syscalls().iter().flatten() {
        let action = entry.action().as_u32(entry.errno_ret());
        if action == default {
            continue;
        }
        let arguments = entry.args().as_deref().unwrap_or_default();
        let indices: BTreeSet<usize> = arguments.iter().map(|argument| argument.index()).collect();
        for name in entry.names() {
            if indices.len() < arguments.len() {
                for argument in arguments {
                    text += &format!("rule {action:#x} {name} 1{}\n", comparison(argument));
                }
            } else {
                let all: String = arguments.iter().map(comparison).collect();
                text += &format!("rule {action:#x} {name} {}{all}\n", arguments.len());
            }
        }
    }
    text
}

fn comparison(argument: &LinuxSeccompArg) -> String {
    let operator = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => 1,
        LinuxSeccompOperator::ScmpCmpLt => 2,
        LinuxSeccompOperator::ScmpCmpLe => 3,
        LinuxSeccompOperator::ScmpCmpEq => 4,
        LinuxSeccompOperator::ScmpCmpGe => 5,
        LinuxSeccompOperator::ScmpCmpGt => 6,
        LinuxSeccompOperator::ScmpCmpMaskedEq => 7,
    };
    format!(" {} {operator} {:#x} {:#x}", argument.index(), argument.value(), argument.value_two().unwrap_or(0))
}
