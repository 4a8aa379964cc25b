//! Job control: a terminal stops and resumes the main child's group, and whoever started the init notices.
//!
//! The main child's group is in the foreground in the init's stead. When Ctrl-Z stops it, the init's own group is told
//! to stop too, so that the shell which waits for the init sees a stopped job. Where there is no such shell, as in a
//! container, the kernel ignores that (the init's group is orphaned, or it is PID 1), and the child is resumed as the
//! kernel would have done had its own group been orphaned.

use crate::kernel::process::{Pid, own_group};
use crate::kernel::signals::{self, SignalSet, Target};
use crate::kernel::terminal::Terminal;
use crate::signal::Signal;

/// The main child's group and the terminal.
pub struct Job {
    /// The group and the terminal, when there is one: in the foreground, or where the init was.
    group: Option<(Pid, Terminal)>,
    /// Whether the init passed a stop signal on, which then is somebody's wish.
    stop_was_sent: bool,
    interrupted: bool,
}

impl Job {
    /// The job of `group`, if there is a terminal. Its signals must be blocked.
    pub fn new(group: Option<Pid>) -> Self {
        let group = group.and_then(|group| Some((group, Terminal::controlling()?)));
        Self { group, stop_was_sent: false, interrupted: false }
    }

    /// Whether there is a terminal whose job this is.
    pub fn is_controlled(&self) -> bool {
        self.group.is_some()
    }

    /// A signal from the keyboard ended the main child: it reached the whole group.
    pub fn interrupted(&mut self) {
        self.interrupted = self.group.is_some();
    }

    /// Whether a signal from the keyboard ended the main child.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// `signal` is about to be passed on to the main child.
    pub fn before_passing(&mut self, signal: Signal) {
        if signal.is_terminal_stop() || signal == Signal::STOP {
            self.stop_was_sent = true;
        }
        if signal == Signal::CONT {
            self.stop_was_sent = false;
            self.resume();
        }
    }

    /// The init was resumed, in the foreground or not: so is the job.
    fn resume(&self) {
        let Some((group, terminal)) = &self.group else { return };
        if terminal.foreground() == own_group() {
            terminal.set_foreground(*group);
        }
        let _ = signals::send(Signal::CONT, Target::Group(*group));
    }

    /// `signal` stopped the main child.
    pub fn stopped(&mut self, signal: Signal) {
        let Some((group, terminal)) = &self.group else { return };
        // A shell moves a running job to the foreground without a word; the job finds out when it reads.
        if matches!(signal, Signal::TTIN | Signal::TTOU) && terminal.foreground() == own_group() {
            return self.resume();
        }
        // Who stops by SIGSTOP in the background is not stopped by the terminal.
        if signal == Signal::STOP && terminal.foreground() != *group {
            return;
        }
        self.give_back_terminal();
        // Blocked it would only wait. If it stops this process, SIGCONT will have come when this returns.
        let blocked = signals::block(SignalSet::ALL.without(Signal::TSTP));
        let _ = signals::send(Signal::TSTP, Target::OwnGroup);
        signals::block(blocked);
        let stopped = signals::wait(SignalSet(1 << (Signal::CONT.number() - 1)), Some(0)).is_ok();
        if stopped {
            self.stop_was_sent = false;
            self.resume();
        } else if signal.is_terminal_stop() && !self.stop_was_sent {
            terminal.set_foreground(*group);
            let _ = signals::send(Signal::CONT, Target::Group(*group));
        }
    }

    /// Puts the init's group into the foreground again, if the main child's was.
    pub fn give_back_terminal(&self) {
        let Some((group, terminal)) = &self.group else { return };
        if terminal.foreground() == *group {
            terminal.set_foreground(own_group());
        }
    }
}
