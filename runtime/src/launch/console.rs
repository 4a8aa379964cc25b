//! Hands the terminal's master side to whoever asked for it (runc's terminals document: one byte string, one
//! descriptor over a Unix stream socket).

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::channel::send_bytes;
use crate::error::{Context, Result};

/// Connects to the socket and sends the master with the name of the terminal.
pub(crate) fn send_master(socket: &Path, master: BorrowedFd<'_>) -> Result<()> {
    let stream = UnixStream::connect(socket).on("connect to the console socket", socket)?;
    send_bytes(stream.as_fd(), b"/dev/ptmx", Some(master)).on("send the terminal to", socket)
}
