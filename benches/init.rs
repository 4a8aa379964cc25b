//! `pipkin-init` beside dumb-init, tini, tini-static and catatonit: size, memory, what it adds to the start of a
//! program, how long a signal takes to the child, how fast orphans are reaped, and what it does when there is nothing
//! to do. Prints a Markdown table.
//!
//!     cargo bench --bench init            (root, for PID namespaces)
//!
//! All inits take turns in every measurement, so that whatever else the machine does meets all of them alike.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that fails ends the bench")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const STARTS: usize = 400;
const SIGNALS: usize = 200;
const SIGNAL_ROUNDS: usize = 20;
const ORPHANS: usize = 2000;
const ORPHAN_ROUNDS: usize = 5;

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
            "signals" => receive_signals(),
            "orphans" => make_orphans(),
            _ => panic!("no such mode"),
        };
    }
    let inits = inits();
    let path = inits[0].path.as_deref().unwrap();
    assert!(path.exists(), "{} is not there: cargo build --release -p pipkin-init", path.display());
    let mut rows = vec![(
        "file, bytes",
        inits.iter().map(|init| std::fs::metadata(init.path.as_ref().unwrap()).unwrap().len().to_string()).collect(),
    )];
    rows.extend(memory_and_rest(&inits));
    rows.extend(start(&inits));
    rows.extend(signals(&inits));
    rows.push(("orphans reaped per ms (PID 1)", orphans(&inits)));
    print(&inits, &rows);
}

type Row = (&'static str, Vec<String>);

fn print(inits: &[Init], rows: &[Row]) {
    println!("| | {} |", inits.iter().map(|init| init.name).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---:|".repeat(inits.len()));
    for (name, values) in rows {
        println!("| {name} | {} |", values.join(" | "));
    }
}

/// The value below which this share of `values` lies.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}

fn myself() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
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
fn memory_and_rest(inits: &[Init]) -> Vec<Row> {
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
    let texts = |numbers: Vec<u64>| numbers.iter().map(u64::to_string).collect();
    let switches = || -> Vec<u64> {
        let pairs =
            all("status", "voluntary_ctxt_switches").into_iter().zip(all("status", "nonvoluntary_ctxt_switches"));
        pairs.map(|(one, other)| one + other).collect()
    };
    let before = switches();
    std::thread::sleep(Duration::from_secs(10));
    let idle = switches().iter().zip(before).map(|(after, before)| after - before).collect();
    vec![
        ("private memory, kB", texts(all("smaps_rollup", "Private_Dirty:"))),
        ("resident memory, kB", texts(all("smaps_rollup", "Rss:"))),
        ("context switches in 10 idle seconds", texts(idle)),
    ]
}

/// Time of a whole run of a static program that does nothing, with the init in front.
fn start(inits: &[Init]) -> Vec<Row> {
    let none = Init { name: "", path: None, options: &[] };
    let all: Vec<_> = inits.iter().chain([&none]).collect();
    let mut times = vec![Vec::new(); all.len()];
    for _ in 0..STARTS {
        for (init, times) in all.iter().zip(&mut times) {
            let mut command = init.command("/bin/busybox");
            command.arg("true").stdin(Stdio::null());
            let began = Instant::now();
            assert!(command.status().unwrap().success());
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| quantile(times, 0.5)).collect();
    let alone = medians.last().unwrap();
    eprintln!("busybox true alone: {alone:.0} us");
    vec![(
        "added to the start of a program, us (median)",
        medians[..inits.len()].iter().map(|median| format!("{:.0}", median - alone)).collect(),
    )]
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
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // SAFETY: takes no pointer. The child ends with USR2.
        unsafe { libc::kill(self.init.id() as i32, libc::SIGUSR2) };
        let _ = self.init.wait();
    }
}

fn nanoseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills in `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn receive_signals() {
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

fn signals(inits: &[Init]) -> Vec<Row> {
    let mut receivers: Vec<_> = inits.iter().map(Receiver::start).collect();
    let mut times = vec![Vec::new(); inits.len()];
    for _ in 0..SIGNAL_ROUNDS {
        for (receiver, times) in receivers.iter_mut().zip(&mut times) {
            for _ in 0..SIGNALS {
                let sent = nanoseconds();
                // SAFETY: takes no pointer; the init runs.
                unsafe { libc::kill(receiver.init.id() as i32, libc::SIGUSR1) };
                times.push((receiver.next() - sent) as f64 / 1000.0);
                // Everybody sleeps when the next one comes.
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
    let row = |times: &mut [Vec<f64>], share| {
        times.iter_mut().map(|times| format!("{:.1}", quantile(times, share))).collect()
    };
    vec![("signal to child, us (p50)", row(&mut times, 0.5)), ("signal to child, us (p99)", row(&mut times, 0.99))]
}

/// Orphans that all end at once, and the time until the last of them is reaped.
fn make_orphans() {
    let (read_end, write_end) = std::io::pipe().unwrap();
    let (pids, report) = std::io::pipe().unwrap();
    let (write_end, mut pids) = (Some(write_end), BufReader::new(pids));
    let mut orphans = Vec::new();
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
    let began = Instant::now();
    drop(write_end);
    for pid in orphans {
        // SAFETY: takes no pointer, and sends nothing.
        while unsafe { libc::kill(pid, 0) } == 0 {
            std::thread::yield_now();
        }
    }
    println!("{}", began.elapsed().as_nanos());
}

fn orphans(inits: &[Init]) -> Vec<String> {
    let mut rates = vec![Vec::new(); inits.len()];
    for _ in 0..ORPHAN_ROUNDS {
        for (init, rates) in inits.iter().zip(&mut rates) {
            let inner = init.command(&myself());
            let mut outer = Command::new("unshare");
            outer
                .args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"])
                .arg(inner.get_program())
                .args(inner.get_args());
            outer.env("INIT_BENCH", "orphans").process_group(0);
            let output = outer.output().unwrap();
            let nanoseconds: f64 =
                String::from_utf8_lossy(&output.stdout).trim().parse().expect("root is needed for this one");
            rates.push(ORPHANS as f64 / nanoseconds * 1e6);
        }
    }
    rates.iter_mut().map(|rates| format!("{:.1}", quantile(rates, 0.5))).collect()
}
