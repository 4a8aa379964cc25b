//! `linux.seccomp` of config.json (config-linux.md, "Seccomp"), checked.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag};
use oci_spec::runtime::{LinuxSeccompOperator, LinuxSyscall};

use super::abi::{Row, find};
use super::condition::{Condition, Operator};
use crate::error::Problems;
use crate::sys::seccomp::flag;

/// A checked entry of `syscalls`.
pub(super) struct Rule {
    /// Its index in `syscalls`.
    pub index: usize,
    /// A `SECCOMP_RET_*` value.
    pub action: u32,
    /// The calls it is about.
    pub calls: Vec<&'static Row>,
    /// When it applies: when all conditions of one of these lists hold. None: always.
    pub alternatives: Vec<Vec<Condition>>,
}

const EPERM: u32 = libc::EPERM as u32;
/// `MAX_ERRNO` of the kernel; it reduces larger values to this one.
const MAX_ERRNO: u32 = 4095;
/// `SECCOMP_RET_DATA`.
const MAX_TRACE_DATA: u32 = 0xffff;

/// The `SECCOMP_RET_*` value of an action. Without `errnoRet` it is EPERM, as the specification says.
pub(super) fn action(
    action: LinuxSeccompAction,
    errno: Option<u32>,
    field: &dyn std::fmt::Display,
    problems: &mut Problems,
) -> u32 {
    let largest = match action {
        LinuxSeccompAction::ScmpActErrno => MAX_ERRNO,
        LinuxSeccompAction::ScmpActTrace => MAX_TRACE_DATA,
        _ => {
            if errno.is_some() {
                problems.add(
                    field,
                    format_args!("{action} takes no error number; only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do"),
                );
            }
            return action.as_u32(None);
        }
    };
    let errno = errno.unwrap_or(EPERM);
    if errno > largest {
        problems.add(field, format_args!("{errno} is too large for {action}; at most {largest}"));
    }
    action.as_u32(Some(errno.min(largest)))
}

/// Checks everything outside `syscalls`; returns the default action.
pub(super) fn default_action(profile: &LinuxSeccomp, notifies: bool, problems: &mut Problems) -> u32 {
    if profile.default_action() == LinuxSeccompAction::ScmpActNotify {
        // The runtime's own calls between loading the filter and execve(2) would wait for an agent that has no
        // listener yet.
        problems.add("linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY can not be the default action");
    }
    match (profile.listener_path(), profile.listener_metadata()) {
        (None, _) if notifies => {
            problems.add(
                "linux.seccomp.listenerPath",
                "SCMP_ACT_NOTIFY is used, but the path of the agent's socket is missing",
            );
        }
        (None, Some(_)) => {
            problems.add("linux.seccomp.listenerMetadata", "there is no linux.seccomp.listenerPath to send it to");
        }
        _ => {}
    }
    action(profile.default_action(), profile.default_errno_ret(), &"linux.seccomp.defaultErrnoRet", problems)
}

/// Checks `syscalls`. Unknown names are left out, with a warning, as runc and crun do: engines send names that are newer
/// than the runtime, or of other machines, and what has no rule gets the default action.
pub(super) fn rules(syscalls: &[LinuxSyscall], problems: &mut Problems, warnings: &mut Vec<String>) -> Vec<Rule> {
    syscalls.iter().enumerate().map(|(index, entry)| rule(index, entry, problems, warnings)).collect()
}

fn rule(index: usize, entry: &LinuxSyscall, problems: &mut Problems, warnings: &mut Vec<String>) -> Rule {
    let field = format_args!("linux.seccomp.syscalls[{index}]");
    let action = action(entry.action(), entry.errno_ret(), &format_args!("{field}.errnoRet"), problems);
    if entry.names().is_empty() {
        problems.add(format_args!("{field}.names"), "names no system call");
    }
    let mut calls = Vec::with_capacity(entry.names().len());
    for (position, name) in entry.names().iter().enumerate() {
        if name == "write" && entry.action() == LinuxSeccompAction::ScmpActNotify {
            problems.add(
                format_args!("{field}.names[{position}]"),
                "SCMP_ACT_NOTIFY can not be used for write: the runtime needs it to hand over the listener",
            );
        }
        match find(name) {
            Some(row) => calls.push(row),
            None if name.is_empty() => problems.add(format_args!("{field}.names[{position}]"), "empty name"),
            None => warnings.push(format!("{field}.names[{position}]: unknown system call {name:?}; skipped")),
        }
    }
    let arguments = entry.args().as_deref().unwrap_or_default();
    Rule { index, action, calls, alternatives: alternatives(arguments, &field, problems) }
}

/// The conditions of a rule. As runc and crun have it: all must hold; but when two of them look at the same argument,
/// each is a rule of its own.
fn alternatives(
    arguments: &[LinuxSeccompArg],
    field: &dyn std::fmt::Display,
    problems: &mut Problems,
) -> Vec<Vec<Condition>> {
    let mut conditions = Vec::with_capacity(arguments.len());
    for (position, argument) in arguments.iter().enumerate() {
        match u8::try_from(argument.index()) {
            Ok(index @ 0..6) => conditions.push(condition(index, argument)),
            _ => problems.add(
                format_args!("{field}.args[{position}].index"),
                format_args!("{}: a system call has the arguments 0 to 5", argument.index()),
            ),
        }
    }
    conditions.sort_by_key(|condition| condition.argument());
    if conditions.is_empty() {
        Vec::new()
    } else if conditions.windows(2).any(|pair| pair[0].argument() == pair[1].argument()) {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![conditions]
    }
}

fn condition(index: u8, argument: &LinuxSeccompArg) -> Condition {
    let value = argument.value();
    match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => Condition::new(index, Operator::NotEqual, value),
        LinuxSeccompOperator::ScmpCmpLt => Condition::new(index, Operator::Less, value),
        LinuxSeccompOperator::ScmpCmpLe => Condition::new(index, Operator::LessOrEqual, value),
        LinuxSeccompOperator::ScmpCmpEq => Condition::new(index, Operator::Equal, value),
        LinuxSeccompOperator::ScmpCmpGe => Condition::new(index, Operator::GreaterOrEqual, value),
        LinuxSeccompOperator::ScmpCmpGt => Condition::new(index, Operator::Greater, value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            Condition::new(index, Operator::Masked { mask: value }, argument.value_two().unwrap_or(0))
        }
    }
}

/// The flags for seccomp(2).
pub(super) fn flags(profile: &LinuxSeccomp, notifies: bool, warnings: &mut Vec<String>) -> u32 {
    let mut flags = if notifies { flag::NEW_LISTENER } else { 0 };
    for (index, name) in profile.flags().iter().flatten().enumerate() {
        flags |= match name {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => flag::LOG,
            // With a listener the kernel wants TSYNC's failure told by an error number, not by a positive result.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync if notifies => flag::TSYNC | flag::TSYNC_ESRCH,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => flag::TSYNC,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => flag::SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if notifies => flag::WAIT_KILLABLE_RECV,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                warnings.push(format!(
                    "linux.seccomp.flags[{index}]: {name} means nothing without SCMP_ACT_NOTIFY; skipped"
                ));
                0
            }
        };
    }
    flags
}
