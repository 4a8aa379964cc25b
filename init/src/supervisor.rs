//! The life of the init: it waits for signals, passes them on, reaps, and ends when there is nothing left to do.
//!
//! All signals are blocked and taken one by one, so that nothing here runs at an unexpected moment, and an idle init
//! sleeps in one system call without a timeout.

use crate::delivery::{Told, deliver, send_to_rest};
use crate::duration::Duration;
use crate::job::Job;
use crate::kernel::errno::EAGAIN;
use crate::kernel::now;
use crate::kernel::process::{self, Change, Pid};
use crate::kernel::signals::{self, SignalInfo, SignalSet};
use crate::messages::say;
use crate::options::{Delivery, Isolation, Rest, Settings};
use crate::signal::Signal;
use crate::text;
use crate::texts::Packed;

/// Nanoseconds until a signal for which the receiver's queue had no room is tried again.
const QUEUE_RETRY: u64 = 1_000_000;
/// Until what is left after a KILL is killed again: it may have forked at the same time.
const KILL_RETRY: Duration = Duration(50_000_000);
/// For what outlives a main child that ended by itself.
const USUAL_LIMIT: Duration = Duration::seconds(10);
/// No alarm. One that comes after [`Duration::FOREVER`] is only a mark that what it is for has begun.
const NEVER: u64 = u64::MAX;
/// The exit code when the grace period is over: that of a process ended by SIGKILL.
const KILLED: u8 = 137;

/// What the init does next when no signal comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Alarm {
    /// Pass the held TERM on.
    Delay,
    /// Kill all: the grace period is over.
    Grace,
    /// Kill the rest: the wait is over.
    Wait,
    /// Kill again.
    Kill,
}

/// The init, and what it knows of its children.
#[repr(C)]
pub struct Supervisor<'a> {
    settings: &'a Settings,
    /// The main child; 0 in pause.
    child: Pid,
    /// Its exit code, when it has ended.
    ended: Option<u8>,
    /// Whether the init was told to stop, by TERM, INT or QUIT.
    stopping: bool,
    /// Whether a TERM is held back, in [`Self::held`].
    holds: bool,
    /// Whether the last that happened was that there was still no room for [`Self::backlog`].
    in_vain: bool,
    grace_over: bool,
    job: Job,
    /// HUP and CONT that follow from giving up the terminal, which are nobody's wish.
    unmeant: SignalSet,
    /// When to do what, in nanoseconds of [`now`].
    alarms: [u64; 4],
    backlog: Backlog,
    told: Told,
    /// The signal that came last.
    taken: SignalInfo,
    held: SignalInfo,
}

impl<'a> Supervisor<'a> {
    /// Lives as the init of `child`, and returns the exit code. Without a child, 0, it only reaps, until TERM or INT.
    ///
    /// Not in line: its place on the stack is where the main child's way to execve was.
    #[inline(never)]
    pub fn supervise(settings: &'a Settings, child: Pid, unmeant: SignalSet) -> u8 {
        let mut supervisor = Self {
            settings,
            child,
            ended: None,
            stopping: false,
            holds: false,
            in_vain: false,
            grace_over: false,
            job: Job::new(child, child != Pid(0) && settings.isolation == Isolation::Group),
            unmeant,
            alarms: [NEVER; 4],
            backlog: const { Backlog { count: 0, signals: [SignalInfo::EMPTY; Backlog::ROOM] } },
            told: const { Told::nobody() },
            taken: const { SignalInfo::EMPTY },
            held: const { SignalInfo::EMPTY },
        };
        make_stack();
        loop {
            if let Some(code) = supervisor.take_signal() {
                supervisor.job.give_back_terminal();
                return code;
            }
        }
    }

    /// Waits for a signal or an alarm. The exit code, when there is nothing more to do.
    fn take_signal(&mut self) -> Option<u8> {
        let set = if self.backlog.takes(self.in_vain) { SignalSet::ALL } else { SignalSet::STANDARD };
        match signals::wait(set, self.time_left(), Some(&mut self.taken)) {
            EAGAIN => self.expire(),
            1.. => self.receive(),
            _ => None, // EINTR: stopped and continued
        }
    }

    #[inline(never)]
    fn receive(&mut self) -> Option<u8> {
        self.in_vain = false;
        let signal = self.taken.signal();
        if signal == Signal::CHLD {
            return self.reap();
        }
        if signal == Signal::PIPE && self.taken.sender == process::own_pid() {
            return None; // nobody reads what this process says
        }
        if self.unmeant.contains(signal) {
            self.unmeant.0 &= !SignalSet::of(signal).0;
            return None;
        }
        if self.child == Pid(0) {
            return matches!(signal, Signal::TERM | Signal::INT).then_some(0);
        }
        if signal == Signal::TERM {
            let delay = self.settings.delay;
            if delay != Duration::NONE && !self.holds && !self.stopping && self.ended.is_none() {
                self.holds = true;
                self.held = self.taken;
                self.set(Alarm::Delay, delay);
                self.say(2, text!("$ is held back"), signal.number());
                return None;
            }
            self.holds = false;
            self.alarms[Alarm::Delay as usize] = NEVER;
        }
        self.pass_on();
        None
    }

    /// Passes the signal that was taken on as what it is rewritten to.
    #[inline(never)]
    fn pass_on(&mut self) {
        let signal = self.taken.signal();
        let Some(rewritten) = self.settings.rewrites.apply(signal) else {
            return self.say(3, text!("$ is dropped"), signal.number());
        };
        self.taken.set_signal(rewritten);
        if matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT) {
            self.stopping = true;
            if signal != Signal::QUIT && self.alarms[Alarm::Grace as usize] == NEVER {
                self.set(Alarm::Grace, self.settings.grace);
            }
        }
        self.say(3, text!("$ is passed on"), rewritten.number());
        if self.ended.is_some() {
            return send_to_rest(rewritten, self.child, None);
        }
        self.job.before_passing(rewritten);
        // Real-time signals in turn.
        if self.backlog.count > 0 && rewritten.is_real_time() {
            self.backlog.push(&self.taken);
            self.deliver_backlog();
        } else if !self.deliver() {
            self.backlog.push(&self.taken);
        }
        if self.settings.stop_with_child && signal.is_terminal_stop() {
            signals::send(Signal::STOP, process::own_pid().0);
        }
    }

    /// Whether the signal that was taken is delivered, or never will be: false when the receiver's queue is full.
    #[inline(never)]
    fn deliver(&mut self) -> bool {
        let result = deliver(&self.taken, self.child, self.settings.delivery, &mut self.told);
        if result < 0 && result != EAGAIN {
            self.say(1, text!("$ could not be passed on"), self.taken.number as u8);
        }
        result != EAGAIN
    }

    /// Passes on, in order, what there is room for by now.
    #[inline(never)]
    fn deliver_backlog(&mut self) {
        while self.backlog.count > 0 {
            self.taken = self.backlog.signals[0];
            if !self.deliver() {
                return;
            }
            self.backlog.remove_first();
        }
    }

    /// Takes all children that ended or stopped. The exit code, when there is nothing more to wait for.
    #[inline(never)]
    fn reap(&mut self) -> Option<u8> {
        let mut change = Change(0);
        let result = loop {
            let pid = process::next_change(self.job.is_controlled(), &mut change);
            if pid <= 0 {
                break pid;
            }
            // Its number may be another's when it has ended.
            let is_main = (Pid(pid) == self.child) & self.ended.is_none();
            if let Some(signal) = change.stopped_by() {
                if is_main {
                    self.job.stopped(signal);
                }
            } else if is_main {
                self.main_child_ended(change);
            } else {
                let level = if self.settings.report_reaped { 1 } else { 3 };
                say(self.settings, level, text!("reaped process #"), pid as u64);
            }
        };
        let code = self.ended?;
        match self.settings.rest {
            Rest::Leave => {}
            Rest::Wait if result == 0 => {
                self.begin_to_wait();
                return None;
            }
            // There is nobody left, or nobody who was not told.
            Rest::Wait if self.settings.subreaper || self.told.group => {}
            Rest::Wait | Rest::Terminate => {
                // Also when this process has no children any more: without a subreaper orphans go elsewhere.
                if let Some(signal) = self.settings.rewrites.apply(Signal::TERM) {
                    signals::send(signal, -self.child.0);
                }
            }
        }
        if self.grace_over {
            return Some(KILLED);
        }
        Some(if self.settings.success.contains(code) { 0 } else { code })
    }

    #[inline(never)]
    fn main_child_ended(&mut self, change: Change) {
        self.ended = Some(change.code());
        self.holds = false;
        self.backlog.count = 0;
        self.alarms[Alarm::Delay as usize] = NEVER;
        // The keyboard's signals reach the whole group past the init.
        self.told.group = self.job.is_controlled() && matches!(change.killed_by(), 1..=3)
            || self.stopping && self.settings.delivery == Delivery::Group;
        self.say(2, text!("the main child ended with code #"), change.code());
    }

    /// Tells what outlived the main child to end, once, and sets the limit.
    #[inline(never)]
    fn begin_to_wait(&mut self) {
        if self.alarms[Alarm::Wait as usize] != NEVER {
            return;
        }
        let usual = if self.stopping { Duration::FOREVER } else { USUAL_LIMIT };
        self.set(Alarm::Wait, self.settings.limit.unwrap_or(usual));
        self.say(2, text!("waiting for what the main child left"), 0);
        let spares = self.told.group || self.stopping && self.settings.delivery == Delivery::Once;
        send_to_rest(Signal::TERM, self.child, spares.then_some(&self.told));
    }

    /// Does what is due.
    #[inline(never)]
    fn expire(&mut self) -> Option<u8> {
        self.deliver_backlog();
        self.in_vain = true;
        let time = now();
        for &alarm in &[Alarm::Delay, Alarm::Grace, Alarm::Wait, Alarm::Kill] {
            if self.alarms[alarm as usize] > time {
                continue;
            }
            self.alarms[alarm as usize] = NEVER;
            if alarm == Alarm::Delay {
                self.holds = false;
                self.taken = self.held;
                self.pass_on();
                continue;
            }
            if self.ended.is_none() {
                signals::send(Signal::KILL, self.child.0);
            }
            send_to_rest(Signal::KILL, self.child, None);
            self.set(Alarm::Wait, Duration::FOREVER);
            self.set(Alarm::Kill, KILL_RETRY);
            // Last: whoever is to read it may be what does not end, and its pipe full.
            if alarm == Alarm::Grace {
                self.grace_over = true;
                self.say(0, text!("the grace period is over: killing everything"), 0);
            } else if alarm == Alarm::Wait {
                self.say(0, text!("what the main child left does not end: killing it"), 0);
            }
        }
        None
    }

    #[inline(never)]
    fn set(&mut self, alarm: Alarm, after: Duration) {
        self.alarms[alarm as usize] = now().saturating_add(after.0);
    }

    /// Nanoseconds until the next alarm.
    fn time_left(&self) -> Option<u64> {
        if self.backlog.count > 0 {
            return Some(QUEUE_RETRY);
        }
        let due = self.alarms.iter().fold(NEVER, |first, due| first.min(*due));
        (due < Duration::FOREVER.0).then(|| due.saturating_sub(now()))
    }

    #[inline(never)]
    fn say(&self, level: u8, text: Packed, number: u8) {
        say(self.settings, level, text, number.into());
    }
}

/// Touches as much of the stack as any signal will need, so that memory is the same before and under a storm of them,
/// wherever in its page the kernel let the stack begin.
#[inline(never)]
fn make_stack() {
    core::hint::black_box(&mut [0_u8; 3072]);
}

/// Real-time signals for which the receiver's queue had no room, in order.
///
/// The queues of all processes of a user share one limit: what waits for this process may itself be what fills it. Then one
/// more has to be taken before there is room for the first; so half of the places are kept for when nothing else helps.
struct Backlog {
    count: usize,
    signals: [SignalInfo; Self::ROOM],
}

impl Backlog {
    const ROOM: usize = 16;

    /// Whether one more may be taken, when there has been no room for the first (or otherwise).
    fn takes(&self, in_vain: bool) -> bool {
        self.count < if in_vain { Self::ROOM } else { Self::ROOM / 2 }
    }

    fn push(&mut self, info: &SignalInfo) {
        if let Some(place) = self.signals.get_mut(self.count) {
            *place = *info;
            self.count += 1;
        }
    }

    fn remove_first(&mut self) {
        self.signals.copy_within(1.., 0);
        self.count = self.count.saturating_sub(1);
    }
}
