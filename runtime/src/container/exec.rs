//! `exec`.

use std::os::fd::AsFd;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxCapabilities, Process, User};

use super::Runtime;
use crate::cgroup::SubCgroups;
use crate::config::{self, Running};
use crate::error::{Error, Kind, Problems, Result};
use crate::launch::{Foreground, Join, Joined, Outcome, check_preserved, join};
use crate::plan::{self, Surroundings};
use crate::seccomp::{Cache, Filter, NewProfile};
use crate::state::{Record, Status};
use crate::{log, lsm, seccomp};

/// What `exec` takes beside the container's name.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// What is to run.
    pub process: ExecProcess,
    /// Do not wait for its end.
    pub detach: bool,
    /// A Unix socket that gets the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Where the process's number is written.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
    /// How many of them, the first, are sockets of socket activation (sd_listen_fds(3)); the program is told.
    pub listen_fds: u32,
    /// Also into a paused container: the program begins when it is resumed.
    pub ignore_paused: bool,
    /// Cgroups below the container's, which exist already.
    pub cgroups: SubCgroups,
    /// A Unix socket that gets the process's descriptor.
    pub pidfd_socket: Option<PathBuf>,
}

/// The program of an `exec`.
#[derive(Clone, Debug)]
pub enum ExecProcess {
    /// A file with the spec's `process` object.
    File(PathBuf),
    /// The container's own process with these changes.
    Changed(Box<ProcessChanges>),
}

impl Default for ExecProcess {
    fn default() -> Self {
        Self::Changed(Box::default())
    }
}

/// Differences from the `process` of the container's configuration.
#[derive(Clone, Debug, Default)]
pub struct ProcessChanges {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Added to the environment.
    pub env: Vec<String>,
    /// Another working directory.
    pub cwd: Option<String>,
    /// `uid[:gid]`
    pub user: Option<String>,
    /// More supplementary groups.
    pub additional_gids: Vec<u32>,
    /// With a terminal of its own.
    pub tty: bool,
    /// More capabilities, by name.
    pub capabilities: Vec<String>,
    /// Sets no_new_privs.
    pub no_new_privileges: bool,
    /// Another AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// Another SELinux label.
    pub selinux_label: Option<String>,
}

impl Runtime {
    /// Runs one more program in a running container: its exit status; 0 at once when detached.
    pub fn exec(&self, id: &str, options: &ExecOptions) -> Result<i32> {
        check_preserved(options.preserve_fds, options.listen_fds)?;
        let directory = self.store.open(id)?;
        let record = directory.existing_record()?;
        let (status, init) = directory.status_and_init(&record)?;
        match status {
            Status::Running | Status::Created => {}
            Status::Paused if options.ignore_paused => {}
            Status::Paused => {
                return Err(Error::new(Kind::State, format!("cannot exec in a paused container: {id}"))
                    .remedy("resume it, or use --ignore-paused"));
            }
            other => {
                return Err(Error::new(
                    Kind::State,
                    format!("cannot exec in a container that is not running: {id} is {other}"),
                ));
            }
        }
        let (init, init_process) =
            init.ok_or_else(|| Error::new(Kind::State, format!("container not running: {id}")))?;
        let process = compile(&record, *directory.configuration_to_join()?, &self.store.filters(), options)?;
        let terminal = process.process.terminal.is_some();
        if options.detach && terminal && options.console_socket.is_none() {
            return Err(Error::invalid(
                "--tty",
                "cannot allocate tty if pipkin-runtime will detach without setting console socket",
            ));
        }
        if options.console_socket.is_some() && !(options.detach && terminal) {
            return Err(Error::invalid(
                "--console-socket",
                "cannot use console socket if pipkin-runtime will not detach or allocate tty",
            ));
        }
        let wanted = Join {
            record: &record,
            init,
            init_process: init_process.as_fd(),
            process: process.process,
            seccomp_agent: process.seccomp_agent,
            new_profile: process.new_profile,
            oom_score_adj: process.oom_score_adj,
            initial_affinity: process.initial_affinity,
            console_socket: options.console_socket.as_deref(),
            pid_file: options.pid_file.as_deref(),
            pidfd_socket: options.pidfd_socket.as_deref(),
            cgroups: &options.cgroups,
            paused: status == Status::Paused,
        };
        drop(directory);
        if options.detach {
            return detached(join(&wanted, None)?);
        }
        let foreground = Foreground::enter(None, false)?;
        let joined = join(&wanted, Some(&foreground))?;
        let Joined { child, first, channel, terminal } = joined;
        match foreground.attend(&child, first, channel, terminal, None)? {
            Outcome::Exited(status) => Ok(status),
            Outcome::Failed(error) => Err(error),
        }
    }
}

fn detached(joined: Joined) -> Result<i32> {
    let word = joined.channel.receive()?;
    joined.first.map(|first| first.wait()).transpose()?;
    match word {
        Some((crate::channel::Report::Failed(error), _)) => {
            joined.child.wait()?;
            Err(error)
        }
        _ => Ok(0),
    }
}

struct Compiled {
    process: plan::Process,
    seccomp_agent: Option<plan::SeccompAgent>,
    new_profile: Option<NewProfile>,
    oom_score_adj: Option<i32>,
    initial_affinity: Option<plan::NumberList>,
}

fn compile(record: &Record, running: Running, cache: &Cache, options: &ExecOptions) -> Result<Compiled> {
    let mut problems = Problems::default();
    let Running { process: own, linux } = running;
    let process = match &options.process {
        ExecProcess::File(path) => {
            let (mut process, warnings) = config::load_process(path)?;
            warnings.iter().for_each(log::warn);
            let own = own.as_deref();
            if process.capabilities().is_none() {
                process.set_capabilities(own.and_then(|own| own.capabilities().clone()));
            }
            if process.oom_score_adj().is_none() {
                process.set_oom_score_adj(own.and_then(oci_spec::runtime::Process::oom_score_adj));
            }
            inherit_scheduling(&mut process, own);
            // Whoever does not name another wall is behind the container's.
            let own_label = |label: fn(&Process) -> &Option<String>| own.and_then(|own| label(own).clone());
            if process.apparmor_profile().as_deref().is_none_or(str::is_empty) {
                process.set_apparmor_profile(own_label(Process::apparmor_profile));
            }
            if process.selinux_label().as_deref().is_none_or(str::is_empty) {
                process.set_selinux_label(own_label(Process::selinux_label));
            }
            process
        }
        ExecProcess::Changed(changes) => change(own.unwrap_or_default(), changes)?,
    };
    let Wall { filter, agent, new_profile } = compile_seccomp(linux.seccomp(), cache, &mut problems)?;
    let maps = record.id_maps.as_ref();
    let granted = match record.namespaces.contains(&plan::NamespaceKind::User) {
        true => u64::MAX,
        false => plan::own_capabilities()?,
    };
    let surroundings = Surroundings {
        preserve_fds: options.preserve_fds,
        memory_policy: linux.memory_policy.as_ref(),
        personality: linux.personality.as_ref(),
        seccomp: filter,
        id_maps: maps,
        granted,
        modules: lsm::Modules::detect(),
    };
    let affinity = plan::compile_exec_affinity(&process, &mut problems);
    let mut warnings = Vec::new();
    let (mut process, oom_score_adj) = plan::compile_process(&process, surroundings, &mut warnings, &mut problems);
    plan::announce_sockets(&mut process, options.listen_fds);
    problems.into_result()?;
    warnings.iter().for_each(log::warn);
    process.affinity = affinity.last;
    Ok(Compiled { process, seccomp_agent: agent, new_profile, oom_score_adj, initial_affinity: affinity.initial })
}

/// What `linux.seccomp` comes to.
#[derive(Default)]
struct Wall {
    filter: Option<Filter>,
    agent: Option<plan::SeccompAgent>,
    new_profile: Option<NewProfile>,
}

/// Of the profile's text; one that the cache knows is not parsed. It has no agent then: such a filter is not kept.
fn compile_seccomp(profile: Option<&[u8]>, cache: &Cache, problems: &mut Problems) -> Result<Wall> {
    let Some(text) = profile else { return Ok(Wall::default()) };
    if let Some((filter, _)) = cache.find(text) {
        return Ok(Wall { filter: Some(filter), ..Wall::default() });
    }
    let profile = config::profile_of_text(text).map_err(|cause| Error::invalid("linux.seccomp", cause))?;
    let filter = seccomp::compile(&profile, problems).map(|(filter, _)| filter);
    let agent = plan::seccomp_agent(Some(&profile), filter.as_ref(), problems);
    Ok(Wall { filter, agent, new_profile: Some(NewProfile::new(cache.clone(), text)) })
}

/// What a process document leaves out is as for the container's own process, as with runc.
fn inherit_scheduling(process: &mut Process, own: Option<&Process>) {
    let Some(own) = own else { return };
    if process.scheduler().is_none() {
        process.set_scheduler(own.scheduler().clone());
    }
    if process.io_priority().is_none() {
        process.set_io_priority(*own.io_priority());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(own.exec_cpu_affinity().clone());
    }
}

fn change(mut process: Box<Process>, changes: &ProcessChanges) -> Result<Box<Process>> {
    process.set_args(Some(changes.args.clone()));
    process.set_terminal(Some(changes.tty));
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(changes.env.iter().cloned());
    process.set_env(Some(env));
    if let Some(cwd) = &changes.cwd {
        process.set_cwd(cwd.into());
    }
    let mut user = process.user().clone();
    if let Some(text) = &changes.user {
        let (uid, gid) = parse_user(text)?;
        let mut other = User::default();
        other.set_uid(uid).set_gid(gid.unwrap_or(user.gid())).set_umask(user.umask());
        other.set_additional_gids(user.additional_gids().clone());
        user = other;
    }
    let mut gids = user.additional_gids().clone().unwrap_or_default();
    gids.extend(&changes.additional_gids);
    user.set_additional_gids(Some(gids));
    process.set_user(user);
    if changes.apparmor_profile.is_some() {
        process.set_apparmor_profile(changes.apparmor_profile.clone());
    }
    if changes.selinux_label.is_some() {
        process.set_selinux_label(changes.selinux_label.clone());
    }
    if changes.no_new_privileges {
        process.set_no_new_privileges(Some(true));
    }
    if !changes.capabilities.is_empty() {
        let sets = process.capabilities().clone();
        process.set_capabilities(Some(add_capabilities(sets, &changes.capabilities)));
    }
    Ok(process)
}

/// `uid[:gid]`, numbers only, each within 32 bits and not -1 (CVE-2026-30892: one strict reading).
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |part: &str| -> Result<u32> {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let number = part.parse::<u32>().ok().filter(|number| digits && *number != u32::MAX);
        number.ok_or_else(|| {
            Error::invalid("--user", format!("{text:?} is not uid or uid:gid with numbers below 4294967295"))
        })
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

/// Never to the inheritable and ambient sets (CVE-2022-29162). Unknown ones are warned about, as in a configuration.
fn add_capabilities(sets: Option<LinuxCapabilities>, names: &[String]) -> LinuxCapabilities {
    let mut added = std::collections::HashSet::new();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        match serde_json::from_value(serde_json::Value::String(full)) {
            Ok(capability) => drop(added.insert(capability)),
            Err(_) => log::warn(format_args!("--cap: unknown capability {name:?} is left out")),
        }
    }
    let mut sets = sets.unwrap_or_else(|| {
        let none = || Some(std::collections::HashSet::new());
        let mut empty = LinuxCapabilities::default();
        empty
            .set_bounding(none())
            .set_effective(none())
            .set_inheritable(none())
            .set_permitted(none())
            .set_ambient(none());
        empty
    });
    let extend = |set: &Option<oci_spec::runtime::Capabilities>| {
        Some(set.iter().flatten().copied().chain(added.iter().copied()).collect())
    };
    let (bounding, effective, permitted) =
        (extend(sets.bounding()), extend(sets.effective()), extend(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        assert_eq!(parse_user("1").unwrap(), (1, None));
        assert_eq!(parse_user("1000:5").unwrap(), (1000, Some(5)));
        for bad in ["", ":", ":1", "1:", "-1", "+1", "4294967295", "4294967296", "root", "1:2:3", " 1"] {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn added_capabilities_are_not_inheritable() {
        let sets = add_capabilities(None, &["net_admin".to_owned(), "CAP_NOPE".to_owned()]);
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 1);
        assert_eq!(sets.inheritable().as_ref().unwrap().len(), 0);
        assert_eq!(sets.ambient().as_ref().unwrap().len(), 0);
    }
}
