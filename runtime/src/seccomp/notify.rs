//! `SCMP_ACT_NOTIFY`: the way of the listener to the agent (config-linux.md, "The Container Process State").
//!
//! The filter is in force when the listener comes into being, so that the stage can hardly do anything any more: the
//! profile may deny sendmsg(2), or have it wait for the very agent that has no listener yet. write(2) is the one call
//! that a profile must leave alone ([`compile`](super::compile) refuses `SCMP_ACT_NOTIFY` for it, as runc does): the
//! stage writes the listener's number, the launcher takes it out of the stage with pidfd_getfd(2) and sends it on.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use oci_spec::runtime::{ContainerProcessState, SECCOMP_FD_NAME, State};
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags};
use rustix::net::{SocketType, connect, sendmsg, socket_with};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use crate::error::{Context, Error, Kind, Result};

/// How long an agent may leave us waiting.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The message to the agent, as JSON: the process, the container's state, and that the one descriptor that comes with
/// it is the listener.
///
/// # Errors
/// When `state` can not be written as JSON.
pub fn process_state(pid: i32, metadata: Option<&str>, state: &State) -> Result<Vec<u8>> {
    let mut message = ContainerProcessState::default();
    message
        .set_version(state.version().clone())
        .set_fds(vec![SECCOMP_FD_NAME.to_owned()])
        .set_pid(pid)
        .set_metadata(metadata.map(str::to_owned))
        .set_state(state.clone());
    serde_json::to_vec(&message)
        .map_err(|error| Error::new(Kind::Invalid, format!("write the container process state: {error}")))
}

/// Takes the listener out of the stage, which has written its number; `stage` is a pidfd. CLOEXEC.
///
/// The stage must wait meanwhile: its own descriptor is gone after execve(2).
///
/// # Errors
/// What pidfd_getfd(2) refuses (Linux 5.6; it asks for the right to trace the stage).
pub fn fetch_listener(stage: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd> {
    pidfd_getfd(stage, number, PidfdGetfdFlags::empty()).step(|| "take the seccomp listener out of the container")
}

/// Sends the listener and the message of [`process_state`] over a connection of its own to the agent's stream socket.
///
/// # Errors
/// When the agent can not be reached, or does not read within ten seconds. The container must not start then.
pub fn send_listener(path: &Path, listener: BorrowedFd<'_>, message: &[u8]) -> Result<()> {
    let step = || format!("send the seccomp listener to linux.seccomp.listenerPath {}", path.display());
    let address = SocketAddrUnix::new(path).step(step)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).step(step)?;
    // Also bounds connect(2), which waits where the agent's queue is full.
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, Some(PATIENCE))
        .step(step)?;
    let connected = rustix::io::retry_on_intr(|| connect(&socket, &address)).step(step);
    connected
        .map_err(|error| error.remedy("the agent of SCMP_ACT_NOTIFY must listen there before the container starts"))?;

    let descriptors = [listener];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let mut sent =
        rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL))
            .step(step)?;
    while sent < message.len() {
        let rest = &message[sent..];
        sent += rustix::io::retry_on_intr(|| rustix::net::send(&socket, rest, SendFlags::NOSIGNAL)).step(step)?;
    }
    Ok(())
}
