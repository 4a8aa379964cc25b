//! Stays with a program until it ends: passes signals on, moves a terminal's bytes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

use super::process::Child;
use crate::channel::{Channel, Report};
use crate::error::{Context, Error, Result};
use crate::sys::process::realtime_signal;

/// The caller's signals, taken before the container is made so that none is lost.
pub struct Foreground {
    signals: SignalFd,
    before: SigSet,
}

/// How a program ended.
#[derive(Debug)]
pub enum Outcome {
    /// With that status; 128 and the number for a signal.
    Exited(i32),
    /// It never began.
    Failed(Error),
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}

impl Foreground {
    /// Takes the signals over; the stage and its program get back what they had.
    pub fn enter() -> Result<Self> {
        let mut taken = SigSet::all();
        // These are about this process itself; a stopped launcher is job control, not the container's business.
        for own in [
            Signal::SIGCHLD,
            Signal::SIGPIPE,
            Signal::SIGURG,
            Signal::SIGTSTP,
            Signal::SIGTTIN,
            Signal::SIGTTOU,
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGILL,
            Signal::SIGFPE,
            Signal::SIGABRT,
        ] {
            taken.remove(own);
        }
        let before = taken.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).step(|| "block signals")?;
        let signals = SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .step(|| "take the signals over")?;
        Ok(Self { signals, before })
    }

    /// Until the program's end.
    pub fn attend(&self, child: &Child, channel: Channel, terminal: Option<OwnedFd>) -> Result<Outcome> {
        let mut channel = Some(channel);
        let mut relay = terminal.map(Relay::new).transpose()?;
        loop {
            let mut waiting = vec![PollFd::new(child, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            if let Some(channel) = &channel {
                waiting.push(PollFd::new(channel, PollFlags::IN));
            }
            if let Some(relay) = &relay {
                waiting.extend(relay.waiting());
            }
            match rustix::event::poll(&mut waiting, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::system("wait for the container", errno)),
            }
            let ready: Vec<PollFlags> = waiting.iter().map(PollFd::revents).collect();
            drop(waiting);
            if !ready[1].is_empty() {
                self.pass_on(child, relay.as_ref());
            }
            let after = if channel.is_some() { 3 } else { 2 };
            if let Some(open) = &channel
                && !ready[2].is_empty()
            {
                if let Some((Report::Failed(error), _)) = open.receive::<Report>()? {
                    child.wait()?;
                    return Ok(Outcome::Failed(error));
                }
                // The program runs.
                channel = None;
            }
            if let Some(relay) = &mut relay {
                relay.move_bytes(&ready[after..]);
            }
            if !ready[0].is_empty() {
                let status = child.wait()?;
                if let Some(relay) = &mut relay {
                    relay.drain();
                }
                return Ok(self.outcome(status, channel.as_ref()));
            }
        }
    }

    /// It may have failed and ended before its report was read.
    fn outcome(&self, status: i32, channel: Option<&Channel>) -> Outcome {
        match channel.map(Channel::receive::<Report>) {
            Some(Ok(Some((Report::Failed(error), _)))) => Outcome::Failed(error),
            _ => Outcome::Exited(status),
        }
    }

    fn pass_on(&self, child: &Child, relay: Option<&Relay>) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = signal.ssi_signo as i32;
            if number == libc::SIGWINCH
                && let Some(relay) = relay
            {
                relay.take_size();
            } else if let Some(signal) =
                rustix::process::Signal::from_named_raw(number).or_else(|| realtime_signal(number))
            {
                // It may just have ended.
                let _ = rustix::process::pidfd_send_signal(child, signal);
            }
        }
    }
}

/// Between the caller's terminal, or whatever its descriptors are, and the container's.
struct Relay {
    master: OwnedFd,
    /// Restored at the end.
    before: Option<Termios>,
    input_open: bool,
    output_open: bool,
    /// What the container has not taken yet.
    pending: Vec<u8>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(stdin(), OptionalActions::Drain, before);
        }
    }
}

fn stdin() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Self> {
        rustix::io::ioctl_fionbio(&master, true).step(|| "set the terminal non-blocking")?;
        let mut relay = Self { master, before: None, input_open: true, output_open: true, pending: Vec::new() };
        relay.take_size();
        if let Ok(before) = rustix::termios::tcgetattr(stdin()) {
            let mut raw = before.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(stdin(), OptionalActions::Drain, &raw).step(|| "set the terminal raw")?;
            relay.before = Some(before);
        }
        Ok(relay)
    }

    fn take_size(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(stdin()) {
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    fn waiting(&self) -> impl Iterator<Item = PollFd<'_>> {
        let mut master = PollFlags::empty();
        master.set(PollFlags::IN, self.output_open);
        master.set(PollFlags::OUT, !self.pending.is_empty());
        let input = self.input_open && self.pending.is_empty();
        let input = input.then(|| PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        std::iter::once(PollFd::new(&self.master, master)).filter(move |_| self.output_open).chain(input)
    }

    fn move_bytes(&mut self, ready: &[PollFlags]) {
        let at = |index: usize| ready.get(index).copied().unwrap_or(PollFlags::empty());
        let (master, input) = if self.output_open { (at(0), at(1)) } else { (PollFlags::empty(), at(0)) };
        if master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.output_open = self.copy_output();
        }
        if !input.is_empty() {
            self.read_input();
        }
        self.write_input();
    }

    /// `false` at the end.
    fn copy_output(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(0) => false,
            Ok(length) => write_all(rustix::stdio::stdout(), &buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => true,
            // EIO: nobody has the other side open (any more).
            Err(_) => false,
        }
    }

    fn read_input(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(stdin(), &mut buffer) {
            Ok(0) => {
                // The end of a pipe or file: Ctrl-D, as typed.
                self.pending.push(4);
                self.input_open = false;
            }
            Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.input_open = false,
        }
    }

    fn write_input(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        match rustix::io::write(&self.master, &self.pending) {
            Ok(length) => drop(self.pending.drain(..length)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.pending.clear(),
        }
    }

    /// What the program wrote just before its end.
    fn drain(&mut self) {
        loop {
            let mut waiting = [PollFd::new(&self.master, PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            let ready = rustix::event::poll(&mut waiting, Some(&now)).is_ok_and(|count| count > 0);
            if !ready || !self.output_open {
                return;
            }
            self.output_open = self.copy_output();
        }
    }
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(file.as_fd(), bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut waiting = [PollFd::from_borrowed_fd(file, PollFlags::OUT)];
                let _ = rustix::event::poll(&mut waiting, None);
            }
            Err(_) => return false,
        }
    }
    true
}
