//! The program: its arguments, environment, user and capabilities.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};

use oci_spec::OciSpecError;
use oci_spec::runtime::{Capability, LinuxCapabilitiesBuilder, Process, ProcessBuilder, UserBuilder};
use pipkin_images::accounts::Account;
use pipkin_images::image::Image;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Bundle;
use super::mounts::INIT;
use crate::failure::{Failure, Result};

/// What images expect when they say nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What Docker gives to containers: enough for package managers and servers, nothing that reaches the machine.
const CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// The image's Entrypoint and Cmd, or what the person said instead: an own entrypoint also replaces Cmd.
///
/// # Errors
/// There is no program at all.
pub fn command(image: &Image, entrypoint: Option<&str>, arguments: &[String]) -> Result<Vec<String>> {
    let config = image.configuration.config().as_ref();
    let of_image = |list: Option<&Option<Vec<String>>>| list.and_then(Clone::clone).unwrap_or_default();
    let mut command = match entrypoint {
        Some("") => Vec::new(),
        Some(program) => vec![program.to_string()],
        None => of_image(config.map(|config| config.entrypoint())),
    };
    if !arguments.is_empty() {
        command.extend_from_slice(arguments);
    } else if entrypoint.is_none() {
        command.extend(of_image(config.map(|config| config.cmd())));
    }
    if command.is_empty() {
        return Err(Failure::argument(
            "image",
            "it has neither Entrypoint nor Cmd: say which program to run after its name",
        ));
    }
    Ok(command)
}

/// Variables in the order in which they were first set.
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// The image's, then the person's.
    pub fn new(image: &Image, own: &[String], terminal: bool) -> Self {
        let mut environment = Self(vec![("PATH".to_string(), PATH.to_string())]);
        if terminal {
            environment.set("TERM", "xterm".to_string());
        }
        let config = image.configuration.config().as_ref();
        for pair in config.and_then(|config| config.env().as_ref()).into_iter().flatten() {
            if let Some((name, value)) = pair.split_once('=') {
                environment.set(name, value.to_string());
            }
        }
        for pair in own {
            match pair.split_once('=') {
                Some((name, value)) => environment.set(name, value.to_string()),
                None => match std::env::var(pair) {
                    Ok(value) => environment.set(pair, value),
                    Err(_) => environment.0.retain(|(name, _)| name != pair),
                },
            }
        }
        environment
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_string(), value)),
        }
    }

    /// As config.json wants it, with what nobody set.
    fn pairs(&self, hostname: &str, home: &str) -> Vec<String> {
        let mut pairs = self.0.clone();
        for (name, value) in [("HOSTNAME", hostname), ("HOME", home)] {
            if !pairs.iter().any(|(known, _)| known == name) {
                pairs.push((name.to_string(), value.to_string()));
            }
        }
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// The process of config.json.
pub fn process(bundle: &Bundle, account: &Account, workdir: &str) -> std::result::Result<Process, OciSpecError> {
    let mut arguments = Vec::new();
    if bundle.init.is_some() {
        arguments.push(INIT.to_string());
        arguments.push("--".to_string());
    }
    arguments.extend(bundle.command.iter().cloned());
    let all = CAPABILITIES.into_iter().collect::<std::collections::HashSet<_>>();
    // Another user than root gets the bounding set only: what set-user-id programs may still have.
    let own = if account.uid == 0 { all.clone() } else { Default::default() };
    let none = std::collections::HashSet::new;
    // Inheritable stays empty (CVE-2022-24769).
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(all)
        .effective(own.clone())
        .permitted(own)
        .inheritable(none())
        .ambient(none())
        .build()?;
    let mut user = UserBuilder::default().uid(account.uid).gid(account.gid);
    // With one mapped id groups can not be set at all (user_namespaces(7), setgroups).
    if bundle.policy.owners == pipkin_images::unpack::metadata::Owners::FromArchive {
        user = user.additional_gids(account.groups.clone());
    }
    let home = account.home.as_deref().unwrap_or("/");
    ProcessBuilder::default()
        .terminal(bundle.terminal)
        .user(user.build()?)
        .args(arguments)
        .env(bundle.environment.pairs(bundle.hostname(), home))
        .cwd(workdir)
        .capabilities(capabilities)
        .no_new_privileges(false)
        // The caller's own limits; the builder would set runc's example of 1024 files.
        .rlimits(Vec::new())
        .build()
}

/// `--workdir`, else the image's, else the root; made if it is missing.
///
/// # Errors
/// It is not absolute, or can not be made.
pub fn working_directory(bundle: &Bundle, root: &File) -> Result<String> {
    let config = bundle.image.configuration.config().as_ref();
    let wanted = bundle
        .workdir
        .or_else(|| config.and_then(|config| config.working_dir().as_deref()))
        .filter(|dir| !dir.is_empty());
    let wanted = wanted.unwrap_or("/");
    if !wanted.starts_with('/') {
        return Err(Failure::argument(format!("working directory {wanted:?}"), "is not an absolute path"));
    }
    make_directory(root, wanted).map_err(|errno| {
        Failure::argument(
            format!("make the working directory {wanted}"),
            nix::errno::Errno::from_raw(errno.raw_os_error()).desc(),
        )
    })?;
    Ok(wanted.to_string())
}

/// Makes all directories of `path` inside `root`; links lead nowhere else (CVE-2026-55686).
fn make_directory(root: impl AsFd, path: &str) -> rustix::io::Result<()> {
    let open = |path: &str| -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        pipkin_images::resolve::open(&root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    };
    let mut todo: VecDeque<String> = path.split('/').map(str::to_string).collect();
    let mut done = String::from("/");
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part.is_empty() || part == "." {
            continue;
        }
        let next = format!("{done}{part}/");
        let directory = match open(&next) {
            Ok(_) => {
                done = next;
                continue;
            }
            // `..` always exists, so it never comes here.
            Err(Errno::NOENT) => open(&done)?,
            Err(errno) => return Err(errno),
        };
        match rustix::fs::mkdirat(&directory, &part, Mode::from_raw_mode(0o755)) {
            Ok(()) => done = next,
            // A link to what is not there yet: that is made, inside.
            Err(Errno::EXIST) if links < 40 => {
                links += 1;
                let target =
                    rustix::fs::readlinkat(&directory, &part, Vec::new())?.into_string().map_err(|_| Errno::ILSEQ)?;
                if target.starts_with('/') {
                    done = String::from("/");
                }
                target.split('/').rev().for_each(|part| todo.push_front(part.to_string()));
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// `pid=4026531836,…` of the caller, for the report of the built-in image.
pub fn own_namespaces() -> String {
    let numbers = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"].into_iter().filter_map(|kind| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
        let number = link.to_str()?.split_once('[')?.1.trim_end_matches(']').to_string();
        Some(format!("{kind}={number}"))
    });
    numbers.collect::<Vec<_>>().join(",")
}
