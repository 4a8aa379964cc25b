//! Passing a signal on: to the main child, to its group, or once to each; and to what is left when it has ended.

use crate::kernel::errno::ESRCH;
use crate::kernel::process::{Pid, own_pid};
use crate::kernel::signals::{self, SignalInfo};
use crate::options::Delivery;
use crate::processes::{self, Descendants, Process};
use crate::signal::Signal;

/// Sends the signal in `info` to one process, as it came.
#[inline(never)]
fn send_as_it_came(info: &SignalInfo, to: Pid) -> i32 {
    if info.code == SignalInfo::QUEUED { signals::queue(info, to) } else { signals::send(info.signal(), to.0) }
}

/// Passes the signal in `info` on to the main child `child` or its group. `EAGAIN`: the receiver's queue is full, and nobody
/// was told.
pub fn deliver(info: &SignalInfo, child: Pid, to: Delivery, told: &mut Told) -> i32 {
    if to == Delivery::Group && info.code != SignalInfo::QUEUED {
        let result = signals::send(info.signal(), -child.0);
        // The main child may have moved to another group, so that its own has no members left.
        if result != ESRCH {
            return result;
        }
    }
    // The main child first, as it would get it from a terminal: that a process below it ended it learns later. When its
    // queue is full, nobody was told yet, and all of it comes again.
    let result = send_as_it_came(info, child);
    if result == 0 && to != Delivery::MainChild {
        // There is no sigqueue for a group.
        deliver_to_members(info, child, to, told);
    }
    result
}

/// Passes it on to the others in the group, one by one.
#[inline(never)]
fn deliver_to_members(info: &SignalInfo, child: Pid, to: Delivery, told: &mut Told) {
    let mut processes = Descendants::all();
    for process in &mut processes {
        if process.group == child
            && process.pid != child
            && (to == Delivery::Group || !processes::handles(process.parent, info.signal()))
            && send_as_it_came(info, process.pid) == 0
            && to == Delivery::Once
        {
            told.add(process.pid);
        }
    }
}

/// Sends `signal` to all that is left below the init when the main child `child` is gone, but for those that `told` spares.
#[inline(never)]
pub fn send_to_rest(signal: Signal, child: Pid, told: Option<&Told>) {
    if told.is_none() && own_pid() == Pid(1) {
        signals::send(signal, -1); // One call, which nobody escapes by forking.
        return;
    }
    let mut processes = Descendants::all();
    if told.is_none() && !processes.are_visible() {
        // The group is all that is known. Its number stays taken for as long as it has a member.
        signals::send(signal, -child.0);
    }
    for process in &mut processes {
        if !told.is_some_and(|told| told.spares(process, child)) {
            signals::send(signal, process.pid.0);
        }
    }
}

/// Who was told to stop: told again when the main child is gone, they would take it for impatience.
pub struct Told {
    /// The main child's group.
    pub group: bool,
    count: usize,
    pids: [Pid; Self::ROOM],
}

impl Told {
    const ROOM: usize = 32;

    /// Nobody.
    pub const fn nobody() -> Self {
        Self { group: false, pids: [Pid(0); Self::ROOM], count: 0 }
    }

    /// Whether `process` was.
    fn spares(&self, process: Process, child: Pid) -> bool {
        self.group && process.group == child || self.pids.contains(&process.pid)
    }

    fn add(&mut self, pid: Pid) {
        if let Some(place) = self.pids.get_mut(self.count) {
            *place = pid;
            self.count += 1;
        }
    }
}
