//! The one door to the runtime library.

use std::path::{Path, PathBuf};

use pipkin_images::container::Container;
use pipkin_runtime::container::{CreateOptions, Runtime};
use rustix::process::Signal;

use crate::cli::Global;
use crate::failure::Result;

/// Becomes the stage inside a container if this process was started as one; returns otherwise.
pub fn enter_if_stage() {
    pipkin_runtime::stage::enter_if_stage();
}

/// Where the runtime keeps its state: `/run/pipkin`, `$XDG_RUNTIME_DIR/pipkin`, or `run` in the store where neither is.
/// To be asked before a user namespace is entered.
pub fn state_root(global: &Global) -> Result<PathBuf> {
    if let Some(own) = global.own_root()? {
        return Ok(own.join("run"));
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/run/pipkin".into());
    }
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute() && path.is_dir()) {
        Some(directory) => Ok(directory.join("pipkin")),
        None => Ok(global.root()?.join("run")),
    }
}

/// Runs a container, whose bundle is its directory, to its end; answers its exit code. SIGTERM becomes `stop_signal`.
pub fn run(state: &Path, container: &Container, stop_signal: Option<Signal>) -> Result<u8> {
    let options = CreateOptions { bundle: container.directory.clone(), stop_signal, ..CreateOptions::default() };
    let status = Runtime::new(state).run(&container.record.id, &options, false)?;
    Ok(u8::try_from(status & 0xff).unwrap_or(u8::MAX))
}

/// A signal, as `TERM`, `SIGRTMIN+3` or `15`.
pub fn parse_signal(text: &str) -> std::result::Result<Signal, pipkin_runtime::error::Error> {
    pipkin_runtime::container::parse_signal(text)
}

/// Kills what still runs of a container and removes what the runtime keeps of it; nothing there is fine.
pub fn delete(state: &Path, id: &str) -> Result<()> {
    Ok(Runtime::new(state).delete(id, true)?)
}

/// Whether the runtime still finds the container's program alive.
pub fn is_alive(state: &Path, id: &str) -> bool {
    Runtime::new(state).processes(id).is_ok_and(|pids| !pids.is_empty())
}
