//! `--pidfd-socket`: hands a process's descriptor to whoever asked for it, as the terminal's master is handed over.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::channel::send_bytes;
use crate::error::{Context, Result};

/// Connects to the socket and sends the pidfd with a word on what it is: `standard` for a container's first process,
/// `setns` for one more.
pub(super) fn send(socket: &Path, word: &str, pidfd: BorrowedFd<'_>) -> Result<()> {
    let stream = UnixStream::connect(socket).on("connect to the pidfd socket", socket)?;
    send_bytes(stream.as_fd(), word.as_bytes(), Some(pidfd)).on("send the process's descriptor to", socket)
}
