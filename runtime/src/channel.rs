//! The one connection between launcher and stage: typed messages over a `SOCK_SEQPACKET` socket pair.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};

/// From the launcher to the stage; each is sent only when the stage waits for it, as the plan says or as it always does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Go {
    /// The stage's executable is out of reach: it may be seen from inside the container.
    Join,
    /// The network namespace, whose descriptor comes with this message, is made.
    Network,
    /// The id maps are written.
    Mapped,
    /// The network devices are the container's.
    DevicesMoved,
    /// The hooks have run.
    HooksDone,
    /// Limits are in force and the state is kept: the program may start, when it is ready or when asked to.
    Proceed,
}

/// From the stage to the launcher.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Report {
    /// It joined namespaces and goes on as another process of that number (in the launcher's pid namespace).
    Cloned(i32),
    /// It is in its new user namespace and waits for the id maps.
    Unmapped,
    /// Everything is mounted, the root is not changed yet.
    ReadyForHooks,
    /// The root is the container's: whoever joins the container from now on is inside. Only of a container that starts at once.
    Rooted,
    /// The descriptor of the terminal's master side comes with this message.
    Console,
    /// Everything is done but the start.
    Ready,
    /// The filter is loaded, and this is the number of its listener in the stage, which waits until it is taken.
    SeccompListener(i32),
    /// It failed and ends.
    Failed(Error),
}

/// Longer error texts are cut; nothing else comes near.
const LONGEST: usize = 16 * 1024;

/// One end.
pub struct Channel {
    socket: OwnedFd,
    /// Reports that were received before their turn.
    early: RefCell<VecDeque<Received>>,
}

type Received = (Report, Option<OwnedFd>);

/// Both ends, close-on-exec.
pub fn pair() -> Result<(Channel, Channel)> {
    let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .step(|| "make the channel between launcher and stage")?;
    Ok((Channel::from(one), Channel::from(other)))
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Self { socket, early: RefCell::default() }
    }
}

impl Channel {
    /// Sends a message, and a descriptor with it.
    pub fn send(&self, message: &impl Serialize, descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
        let bytes = postcard::to_allocvec(message).map_err(|cause| {
            Error::new(Kind::System, format!("encode a message between launcher and stage: {cause}"))
        })?;
        send_bytes(self.socket.as_fd(), &bytes, descriptor).step(|| "send a message between launcher and stage")
    }

    /// Waits for a message; `None` when the other side is gone.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Option<(T, Option<OwnedFd>)>> {
        match next_length(self.socket.as_fd()).step(|| "wait for a message between launcher and stage")? {
            0 => Ok(None),
            length => self.receive_in(&mut vec![0; length.min(LONGEST)]),
        }
    }

    fn receive_in<T: DeserializeOwned>(&self, bytes: &mut [u8]) -> Result<Option<(T, Option<OwnedFd>)>> {
        let (received, descriptor) =
            receive_bytes(self.socket.as_fd(), bytes).step(|| "receive a message between launcher and stage")?;
        if received == 0 {
            return Ok(None);
        }
        let message = postcard::from_bytes(&bytes[..received]).map_err(|cause| {
            Error::new(Kind::System, format!("decode a message between launcher and stage: {cause}"))
        })?;
        Ok(Some((message, descriptor)))
    }

    /// In the stage, under a filter that must allow write(2) and read(2) but may deny all other calls: says where the
    /// listener is and waits until the launcher has it.
    pub fn hand_over_listener(&self, number: i32) -> Result<()> {
        let step = || "hand the seccomp listener over (the filter must allow write and read)";
        let mut bytes = [0; 16];
        let report = postcard::to_slice(&Report::SeccompListener(number), &mut bytes)
            .map_err(|cause| Error::new(Kind::System, format!("encode a report: {cause}")))?;
        rustix::io::write(&self.socket, report).step(step)?;
        match rustix::io::read(&self.socket, &mut bytes[..]).step(step)? {
            0 => crate::sys::process::exit_now(1),
            _ => Ok(()),
        }
    }

    /// In the launcher: the next report; `None` when the stage is gone or has become the program.
    pub fn receive_report(&self) -> Result<Option<Received>> {
        match self.early.borrow_mut().pop_front() {
            Some(early) => Ok(Some(early)),
            None => self.receive(),
        }
    }

    /// Whether there are some of those that came too early.
    pub fn has_early(&self) -> bool {
        !self.early.borrow().is_empty()
    }

    /// Reports that came too early are given again, in order.
    pub fn put_back(&self, reports: Vec<Received>) {
        self.early.borrow_mut().extend(reports);
    }

    /// In the stage: waits until the launcher says that. The launcher's death is the stage's end.
    pub fn wait_for(&self, expected: Go) -> Result<()> {
        self.wait_for_message(expected).map(drop)
    }

    /// In the stage: as [`Channel::wait_for`], for what a descriptor comes with.
    pub fn wait_for_descriptor(&self, expected: Go) -> Result<OwnedFd> {
        let missing = || Error::new(Kind::System, format!("{expected:?} came without its descriptor"));
        self.wait_for_message(expected)?.ok_or_else(missing)
    }

    fn wait_for_message(&self, expected: Go) -> Result<Option<OwnedFd>> {
        match self.receive_in::<Go>(&mut [0; 8])? {
            Some((go, descriptor)) if go == expected => Ok(descriptor),
            Some((go, _)) => Err(Error::new(Kind::System, format!("waited for {expected:?}, heard {go:?}"))),
            None => crate::sys::process::exit_now(1),
        }
    }
}

/// Waits for a message, which stays to be received: its length (recv(2), `MSG_TRUNC`), 0 when the other side is gone. Most are of
/// a few bytes, an error may have thousands.
fn next_length(socket: BorrowedFd<'_>) -> std::result::Result<usize, Errno> {
    loop {
        match rustix::net::recv(socket, &mut [0; 0], RecvFlags::PEEK | RecvFlags::TRUNC) {
            // As in `receive_bytes`.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => return other.map(|(_, length)| length),
        }
    }
}

/// Receives a message of a Unix socket, and the descriptor that came with it; 0 bytes when the other side is gone.
pub(crate) fn receive_bytes(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> std::result::Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [IoSliceMut::new(bytes)];
        match rustix::net::recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            // The other process ended with something unread: told once, and what it has said is still there.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => break other?.bytes,
        }
    };
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((received, descriptor))
}

/// Sends bytes over a Unix socket, and a descriptor with them (unix(7), `SCM_RIGHTS`).
pub(crate) fn send_bytes(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> std::result::Result<(), Errno> {
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive() {
        let (launcher, stage) = pair().unwrap();
        let error = Error::invalid("a", "b");
        stage.send(&Report::Failed(error.clone()), None).unwrap();
        stage.send(&Report::Console, Some(stage.as_fd())).unwrap();
        assert_eq!(launcher.receive::<Report>().unwrap().unwrap().0, Report::Failed(error));
        assert!(launcher.receive::<Report>().unwrap().unwrap().1.is_some());
        drop(stage);
        assert!(launcher.receive::<Report>().unwrap().is_none());
    }

    #[test]
    fn last_words_of_who_ends_with_something_unread_arrive() {
        let (launcher, stage) = pair().unwrap();
        launcher.send(&Go::Proceed, None).unwrap();
        stage.send(&Report::Ready, None).unwrap();
        stage.send(&Report::Rooted, None).unwrap();
        drop(stage);
        assert_eq!(launcher.receive::<Report>().unwrap().unwrap().0, Report::Ready);
        assert_eq!(launcher.receive::<Report>().unwrap().unwrap().0, Report::Rooted);
        assert!(launcher.receive::<Report>().unwrap().is_none());
    }
}
