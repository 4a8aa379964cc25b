//! How long a signal takes through an init to its child, and how much of a processor's time the init spends on it.
//!
//! Sender, init and child are on one processor. On several the scheduler would be measured: in a virtual machine it takes four
//! times as long to wake somebody on a processor that sleeps, and whom it wakes where depends on their sessions
//! (`kernel.sched_autogroup_enabled`, sched(7)), not on the init.

use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

use pipkin_measure::{Comparison, Samples};

use crate::{Init, Turns, bind, comparison, myself, nanoseconds, processor_time, processors};

const ROUNDS: usize = 60;
/// Each init gets so many in a round.
const SIGNALS: usize = 500;

/// Half of the signals took no longer, 99 of 100, and the init's own time; a figure of each for each round.
pub fn measure(inits: &[Init]) -> Vec<Comparison> {
    let on_one_processor = || {
        bind(0, processors().0);
        take_turns(inits)
    };
    // What a thread is bound to its children are, and nothing else.
    std::thread::scope(|scope| scope.spawn(on_one_processor).join().unwrap())
}

fn take_turns(inits: &[Init]) -> Vec<Comparison> {
    let mut receivers: Vec<_> = inits.iter().map(Receiver::start).collect();
    let mut turns = Turns::new(inits.len());
    let mut figures: [Vec<Samples>; 3] = std::array::from_fn(|_| inits.iter().map(|_| Samples::default()).collect());
    for _ in 0..ROUNDS {
        let before: Vec<_> = receivers.iter().map(|it| processor_time(it.init.id())).collect();
        let mut times: Vec<_> = inits.iter().map(|_| Samples::default()).collect();
        // One by one in turn, so that what disturbs one disturbs all.
        for _ in 0..SIGNALS {
            for turn in turns.next() {
                times[turn].push(receivers[turn].pass_one());
            }
        }
        for (index, receiver) in receivers.iter().enumerate() {
            let spread = times[index].spread();
            figures[0][index].push(spread.median);
            figures[1][index].push(spread.p99);
            figures[2][index].push((processor_time(receiver.init.id()) - before[index]) / SIGNALS as f64);
        }
    }
    let [median, p99, own] = figures;
    vec![
        comparison("signal to child, p50", "us", inits, median),
        comparison("signal to child, p99", "us", inits, p99),
        comparison("the init's processor time for a signal", "us", inits, own),
    ]
}

/// A child behind an init that tells when it gets a signal.
struct Receiver {
    init: Child,
    times: std::process::ChildStdout,
}

impl Receiver {
    fn start(init: &Init) -> Self {
        let mut child = init.command(&myself()).env("INIT_BENCH", "signals").stdout(Stdio::piped()).spawn().unwrap();
        let mut receiver = Self { times: child.stdout.take().unwrap(), init: child };
        receiver.next(); // it is ready
        receiver
    }

    /// When the next signal arrived, in nanoseconds.
    fn next(&mut self) -> u64 {
        let mut time = [0; 8];
        self.times.read_exact(&mut time).unwrap();
        u64::from_ne_bytes(time)
    }

    /// Microseconds from `kill` to the child.
    fn pass_one(&mut self) -> f64 {
        let sent = nanoseconds();
        // SAFETY: takes no pointer; the init runs.
        unsafe { libc::kill(self.init.id() as i32, libc::SIGUSR1) };
        let time = (self.next() - sent) as f64 / 1000.0;
        // Everybody sleeps when the next one comes.
        std::thread::sleep(Duration::from_micros(100));
        time
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // SAFETY: takes no pointer. The child ends with USR2.
        unsafe { libc::kill(self.init.id() as i32, libc::SIGUSR2) };
        let _ = self.init.wait();
    }
}

/// The child: tells of each signal at what time it came, until USR2.
pub fn receive() {
    // SAFETY: a set that lives here.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        let mut output = std::io::stdout();
        loop {
            output.write_all(&nanoseconds().to_ne_bytes()).unwrap();
            output.flush().unwrap();
            let mut signal = 0;
            libc::sigwait(&set, &mut signal);
            if signal == libc::SIGUSR2 {
                return;
            }
        }
    }
}
