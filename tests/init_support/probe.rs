//! The main child in these tests. With INIT_PROBE in the environment a test executable becomes this program before its
//! `main` begins: one thread, no noise, the signals as they were inherited.

use std::collections::BTreeMap;
use std::io::Write;

#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    let Ok(mode) = std::env::var("INIT_PROBE") else { return };
    let number = std::env::var("INIT_PROBE_NUMBER").ok().and_then(|number| number.parse().ok()).unwrap_or(0);
    // A test that died must not leave this behind.
    // SAFETY: takes no pointer.
    unsafe { libc::alarm(300) };
    let code = match mode.as_str() {
        "report" => report(),
        "signals" => signals(number),
        "count" => count(),
        "wait" => wait(),
        "handler" => handler(number),
        "orphans" => orphans(number),
        "fork-bomb" => fork_bomb(),
        "stop-self" => stop_self(),
        "parent" => parent(number),
        "own-group" => own_group(number),
        _ => panic!("no such mode: {mode}"),
    };
    let _ = std::io::stdout().flush();
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) };
}

fn say(line: &str) {
    let mut line = line.to_owned();
    line.push('\n');
    // In one piece, past any buffer.
    // SAFETY: the text lives through the call.
    unsafe { libc::write(1, line.as_ptr().cast(), line.len()) };
}

/// Whether nobody reads standard output any more.
fn closed() -> bool {
    let mut poll = libc::pollfd { fd: 1, events: 0, revents: 0 };
    // SAFETY: one structure that lives here.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 && poll.revents & libc::POLLERR != 0 }
}

fn pid() -> i32 {
    std::process::id() as i32
}

/// What the probe says about itself.
pub type Report = BTreeMap<String, String>;

/// Reads what [`report`] wrote.
pub fn parse(text: &str) -> Report {
    text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

fn report() -> i32 {
    let field = |name: &str| super::running::status_field(pid(), name).unwrap_or_default();
    let mut fds: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        // SAFETY: asks for flags only. The one that lists is closed by now.
        .filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0)
        .collect();
    fds.sort_unstable();
    // SAFETY: none of these takes a pointer.
    let (group, session, foreground) = unsafe { (libc::getpgrp(), libc::getsid(0), libc::tcgetpgrp(0)) };
    say(&format!("pid={}", pid()));
    // SAFETY: takes nothing.
    say(&format!("parent={}", unsafe { libc::getppid() }));
    say(&format!("group={group}\nsession={session}\nforeground={foreground}"));
    say(&format!("blocked={}\nignored={}", field("SigBlk"), field("SigIgn")));
    say(&format!("fds={fds:?}"));
    say(&format!("cwd={}", std::env::current_dir().unwrap().display()));
    say(&format!("listen_pid={}", std::env::var("LISTEN_PID").unwrap_or_default()));
    0
}

fn block_all() -> libc::sigset_t {
    // SAFETY: plain libc calls on a set that lives here.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        set
    }
}

fn next_signal(set: &libc::sigset_t) -> Option<libc::siginfo_t> {
    // SAFETY: the kernel fills in `info`.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        (libc::sigwaitinfo(set, &mut info) > 0).then_some(info)
    }
}

fn value(info: &libc::siginfo_t) -> usize {
    // SAFETY: the value is meaningless for other signals than queued ones, not invalid.
    unsafe { info.si_value().sival_ptr as usize }
}

/// Tells of each signal until `last`, with which it ends (code 7).
fn signals(last: i32) -> i32 {
    let set = block_all();
    say(&format!("ready {}", pid()));
    loop {
        let Some(info) = next_signal(&set) else { continue };
        let value = if info.si_code == libc::SI_QUEUE { format!(" value {}", value(&info)) } else { String::new() };
        say(&format!("signal {}{value}", info.si_signo));
        if info.si_signo == last {
            return 7;
        }
        // The time is over, or nobody listens: the test has died.
        if info.si_signo == libc::SIGPIPE && closed() || info.si_signo == libc::SIGALRM && info.si_code != libc::SI_USER
        {
            return 8;
        }
    }
}

/// Counts signals until USR1, which comes when the sender is done, and tells how many there were of each, and whether
/// queued ones came in the order of their values.
fn count() -> i32 {
    let set = block_all();
    say(&format!("ready {}", pid()));
    let mut counts = BTreeMap::new();
    let mut last: BTreeMap<i32, usize> = BTreeMap::new();
    let mut in_order = true;
    loop {
        let Some(info) = next_signal(&set) else { continue };
        *counts.entry(info.si_signo).or_insert(0_u32) += 1;
        if info.si_code == libc::SI_QUEUE {
            let value = value(&info);
            in_order &= last.insert(info.si_signo, value).is_none_or(|before| before + 1 == value);
        }
        // Standard signals overtake real-time ones, so that those come to an end first.
        if info.si_signo == libc::SIGRTMAX() {
            say(&format!("in order {in_order}"));
            for (signal, count) in counts {
                say(&format!("count {signal} {count}"));
            }
            say("end");
            return 0;
        }
    }
}

/// Waits for a signal that ends it.
fn wait() -> i32 {
    say(&format!("ready {}", pid()));
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

/// Takes `milliseconds` to handle the first TERM; a second one ends it, as in programs that handle it once.
fn handler(milliseconds: i32) -> i32 {
    extern "C" fn on_term(_: i32) {}
    // SAFETY: the handler does nothing; the sets live here.
    unsafe {
        let (mut none, mut term): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&mut none);
        libc::sigemptyset(&mut term);
        libc::sigaddset(&mut term, libc::SIGTERM);
        // Blocked until it is waited for, so that it can not come in between.
        libc::sigprocmask(libc::SIG_BLOCK, &term, std::ptr::null_mut());
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_term as *const () as usize;
        action.sa_flags = libc::SA_RESETHAND;
        libc::sigaction(libc::SIGTERM, &action, std::ptr::null_mut());
        say(&format!("ready {}", pid()));
        libc::sigsuspend(&none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
    say("handling");
    std::thread::sleep(std::time::Duration::from_millis(milliseconds as u64));
    say("handled");
    3
}

/// Makes `number` orphans that end at once, then waits.
fn orphans(number: i32) -> i32 {
    for _ in 0..number {
        // SAFETY: the children make system calls only.
        unsafe {
            match libc::fork() {
                0 => {
                    if libc::fork() == 0 {
                        libc::_exit(0);
                    }
                    libc::_exit(0);
                }
                child if child > 0 => {
                    libc::waitpid(child, std::ptr::null_mut(), 0);
                }
                _ => return 9,
            }
        }
    }
    say("orphaned");
    wait()
}

/// Forks until it is not allowed to, and leaves all that behind.
fn fork_bomb() -> i32 {
    let mut number = 0;
    // SAFETY: the children make system calls only.
    unsafe {
        loop {
            match libc::fork() {
                0 => {
                    libc::setsid();
                    libc::pause();
                }
                child if child > 0 => number += 1,
                _ => break,
            }
        }
    }
    say(&format!("forked {number}"));
    5
}

fn stop_self() -> i32 {
    say(&format!("ready {}", pid()));
    // SAFETY: takes no pointer.
    unsafe { libc::raise(libc::SIGSTOP) };
    say("continued");
    6
}

/// Leads a group of its own (and a session, if `number` says so), then tells of signals.
fn own_group(number: i32) -> i32 {
    // SAFETY: take no pointer.
    unsafe {
        if number == 0 {
            libc::setpgid(0, 0)
        } else {
            libc::setsid()
        };
    }
    signals(libc::SIGTERM)
}

/// A parent that any signal ends, and a child that tells of signals until `last`.
fn parent(last: i32) -> i32 {
    // SAFETY: there is one thread.
    if unsafe { libc::fork() } == 0 {
        return signals(last);
    }
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}
