//! The life of the init: it waits for signals, passes them on, reaps, and ends when there is nothing left to do.
//!
//! All signals are blocked and taken one by one, so that nothing here runs at an unexpected moment, and an idle init
//! sleeps in one system call without a timeout.

use crate::delivery::{Delivered, Told, deliver, send_to_rest};
use crate::job::Job;
use crate::kernel::process::{self, Change, Pid};
use crate::kernel::signals::{self, SignalInfo, SignalSet};
use crate::kernel::{Errno, now};
use crate::messages::Messages;
use crate::options::{Delivery, Isolation, Limit, Rest, Settings, Verbosity};
use crate::signal::Signal;

const EAGAIN: Errno = Errno(11);
/// Nanoseconds until a signal for which the receiver's queue had no room is tried again.
const QUEUE_RETRY: u64 = 1_000_000;
/// Nanoseconds until what is left after a KILL is killed again: it may have forked at the same time.
const KILL_RETRY: u64 = 50_000_000;
/// Seconds for what outlives a main child that ended by itself.
const USUAL_LIMIT: u64 = 10;
/// No alarm; and one that never comes, but is a mark that what it is for has begun.
const NEVER: u64 = u64::MAX;
const FAR: u64 = u64::MAX / 2;
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
pub struct Supervisor<'a> {
    settings: &'a Settings,
    messages: Messages,
    /// The main child; none in pause.
    child: Option<Pid>,
    /// Its exit code, when it has ended.
    ended: Option<u8>,
    job: Job,
    /// HUP and CONT that follow from giving up the terminal, which are nobody's wish.
    unmeant: SignalSet,
    /// Whether the init was told to stop, by TERM, INT or QUIT.
    stopping: bool,
    told: Told,
    held: Option<SignalInfo>,
    backlog: Backlog,
    /// When to do what, in nanoseconds of [`now`].
    alarms: [u64; 4],
    grace_over: bool,
}

impl<'a> Supervisor<'a> {
    /// The init of `child`; without one it only reaps, until TERM or INT.
    pub fn new(settings: &'a Settings, messages: Messages, child: Option<Pid>, unmeant: SignalSet) -> Self {
        Self {
            job: Job::new(child.filter(|_| settings.isolation == Isolation::Group)),
            settings,
            messages,
            child,
            unmeant,
            ended: None,
            stopping: false,
            told: Told::nobody(),
            held: None,
            backlog: Backlog::new(),
            alarms: [NEVER; 4],
            grace_over: false,
        }
    }

    /// Lives, and returns the exit code.
    pub fn run(mut self) -> u8 {
        make_stack();
        loop {
            let set = if self.backlog.is_full() { SignalSet::STANDARD } else { SignalSet::ALL };
            let outcome = match signals::wait(set, self.time_left()) {
                Ok(info) => self.receive(&info),
                Err(EAGAIN) => self.expire(),
                Err(_) => None, // EINTR: stopped and continued
            };
            if let Some(code) = outcome {
                self.job.give_back_terminal();
                return code;
            }
        }
    }

    fn receive(&mut self, info: &SignalInfo) -> Option<u8> {
        let signal = Signal::new(info.number as u8)?;
        if signal == Signal::CHLD {
            return self.reap();
        }
        if signal == Signal::PIPE && info.sender == process::own_pid() {
            return None; // nobody reads what this process says
        }
        if self.unmeant.contains(signal) {
            self.unmeant = self.unmeant.without(signal);
            return None;
        }
        let Some(child) = self.child else {
            return matches!(signal, Signal::TERM | Signal::INT).then_some(0);
        };
        let is_first_term = signal == Signal::TERM && self.held.is_none() && !self.stopping && self.ended.is_none();
        match self.settings.delay {
            Some(delay) if is_first_term => {
                self.held = Some(*info);
                self.set(Alarm::Delay, delay.0);
                self.say(Verbosity::INFORMATION, signal, "is held back");
            }
            _ => {
                if signal == Signal::TERM {
                    self.held = None;
                    self.alarms[Alarm::Delay as usize] = NEVER;
                }
                self.pass_on(child, signal, info);
            }
        }
        None
    }

    /// Passes `signal` on as what it is rewritten to.
    fn pass_on(&mut self, child: Pid, signal: Signal, info: &SignalInfo) {
        let Some(rewritten) = self.settings.rewrites.apply(signal) else {
            return self.say(Verbosity::DETAILS, signal, "is dropped");
        };
        if matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT) {
            self.stopping = true;
        }
        if let (Some(grace), Signal::TERM | Signal::INT) = (self.settings.grace, signal)
            && self.alarms[Alarm::Grace as usize] == NEVER
        {
            self.set(Alarm::Grace, grace.0);
        }
        self.say(Verbosity::DETAILS, rewritten, "is passed on");
        if self.ended.is_some() {
            return send_to_rest(rewritten, child, &|_| false, false);
        }
        self.job.before_passing(rewritten);
        self.deliver(child, rewritten, *info);
        if self.settings.stop_with_child && signal.is_terminal_stop() {
            let _ = signals::send(Signal::STOP, signals::Target::Process(process::own_pid()));
        }
    }

    fn deliver(&mut self, child: Pid, signal: Signal, info: SignalInfo) {
        if self.backlog.first().is_some() && signal.is_real_time() {
            // In turn.
            self.backlog.push(signal, info);
            return self.deliver_backlog(child);
        }
        match deliver(signal, &info, child, self.settings.delivery, &mut self.told) {
            Delivered::Yes => {}
            Delivered::QueueFull => self.backlog.push(signal, info),
            Delivered::Not(_) => self.say(Verbosity::WARNINGS, signal, "could not be passed on"),
        }
    }

    /// Passes on, in order, what there is room for by now.
    fn deliver_backlog(&mut self, child: Pid) {
        while let Some((signal, info)) = self.backlog.first() {
            if deliver(signal, &info, child, self.settings.delivery, &mut self.told) == Delivered::QueueFull {
                return;
            }
            self.backlog.remove_first();
        }
    }

    /// Takes all children that ended or stopped. The exit code, when there is nothing more to wait for.
    fn reap(&mut self) -> Option<u8> {
        let mut change = process::next_change(self.job.is_controlled());
        while let Ok(Some((pid, what))) = change {
            match (what, self.child) {
                (Change::Stopped(signal), Some(child)) if child == pid => self.job.stopped(signal),
                (Change::Stopped(_), _) => {}
                (_, child) => {
                    let code = match what {
                        Change::Exited(code) => code,
                        Change::Killed(signal) | Change::Stopped(signal) => 128 + signal.number(),
                    };
                    if child == Some(pid) {
                        self.main_child_ended(code, what);
                    } else {
                        self.report_reaped(pid, code);
                    }
                }
            }
            change = process::next_change(self.job.is_controlled());
        }
        let code = self.ended?;
        match self.settings.rest {
            Rest::Leave => {}
            Rest::Terminate => {
                // Also when this process has no children any more: without a subreaper orphans go elsewhere.
                if let (Some(leader), Some(signal)) = (self.child, self.settings.rewrites.apply(Signal::TERM)) {
                    let _ = signals::send(signal, signals::Target::Group(leader));
                }
            }
            Rest::Wait(limit) if change.is_ok() => {
                self.begin_to_wait(limit);
                return None;
            }
            Rest::Wait(_) => {} // ECHILD: there is nobody left
        }
        Some(self.final_code(code))
    }

    fn main_child_ended(&mut self, code: u8, change: Change) {
        self.ended = Some(code);
        self.held = None;
        self.backlog = Backlog::new();
        self.alarms[Alarm::Delay as usize] = NEVER;
        // The keyboard's signals reach the whole group past the init.
        if let Change::Killed(Signal::INT | Signal::QUIT | Signal::HUP) = change {
            self.job.interrupted();
        }
        self.messages.say(Verbosity::INFORMATION, &mut |line| {
            line.text("the main child ended with code ").number(code.into());
        });
    }

    fn report_reaped(&self, pid: Pid, code: u8) {
        let level = if self.settings.report_reaped { Verbosity::WARNINGS } else { Verbosity::DETAILS };
        self.messages.say(level, &mut |line| {
            line.text("reaped process ").number(pid.0 as u64).text(", which ended with code ").number(code.into());
        });
    }

    /// Tells what outlived the main child to end, once, and sets the limit.
    fn begin_to_wait(&mut self, limit: Limit) {
        let Some(child) = self.child.filter(|_| self.alarms[Alarm::Wait as usize] == NEVER) else { return };
        let nanoseconds = match limit {
            Limit::After(limit) => limit.0,
            Limit::Usual if !self.stopping => USUAL_LIMIT * 1_000_000_000,
            Limit::Usual | Limit::Never => FAR,
        };
        self.set(Alarm::Wait, nanoseconds);
        let group_was_told = self.job.was_interrupted() || self.stopping && self.settings.delivery == Delivery::Group;
        let told = &self.told;
        let spare =
            |process: crate::processes::Process| group_was_told && process.group == child || told.contains(process.pid);
        let spares = group_was_told || self.stopping && self.settings.delivery == Delivery::Once;
        self.messages.say_text(Verbosity::INFORMATION, "waiting for what the main child left");
        send_to_rest(Signal::TERM, child, &spare, spares);
    }

    /// Does what is due.
    fn expire(&mut self) -> Option<u8> {
        let child = self.child?;
        self.deliver_backlog(child);
        let time = now();
        for alarm in [Alarm::Delay, Alarm::Grace, Alarm::Wait, Alarm::Kill] {
            if self.alarms[alarm as usize] > time {
                continue;
            }
            self.alarms[alarm as usize] = NEVER;
            match alarm {
                Alarm::Delay => {
                    if let Some(info) = self.held.take() {
                        self.pass_on(child, Signal::TERM, &info);
                    }
                }
                Alarm::Grace => {
                    self.grace_over = true;
                    self.messages.say_text(Verbosity::ERRORS, "the grace period is over: killing everything");
                    self.kill_all(child);
                }
                Alarm::Wait => {
                    self.messages.say_text(Verbosity::ERRORS, "what the main child left does not end: killing it");
                    self.kill_all(child);
                }
                Alarm::Kill => self.kill_all(child),
            }
        }
        None
    }

    fn kill_all(&mut self, child: Pid) {
        if self.ended.is_none() {
            let _ = signals::send(Signal::KILL, signals::Target::Process(child));
        }
        send_to_rest(Signal::KILL, child, &|_| false, false);
        self.set(Alarm::Wait, FAR);
        self.set(Alarm::Kill, KILL_RETRY);
    }

    fn final_code(&self, code: u8) -> u8 {
        match code {
            _ if self.grace_over => KILLED,
            _ if self.settings.success.contains(code) => 0,
            _ => code,
        }
    }

    fn set(&mut self, alarm: Alarm, nanoseconds: u64) {
        self.alarms[alarm as usize] = now().saturating_add(nanoseconds);
    }

    /// Nanoseconds until the next alarm.
    fn time_left(&self) -> Option<u64> {
        if self.backlog.first().is_some() {
            return Some(QUEUE_RETRY);
        }
        let due = self.alarms.iter().fold(NEVER, |first, due| first.min(*due));
        (due < FAR).then(|| due.saturating_sub(now()))
    }

    fn say(&self, level: Verbosity, signal: Signal, what: &str) {
        self.messages.say(level, &mut |line| {
            line.signal(signal).text(" ").text(what);
        });
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
/// The queues of all processes of a user share one limit: what waits for this process may itself be what fills it, so that
/// more than one has to be taken before there is room for the first.
struct Backlog {
    signals: [(Signal, SignalInfo); Self::ROOM],
    count: usize,
}

impl Backlog {
    const ROOM: usize = 16;

    fn new() -> Self {
        Self { signals: [(Signal::KILL, SignalInfo::EMPTY); Self::ROOM], count: 0 }
    }

    fn is_full(&self) -> bool {
        self.count == Self::ROOM
    }

    fn first(&self) -> Option<(Signal, SignalInfo)> {
        self.signals.first().copied().filter(|_| self.count > 0)
    }

    fn push(&mut self, signal: Signal, info: SignalInfo) {
        if let Some(place) = self.signals.get_mut(self.count) {
            *place = (signal, info);
            self.count += 1;
        }
    }

    fn remove_first(&mut self) {
        self.signals.rotate_left(1);
        self.count = self.count.saturating_sub(1);
    }
}
