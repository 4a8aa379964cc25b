//! The controlling terminal, `ioctl_tty(2)`.

use linux_raw_sys::general::__NR_ioctl;
use linux_raw_sys::ioctl::{TCGETS, TIOCGPGRP, TIOCNOTTY, TIOCSCTTY, TIOCSPGRP};

use super::file::{self, Access};
use super::process::Pid;
use crate::start::{Text, syscall};

const STDIN: i32 = 0;

/// The controlling terminal of this process.
#[derive(Clone, Copy)]
pub struct Terminal(i32);

impl Terminal {
    /// The controlling terminal, if there is one: standard input, else what `/dev/tty` opens, which then stays open for as
    /// long as the process lives.
    #[inline(never)]
    pub fn controlling() -> Option<Self> {
        let stdin = Self(STDIN);
        if stdin.foreground() != Pid(0) {
            return Some(stdin);
        }
        let fd = file::open(Text::of(c"/dev/tty"), Access::Terminal);
        (fd >= 0).then_some(Self(fd))
    }

    /// The group whose processes may read and which gets the keyboard's signals, `tcgetpgrp(3)`. 0: there is none.
    #[inline(never)]
    pub fn foreground(self) -> Pid {
        let mut group = Pid(0);
        // SAFETY: the kernel fills in one pid.
        unsafe { syscall!(__NR_ioctl, self.0, TIOCGPGRP, &raw mut group) };
        group
    }

    /// Makes `group` that group, `tcsetpgrp(3)`. `SIGTTOU` must be blocked.
    #[inline(never)]
    pub fn set_foreground(self, group: Pid) {
        // SAFETY: the kernel reads one pid.
        unsafe { syscall!(__NR_ioctl, self.0, TIOCSPGRP, &raw const group) };
    }
}

/// Gives up the controlling terminal on standard input, and returns whether there was one. The whole session loses it
/// when its leader does this.
pub fn give_up_stdin() -> bool {
    // SAFETY: takes no pointer.
    unsafe { syscall!(__NR_ioctl, STDIN, TIOCNOTTY) == 0 }
}

/// Makes the terminal on standard input the controlling one of this process, which must lead a session.
pub fn take_stdin() {
    // SAFETY: takes no pointer.
    unsafe { syscall!(__NR_ioctl, STDIN, TIOCSCTTY, 0) };
}

/// Whether this descriptor is a terminal, `isatty(3)`.
pub fn is_terminal(fd: i32) -> bool {
    // Room for `struct termios`, 36 bytes, and for what a newer kernel might put there.
    let mut settings = [0_u64; 16];
    // SAFETY: the kernel fills in a `struct termios`.
    unsafe { syscall!(__NR_ioctl, fd, TCGETS, settings.as_mut_ptr()) == 0 }
}
