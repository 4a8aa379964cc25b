//! Passing a signal on: to the main child, to its group, or once to each.

use crate::kernel::process::Pid;
use crate::kernel::signals::{self, SignalInfo, Target};
use crate::kernel::{Errno, process};
use crate::options::Delivery;
use crate::processes::{self, Process};
use crate::signal::Signal;

const ESRCH: Errno = Errno(3);
const EAGAIN: Errno = Errno(11);

/// What became of a signal that was to be passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    /// It was.
    Yes,
    /// The receiver's queue is full: again, later.
    QueueFull,
    /// It was not, and will not be.
    Not(Errno),
}

impl From<Result<(), Errno>> for Delivered {
    fn from(result: Result<(), Errno>) -> Self {
        match result {
            Ok(()) => Self::Yes,
            Err(EAGAIN) => Self::QueueFull,
            Err(errno) => Self::Not(errno),
        }
    }
}

/// Passes `signal`, which came with `info`, on to the main child `child` or its group.
pub fn deliver(signal: Signal, info: &SignalInfo, child: Pid, to: Delivery, told: &mut Told) -> Delivered {
    let queued = info.code == SignalInfo::QUEUED;
    if to == Delivery::Group && !queued {
        match signals::send(signal, Target::Group(child)) {
            // The main child may have moved to another group, so that its own has no members left.
            Err(ESRCH) => {}
            result => return result.into(),
        }
    }
    let one =
        |pid| if queued { signals::queue(signal, info, pid) } else { signals::send(signal, Target::Process(pid)) };
    // The main child first, as it would get it from a terminal: that a process below it ended it learns later. When its
    // queue is full, nobody was told yet, and all of it comes again.
    let delivered = one(child).into();
    if delivered == Delivered::Yes {
        match to {
            Delivery::MainChild => {}
            // There is no sigqueue for a group.
            Delivery::Group => each_of_group(child, &mut |member| _ = one(member.pid)),
            Delivery::Once => each_of_group(child, &mut |member| {
                if !processes::handles(member.parent, signal) && one(member.pid).is_ok() {
                    told.add(member.pid);
                }
            }),
        }
    }
    delivered
}

/// Calls `each` with the members of the group of `child` but `child` itself.
fn each_of_group(child: Pid, each: &mut dyn FnMut(Process)) {
    processes::each_descendant(Some(child), &mut |process| {
        if process.pid != child {
            each(process);
        }
    });
}

/// Sends `signal` to all that is left below the init when the main child is gone, but for whom `spare` picks.
pub fn send_to_rest(signal: Signal, child: Pid, spare: &dyn Fn(Process) -> bool, spares: bool) {
    if !spares && process::own_pid() == Pid(1) {
        // One call, which nobody escapes by forking.
        let _ = signals::send(signal, Target::Everyone);
        return;
    }
    let listed = processes::each_descendant(None, &mut |process| {
        if !spare(process) {
            let _ = signals::send(signal, Target::Process(process.pid));
        }
    });
    if !listed && !spares {
        // Without /proc the group is all that is known. Its number stays taken for as long as it has a member.
        let _ = signals::send(signal, Target::Group(child));
    }
}

/// Who was told, one by one, to stop: told again when the main child is gone, they would take it for impatience.
pub struct Told {
    pids: [Pid; Self::ROOM],
    count: usize,
}

impl Told {
    const ROOM: usize = 32;

    /// Nobody.
    pub fn nobody() -> Self {
        Self { pids: [Pid(0); Self::ROOM], count: 0 }
    }

    /// Whether `pid` was.
    pub fn contains(&self, pid: Pid) -> bool {
        self.pids.iter().take(self.count).any(|told| *told == pid)
    }

    fn add(&mut self, pid: Pid) {
        if let Some(place) = self.pids.get_mut(self.count) {
            *place = pid;
            self.count += 1;
        }
    }
}
