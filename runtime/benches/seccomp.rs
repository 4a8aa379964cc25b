//! Seccomp against libseccomp, in one run: `cargo bench -p pipkin-runtime --bench seccomp`.
//!
//! For Docker's default profile: time to compile, time that the kernel takes to load the program, length, and what a
//! system call costs under it. All rounds are interleaved; medians, with the minimum in brackets.

#![allow(clippy::expect_used)]

#[path = "../tests/seccomp/configurations.rs"]
mod configurations;
#[path = "../tests/seccomp/interpreter.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod interpreter;
#[path = "../tests/seccomp/oracle.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod oracle;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use interpreter::Call;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use oci_spec::runtime::LinuxSeccomp;
use oracle::{Oracle, Setup};
use pipkin_runtime::config::{self, Config};
use pipkin_runtime::error::Problems;
use pipkin_runtime::seccomp::{Cache, Filter, Instruction, compile, load};

const LISTED: Setup = Setup { foreign: false, binary_tree: false };
const TREE: Setup = Setup { foreign: false, binary_tree: true };
const ROUNDS: usize = 41;
const CALLS: u64 = 100_000;

fn main() {
    let profile = profile();
    if let Some(work) = std::env::args().skip_while(|argument| argument != "--cold").nth(1) {
        println!("{}", cold(&work, &profile));
        return;
    }
    let mut oracle = Oracle::start();
    compilation(&mut oracle, &profile);
    let programs = [
        ("pipkin", ours(&profile)),
        ("libseccomp, list", filter(oracle.compile(&profile, LISTED).expect("a program"))),
        ("libseccomp, tree (runc)", filter(oracle.compile(&profile, TREE).expect("a program"))),
    ];
    loading(&programs);
    calling(&programs);
}

/// Docker's default profile, as dockerd sends it.
fn profile() -> LinuxSeccomp {
    configurations::of("docker-init-bridge.json")
}

/// Docker's configuration, as dockerd sends it.
fn configuration() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/configs/docker-init-bridge.json")
}

/// Where the bench has its cache.
fn cache() -> (PathBuf, Cache) {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seccomp-bench");
    (root.clone(), Cache::below(&root))
}

/// What is done once in a new process: its nanoseconds.
fn cold(work: &str, profile: &LinuxSeccomp) -> u64 {
    let text = std::fs::read(configuration()).expect("the test data");
    let section = serde_json::to_vec(profile).expect("JSON");
    let (_, cache) = cache();
    match work {
        "compile" => time(|| drop(std::hint::black_box(ours(profile)))),
        "find" => time(|| drop(std::hint::black_box(cache.find(&section).expect("kept")))),
        "read" => time(|| drop(std::hint::black_box(read(text)))),
        "read-to-run" => time(|| drop(std::hint::black_box(read_to_run(text, &cache)))),
        other => panic!("--cold {other}"),
    }
}

/// The configuration and its filter, without a cache.
fn read(text: Vec<u8>) -> (Config, Filter) {
    let config = config::of_text(Path::new("config.json"), text).expect("valid");
    let profile = config.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()).expect("a profile");
    let filter = ours(profile);
    (config, filter)
}

/// The same with a cache that has the filter.
fn read_to_run(text: Vec<u8>, cache: &Cache) -> Config {
    let config = config::of_text_to_run(Path::new("config.json"), text, cache).expect("valid");
    assert!(config.filter.cached().is_some());
    config
}

fn ours(profile: &LinuxSeccomp) -> Filter {
    compile(profile, &mut Problems::default()).expect("a filter").0
}

fn filter(program: Vec<Instruction>) -> Filter {
    Filter { program, flags: 0, notify: false }
}

/// Nanoseconds.
fn time(work: impl FnOnce()) -> u64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as u64
}

/// Median and minimum, in units of `unit` nanoseconds.
fn summary(samples: &mut [u64], unit: f64) -> (f64, String) {
    samples.sort_unstable();
    let (median, least) = (samples[samples.len() / 2] as f64 / unit, samples[0] as f64 / unit);
    (median, format!("{median:.1} ({least:.1})"))
}

fn compilation(oracle: &mut Oracle, profile: &LinuxSeccomp) {
    let (mut warm, mut list, mut tree, mut found) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut cold = [("compile", Vec::new()), ("find", Vec::new()), ("read", Vec::new()), ("read-to-run", Vec::new())];
    let (root, cache) = cache();
    std::fs::create_dir_all(&root).expect("make the cache's root");
    let section = serde_json::to_vec(profile).expect("JSON");
    let text = std::fs::read(configuration()).expect("the test data");
    cache.keep(&section, &ours(profile));
    let config = config::of_text_to_run(Path::new("config.json"), text, &cache).expect("valid");
    config.new_profile(&cache).into_iter().for_each(|new| new.keep(&ours(profile)));
    let program = std::env::current_exe().expect("the bench itself");
    for _ in 0..ROUNDS {
        for (work, samples) in &mut cold {
            let output = Command::new(&program).args(["--cold", work]).output().expect("run the bench itself");
            samples.push(String::from_utf8_lossy(&output.stdout).trim().parse().expect("nanoseconds"));
        }
        found.push(time(|| drop(std::hint::black_box(cache.find(&section).expect("kept")))));
        warm.push(time(|| drop(std::hint::black_box(ours(profile)))));
        list.extend(oracle.time(profile, LISTED, 1));
        tree.extend(oracle.time(profile, TREE, 1));
    }
    std::fs::remove_dir_all(&root).expect("remove the cache");
    let [compiled, cached, read, read_to_run] = &mut cold;
    let (base, ours) = summary(&mut compiled.1, 1e3);
    println!("Compile, us (ratio to pipkin in a new process)\n");
    println!("| | median (minimum) | ratio |\n|---|---|---|");
    println!("| pipkin, first time in a new process | {ours} | 1 |");
    let others = [
        ("pipkin, again", &mut warm),
        ("pipkin's cache, first time in a new process", &mut cached.1),
        ("pipkin's cache, again", &mut found),
        ("libseccomp, list", &mut list),
        ("libseccomp, tree (runc)", &mut tree),
    ];
    for (name, samples) in others {
        let (median, text) = summary(samples, 1e3);
        println!("| {name} | {text} | {:.1} |", median / base);
    }
    println!("\nDocker's config.json with its filter, first time in a new process, us\n");
    println!("| | median (minimum) |\n|---|---|");
    println!("| parsed and compiled | {} |", summary(&mut read.1, 1e3).1);
    println!("| the filter from the cache | {} |", summary(&mut read_to_run.1, 1e3).1);
}

/// Runs `work` in a child under `filter`; gives the nanoseconds it reports. `work` gets the time that loading took.
fn in_child(filter: Option<&Filter>, work: impl FnOnce(u64) -> u64) -> u64 {
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    // SAFETY: this process has one thread.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => {
            drop(writer);
            let mut bytes = [0; 8];
            reader.read_exact(&mut bytes).expect("the child's figure");
            waitpid(child, None).expect("wait");
            u64::from_ne_bytes(bytes)
        }
        ForkResult::Child => {
            let loading = time(|| {
                if let Some(filter) = filter {
                    load(filter).expect("load");
                }
            });
            let figure = work(loading);
            writer.write_all(&figure.to_ne_bytes()).expect("write");
            std::process::exit(0);
        }
    }
}

fn loading(programs: &[(&str, Filter); 3]) {
    let mut samples = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (index, (_, filter)) in programs.iter().enumerate() {
            samples[index].push(in_child(Some(filter), |loading| loading));
        }
    }
    println!("\nLength in instructions, and seccomp(2) that loads it, us\n");
    println!("| | length | load | ratio |\n|---|---|---|---|");
    let mut base = None;
    for ((name, filter), samples) in programs.iter().zip(&mut samples) {
        let (median, text) = summary(samples, 1e3);
        let base = *base.get_or_insert(median);
        println!("| {name} | {} | {text} | {:.1} |", filter.program.len(), median / base);
    }
}

fn calling(programs: &[(&str, Filter); 3]) {
    // What is allowed whatever the arguments never gets to the filter: the kernel remembers it (Linux 5.11).
    let calls: [(&str, i64, u64); 5] = [
        ("getppid, allowed (110)", libc::SYS_getppid, 0),
        ("close_range, allowed (436)", libc::SYS_close_range, 9),
        ("personality, 5 comparisons", libc::SYS_personality, 0xffff_ffff),
        ("kexec_load, denied (246)", libc::SYS_kexec_load, 0),
        ("mount_setattr, denied (442)", libc::SYS_mount_setattr, 0),
    ];
    println!("\nOne call, ns, and instructions of the filter that it would take\n");
    print!("| | no filter |");
    programs.iter().for_each(|(name, _)| print!(" {name} |"));
    println!("\n|---|---|---|---|---|");
    for (label, number, argument) in calls {
        let mut samples = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            samples[0].push(in_child(None, |_| repeat(number, argument)));
            for (index, (_, filter)) in programs.iter().enumerate() {
                samples[index + 1].push(in_child(Some(filter), |_| repeat(number, argument)));
            }
        }
        print!("| {label} |");
        for (index, samples) in samples.iter_mut().enumerate() {
            let (_, text) = summary(samples, CALLS as f64);
            let call = Call { number: number as u32, architecture: 0xc000_003e, arguments: [argument, 0, 0, 0, 0, 0] };
            match index.checked_sub(1) {
                None => print!(" {text} |"),
                Some(program) => print!(" {text}, {} |", interpreter::run(&programs[program].1.program, &call).1),
            }
        }
        println!();
    }
    for (name, filter) in programs {
        let steps =
            |number| interpreter::run(&filter.program, &Call { number, architecture: 0xc000_003e, arguments: [0; 6] });
        let allowed: Vec<usize> =
            (0..450).map(steps).filter(|(action, _)| *action == 0x7fff_0000).map(|(_, s)| s).collect();
        let mean = allowed.iter().sum::<usize>() as f64 / allowed.len() as f64;
        println!(
            "\n{name}: {mean:.1} instructions in the mean, {} at most, over all allowed calls",
            allowed.iter().max().expect("some calls")
        );
    }
}

fn repeat(number: i64, argument: u64) -> u64 {
    time(|| {
        for _ in 0..CALLS {
            // SAFETY: none of these calls touches memory with these arguments.
            unsafe { libc::syscall(number, argument, 0u64, 0u64, 0u64, 0u64) };
        }
    })
}
