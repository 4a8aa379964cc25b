use std::path::PathBuf;

use clap::Args;

use super::create::listen_fds;
use super::exit_status;
use super::plain::{Given, Known};
use crate::cgroup::SubCgroups;
use crate::container::{ExecOptions, ExecProcess, ProcessChanges, Runtime};
use crate::error::{Error, Result};

/// runc's status when the program could not be started.
pub(super) const FAILURE: u8 = 255;

/// Run one more program in a running container.
#[derive(Args, Debug)]
pub(super) struct Exec {
    /// A Unix socket that gets the master side of the program's terminal.
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// The program's working directory.
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Add a variable to the environment.
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Give the program a terminal.
    #[arg(short, long)]
    tty: bool,
    /// Who the program is: numbers, UID or UID:GID.
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// More supplementary groups.
    #[arg(short = 'g', long, value_name = "GID", allow_negative_numbers = true)]
    additional_gids: Vec<i64>,
    /// Take the program from a file with the spec's process object.
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Do not wait for the program's end.
    #[arg(short, long)]
    detach: bool,
    /// Write the process's number there.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The program's SELinux label.
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// The program's AppArmor profile.
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Set no_new_privs.
    #[arg(long)]
    no_new_privs: bool,
    /// Add a capability.
    #[arg(short, long, value_name = "CAPABILITY")]
    cap: Vec<String>,
    /// Pass so many descriptors from 3 on to the program.
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Also into a paused container; the program begins when that is resumed.
    #[arg(long)]
    ignore_paused: bool,
    /// A cgroup below the container's, which must exist; on version 1 also one for each controller.
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    cgroup: Vec<String>,
    /// A Unix socket that gets the descriptor of the program's process.
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// The program and its arguments.
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Exec {
    pub const PLAIN: &[Known] = &[
        ("console-socket", None, true),
        ("cwd", None, true),
        ("env", Some('e'), true),
        ("tty", Some('t'), false),
        ("user", Some('u'), true),
        ("process", Some('p'), true),
        ("detach", Some('d'), false),
        ("pid-file", None, true),
        ("preserve-fds", None, true),
    ];

    /// See [`plain`](super::plain).
    pub fn plain(given: &mut Given) -> Option<Self> {
        let (id, args) = (given.word()?, given.rest());
        if args.first().is_some_and(|word| word.starts_with('-')) {
            return None;
        }
        Some(Self {
            console_socket: given.value("console-socket").map(Into::into),
            cwd: given.value("cwd"),
            env: given.values("env"),
            tty: given.flag("tty"),
            user: given.value("user"),
            additional_gids: Vec::new(),
            process: given.value("process").map(Into::into),
            detach: given.flag("detach"),
            pid_file: given.value("pid-file").map(Into::into),
            process_label: None,
            apparmor: None,
            no_new_privs: false,
            cap: Vec::new(),
            preserve_fds: given.number("preserve-fds")?.unwrap_or(0),
            ignore_paused: false,
            cgroup: Vec::new(),
            pidfd_socket: None,
            id,
            args,
        })
    }

    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<u8> {
        let gid = |gid: &i64| {
            u32::try_from(*gid).map_err(|_| Error::invalid("--additional-gids", format!("{gid} is no group's number")))
        };
        let additional_gids = self.additional_gids.iter().map(gid).collect::<Result<Vec<u32>>>()?;
        let process = match self.process {
            Some(path) => ExecProcess::File(path),
            None if self.args.is_empty() => {
                return Err(Error::invalid("COMMAND", "is missing: name a program, or a file with --process"));
            }
            None => ExecProcess::Changed(Box::new(ProcessChanges {
                args: self.args,
                env: self.env,
                cwd: self.cwd,
                user: self.user,
                additional_gids,
                tty: self.tty,
                capabilities: self.cap,
                no_new_privileges: self.no_new_privs,
                apparmor_profile: self.apparmor,
                selinux_label: self.process_label,
            })),
        };
        let listen_fds = listen_fds();
        let options = ExecOptions {
            process,
            detach: self.detach,
            console_socket: self.console_socket,
            pid_file: self.pid_file,
            preserve_fds: self.preserve_fds.saturating_add(listen_fds),
            listen_fds,
            cgroups: SubCgroups::parse(&self.cgroup)?,
            pidfd_socket: self.pidfd_socket,
            ignore_paused: self.ignore_paused,
        };
        runtime.exec(&self.id, &options).map(exit_status)
    }
}
