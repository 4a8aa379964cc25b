//! Job control: a terminal stops and resumes the main child's group, and whoever started the init notices.
//!
//! The main child's group is in the foreground in the init's stead. When Ctrl-Z stops it, the init's own group is told
//! to stop too, so that the shell which waits for the init sees a stopped job. Where there is no such shell, as in a
//! container, the kernel ignores that (the init's group is orphaned, or it is PID 1), and the child is resumed as the
//! kernel would have done had its own group been orphaned.

use crate::kernel::process::{Pid, own_group};
use crate::kernel::signals::{self, SignalSet};
use crate::kernel::terminal::Terminal;
use crate::signal::Signal;

/// The main child's group and the terminal.
pub struct Job {
    /// The group and the terminal, when there is one: in the foreground, or where the init was.
    group: Option<(Pid, Terminal)>,
    /// Whether the init passed a stop signal on, which then is somebody's wish.
    stop_was_sent: bool,
}

impl Job {
    /// The job of `group`, if it is one of its own and there is a terminal. Its signals must be blocked.
    pub fn new(group: Pid, has_own_group: bool) -> Self {
        let group = if has_own_group { Terminal::controlling().map(|terminal| (group, terminal)) } else { None };
        Self { group, stop_was_sent: false }
    }

    /// Whether there is a terminal whose job this is.
    pub fn is_controlled(&self) -> bool {
        self.group.is_some()
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
        signals::send(Signal::CONT, -group.0);
    }

    /// `signal` stopped the main child.
    #[inline(never)]
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
        let blocked = signals::block(SignalSet(!SignalSet::of(Signal::TSTP).0));
        signals::send(Signal::TSTP, 0);
        signals::block(blocked);
        let stopped = signals::wait(SignalSet::of(Signal::CONT), Some(0), None) > 0;
        if stopped {
            self.stop_was_sent = false;
            self.resume();
        } else if signal.is_terminal_stop() && !self.stop_was_sent {
            terminal.set_foreground(*group);
            signals::send(Signal::CONT, -group.0);
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
