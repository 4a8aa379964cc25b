//! Stays with a program until it ends: passes signals on, moves a terminal's bytes.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

use super::notify::NotifyRelay;
use super::process::Child;
use crate::channel::{Channel, Report};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::process::realtime_signal;

/// The caller's signals, taken before the container is made so that none is lost.
pub struct Foreground {
    signals: SignalFd,
    before: SigSet,
    stop_signal: Option<rustix::process::Signal>,
    /// Signals that came before there was a program to have them.
    held: RefCell<Vec<i32>>,
}

/// What a person or a service manager ends a program with.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

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
    /// Takes the signals over; the stage and its program get back what they had. With `stop_signal` the program gets
    /// that one for SIGTERM. A `subreaper` waits for every process whose parents have ended (prctl(2)): those of a
    /// container without a pid namespace of its own.
    pub fn enter(stop_signal: Option<rustix::process::Signal>, subreaper: bool) -> Result<Self> {
        if subreaper {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid())).step(|| "become a subreaper")?;
        }
        let mut taken = SigSet::all();
        // These are about this process itself; a stopped launcher is job control, not the container's business.
        for own in [
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
        if !subreaper {
            taken.remove(Signal::SIGCHLD);
        }
        let before = taken.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).step(|| "block signals")?;
        let signals = SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .step(|| "take the signals over")?;
        Ok(Self { signals, before, stop_signal, held: RefCell::default() })
    }

    /// Before there is a program: an error when somebody asks for the end. Other signals are kept for the program.
    pub(super) fn check(&self) -> Result<()> {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            self.held.borrow_mut().push(signal.ssi_signo as i32);
        }
        match ENDING.into_iter().find(|ending| self.held.borrow().contains(&(*ending as i32))) {
            Some(ending) => Err(Error::new(Kind::Interrupted, format!("interrupted by {ending}"))),
            None => Ok(()),
        }
    }

    /// Before there is a program: waits for the file to be readable, or for somebody who asks for the end. When both are there
    /// the file counts: it may say that there is a program, and then the signal is the program's.
    pub(crate) fn await_readable(&self, file: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut waiting =
                [PollFd::from_borrowed_fd(file, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            match rustix::event::poll(&mut waiting, None) {
                Ok(_) if !waiting[0].revents().is_empty() => return Ok(()),
                Ok(_) => self.check()?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("wait for the container", errno)),
            }
        }
    }

    /// Readable when [`Foreground::check`] has something to look at.
    pub(super) fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Until the program's end. `first` is the process that made the child: it ends when the channel does.
    pub fn attend(
        &self,
        child: &Child,
        mut first: Option<Child>,
        channel: Channel,
        terminal: Option<OwnedFd>,
        notify: Option<&NotifyRelay>,
    ) -> Result<Outcome> {
        let mut channel = Some(channel);
        let mut relay = terminal.map(Relay::new).transpose()?;
        loop {
            let mut waiting = vec![PollFd::new(child, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            if let Some(channel) = &channel {
                waiting.push(PollFd::new(channel, PollFlags::IN));
            }
            let notify_place = notify.map(|notify| {
                waiting.push(notify.waits_for());
                waiting.len() - 1
            });
            let places = relay.as_ref().map(|relay| relay.wait_on(&mut waiting));
            match rustix::event::poll(&mut waiting, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::system("wait for the container", errno)),
            }
            let ready: Vec<PollFlags> = waiting.iter().map(PollFd::revents).collect();
            drop(waiting);
            if let Some(open) = &channel
                && !ready[2].is_empty()
            {
                let failure = open.receive::<Report>()?;
                first.take().map(|first| first.wait()).transpose()?;
                if let Some((Report::Failed(error), _)) = failure {
                    child.wait()?;
                    return Ok(Outcome::Failed(error));
                }
                // The program runs.
                channel = None;
            }
            if channel.is_none() {
                self.pass_on(child, relay.as_ref());
            } else if !ready[1].is_empty()
                && let Err(interrupted) = self.check()
            {
                child.kill();
                return Ok(Outcome::Failed(interrupted));
            }
            if let (Some(notify), Some(place)) = (notify, notify_place)
                && !ready[place].is_empty()
            {
                notify.pass_on(rustix::process::getpid());
            }
            if let (Some(relay), Some(places)) = (&mut relay, &places) {
                relay.move_bytes(places, &ready);
            }
            if !ready[0].is_empty() {
                if let Some(notify) = notify {
                    notify.pass_on_last_words(rustix::process::getpid());
                }
                let status = child.wait()?;
                if let Some(relay) = &mut relay {
                    relay.drain();
                }
                let outcome = self.outcome(status, channel.as_ref());
                first.take().map(|first| first.wait()).transpose()?;
                return Ok(outcome);
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
        let _ = self.check();
        for number in self.held.take() {
            if number == libc::SIGCHLD {
                child.reap_others();
            } else if number == libc::SIGWINCH
                && let Some(relay) = relay
            {
                relay.take_size();
            } else if let Some(signal) =
                rustix::process::Signal::from_named_raw(number).or_else(|| realtime_signal(number))
            {
                let stop = self.stop_signal.filter(|_| signal == rustix::process::Signal::TERM);
                let signal = stop.unwrap_or(signal);
                // It may just have ended.
                let _ = rustix::process::pidfd_send_signal(child, signal);
            }
        }
    }
}

/// Between the caller's terminal, or whatever its descriptors are, and the container's.
///
/// Nothing here waits: what one side does not take is kept, and until it is taken no more is read.
struct Relay {
    master: OwnedFd,
    /// Restored at the end.
    before: Option<Termios>,
    /// What the container has not taken yet.
    input: Vec<u8>,
    input_open: bool,
    /// Whether the last byte of input began a new line.
    at_line_start: bool,
    /// What the caller has not taken yet.
    output: Vec<u8>,
    output_open: bool,
    /// The caller's output is gone: what the container writes is thrown away, so that it goes on.
    discard: bool,
}

/// As much is kept for a slow reader.
const CHUNK: usize = 16 * 1024;

/// How long the end of the output may take to be read after the program's end: the reader may be stopped.
const LAST_WORDS: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

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

/// Where a relay's descriptors stand in a list to poll.
struct Places {
    master: Option<usize>,
    stdin: Option<usize>,
    stdout: Option<usize>,
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Self> {
        rustix::io::ioctl_fionbio(&master, true).step(|| "set the terminal non-blocking")?;
        let mut relay = Self {
            master,
            before: None,
            input: Vec::new(),
            input_open: true,
            at_line_start: true,
            output: Vec::new(),
            output_open: true,
            discard: false,
        };
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

    fn wait_on<'a>(&'a self, waiting: &mut Vec<PollFd<'a>>) -> Places {
        let mut place = |file: BorrowedFd<'a>, flags: PollFlags| {
            (!flags.is_empty()).then(|| {
                waiting.push(PollFd::from_borrowed_fd(file, flags));
                waiting.len() - 1
            })
        };
        let mut master = PollFlags::empty();
        master.set(PollFlags::IN, self.output_open && self.output.is_empty());
        master.set(PollFlags::OUT, !self.input.is_empty());
        let wanted = |wanted: bool, flag| if wanted { flag } else { PollFlags::empty() };
        Places {
            master: place(self.master.as_fd(), master),
            stdin: place(stdin(), wanted(self.input_open && self.input.is_empty(), PollFlags::IN)),
            stdout: place(rustix::stdio::stdout(), wanted(!self.output.is_empty(), PollFlags::OUT)),
        }
    }

    fn move_bytes(&mut self, places: &Places, ready: &[PollFlags]) {
        let is_ready = |place: Option<usize>| place.is_some_and(|place| !ready[place].is_empty());
        if is_ready(places.stdout) {
            self.write_output();
        }
        if is_ready(places.master) {
            self.read_output();
            self.write_input();
        }
        if is_ready(places.stdin) {
            self.read_input();
            self.write_input();
        }
    }

    fn read_output(&mut self) {
        if !self.output.is_empty() || !self.output_open {
            return;
        }
        let mut buffer = [0; CHUNK];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(length) if length > 0 && self.discard => {}
            Ok(length) if length > 0 => {
                self.output.extend_from_slice(&buffer[..length]);
                self.write_output_if_ready();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // EIO: nobody has the other side open (any more).
            Ok(_) | Err(_) => self.output_open = false,
        }
    }

    fn write_output_if_ready(&mut self) {
        let mut waiting = [PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::event::poll(&mut waiting, Some(&now)).is_ok_and(|ready| ready > 0) {
            self.write_output();
        }
    }

    /// A pipe that is ready takes at least `PIPE_BUF` bytes without blocking (pipe(7)).
    fn write_output(&mut self) {
        const PIPE_BUF: usize = 4096;
        let part = self.output.len().min(PIPE_BUF);
        match rustix::io::write(rustix::stdio::stdout(), &self.output[..part]) {
            Ok(length) => drop(self.output.drain(..length)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.output.clear();
                self.discard = true;
            }
        }
    }

    fn read_input(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(stdin(), &mut buffer) {
            Ok(0) => {
                // The end of a pipe or file is typed as Ctrl-D; in the middle of a line that only hands the line over.
                let end: &[u8] = if self.at_line_start { &[4] } else { &[4, 4] };
                self.input.extend_from_slice(end);
                self.input_open = false;
            }
            Ok(length) => {
                self.at_line_start = matches!(buffer[length - 1], b'\n' | b'\r');
                self.input.extend_from_slice(&buffer[..length]);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.input_open = false,
        }
    }

    fn write_input(&mut self) {
        if self.input.is_empty() {
            return;
        }
        match rustix::io::write(&self.master, &self.input) {
            Ok(length) => drop(self.input.drain(..length)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.input.clear(),
        }
    }

    /// What the program wrote just before its end.
    fn drain(&mut self) {
        self.input.clear();
        self.input_open = false;
        loop {
            self.read_output();
            if self.output.is_empty() {
                let mut waiting = [PollFd::new(&self.master, PollFlags::IN)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                let more = rustix::event::poll(&mut waiting, Some(&now)).is_ok_and(|ready| ready > 0);
                if !more || !self.output_open {
                    return;
                }
                continue;
            }
            let mut waiting = [PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::OUT)];
            if !rustix::event::poll(&mut waiting, Some(&LAST_WORDS)).is_ok_and(|ready| ready > 0) {
                return;
            }
            self.write_output();
        }
    }
}
