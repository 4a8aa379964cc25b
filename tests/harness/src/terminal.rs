//! The other end of `--console-socket`, and of a terminal.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

use crate::lab::Lab;
use crate::program::{DEADLINE, await_readable};

/// A listening socket to which a runtime sends the master of a container's terminal.
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// A socket in the lab's directory.
    pub fn new(lab: &Lab) -> Self {
        let path = lab.path(format!("{}.sock", lab.id()));
        let listener = UnixListener::bind(&path).expect("bind the console socket");
        lab.give(&path);
        Self { listener, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same as text, for command lines.
    pub fn path_text(&self) -> &str {
        self.path.to_str().expect("made of plain words")
    }

    /// Waits for the terminal.
    ///
    /// # Panics
    /// When none has come within [`DEADLINE`].
    pub fn receive(&self) -> Terminal {
        let (_, master) = self.receive_descriptor();
        Terminal { master: File::from(master), heard: String::new() }
    }

    /// Waits for any descriptor, and the word that comes with it.
    ///
    /// # Panics
    /// When none has come within [`DEADLINE`].
    pub fn receive_descriptor(&self) -> (String, OwnedFd) {
        let end = Instant::now() + DEADLINE;
        assert!(await_readable(&self.listener, end), "nobody connected to the socket");
        let (stream, _) = self.listener.accept().expect("accept");
        assert!(await_readable(&stream, end), "nothing was sent");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 4096];
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let length = recvmsg(&stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).expect("recvmsg").bytes;
        let mut files = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let mut fds = files.next().expect("a descriptor in the message");
        let descriptor = fds.next().expect("one descriptor");
        assert!(fds.next().is_none(), "exactly one descriptor");
        (String::from_utf8_lossy(&bytes[..length]).into_owned(), descriptor)
    }
}

/// The master side of a terminal.
pub struct Terminal {
    master: File,
    heard: String,
}

impl Terminal {
    /// A terminal of the test's own: the master, and the path of the other side.
    pub fn open() -> (Self, PathBuf) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("openpt");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("ptsname").into_string().expect("a plain path");
        (Self { master: File::from(master), heard: String::new() }, PathBuf::from(name))
    }

    /// Follows what is written on the terminal until the text has been seen; gives everything heard so far.
    ///
    /// # Panics
    /// When the terminal is closed, or [`DEADLINE`] comes, before that.
    #[track_caller]
    pub fn hear(&mut self, text: &str) -> &str {
        let end = Instant::now() + DEADLINE;
        while !self.heard.contains(text) {
            assert!(self.more(end), "the terminal did not say {text:?} but {:?}", self.heard);
        }
        &self.heard
    }

    /// Everything until the last process with the terminal has closed it.
    pub fn hear_all(mut self) -> String {
        let end = Instant::now() + DEADLINE;
        while self.more(end) {}
        self.heard
    }

    /// Types the text.
    pub fn say(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("write to the terminal");
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        let size = tcgetwinsize(&self.master).expect("TIOCGWINSZ");
        (size.ws_col, size.ws_row)
    }

    /// Sets columns and rows.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("TIOCSWINSZ");
    }

    fn more(&mut self, end: Instant) -> bool {
        let mut buffer = [0; 4096];
        if !await_readable(&self.master, end) {
            return false;
        }
        // EIO is how the kernel says that the other side is closed.
        let count = self.master.read(&mut buffer).unwrap_or(0);
        self.heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
        count > 0
    }
}
