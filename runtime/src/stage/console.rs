//! The container's terminal: a pseudo-terminal of its own devpts (runtime-linux.md, pts(4)).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Gid, OFlags, Uid};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::mounts::{attach, clone_mount};
use super::root::Root;
use crate::error::{Context, Error, Kind, Result};
use crate::plan;

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Both sides of a pseudo-terminal.
pub(super) struct Terminal {
    /// For the one who talks to the container.
    pub master: OwnedFd,
    /// The program's standard input, output and error.
    pub slave: OwnedFd,
}

impl Terminal {
    /// A new one of the container's own devpts. The slave is opened through the master, not by its path, which
    /// somebody could exchange (CVE-2025-52565).
    pub fn open(root: &Root, size: plan::Terminal) -> Result<Self> {
        let step = "open a terminal (process.terminal)";
        let path = Path::new("/dev/pts/ptmx");
        let master = root.open_without_links(path, OFlags::RDWR | OFlags::NOCTTY).map_err(|errno| {
            let error = Error::system(format!("{step}: open {}", path.display()), errno);
            if errno == Errno::NOENT { error.remedy("mount a devpts on /dev/pts") } else { error }
        })?;
        let statfs = rustix::fs::fstatfs(&master).step(|| step)?;
        let stat = rustix::fs::fstat(&master).step(|| step)?;
        let is_ptmx = statfs.f_type == DEVPTS_SUPER_MAGIC
            && FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(5, 2);
        if !is_ptmx {
            return Err(Error::new(Kind::Invalid, format!("{step}: {} is not that of a devpts", path.display())));
        }
        rustix::pty::unlockpt(&master).step(|| step)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).step(|| step)?;
        if size != plan::Terminal::default() {
            let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(&master, size).step(|| "set the terminal's size (process.consoleSize)")?;
        }
        Ok(Self { master, slave })
    }

    /// Puts it on /dev/console (config-linux.md, "Default Devices").
    pub fn mount_as_console(&self, root: &Root) -> Result<()> {
        let during = |error: Error| error.during("mount /dev/console");
        let place = root.create_file(Path::new("/dev/console")).step(|| "make the file").map_err(during)?;
        let handle = clone_mount(self.slave.as_fd(), false).step(|| "clone the terminal's mount").map_err(during)?;
        attach(&handle, &place).map_err(during)
    }

    /// Makes it the controlling terminal of this session and its descriptors 0 to 2.
    pub fn take(self, user: &plan::User) -> Result<()> {
        drop(self.master);
        rustix::process::ioctl_tiocsctty(&self.slave).step(|| "take the controlling terminal")?;
        if user.uid != 0 {
            // As login(1) does; the group is what devpts's gid= gave.
            rustix::fs::fchown(&self.slave, Some(Uid::from_raw(user.uid)), None::<Gid>)
                .step(|| "chown the terminal")?;
        }
        for set in [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr] {
            set(&self.slave).step(|| "put the terminal on the standard descriptors")?;
        }
        Ok(())
    }
}
