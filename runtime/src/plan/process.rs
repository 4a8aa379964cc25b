//! `process`: the program, who it is and what it may do.

use std::path::{Path, PathBuf};

use caps::Capability;
use oci_spec::runtime::{Capabilities as CapabilityNames, LinuxMemoryPolicy, LinuxPersonality, PosixRlimitType, Spec};
use rustix::process::Resource;
use serde::{Deserialize, Serialize};

use super::Request;
use super::ids::IdMaps;
use super::memory_policy::{self, MemoryPolicy};
use super::number_list::NumberList;
use super::scheduling::{self, Scheduling};
use crate::error::{Context, Error, Problems, Result};
use crate::lsm::{Labels, Modules};
use crate::seccomp;

/// The container's program.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Process {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`, as given.
    pub env: Vec<String>,
    /// In the container.
    pub cwd: PathBuf,
    /// A pseudo-terminal of its own, or the caller's descriptors 0 to 2.
    pub terminal: Option<Terminal>,
    /// Who it is.
    pub user: User,
    /// What it may do.
    pub capabilities: Capabilities,
    /// `no_new_privs` (prctl(2)).
    pub no_new_privileges: bool,
    /// What it runs under from its exec on.
    pub labels: Labels,
    /// The system calls it may make.
    pub seccomp: Option<seccomp::Filter>,
    /// Set when all else is done.
    pub rlimits: Vec<Rlimit>,
    /// Its share of CPUs and disks; in a user namespace the launcher sets it.
    pub scheduling: Scheduling,
    /// The CPUs of an `exec` (`execCPUAffinity.final`); without any, all that its cgroup allows.
    pub affinity: Option<NumberList>,
    /// Where its memory comes from.
    pub memory_policy: Option<MemoryPolicy>,
    /// Its execution domain (personality(2)).
    pub personality: Option<u32>,
    /// How many descriptors from 3 on it keeps.
    pub preserve_fds: u32,
}

/// `process.consoleSize`; zeros leave the kernel's default.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Terminal {
    /// Lines.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// `process.user`
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct User {
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// File mode creation mask; without one, 0022.
    pub umask: Option<u32>,
}

/// The five sets (capabilities(7)); bit n is capability n.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Capabilities {
    /// What can be had at most.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// Kept over exec by programs that have them in their file, too.
    pub inheritable: u64,
    /// What can be put in force.
    pub permitted: u64,
    /// Kept over exec of ordinary programs.
    pub ambient: u64,
}

impl Capabilities {
    /// The sets of a configuration; without any the program has none at all.
    pub fn from_names(names: Option<&oci_spec::runtime::LinuxCapabilities>) -> Self {
        let Some(names) = names else { return Self::default() };
        Self {
            bounding: bits(names.bounding().as_ref()),
            effective: bits(names.effective().as_ref()),
            inheritable: bits(names.inheritable().as_ref()),
            permitted: bits(names.permitted().as_ref()),
            ambient: bits(names.ambient().as_ref()),
        }
    }

    /// Without those that can not be had here, each of which is a warning, not an error (config.md, "capabilities").
    fn granted(self, granted: u64, warnings: &mut Vec<String>) -> Self {
        let sets = [self.bounding, self.effective, self.inheritable, self.permitted, self.ambient];
        let missing = sets.iter().fold(0, |all, set| all | set) & !granted;
        if missing != 0 {
            let names = caps::all().into_iter().filter(|capability| missing & capability.bitmask() != 0);
            let mut names: Vec<String> = names.map(|capability| capability.to_string()).collect();
            names.sort();
            warnings.push(format!(
                "process.capabilities: {} can not be granted, because this process does not have them itself",
                names.join(", ")
            ));
        }
        let [bounding, effective, inheritable, permitted, ambient] = sets.map(|set| set & granted);
        Self { bounding, effective, inheritable, permitted, ambient }
    }
}

/// Whether the program can have CAP_MKNOD, and so make devices where no user namespace forbids it.
pub fn may_make_devices(spec: &oci_spec::runtime::Spec) -> bool {
    let capabilities = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    Capabilities::from_names(capabilities).bounding & Capability::CAP_MKNOD.bitmask() != 0
}

/// Bit n is capability n.
pub fn capability_bit(name: &str) -> Option<u64> {
    let capability: Capability = name.parse().ok()?;
    Some(1 << capability.index())
}

fn bits(names: Option<&CapabilityNames>) -> u64 {
    let names = names.into_iter().flatten();
    names.filter_map(|name| capability_bit(&format!("CAP_{name}"))).fold(0, |bits, bit| bits | bit)
}

/// `process.rlimits[]` (getrlimit(2)).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rlimit {
    /// `RLIMIT_*`
    pub resource: u32,
    /// In force; `u64::MAX` is no limit.
    pub soft: u64,
    /// How far the program may raise it.
    pub hard: u64,
}

impl Rlimit {
    /// As rustix names it.
    pub fn resource(self) -> Option<Resource> {
        RESOURCES.into_iter().find(|resource| *resource as u32 == self.resource)
    }
}

const RESOURCES: [Resource; 16] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];

/// A limit that could not be set.
pub(crate) fn limit_error(limit: Rlimit, errno: rustix::io::Errno) -> Error {
    let name = limit.resource().map_or("?".to_owned(), |resource| format!("{resource:?}").to_uppercase());
    let step = format!("process.rlimits: set RLIMIT_{name} to soft {}, hard {}", limit.soft, limit.hard);
    let error = Error::system(step, errno);
    if errno != rustix::io::Errno::PERM {
        return error;
    }
    let now = limit.resource().and_then(|resource| rustix::process::getrlimit(resource).maximum);
    let now = now.map_or("unlimited".to_owned(), |hard| hard.to_string());
    error.remedy(format!(
        "raising a hard limit (here {now}) needs CAP_SYS_RESOURCE; ask for less, or raise the limit of the engine's service"
    ))
}

/// Who answers for system calls with `SCMP_ACT_NOTIFY` (`linux.seccomp.listenerPath`, `listenerMetadata`).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SeccompAgent {
    /// Its Unix socket.
    pub path: PathBuf,
    /// What it is told beside the container's state.
    pub metadata: Option<String>,
}

/// The agent that a filter with a listener needs.
pub(crate) fn seccomp_agent(
    profile: Option<&oci_spec::runtime::LinuxSeccomp>,
    filter: Option<&seccomp::Filter>,
    problems: &mut Problems,
) -> Option<SeccompAgent> {
    if !filter.is_some_and(|filter| filter.notify) {
        return None;
    }
    let profile = profile?;
    match profile.listener_path().as_ref().filter(|path| path.is_absolute()) {
        Some(path) => Some(SeccompAgent { path: path.clone(), metadata: profile.listener_metadata().clone() }),
        None => {
            problems.add(
                "linux.seccomp.listenerPath",
                "is missing: SCMP_ACT_NOTIFY needs the absolute path of an agent's socket",
            );
            None
        }
    }
}

type Compiled = (Process, Option<i32>);

pub(super) fn compile(
    request: &Request<'_>,
    spec: &Spec,
    id_maps: Option<&IdMaps>,
    granted: u64,
    modules: Modules,
    warnings: &mut Vec<String>,
    problems: &mut Problems,
) -> Option<Compiled> {
    let Some(process) = spec.process() else {
        problems.add("process", "is missing: there is no program to run");
        return None;
    };
    let linux = spec.linux().as_ref();
    let profile = linux.and_then(|linux| linux.seccomp().as_ref());
    let compiled = profile.and_then(|profile| request.filter.cloned().or_else(|| seccomp::compile(profile, problems)));
    let seccomp = compiled.map(|(filter, unknown)| {
        warnings.extend(unknown);
        filter
    });

    // Checked, although it is for exec only.
    let _ = scheduling::compile_exec_affinity(process, problems);
    let surroundings = Surroundings {
        preserve_fds: request.preserve_fds,
        memory_policy: linux.and_then(|linux| linux.memory_policy().as_ref()),
        personality: linux.and_then(|linux| linux.personality().as_ref()),
        seccomp,
        id_maps,
        granted,
        modules,
    };
    let (mut compiled, oom_score_adj) = compile_process(process, surroundings, warnings, problems);
    announce_sockets(&mut compiled, request.listen_fds);
    Some((compiled, oom_score_adj))
}

/// Tells the program how many sockets it has from descriptor 3 on (sd_listen_fds(3)).
///
/// LISTEN_PID is 1 as with runc: what a container's first process is in a pid namespace of its own.
pub(crate) fn announce_sockets(process: &mut Process, count: u32) {
    if count > 0 {
        process.env.push(format!("LISTEN_FDS={count}"));
        process.env.push("LISTEN_PID=1".to_owned());
    }
}

/// What a program's plan depends on beside the process document.
pub(crate) struct Surroundings<'a> {
    /// How many descriptors from 3 on it keeps.
    pub preserve_fds: u32,
    /// The container's `linux.memoryPolicy`.
    pub memory_policy: Option<&'a LinuxMemoryPolicy>,
    /// The container's `linux.personality`.
    pub personality: Option<&'a LinuxPersonality>,
    /// The container's filter.
    pub seccomp: Option<seccomp::Filter>,
    /// Of the container's user namespace.
    pub id_maps: Option<&'a IdMaps>,
    /// The capabilities that can be handed on; bit n is capability n.
    pub granted: u64,
    /// The security modules that labels can be set with.
    pub modules: Modules,
}

/// The capabilities that this process can hand on (capabilities(7)).
pub(crate) fn own_capabilities() -> Result<u64> {
    Ok(rustix::thread::capabilities(None).step(|| "look up the own capabilities")?.permitted.bits())
}

/// Also for `exec`: everything of a process document.
pub(crate) fn compile_process(
    process: &oci_spec::runtime::Process,
    surroundings: Surroundings<'_>,
    warnings: &mut Vec<String>,
    problems: &mut Problems,
) -> Compiled {
    let Surroundings { preserve_fds, memory_policy, personality, seccomp, id_maps, granted, modules } = surroundings;
    let args = process.args().clone().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        problems.add("process.args", "is empty: there is no program to run");
    }
    for (index, text) in args.iter().enumerate().filter(|(_, text)| text.contains('\0')) {
        problems.add(format!("process.args[{index}]"), format!("{text:?} has a NUL in it"));
    }
    let env = process.env().clone().unwrap_or_default();
    for (index, text) in env.iter().enumerate() {
        if text.contains('\0') || !text.contains('=') || text.starts_with('=') {
            problems.add(format!("process.env[{index}]"), format!("{text:?} is not NAME=value"));
        }
    }
    if !process.cwd().is_absolute() {
        problems.add("process.cwd", format!("{:?} is not an absolute path", process.cwd()));
    }
    let terminal = process.terminal().unwrap_or(false).then(|| {
        let size = process.console_size();
        let cells = |cells: u64| u16::try_from(cells).unwrap_or(u16::MAX);
        size.map_or(Terminal::default(), |size| Terminal { height: cells(size.height()), width: cells(size.width()) })
    });
    let compiled = Process {
        args,
        env,
        cwd: Path::new("/").join(process.cwd()),
        terminal,
        user: compile_user(process.user(), id_maps, problems),
        capabilities: compile_capabilities(process, warnings, problems).granted(granted, warnings),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        labels: Labels::compile(process, modules, problems),
        seccomp,
        rlimits: compile_rlimits(process, problems),
        scheduling: scheduling::compile(process, problems),
        affinity: None,
        memory_policy: memory_policy.and_then(|given| memory_policy::compile(given, problems)),
        personality: personality.map(|given| memory_policy::compile_personality(given, problems)),
        preserve_fds,
    };
    (compiled, compile_oom_score(process.oom_score_adj(), problems))
}

fn compile_user(user: &oci_spec::runtime::User, id_maps: Option<&IdMaps>, problems: &mut Problems) -> User {
    let additional_gids = user.additional_gids().clone().unwrap_or_default();
    let mut check = |field: String, id: u32, mapped: bool| {
        if id == u32::MAX {
            problems.add(field, format!("{id} is not an id"));
        } else if !mapped {
            problems.add(field, format!("{id} is not mapped in the user namespace; add it to the id mappings"));
        }
    };
    check("process.user.uid".into(), user.uid(), id_maps.is_none_or(|maps| maps.maps_uid(user.uid())));
    check("process.user.gid".into(), user.gid(), id_maps.is_none_or(|maps| maps.maps_gid(user.gid())));
    for (index, gid) in additional_gids.iter().enumerate() {
        let mapped = id_maps.is_none_or(|maps| maps.maps_gid(*gid));
        check(format!("process.user.additionalGids[{index}]"), *gid, mapped);
    }
    if let Some(umask) = user.umask().filter(|umask| *umask > 0o777) {
        problems.add("process.user.umask", format!("{umask} is above 0777 (511)"));
    }
    User { uid: user.uid(), gid: user.gid(), additional_gids, umask: user.umask() }
}

fn compile_capabilities(
    process: &oci_spec::runtime::Process,
    warnings: &mut Vec<String>,
    problems: &mut Problems,
) -> Capabilities {
    let mut sets = Capabilities::from_names(process.capabilities().as_ref());
    let missing = |bits: u64| {
        let first = bits.trailing_zeros() as u8;
        caps::all()
            .into_iter()
            .find(|capability| capability.index() == first)
            .map_or(String::new(), |cap| cap.to_string())
    };
    // The kernel refuses these with a bare EPERM (capabilities(7)).
    let not_permitted = sets.effective & !sets.permitted;
    if not_permitted != 0 {
        problems.add("process.capabilities.effective", format!("{} is not in permitted", missing(not_permitted)));
    }
    let not_ambient = sets.ambient & !(sets.permitted & sets.inheritable);
    if not_ambient != 0 {
        // `runc spec` wrote such configurations for years, and runc lets the kernel leave them out.
        warnings.push(format!(
            "process.capabilities.ambient: {} is not in both permitted and inheritable, so it is left out",
            missing(not_ambient)
        ));
        sets.ambient &= !not_ambient;
    }
    sets
}

fn compile_rlimits(process: &oci_spec::runtime::Process, problems: &mut Problems) -> Vec<Rlimit> {
    let mut compiled: Vec<Rlimit> = Vec::new();
    for (index, rlimit) in process.rlimits().iter().flatten().enumerate() {
        let resource = resource(rlimit.typ()) as u32;
        if compiled.iter().any(|earlier| earlier.resource == resource) {
            problems.add(format!("process.rlimits[{index}]"), format!("{} is listed twice", rlimit.typ()));
        }
        if rlimit.soft() > rlimit.hard() {
            let (name, soft, hard) = (rlimit.typ(), rlimit.soft(), rlimit.hard());
            problems.add(format!("process.rlimits[{index}].soft"), format!("{name}: {soft} is above hard, {hard}"));
        }
        compiled.push(Rlimit { resource, soft: rlimit.soft(), hard: rlimit.hard() });
    }
    compiled
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

fn compile_oom_score(score: Option<i32>, problems: &mut Problems) -> Option<i32> {
    if let Some(score) = score.filter(|score| !(-1000..=1000).contains(score)) {
        problems.add("process.oomScoreAdj", format!("{score} is not within -1000 to 1000"));
    }
    score
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{compile_text, problems_of};

    fn with_process(process: &str) -> String {
        format!(
            r#"{{"ociVersion":"1.2.0","root":{{"path":"rootfs"}},"linux":{{"namespaces":[{{"type":"mount"}}]}},
                "process":{{"cwd":"/","args":["true"],{process}}}}}"#
        )
    }

    #[test]
    fn no_capabilities_field_means_none_at_all() {
        let plan = compile_text(&with_process(r#""user":{"uid":0,"gid":0}"#)).unwrap();
        assert_eq!(plan.inside.process.capabilities, Capabilities::default());
    }

    #[test]
    fn capabilities_become_bits() {
        let plan = compile_text(&with_process(
            r#""user":{"uid":0,"gid":0},"capabilities":{"bounding":["CAP_CHOWN","CAP_CHECKPOINT_RESTORE"]}"#,
        ))
        .unwrap();
        assert_eq!(plan.inside.process.capabilities.bounding, 1 | 1 << 40);
    }

    #[test]
    fn ambient_capabilities_that_can_not_be_are_left_out_with_a_warning() {
        let plan = compile_text(&with_process(
            r#""user":{"uid":0,"gid":0},"capabilities":{"permitted":["CAP_KILL"],"ambient":["CAP_KILL"]}"#,
        ))
        .unwrap();
        assert_eq!(plan.inside.process.capabilities.ambient, 0);
        assert!(plan.warnings[0].contains("process.capabilities.ambient: CAP_KILL"), "{:?}", plan.warnings);
    }

    #[test]
    fn what_is_refused() {
        let user = r#""user":{"uid":0,"gid":0}"#;
        for (process, message) in [
            (r#""user":{"uid":4294967295,"gid":0}"#.to_owned(), "process.user.uid"),
            (r#""user":{"uid":0,"gid":0,"umask":512}"#.to_owned(), "process.user.umask"),
            (format!(r#"{user},"env":["A"]"#), "process.env[0]"),
            (format!(r#"{user},"env":["=A"]"#), "process.env[0]"),
            (format!(r#"{user},"oomScoreAdj":1001"#), "process.oomScoreAdj"),
            (format!(r#"{user},"rlimits":[{{"type":"RLIMIT_NOFILE","soft":2,"hard":1}}]"#), "process.rlimits[0].soft"),
            (
                format!(
                    r#"{user},"rlimits":[{{"type":"RLIMIT_CPU","soft":1,"hard":1}},{{"type":"RLIMIT_CPU","soft":1,"hard":1}}]"#
                ),
                "listed twice",
            ),
            (format!(r#"{user},"capabilities":{{"effective":["CAP_KILL"]}}"#), "CAP_KILL is not in permitted"),
            (format!(r#"{user},"apparmorProfile":"x""#), "process.apparmorProfile"),
        ] {
            let text = problems_of(&with_process(&process));
            assert!(text.contains(message), "{process}: {text}");
        }
    }
}
