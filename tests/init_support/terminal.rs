//! A terminal whose other end the test holds.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use super::{DEADLINE, Launch};

/// The keyboard and screen of a pseudo-terminal.
pub struct Terminal {
    master: File,
    seen: String,
}

impl Terminal {
    /// A new terminal: this end, and the one for a program.
    pub fn new() -> (Self, OwnedFd) {
        let master = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
        let unlock = 0_i32;
        // SAFETY: the kernel reads one integer; the descriptor that it returns is new.
        let peer = unsafe {
            assert_eq!(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlock), 0);
            let peer =
                libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
            assert!(peer >= 0, "{}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(peer)
        };
        (Self { master, seen: String::new() }, peer)
    }

    /// Types `keys`.
    pub fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` appears on the screen, behind what was awaited before, and returns the rest of that line.
    pub fn await_text(&mut self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = &self.seen[at + text.len()..];
                if let Some(end) = rest.find('\n') {
                    let line = rest[..end].trim().to_owned();
                    self.seen = rest[end..].to_owned();
                    return line;
                }
            }
            let mut poll = libc::pollfd { fd: self.master.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let left = until.saturating_duration_since(Instant::now()).as_millis() as i32;
            // SAFETY: one structure that lives here.
            assert_eq!(unsafe { libc::poll(&mut poll, 1, left) }, 1, "no {text:?} on the screen: {:?}", self.seen);
            let mut bytes = [0; 4096];
            // The end is EIO, when the last program has let go of the terminal.
            match self.master.read(&mut bytes) {
                Ok(length @ 1..) => self.seen.push_str(&String::from_utf8_lossy(&bytes[..length])),
                end => panic!("no {text:?} before the end ({end:?}); on the screen: {:?}", self.seen),
            }
        }
    }

    /// The group in the foreground.
    pub fn foreground(&self) -> i32 {
        let mut group = 0_i32;
        // SAFETY: the kernel writes one integer.
        unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCGPGRP, &mut group) };
        group
    }

    /// Changes the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the kernel reads one structure.
        assert_eq!(unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
    }
}

impl Launch {
    /// With `terminal` as the controlling terminal of a new session, and as standard input, output and error.
    pub fn on_terminal(self, terminal: OwnedFd) -> Self {
        let clone = || terminal.try_clone().unwrap();
        self.stdin(clone()).stdout(clone()).stderr(clone()).prepare(|| {
            // SAFETY: take no pointer.
            unsafe {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
            }
            Ok(())
        })
    }
}
