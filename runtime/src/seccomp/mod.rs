//! Seccomp profiles compiled to BPF.
//!
//! [`compile`] turns `linux.seccomp` of config.json (config-linux.md, "Seccomp") into a classic BPF program, without
//! libseccomp and without touching the system; [`load`] hands it to the kernel just before the container's program is
//! executed; [`Cache`] keeps compiled filters for the next container; [`notify`] brings the listener of `SCMP_ACT_NOTIFY` to its agent. docs/decisions-seccomp.md tells why the
//! programs look as they do and where they differ from libseccomp's.
//!
//! Within: `profile` checks, `compile` decides, `dispatch` and `condition` write a `graph` of tests, `program` gives it
//! addresses.

mod abi;
mod cache;
mod compile;
mod condition;
mod dispatch;
mod features;
mod graph;
pub mod notify;
mod packed;
mod profile;
mod program;
mod table;
#[cfg(test)]
mod tests;
mod verify;

use std::os::fd::OwnedFd;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};
use serde::{Deserialize, Serialize};

pub use abi::Machine;
pub use cache::{Cache, NewProfile};
pub use features::{Features, features};

use crate::error::{Problems, Result};
use crate::sys::seccomp::set_mode_filter;

pub use crate::sys::seccomp::Instruction;

/// A compiled profile: plain data, sent from the launcher to the stage.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Filter {
    /// At most 4096 instructions.
    #[serde(with = "packed")]
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` for seccomp(2).
    pub flags: u32,
    /// Whether a rule says `SCMP_ACT_NOTIFY`, so that [`load`] returns a listener.
    pub notify: bool,
}

/// What a profile is compiled to. The strings are warnings: names that no machine knows, flags without a meaning here.
pub type Compiled = (Filter, Vec<String>);

/// Compiles a profile for this machine.
///
/// Everything that is wrong with it is noted in `problems`; then, and on a machine without a table of system calls,
/// there is no filter.
pub fn compile(profile: &LinuxSeccomp, problems: &mut Problems) -> Option<Compiled> {
    let Some(machine) = Machine::native() else {
        problems.add("linux.seccomp", format_args!("filters are not made for {} yet", std::env::consts::ARCH));
        return None;
    };
    compile_for(machine, profile, problems)
}

/// The same for any machine.
pub fn compile_for(machine: Machine, profile: &LinuxSeccomp, problems: &mut Problems) -> Option<Compiled> {
    let mut found = Problems::default();
    let mut warnings = Vec::new();
    let syscalls = profile.syscalls().as_deref().unwrap_or_default();
    let notify = syscalls.iter().any(|entry| entry.action() == LinuxSeccompAction::ScmpActNotify);
    let default = profile::default_action(profile, notify, &mut found);
    let flags = profile::flags(profile, notify, &mut warnings);
    let rules = profile::rules(syscalls, &mut found, &mut warnings);
    let architectures = profile.architectures().as_deref().unwrap_or_default();
    let program =
        if found.is_empty() { compile::compile(machine, architectures, default, &rules, &mut found) } else { None };
    for problem in found.iter() {
        problems.add(&problem.field, &problem.message);
    }
    program.map(|program| (Filter { program, flags, notify }, warnings))
}

/// Puts the calling thread, and what it executes, under the filter; there is no way back.
///
/// To be called last before execve(2): the filter applies to every call from here on. It needs `no_new_privs` or
/// `CAP_SYS_ADMIN` in the thread's user namespace. Returns the listener, CLOEXEC, where the profile notifies an agent;
/// how it leaves the container is told in [`notify`].
///
/// # Errors
/// What seccomp(2) refuses, with cause and remedy.
pub fn load(filter: &Filter) -> Result<Option<OwnedFd>> {
    set_mode_filter(&filter.program, filter.flags)
}
