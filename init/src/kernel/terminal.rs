//! The controlling terminal, `ioctl_tty(2)`.

use linux_raw_sys::general::__NR_ioctl;
use linux_raw_sys::ioctl::{TIOCGPGRP, TIOCNOTTY, TIOCSCTTY, TIOCSPGRP};

use super::file::{Access, File};
use super::process::Pid;
use super::{Errno, call};

const STDIN: i32 = 0;

/// The controlling terminal of this process.
pub struct Terminal(i32);

impl Terminal {
    /// The controlling terminal, if there is one: standard input, else what `/dev/tty` opens, which then stays open for as
    /// long as the process lives.
    pub fn controlling() -> Option<Self> {
        let stdin = Self(STDIN);
        if stdin.foreground() != Pid(0) {
            return Some(stdin);
        }
        File::open(c"/dev/tty", Access::Terminal).ok().map(|file| Self(file.keep()))
    }

    /// The group whose processes may read and which gets the keyboard's signals, `tcgetpgrp(3)`. 0: there is none.
    pub fn foreground(&self) -> Pid {
        let mut group = Pid(0);
        // SAFETY: the kernel fills in one pid.
        _ = unsafe { call(__NR_ioctl, self.0 as usize, TIOCGPGRP as usize, &raw mut group as usize, 0) };
        group
    }

    /// Makes `group` that group, `tcsetpgrp(3)`. `SIGTTOU` must be blocked.
    pub fn set_foreground(&self, group: Pid) {
        // SAFETY: the kernel reads one pid.
        _ = unsafe { call(__NR_ioctl, self.0 as usize, TIOCSPGRP as usize, &raw const group as usize, 0) };
    }
}

/// Gives up the controlling terminal on standard input. The whole session loses it when its leader does this.
pub fn give_up_stdin() -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    unsafe { call(__NR_ioctl, STDIN as usize, TIOCNOTTY as usize, 0, 0) }.map(drop)
}

/// Makes the terminal on standard input the controlling one of this process, which must lead a session.
pub fn take_stdin() {
    // SAFETY: takes no pointer.
    _ = unsafe { call(__NR_ioctl, STDIN as usize, TIOCSCTTY as usize, 0, 0) };
}

/// Whether standard output is a terminal, `isatty(3)`.
pub fn is_terminal(fd: i32) -> bool {
    /// Room for `struct termios` and for what a newer kernel might put there.
    const TCGETS: usize = linux_raw_sys::ioctl::TCGETS as usize;
    let mut settings = [0_u64; 16];
    // SAFETY: `struct termios` is 36 bytes.
    unsafe { call(__NR_ioctl, fd as usize, TCGETS, settings.as_mut_ptr() as usize, 0) }.is_ok()
}
