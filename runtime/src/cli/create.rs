use std::path::PathBuf;

use clap::Args;

use crate::container::{CreateOptions, Runtime};
use crate::error::Result;

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
}

impl From<Bundle> for CreateOptions {
    fn from(bundle: Bundle) -> Self {
        let listen_fds = listen_fds();
        Self {
            bundle: bundle.bundle,
            console_socket: bundle.console_socket,
            pid_file: bundle.pid_file,
            preserve_fds: bundle.preserve_fds.saturating_add(listen_fds),
            listen_fds,
            stop_signal: None,
        }
    }
}

/// sd_listen_fds(3): how many sockets systemd handed to this very process.
fn listen_fds() -> u32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let for_us = number("LISTEN_PID") == Some(std::process::id());
    if for_us { number("LISTEN_FDS").unwrap_or(0) } else { 0 }
}

impl Create {
    pub fn run(self, runtime: &Runtime) -> Result<()> {
        runtime.create(&self.id, &self.bundle.into())
    }
}
