//! `pipkin-init` beside dumb-init, tini, tini-static and catatonit: size, memory, what it adds to the start of a
//! program, how long a signal takes to the child, how fast orphans are reaped, and what it does when there is nothing
//! to do. Prints each comparison, and a Markdown table of all.
//!
//!     cargo bench --profile dev --bench init        (root, for PID namespaces; PIPKIN_BIN_DIR names the release programs)
//!
//! All inits take turns in every measurement, in an order that changes, so that whatever else the machine does meets all of
//! them alike; ratios are taken round by round. It takes two minutes; `-- signals orphans` leaves out the rest.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that fails ends the bench")]

#[path = "init/orphans.rs"]
mod orphans;
#[path = "init/signals.rs"]
mod signals;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pipkin_measure::{Comparison, Row, Samples};

/// What is measured round by round, by the names with which a part of it can be asked for.
type Measurement = (&'static str, fn(&[Init]) -> Vec<Comparison>);
const MEASUREMENTS: [Measurement; 3] =
    [("start", |inits| vec![start(inits)]), ("signals", signals::measure), ("orphans", orphans::measure)];

/// Each a run of every init.
const STARTS: usize = 400;

/// A program to measure; none is the command alone.
struct Init {
    name: &'static str,
    path: Option<PathBuf>,
    options: &'static [&'static str],
}

impl Init {
    fn command(&self, program: &str) -> Command {
        match &self.path {
            None => Command::new(program),
            Some(path) => {
                let mut command = Command::new(path);
                command.args(self.options).arg("--").arg(program);
                command
            }
        }
    }
}

fn inits() -> Vec<Init> {
    let ours = std::env::var_os("PIPKIN_BIN_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_path_buf());
    let theirs = |name: &'static str, options| {
        let path = Path::new("/usr/bin").join(name);
        path.exists().then_some(Init { name, path: Some(path), options })
    };
    let mut inits = vec![Init { name: "pipkin-init", path: Some(ours.join("pipkin-init")), options: &[] }];
    inits.extend(
        [
            theirs("dumb-init", &[][..]),
            theirs("tini", &["-s"]),
            theirs("tini-static", &["-s"]),
            theirs("catatonit", &[]),
        ]
        .into_iter()
        .flatten(),
    );
    inits
}

fn main() {
    if let Ok(mode) = std::env::var("INIT_BENCH") {
        return match mode.as_str() {
            "signals" => signals::receive(),
            "orphans" => orphans::make(),
            _ => panic!("no such mode"),
        };
    }
    let inits = inits();
    let path = inits[0].path.as_deref().unwrap();
    assert!(path.exists(), "{} is not there: cargo build --release -p pipkin-init", path.display());
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let sizes = inits.iter().map(|init| std::fs::metadata(init.path.as_ref().unwrap()).unwrap().len());
    let mut lines = vec![line("file, bytes", sizes)];
    if chosen.is_empty() {
        lines.extend(memory_and_rest(&inits));
    }
    let mut comparisons = Vec::new();
    for (name, measure) in MEASUREMENTS {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            comparisons.extend(measure(&inits));
        }
    }
    for comparison in &comparisons {
        println!("{comparison}");
    }
    lines.extend(comparisons.iter().map(|it| {
        let cells = it.rows.iter().map(|row| {
            let spread = row.samples.spread();
            format!("{:.1} ({:.1}-{:.1})", spread.median, spread.quarter, spread.three_quarters)
        });
        line(&format!("{}, {}", it.title, it.unit), cells)
    }));
    println!("| | {} |", inits.iter().map(|init| init.name).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---:|".repeat(inits.len()));
    lines.iter().for_each(|line| println!("{line}"));
    println!("\nMedians of the rounds, and quartiles. {}", pipkin_measure::machine());
}

/// A line of the table.
fn line(name: &str, cells: impl IntoIterator<Item: ToString>) -> String {
    let cells: Vec<_> = cells.into_iter().map(|cell| cell.to_string()).collect();
    format!("| {name} | {} |", cells.join(" | "))
}

/// What was measured of all inits, from the figures of each.
fn comparison(title: &str, unit: &str, inits: &[Init], figures: Vec<Samples>) -> Comparison {
    let rounds = figures[0].as_slice().len();
    let rows = inits.iter().zip(figures).map(|(init, samples)| Row { name: init.name.into(), samples }).collect();
    Comparison { title: title.into(), unit: unit.into(), rounds, rows, left_out: Vec::new() }
}

/// Orders in which all have their turns: another one each time, so that nobody always comes after the same.
struct Turns {
    order: Vec<usize>,
    random: u64,
}

impl Turns {
    fn new(count: usize) -> Self {
        Self { order: (0..count).collect(), random: 0x9e37_79b9_7f4a_7c15 }
    }

    fn next(&mut self) -> Vec<usize> {
        for at in (1..self.order.len()).rev() {
            // xorshift64 (Marsaglia 2003)
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            self.order.swap(at, (self.random % (at as u64 + 1)) as usize);
        }
        self.order.clone()
    }
}

fn myself() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

fn nanoseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills in `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The first and the last processor that this process may use.
fn processors() -> (usize, usize) {
    // SAFETY: a set that lives here, and its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        let mut numbers = (0..libc::CPU_SETSIZE as usize).filter(|number| libc::CPU_ISSET(*number, &set));
        let first = numbers.next().expect("a processor");
        (first, numbers.next_back().unwrap_or(first))
    }
}

/// Binds a process (0: this thread) to a processor.
fn bind(pid: i32, processor: usize) {
    // SAFETY: a set that lives here, and its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        assert_eq!(libc::sched_setaffinity(pid, size_of_val(&set), &set), 0);
    }
}

/// Microseconds that this process has had of a processor.
fn processor_time(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1000.0
}

/// A child that is ended and reaped, with all that is below it, when it goes out of scope.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // SAFETY: takes no pointer; TERM ends the init and its child, which do not handle it.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

/// Memory with a child that sleeps, and context switches in ten seconds of that.
fn memory_and_rest(inits: &[Init]) -> [String; 3] {
    let running: Vec<_> = inits
        .iter()
        .map(|init| Ended(init.command("/bin/sleep").arg("600").stderr(Stdio::null()).spawn().unwrap()))
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    let field = |pid: u32, file: &str, name: &str| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let all = |file: &str, name: &str| running.iter().map(|it| field(it.0.id(), file, name)).collect::<Vec<_>>();
    let switches = || -> Vec<u64> {
        let pairs =
            all("status", "voluntary_ctxt_switches").into_iter().zip(all("status", "nonvoluntary_ctxt_switches"));
        pairs.map(|(one, other)| one + other).collect()
    };
    let before = switches();
    std::thread::sleep(Duration::from_secs(10));
    let idle: Vec<_> = switches().iter().zip(before).map(|(after, before)| after - before).collect();
    [
        // Not Private_Dirty: a program that is not yet written to disk would count, too.
        line("private memory, kB", all("smaps_rollup", "Anonymous:")),
        line("resident memory, kB", all("smaps_rollup", "Rss:")),
        line("context switches in 10 idle seconds", idle),
    ]
}

/// What an init in front adds to a whole run of a static program that does nothing, round by round.
fn start(inits: &[Init]) -> Comparison {
    let none = Init { name: "", path: None, options: &[] };
    let all: Vec<_> = inits.iter().chain([&none]).collect();
    let mut turns = Turns::new(all.len());
    let mut figures: Vec<_> = inits.iter().map(|_| Samples::default()).collect();
    for _ in 0..STARTS {
        let mut times = vec![0.0; all.len()];
        for turn in turns.next() {
            let mut command = all[turn].command("/bin/busybox");
            command.arg("true").stdin(Stdio::null());
            let began = Instant::now();
            assert!(command.status().unwrap().success());
            times[turn] = began.elapsed().as_secs_f64() * 1e6;
        }
        for (figure, time) in figures.iter_mut().zip(&times) {
            figure.push(time - times[inits.len()]);
        }
    }
    comparison("added to the start of a program", "us", inits, figures)
}
