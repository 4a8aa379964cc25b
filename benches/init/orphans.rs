//! How fast an init that is PID 1 reaps orphans that have all ended, and how much of a processor's time one costs it.
//!
//! The init is stopped while they end: what is measured is the init, not the kernel's work of ending a process, which takes
//! ten times as long. The init and the orphans are on one processor, and who watches them on another: to reap what ended on
//! another takes half as long again.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use pipkin_measure::{Comparison, Samples};

use crate::{Init, Turns, bind, comparison, myself, nanoseconds, processor_time, processors};

const ROUNDS: usize = 12;
const ORPHANS: usize = 2000;

/// Time for each orphan until all are reaped, and the processor's share of it; a figure of each for each round.
pub fn measure(inits: &[Init]) -> Vec<Comparison> {
    let mut turns = Turns::new(inits.len());
    let mut figures: [Vec<Samples>; 2] = std::array::from_fn(|_| inits.iter().map(|_| Samples::default()).collect());
    for _ in 0..ROUNDS {
        for turn in turns.next() {
            let (time, own) = reap(&inits[turn]);
            figures[0][turn].push(time);
            figures[1][turn].push(own);
        }
    }
    let [time, own] = figures;
    vec![
        comparison("to reap an orphan, of 2000 (PID 1)", "us", inits, time),
        comparison("the init's processor time for an orphan", "us", inits, own),
    ]
}

/// One round of one init, in microseconds for each orphan.
fn reap(init: &Init) -> (f64, f64) {
    let inner = init.command(&myself());
    let mut outer = Command::new("unshare");
    outer.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.env("INIT_BENCH", "orphans").process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut outer = outer.spawn().unwrap();
    let mut input = outer.stdin.take().unwrap();
    let mut lines = BufReader::new(outer.stdout.take().unwrap()).lines();
    let mut line = || lines.next().expect("root is needed for this one").unwrap();

    assert_eq!(line(), "made");
    let path = format!("/proc/{0}/task/{0}/children", outer.id());
    let pid: i32 = std::fs::read_to_string(path).unwrap().trim().parse().unwrap();
    bind(pid, processors().0);
    // SAFETY: take no pointer; the init runs until `outer` has been waited for.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    await_state(pid, b'T');
    input.write_all(b"x").unwrap();
    assert_eq!(line(), "ended");
    let (own, began) = (processor_time(pid as u32), nanoseconds());
    // SAFETY: as above.
    unsafe { libc::kill(pid, libc::SIGCONT) };
    let ended: u64 = line().parse().unwrap();
    await_state(pid, b'S');
    let own = (processor_time(pid as u32) - own) / ORPHANS as f64;
    drop(input);
    assert!(outer.wait().unwrap().success());
    ((ended - began) as f64 / ORPHANS as f64 / 1000.0, own)
}

fn await_state(pid: i32, state: u8) {
    while self::state(pid) != Some(state) {
        std::thread::yield_now();
    }
}

/// `R`, `S`, `T`, `Z`, …
fn state(pid: i32) -> Option<u8> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 2).copied()
}

/// The child: makes orphans, lets them end when told to, and tells when the last of them is reaped.
pub fn make() {
    let (read_end, write_end) = std::io::pipe().unwrap();
    let (pids, report) = std::io::pipe().unwrap();
    let (write_end, mut pids) = (Some(write_end), BufReader::new(pids));
    let mut orphans = Vec::new();
    let (first, last) = processors();
    bind(0, first);
    for _ in 0..ORPHANS {
        // SAFETY: one thread; the children make system calls only.
        unsafe {
            match libc::fork() {
                0 => {
                    if libc::fork() == 0 {
                        let line = format!("{}\n", libc::getpid());
                        let _ = (&report).write_all(line.as_bytes());
                        drop(write_end);
                        let _ = (&read_end).read(&mut [0]);
                    }
                    libc::_exit(0);
                }
                child => libc::waitpid(child, std::ptr::null_mut(), 0),
            };
        }
        let mut line = String::new();
        pids.read_line(&mut line).unwrap();
        orphans.push(line.trim().parse::<i32>().unwrap());
    }
    bind(0, last);
    println!("made");
    let _ = std::io::stdin().read(&mut [0]);
    drop(write_end);
    orphans.iter().for_each(|pid| await_state(*pid, b'Z'));
    println!("ended");
    for pid in orphans {
        // SAFETY: takes no pointer, and sends nothing.
        while unsafe { libc::kill(pid, 0) } == 0 {
            std::thread::yield_now();
        }
    }
    println!("{}", nanoseconds());
    let _ = std::io::stdin().read(&mut [0]);
}
