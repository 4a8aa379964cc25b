//! Inits under load: signals by the hundred thousand, orphans by the ten thousand, and a fork bomb; and at rest.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod init_support;

use std::collections::BTreeMap;
use std::time::Duration;

use init_support::{DEADLINE, Init, Running, await_true, is_root, running};

/// One storm at a time: what they share is the user's limit of queued signals, and the machine.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Queues a signal, again and again until there is room for it.
fn queue(pid: i32, signal: i32, value: usize) {
    let until = std::time::Instant::now() + DEADLINE;
    // SAFETY: the pointer is a number, which nobody follows.
    while unsafe { libc::sigqueue(pid, signal, libc::sigval { sival_ptr: value as *mut _ }) } != 0 {
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{error}");
        assert!(std::time::Instant::now() < until, "no room in the queue");
        std::thread::yield_now();
    }
}

/// Reads what the counting probe says at its end.
fn counts(running: &mut Running) -> (String, BTreeMap<i32, u32>) {
    let in_order = running.await_line("in order");
    let mut counts = BTreeMap::new();
    loop {
        let line = running.line();
        match line.strip_prefix("count ").and_then(|rest| rest.split_once(' ')) {
            Some((signal, count)) => counts.insert(signal.parse().unwrap(), count.parse().unwrap()),
            None => return (in_order, counts),
        };
    }
}

/// In kB: what belongs to the process alone. `Private_Dirty` would count the program's file, too, as long as the copy that
/// a test runs is not written to disk yet.
fn private_memory(pid: i32) -> u64 {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let field = |name: &str| -> u64 {
        let line = smaps.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    field("Anonymous:")
}

/// Whether it is where an init is as long as nothing happens.
fn waits(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap().contains("sigtimedwait")
}

#[test]
fn a_hundred_thousand_signals() {
    let _alone = alone();
    for in_the_place_of_pid1 in [false, true] {
        if in_the_place_of_pid1 && !is_root() {
            continue;
        }
        let launch = Init::pipkin().probe(&["-c"], "count");
        let mut running = if in_the_place_of_pid1 { launch.in_the_place_of_pid1() } else { launch }.start();
        running.await_line("ready");
        await_true("the init waits", || waits(running.pid()));
        let before = private_memory(running.pid());
        for number in 1..=25_000 {
            for signal in [40, 50] {
                queue(running.pid(), signal, number);
            }
            // Standard signals become one when the first is not taken yet.
            running.signal(libc::SIGUSR1);
            running.signal(libc::SIGWINCH);
        }
        let after = private_memory(running.pid());
        queue(running.pid(), libc::SIGRTMAX(), 0);
        let (in_order, counts) = counts(&mut running);
        assert_eq!(in_order, "true");
        assert_eq!((counts[&40], counts[&50]), (25_000, 25_000), "none is lost");
        for signal in [libc::SIGUSR1, libc::SIGWINCH] {
            assert!((1..=25_000).contains(&counts[&signal]), "{counts:?}");
        }
        assert_eq!(running.wait(), 0);
        assert!(after <= before, "{before} kB before, {after} kB after");
    }
}

/// The child takes nothing while its queue fills up: the init holds on to what there is no room for, and goes on with
/// everything else.
#[test]
fn a_queue_without_room() {
    let _alone = alone();
    let limit = |limit: u64| {
        move || {
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            // SAFETY: one structure that lives here.
            if unsafe { libc::setrlimit(libc::RLIMIT_SIGPENDING, &limit) } == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        }
    };
    // The limit counts for all processes of a user: where it can be, one who is nobody else, so that others' signals and
    // timers take no room.
    let launch = if rustix::process::geteuid().is_root() {
        let wrapper = Init { path: "/usr/bin/env".into(), ..Init::pipkin() };
        let init = init_for_all(&Init::pipkin().path);
        let words = [init.to_str().unwrap(), "-c", "--", &reachable_probe()];
        wrapper.launch(&["setpriv", "--reuid", "54324", "--clear-groups", "--"], &words).env("INIT_PROBE", "count")
    } else {
        Init::pipkin().probe(&["-c"], "count")
    };
    let mut running = launch.prepare(limit(64)).start();
    let child: i32 = running.await_line("ready").parse().unwrap();
    // SAFETY: takes no pointer; the child of a running init of this test.
    unsafe { libc::kill(child, libc::SIGSTOP) };
    await_true("it is stopped", || running::stat(child).unwrap().0 == 'T');
    let mut accepted = 0;
    for _ in 1..=100 {
        accepted += u32::from(queue_or_give_up(running.pid(), accepted as usize + 1));
    }
    running.signal(libc::SIGUSR2);
    await_true("USR2 passed by", || {
        let pending = running::status_field(child, "ShdPnd").unwrap();
        u64::from_str_radix(&pending, 16).unwrap() & 1 << (libc::SIGUSR2 - 1) != 0
    });
    // SAFETY: as above.
    unsafe { libc::kill(child, libc::SIGCONT) };
    queue(running.pid(), libc::SIGRTMAX(), 0);
    let (in_order, counts) = counts(&mut running);
    assert_eq!(in_order, "true", "{counts:?}");
    // Whatever the kernel took for the init has reached the child, although all of it did not fit at once.
    assert!(accepted > 0);
    assert_eq!(counts.get(&40), Some(&accepted), "{counts:?}");
    assert_eq!(running.wait(), 0);
}

/// While there is no room at all in the child's queue, the init holds what it can, leaves the rest in its own queue and goes
/// on with everything else; then all of it comes, in order.
#[test]
fn what_is_held_back_comes_in_order() {
    const NUMBER: usize = 40; // more than it holds
    let _alone = alone();
    let mut running = Init::pipkin().probe(&["-c"], "signals").env("INIT_PROBE_NUMBER", "31").start();
    let child: i32 = running.await_line("ready").parse().unwrap();
    let limit = |soft: Option<u64>| -> u64 {
        let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both structures live here.
        unsafe {
            assert_eq!(libc::prlimit(child, libc::RLIMIT_SIGPENDING, std::ptr::null(), &mut limits), 0);
            let before = limits.rlim_cur;
            limits.rlim_cur = soft.unwrap_or(before);
            assert_eq!(libc::prlimit(child, libc::RLIMIT_SIGPENDING, &limits, std::ptr::null_mut()), 0);
            before
        }
    };
    let usual = limit(Some(0));
    for value in 1..=NUMBER {
        queue(running.pid(), 40, value);
    }
    for _ in 0..20 {
        running.signal(libc::SIGUSR1);
        assert_eq!(running.await_line("signal"), "10", "others pass");
    }
    let pending = running::status_field(running.pid(), "ShdPnd").unwrap();
    assert!(u64::from_str_radix(&pending, 16).unwrap() & 1 << 39 != 0, "what it can not hold stays where it is");
    limit(Some(usual));
    for value in 1..=NUMBER {
        assert_eq!(running.await_line("signal"), format!("40 value {value}"));
    }

    // What comes when there is room again does not overtake what is held.
    limit(Some(0));
    for value in 1..=5 {
        queue(running.pid(), 40, value);
    }
    let holds_all = || {
        let pending = running::status_field(running.pid(), "ShdPnd").unwrap();
        u64::from_str_radix(&pending, 16).unwrap() & 1 << 39 == 0
    };
    await_true("the init holds all", holds_all);
    running.signal(libc::SIGSTOP);
    await_true("it is stopped", || running::stat(running.pid()).unwrap().0 == 'T');
    limit(Some(usual));
    queue(running.pid(), 40, 6);
    running.signal(libc::SIGCONT);
    let mut lines: Vec<String> = (0..7).map(|_| running.await_line("signal").to_owned()).collect();
    // CONT is not real-time and passes by, or does not.
    let count = lines.len();
    lines.retain(|line| line != "18");
    assert_eq!(lines.len(), count - 1);
    assert_eq!(lines, (1..=6).map(|value| format!("40 value {value}")).collect::<Vec<_>>());
    running.signal(libc::SIGSYS);
    assert_eq!(running.await_line("signal"), "31");
    assert_eq!(running.wait(), 7);
}

/// Whether there was room: how many fit is another's matter.
fn queue_or_give_up(pid: i32, value: usize) -> bool {
    // SAFETY: the pointer is a number, which nobody follows.
    unsafe { libc::sigqueue(pid, 40, libc::sigval { sival_ptr: value as *mut _ }) == 0 }
}

#[test]
fn ten_thousand_orphans() {
    let _alone = alone();
    for in_the_place_of_pid1 in [false, true] {
        if in_the_place_of_pid1 && !is_root() {
            continue;
        }
        let launch = Init::pipkin().probe(&[], "orphans").env("INIT_PROBE_NUMBER", "10000");
        let mut running = if in_the_place_of_pid1 { launch.in_the_place_of_pid1() } else { launch }.start();
        await_true("it has begun", || {
            std::fs::read_link(format!("/proc/{}/cwd", running.pid())).is_ok_and(|cwd| cwd == std::path::Path::new("/"))
        });
        let before = private_memory(running.pid());
        running.await_line("orphaned");
        running.await_line("ready");
        await_true("no zombie is left", || running.zombies() == 0);
        let after = private_memory(running.pid());
        assert!(after <= before + 4, "{before} kB before, {after} kB after");
        running.signal(libc::SIGTERM);
        assert_eq!(running.wait(), 143);
    }
}

/// A bomb that goes off as far as a limit of processes lets it, in sessions of their own: nothing is left of it.
#[test]
fn a_fork_bomb() {
    let _alone = alone();
    if !is_root() {
        return;
    }
    for in_the_place_of_pid1 in [false, true] {
        let init = Init::pipkin().path;
        // A limit for a user, who is nobody else here.
        let user = if in_the_place_of_pid1 { "54321" } else { "54322" };
        let wrapper = Init { path: "/usr/bin/env".into(), ..Init::pipkin() };
        let limited = ["prlimit", "--nproc=200", "setpriv", "--reuid", user, "--clear-groups", "--"];
        let probe = reachable_probe();
        let launch = wrapper
            .launch(&limited, &[init_for_all(&init).to_str().unwrap(), "--wait=200ms", "--", &probe])
            .env("INIT_PROBE", "fork-bomb");
        let mut running = if in_the_place_of_pid1 { launch.in_the_place_of_pid1() } else { launch }.start();
        let forked: u32 = running.await_line("forked").parse().unwrap();
        assert!((50..=200).contains(&forked), "{forked}");
        assert_eq!(running.wait(), 5, "pid 1: {in_the_place_of_pid1}");
        await_true("nothing is left", || running.processes().is_empty());
    }
}

/// A copy that any user may execute: the target directory may be closed to others.
fn init_for_all(init: &std::path::Path) -> std::path::PathBuf {
    copy(init, "pipkin-init")
}

fn reachable_probe() -> String {
    copy(std::path::Path::new(init_support::probe()), "probe").to_str().unwrap().to_owned()
}

fn copy(from: &std::path::Path, name: &str) -> std::path::PathBuf {
    static COPIES: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = COPIES.lock();
    static FOLDER: std::sync::OnceLock<tempfolder::Folder> = std::sync::OnceLock::new();
    let folder = FOLDER.get_or_init(tempfolder::Folder::new);
    let path = folder.0.join(name);
    if !path.exists() {
        pipkin_harness::install(from, &path);
    }
    path
}

mod tempfolder {
    /// A folder in /tmp, removed when the tests have ended.
    pub struct Folder(pub std::path::PathBuf);

    impl Folder {
        pub fn new() -> Self {
            let path = path();
            std::fs::create_dir_all(&path).unwrap();
            // SAFETY: registers a function without arguments.
            unsafe { libc::atexit(remove) };
            Self(path)
        }
    }

    fn path() -> std::path::PathBuf {
        format!("/tmp/init-storms-{}", std::process::id()).into()
    }

    extern "C" fn remove() {
        let _ = std::fs::remove_dir_all(path());
    }
}

/// No process can be started: said, and not waited for.
#[test]
fn a_limit_of_processes_that_is_reached() {
    if !is_root() {
        return;
    }
    let init = init_for_all(&Init::pipkin().path);
    let wrapper = Init { path: "/usr/bin/env".into(), ..Init::pipkin() };
    let (code, _, errors) = wrapper
        .launch(
            &["prlimit", "--nproc=0", "setpriv", "--reuid", "54323", "--clear-groups", "--"],
            &[init.to_str().unwrap(), "--", "true"],
        )
        .finish();
    assert_eq!(code, 125, "{errors}");
    assert!(errors.contains("number of processes is limited"), "{errors}");
}

#[test]
fn an_idle_init_does_not_wake_up() {
    let mut running = Init::pipkin().probe(&["--grace=1h", "--delay=1s", "--wait=1h"], "wait").start();
    running.await_line("ready");
    let switches = || {
        ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
            .map(|field| running::status_field(running.pid(), field).unwrap().parse::<u64>().unwrap())
    };
    await_true("it waits", || waits(running.pid()));
    let before = switches();
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(switches(), before);
}

#[test]
fn it_is_small() {
    let size = std::fs::metadata(init_support::inits::program()).unwrap().len();
    let mut running = Init::pipkin().probe(&[], "wait").start();
    running.await_line("ready");
    let memory = private_memory(running.pid());
    let is_release = init_support::inits::program().components().any(|part| part.as_os_str() == "release");
    if is_release {
        assert!(size <= 16 * 1024, "{size} bytes");
        assert!(memory <= 20, "{memory} kB");
    }
}
