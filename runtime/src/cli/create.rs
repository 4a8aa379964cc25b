use std::path::PathBuf;

use clap::Args;

use super::plain::{Given, Known};
use crate::container::{CreateOptions, Runtime};
use crate::error::Result;
use crate::launch::NotifySocket;

/// Make a container; its program waits for `start`.
#[derive(Args, Debug)]
pub(super) struct Create {
    #[command(flatten)]
    bundle: Bundle,
    /// The container's name.
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// What `create` and `run` have in common.
#[derive(Args, Debug)]
pub(super) struct Bundle {
    /// The directory with config.json.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// A Unix socket that gets the master side of the container's terminal.
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Write the process's number there.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Pass so many descriptors from 3 on to the program.
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Move the root file system over the host's instead of pivot_root(2); for a host that runs from an initramfs.
    #[arg(long)]
    no_pivot: bool,
    /// Let the container have the caller's session keyring.
    #[arg(long)]
    no_new_keyring: bool,
    /// A Unix socket that gets the descriptor of the container's first process.
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
}

impl Bundle {
    pub const PLAIN: &[Known] = &[
        ("bundle", Some('b'), true),
        ("console-socket", None, true),
        ("pid-file", None, true),
        ("preserve-fds", None, true),
        ("no-pivot", None, false),
        ("no-new-keyring", None, false),
    ];

    /// See [`plain`](super::plain).
    pub fn plain(given: &mut Given) -> Option<Self> {
        Some(Self {
            bundle: given.value("bundle").unwrap_or_else(|| ".".to_owned()).into(),
            console_socket: given.value("console-socket").map(Into::into),
            pid_file: given.value("pid-file").map(Into::into),
            preserve_fds: given.number("preserve-fds")?.unwrap_or(0),
            no_pivot: given.flag("no-pivot"),
            no_new_keyring: given.flag("no-new-keyring"),
            pidfd_socket: None,
        })
    }

    pub fn options(self) -> Result<CreateOptions> {
        let bundle = self;
        let listen_fds = listen_fds();
        Ok(CreateOptions {
            bundle: bundle.bundle,
            console_socket: bundle.console_socket,
            pid_file: bundle.pid_file,
            preserve_fds: bundle.preserve_fds.saturating_add(listen_fds),
            listen_fds,
            no_pivot: bundle.no_pivot,
            no_new_keyring: bundle.no_new_keyring,
            pidfd_socket: bundle.pidfd_socket,
            notify_socket: NotifySocket::of_caller()?,
            ..CreateOptions::default()
        })
    }
}

/// sd_listen_fds(3): how many sockets systemd handed to this very process.
pub(super) fn listen_fds() -> u32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let for_us = number("LISTEN_PID") == Some(std::process::id());
    if for_us { number("LISTEN_FDS").unwrap_or(0) } else { 0 }
}

impl Create {
    /// See [`plain`](super::plain).
    pub fn plain(given: &mut Given) -> Option<Self> {
        Some(Self { bundle: Bundle::plain(given)?, id: given.only_word()? })
    }

    #[inline(never)]
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        runtime.create(&self.id, &self.bundle.options()?)
    }
}
