//! What `pipkin-init` does and no other init does: waits for the rest, keeps times, rewrites by name, explains.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod init_support;

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use init_support::{Init, Launch, Running, await_true, is_root, probe, running};

/// `pipkin-init OPTIONS -- sh -c SCRIPT`, where @ in SCRIPT stands for the probe.
fn shell(options: &[&str], script: &str) -> Launch {
    let mut options = options.to_vec();
    options.push("--");
    Init::pipkin().launch(&options, &["sh", "-c", &script.replace("@", probe())])
}

/// As PID 1 and as an ordinary process.
fn in_both_places(check: impl Fn(&dyn Fn(Launch) -> Launch)) {
    check(&|launch| launch);
    if is_root() {
        check(&|launch| launch.in_the_place_of_pid1());
    }
}

#[test]
fn a_handler_behind_a_shell_finishes() {
    in_both_places(|place| {
        for options in [&[][..], &["-c"], &["--once"], &["--wait"]] {
            let script = "INIT_PROBE=handler INIT_PROBE_NUMBER=400 @; true";
            let mut running = place(shell(options, script)).start();
            running.await_line("ready");
            running.signal(libc::SIGTERM);
            assert_eq!(running.await_line("handl"), "ing", "{options:?}");
            assert_eq!(running.await_line("handl"), "ed", "{options:?}");
            assert_eq!(running.wait(), 143, "the shell's code, {options:?}");
        }
    });
}

#[test]
fn a_main_child_that_ends_takes_the_rest_along() {
    in_both_places(|place| {
        let mut running = place(shell(&[], "INIT_PROBE=handler INIT_PROBE_NUMBER=200 @ & read line; exit 4")).start();
        // The shell's input is at its end.
        let rest = running.rest();
        assert!(rest.is_empty() || rest.contains("handling\nhandled\n"), "{rest}");
        assert_eq!(running.wait(), 4);
    });
}

#[test]
fn what_has_left_the_group_is_told_too() {
    in_both_places(|place| {
        let script = "(INIT_PROBE=own-group INIT_PROBE_NUMBER=1 @ &) ; read line; exit 4";
        let (reader, writer) = std::io::pipe().unwrap();
        let launch = shell(&[], script);
        let mut running = place(launch).stdin(reader).start();
        running.await_line("ready");
        drop(writer);
        assert_eq!(running.await_line("signal"), "15");
        assert_eq!(running.wait(), 4);
    });
}

/// Where nobody can say who is left, the main child's group is told.
#[test]
fn what_is_left_is_found_without_proc() {
    if !is_root() {
        return;
    }
    let wrapper = Init { path: "/usr/bin/unshare".into(), ..Init::pipkin() };
    let hide = "mount -t tmpfs none /proc && exec \"$@\"";
    let script = format!("trap '' TERM; INIT_PROBE=wait {} & read line; exit 4", probe());
    let (reader, writer) = std::io::pipe().unwrap();
    let init = Init::pipkin().path;
    let command = [init.to_str().unwrap(), "--wait=200ms", "--", "sh", "-c", &script];
    let launch = wrapper.launch(&["--mount", "sh", "-c", hide, "sh"], &command);
    let mut running = launch.stdin(reader).start();
    running.await_line("ready");
    drop(writer);
    assert_eq!(running.wait(), 4);
    assert!(running.errors().contains("killing it"));
}

/// Without a subreaper nobody hears of its end.
#[test]
fn what_can_not_be_waited_for_is_told() {
    let launch = shell(&["--no-subreaper"], "INIT_PROBE=signals INIT_PROBE_NUMBER=15 @ & read line; exit 4");
    let (reader, writer) = std::io::pipe().unwrap();
    let mut running = launch.stdin(reader).start();
    running.await_line("ready");
    drop(writer);
    assert_eq!(running.wait(), 4);
    assert_eq!(running.await_line("signal"), "15");
}

#[test]
fn the_wait_has_its_limit() {
    in_both_places(|place| {
        // What is ignored stays ignored in a child, from its first moment on.
        let stubborn = "trap '' TERM; INIT_PROBE=wait @ & exit 4";
        let started = Instant::now();
        let (code, _, errors) = place(shell(&["--wait=500ms"], stubborn)).finish();
        assert_eq!(code, 4);
        assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
        assert!(errors.contains("killing"), "{errors}");

        // What is usual for a main child that ended by itself.
        let started = Instant::now();
        let (code, _, errors) = place(shell(&[], stubborn)).finish();
        assert_eq!(code, 4);
        assert!(started.elapsed() >= Duration::from_secs(10), "{:?}", started.elapsed());
        assert!(errors.contains("killing"), "{errors}");

        // By environment; and 0 is at once.
        let started = Instant::now();
        let (code, ..) = place(shell(&[], stubborn).env("PIPKIN_INIT_WAIT", "0")).finish();
        assert_eq!(code, 4);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    });
}

#[test]
fn without_waiting_the_rest_is_told_and_left() {
    let launch = shell(&["--no-wait"], "INIT_PROBE=signals INIT_PROBE_NUMBER=31 @ & read line; exit 4");
    let (reader, writer) = std::io::pipe().unwrap();
    let mut running = launch.stdin(reader).start();
    let left: i32 = running.await_line("ready").parse().unwrap();
    drop(writer);
    assert_eq!(running.wait(), 4);
    assert_eq!(running.await_line("signal"), "15");
    // SAFETY: takes no pointer; the probe of this test, which waits for this signal.
    unsafe { libc::kill(left, libc::SIGSYS) };
    assert_eq!(running.await_line("signal"), "31", "it was left");
}

#[test]
fn after_the_grace_period_all_is_killed() {
    in_both_places(|place| {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let script = "trap '' TERM INT; INIT_PROBE=wait @";
            let mut running = place(shell(&["--grace", "300ms"], script)).start();
            running.await_line("ready");
            assert!(running.is_silent_for(Duration::from_millis(400)), "nothing happens before a signal");
            let started = Instant::now();
            running.signal(signal);
            assert_eq!(running.wait(), 137);
            assert!(started.elapsed() >= Duration::from_millis(300));
            assert!(running.errors().contains("grace period"), "said so");
        }
        // QUIT is for the program alone: many write a core, or go on.
        let mut running =
            place(Init::pipkin().probe(&["--grace=100ms"], "signals")).env("INIT_PROBE_NUMBER", "31").start();
        running.await_line("ready");
        running.signal(libc::SIGQUIT);
        assert_eq!(running.await_line("signal"), "3");
        assert!(running.is_silent_for(Duration::from_millis(400)));
        running.signal(libc::SIGSYS);
        assert_eq!(running.wait(), 7);
        // Who obeys is not killed.
        let mut running = place(shell(&["--grace=20s"], "INIT_PROBE=handler @; exit 3")).start();
        running.await_line("ready");
        running.signal(libc::SIGTERM);
        assert_eq!(running.wait(), 143);
    });
}

#[test]
fn the_grace_period_covers_what_the_main_child_left() {
    in_both_places(|place| {
        let script = "(trap '' TERM; INIT_PROBE=wait exec @) & wait";
        let mut running = place(shell(&["--grace", "300ms"], script)).start();
        running.await_line("ready");
        running.signal(libc::SIGTERM);
        assert_eq!(running.wait(), 137);
        drop(running);
    });
}

/// Nobody reads what the init says, and there is no room for more: it kills before it says so.
#[test]
fn the_end_of_the_grace_period_waits_for_no_reader() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let blocking = |is: bool| rustix::io::ioctl_fionbio(&writer, !is).unwrap();
    blocking(false);
    while (&writer).write(&[b'x'; 4096]).is_ok() {}
    blocking(true);
    let launch = Init::pipkin().probe(&["--grace=100ms"], "signals").env("INIT_PROBE_NUMBER", "31");
    let mut running = launch.stderr(writer).start();
    let child: i32 = running.await_line("ready").parse().unwrap();
    running.signal(libc::SIGTERM);
    await_true("the child is killed", || running::stat(child).is_none_or(|(state, _)| state == 'Z'));
    assert_eq!(running.try_wait(), None, "the init wants to say something");
    std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    assert_eq!(running.wait(), 137);
}

/// The kernel tells who writes to nobody by SIGPIPE, which is then not meant for the child.
#[test]
fn what_nobody_reads_does_no_harm() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let launch = Init::pipkin().probe(&["-vvv"], "signals").env("INIT_PROBE_NUMBER", "31");
    let mut running = launch.stderr(writer).start();
    running.await_line("ready");
    for signal in [10, 28, 31] {
        running.signal(signal);
        assert_eq!(running.line(), format!("signal {signal}"));
    }
    assert_eq!(running.wait(), 7);
}

#[test]
fn term_is_held_back_for_the_delay() {
    let start = |options: &[&str]| {
        let mut running = Init::pipkin().probe(options, "signals").env("INIT_PROBE_NUMBER", "15").start();
        running.await_line("ready");
        running
    };
    let mut running = start(&["--delay", "500ms"]);
    let sent = Instant::now();
    running.signal(libc::SIGTERM);
    running.signal(libc::SIGUSR1);
    assert_eq!(running.await_line("signal"), "10", "others pass");
    assert_eq!(running.await_line("signal"), "15");
    assert!(sent.elapsed() >= Duration::from_millis(500), "{:?}", sent.elapsed());
    assert_eq!(running.wait(), 7);

    // A second TERM passes at once; both together are one.
    let mut running = start(&["--delay", "1h"]);
    running.signal(libc::SIGTERM);
    await_true("the first is taken", || running::status_field(running.pid(), "ShdPnd").unwrap() == "0000000000000000");
    running.signal(libc::SIGTERM);
    assert_eq!(running.await_line("signal"), "15");
    assert_eq!(running.wait(), 7);

    // A child that ends meanwhile ends the wait.
    let mut running = shell(&["--delay", "1h"], "echo ready; read line; exit 3");
    let (reader, writer) = std::io::pipe().unwrap();
    running = running.stdin(reader);
    let mut running = running.start();
    running.await_line("ready");
    running.signal(libc::SIGTERM);
    drop(writer);
    assert_eq!(running.wait(), 3);
}

#[test]
fn signals_are_rewritten_by_name() {
    let mut running = Init::pipkin()
        .probe(&["-r", "TERM:QUIT,SIGHUP:0", "--rewrite", "sigusr1:RTMIN+3"], "signals")
        .env("PIPKIN_INIT_REWRITE", "USR2:RTMAX-1,RTMIN:WINCH")
        .env("INIT_PROBE_NUMBER", "31")
        .start();
    running.await_line("ready");
    for (sent, expected) in [(15, 3), (10, 37), (12, 63), (34, 28), (2, 2)] {
        running.signal(1); // dropped
        running.signal(sent);
        assert_eq!(running.await_line("signal"), expected.to_string());
    }
}

#[test]
fn queued_signals_keep_their_order_and_value() {
    for options in [&["-c"][..], &["-g"], &["-c", "-r", "RTMIN+6:RTMIN+7"]] {
        let mut running = Init::pipkin().probe(options, "signals").env("INIT_PROBE_NUMBER", "15").start();
        running.await_line("ready");
        let expected = if options.len() > 1 { 41 } else { 40 };
        for value in 1..=100_usize {
            queue(&running, 40, value);
        }
        for value in 1..=100 {
            assert_eq!(running.await_line("signal"), format!("{expected} value {value}"), "{options:?}");
        }
    }
    // In a group each member gets the value.
    let mut running = shell(&[], "INIT_PROBE=signals @ & INIT_PROBE=signals exec @").start();
    running.await_line("ready");
    running.await_line("ready");
    queue(&running, 50, 77);
    assert_eq!(running.await_line("signal"), "50 value 77");
    assert_eq!(running.await_line("signal"), "50 value 77");
}

fn queue(running: &Running, signal: i32, value: usize) {
    let value = libc::sigval { sival_ptr: value as *mut _ };
    // SAFETY: takes no pointer that is followed.
    assert_eq!(unsafe { libc::sigqueue(running.pid(), signal, value) }, 0);
}

/// A parent that handles the signal, and passes it on when it is let to, as npm does at once.
#[test]
fn once_means_once() {
    let forwarder = "trap 'read go; kill -TERM $child' TERM; INIT_PROBE=signals INIT_PROBE_NUMBER=31 @ & child=$!; \
                     echo forwarding; while kill -0 $child; do wait $child; done";
    let start = |option: &str| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut running = shell(&[option], forwarder).stdin(reader).start();
        // The shell must know its child before it can pass anything on; who speaks first is open.
        let (mut forwarding, mut ready) = (false, false);
        while !(forwarding && ready) {
            let line = running.line();
            forwarding |= line == "forwarding";
            ready |= line.starts_with("ready");
        }
        running.signal(libc::SIGTERM);
        (running, move || writer.write_all(b"go\n").unwrap())
    };
    let end = |mut running: Running| {
        running.signal(libc::SIGSYS);
        running.await_line("signal 31");
        running.wait();
    };
    // The group is told, and whoever passes it on tells once more: what --once is for.
    let (mut running, mut let_it_pass) = start("--group");
    assert_eq!(running.await_line("signal"), "15");
    let_it_pass();
    assert_eq!(running.await_line("signal"), "15");
    end(running);

    let (mut running, mut let_it_pass) = start("--once");
    assert!(running.is_silent_for(Duration::from_millis(500)), "told behind the back of its parent");
    let_it_pass();
    assert_eq!(running.await_line("signal"), "15");
    assert!(running.is_silent_for(Duration::from_millis(500)), "told again");
    end(running);

    // Who does not handle it dies of it without a word, so that his child is told by the init.
    let nested = "INIT_PROBE=signals INIT_PROBE_NUMBER=15 @; true";
    let mut running = shell(&["--once"], nested).start();
    running.await_line("ready");
    running.signal(libc::SIGTERM);
    assert_eq!(running.await_line("signal"), "15");
    assert_eq!(running.wait(), 143);
    assert_eq!(running.rest(), "");
}

/// Whoever was told to stop, with the group or by name, is not told again because the main child has ended of it.
#[test]
fn what_was_told_to_stop_is_not_told_again() {
    in_both_places(|place| {
        for options in [&[][..], &["--once"], &["-c"]] {
            let mut running = place(shell(options, "INIT_PROBE=signals INIT_PROBE_NUMBER=31 @; true")).start();
            let probe: i32 = running.await_line("ready").parse().unwrap();
            running.signal(libc::SIGTERM);
            assert_eq!(running.await_line("signal"), "15", "{options:?}");
            let children = || std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).unwrap();
            // In a PID namespace the probe knows itself by another number: it is the one that is left.
            await_true("the shell has ended", || children().split_whitespace().count() == 1);
            await_true("the probe is the init's", || {
                let left: i32 = children().trim().parse().unwrap_or(0);
                left == probe
                    || running::status_field(left, "NSpid").is_some_and(|pids| pids.ends_with(&probe.to_string()))
            });
            assert!(running.is_silent_for(Duration::from_millis(200)), "{options:?}: told again");
            // What comes from now on is for all that is left.
            running.signal(libc::SIGSYS);
            assert_eq!(running.await_line("signal"), "31", "{options:?}");
            assert_eq!(running.wait(), 143);
        }
    });
}

/// A folder that is gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("init-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &[u8], mode: u32) -> String {
        let path = self.0.join(name);
        pipkin_harness::install_text(&path, content);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn failures_of_exec_are_explained() {
    let folder = Folder::new("exec");
    let mut foreign = std::fs::read("/bin/sh").unwrap();
    foreign[18] = if foreign[18] == 183 { 62 } else { 183 };
    let mut loaderless = std::fs::read("/bin/sh").unwrap();
    let at = loaderless.windows(7).position(|bytes| bytes == b"/lib64/").expect("the loader's path");
    loaderless[at..at + 7].copy_from_slice(b"/lib99/");
    for (command, code, said) in [
        ("no-such-command".to_owned(), 127, "not found in PATH"),
        ("/no/such".to_owned(), 127, "no such file"),
        (String::new(), 127, "empty word"),
        (folder.file("plain", b"#!/bin/sh\n", 0o644), 126, "not executable"),
        (folder.0.to_str().unwrap().to_owned(), 126, "directory"),
        (
            folder.file("no-interpreter", b"#!/opt/ruby/bin/ruby -w\n", 0o755),
            126,
            "interpreter /opt/ruby/bin/ruby does not",
        ),
        (folder.file("crlf", b"#!/bin/sh\r\necho\r\n", 0o755), 126, "CR LF"),
        (folder.file("evil", b"#!/no/\x1b[31m/such\n", 0o755), 126, "\\x1b[31m"),
        (folder.file("foreign", &foreign, 0o755), 126, "is a program for"),
        (folder.file("loaderless", &loaderless, 0o755), 126, "loader /lib99/"),
        (folder.file("no-permission", b"#!/etc/passwd\n", 0o755), 126, "interpreter /etc/passwd is not executable"),
    ] {
        let (actual, output, errors) = Init::pipkin().launch(&["--"], &[&command]).finish();
        assert!(errors.contains(said), "{command}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(!errors.contains('\x1b'), "nothing from a file reaches the terminal");
        assert_eq!((actual, output.as_str()), (code, ""), "{command}: {errors}");
    }
    // An empty file is an empty script.
    let empty = folder.file("empty", b"", 0o755);
    assert_eq!(Init::pipkin().launch(&["--"], &[&empty]).finish().0, 0);
}

#[test]
fn path_is_searched_as_by_execvp() {
    let folder = Folder::new("path");
    std::fs::create_dir_all(folder.0.join("first")).unwrap();
    std::fs::create_dir_all(folder.0.join("second")).unwrap();
    folder.file("first/tool", b"#!/bin/sh\nexit 1\n", 0o644);
    folder.file("second/tool", b"#!/bin/sh\nexit 22\n", 0o755);
    folder.file("tool", b"#!/bin/sh\nexit 33\n", 0o755);
    let base = folder.0.display();
    let code = |path: &str| Init::pipkin().launch(&["--"], &["tool"]).env("PATH", path).directory(&folder.0).finish().0;
    assert_eq!(code(&format!("/nowhere:{base}/first/tool:{base}/first:{base}/second")), 22);
    assert_eq!(code(&format!("{base}/first::{base}/second")), 33, "an empty entry is the working directory");
    assert_eq!(code(&format!("{base}/first")), 126);
    assert_eq!(code(&format!("{base}/{}:{base}/second", "x".repeat(5000))), 22, "what is too long is passed over");
}

#[test]
fn sockets_that_are_passed_to_somebody_else_stay_theirs() {
    let (_, output, _) = Init::pipkin().probe(&[], "report").env("LISTEN_PID", "4242").finish();
    assert_eq!(init_support::probe::parse(&output)["listen_pid"], "4242");
}

#[test]
fn descriptors_are_the_childs_alone() {
    let (reader, writer) = std::io::pipe().unwrap();
    let fd = writer.as_raw_fd();
    let mut running = Init::pipkin()
        .probe(&[], "signals")
        .env("INIT_PROBE_NUMBER", "15")
        .prepare(move || {
            // SAFETY: takes no pointer.
            if unsafe { libc::dup2(fd, 9) } == 9 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        })
        .start();
    let child = running.await_line("ready");
    drop(writer);
    let target = |pid: &str| std::fs::metadata(format!("/proc/{pid}/fd/9"));
    assert!(target(&child).unwrap().file_type().is_fifo(), "the child has it");
    let init = running.pid();
    await_true("the init has let go of it", || std::fs::metadata(format!("/proc/{init}/fd/9")).is_err());
    let fds = std::fs::read_dir(format!("/proc/{init}/fd")).unwrap().count();
    assert_eq!(fds, 3);
    assert_eq!(std::fs::read_link(format!("/proc/{init}/cwd")).unwrap(), Path::new("/"));
    assert_eq!(std::fs::read_link(format!("/proc/{child}/cwd")).unwrap(), Path::new("/tmp"));
    running.signal(libc::SIGTERM);
    running.wait();
    drop(running);
    // Nobody holds the writing end any more.
    assert_eq!(std::io::read_to_string(reader).unwrap(), "");
}

/// Where `close_range` is refused, by an older kernel or a seccomp profile that does not know it.
#[test]
fn descriptors_are_closed_without_close_range_too() {
    let mut running = Init::pipkin()
        .probe(&[], "signals")
        .env("INIT_PROBE_NUMBER", "15")
        .prepare(|| {
            let step = |k, code| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
            let mut program = [
                step(0, libc::BPF_LD | libc::BPF_W | libc::BPF_ABS),
                libc::sock_filter { jf: 1, ..step(libc::SYS_close_range as u32, libc::BPF_JMP | libc::BPF_JEQ) },
                step(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, libc::BPF_RET),
                step(libc::SECCOMP_RET_ALLOW, libc::BPF_RET),
            ];
            let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
            // SAFETY: the program lives through the call, which copies it.
            let done = unsafe {
                libc::dup2(1, 9) == 9
                    && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                    && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
            };
            if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        })
        .start();
    let child = running.await_line("ready");
    assert!(std::fs::metadata(format!("/proc/{child}/fd/9")).is_ok(), "the child has it");
    let init = running.pid();
    await_true("the init has let go of it", || std::fs::metadata(format!("/proc/{init}/fd/9")).is_err());
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), 7);
}

/// What is refused is named, with its value, in one line.
#[test]
fn refusals_name_the_word_and_what_would_be_right() {
    let folder = Init::pipkin().path.parent().unwrap().to_owned();
    for (name, options, said) in [
        ("pipkin-init", &["--grac", "5s"][..], &["pipkin-init: --grac: no such option"][..]),
        ("pipkin-init", &["-vxw"], &["-vxw: ", "-x"]),
        ("pipkin-init", &["--grace", "soon"], &["--grace: \"soon\" is not a time, such as 500ms"]),
        ("pipkin-init", &["--delay=1d"], &["--delay=1d: \"1d\" is not a time"]),
        ("pipkin-init", &["-rTERM:BAR"], &["-rTERM:BAR: \"TERM:BAR\" is not FROM:TO"]),
        ("pipkin-init", &["-e", "256"], &["-e: \"256\" is not an exit code"]),
        ("pipkin-init", &["--parent-death", "X\x1b"], &["\"X\\x1b\" is not a signal"]),
        ("pipkin-init", &["--once=1"], &["--once=1: takes no value"]),
        ("pipkin-init", &["--group", "--once"], &["--once: contradicts another option"]),
        ("pipkin-init", &["-cg"], &["-cg: contradicts another option"]),
        ("pipkin-init", &["--pause"], &["--pause runs no command"]),
        ("tini", &["--subreaper"], &["[ERROR tini (", "--subreaper: no such option"]),
        ("dumb-init", &["--ver"], &["[dumb-init] --ver: may be more than one option"]),
        ("catatonit", &["-s"], &["ERROR (catatonit:", "-s"]),
    ] {
        let init = Init { path: folder.join(name), ..Init::pipkin() };
        let (_, output, errors) = init.launch(options, &["touch", "/tmp/init-must-not-exist"]).finish();
        assert_eq!((errors.lines().count(), output.as_str()), (1, ""), "{options:?}: {errors}");
        assert!(said.iter().all(|said| errors.contains(said)), "{options:?}: {errors}");
    }
    let (_, _, errors) = Init::pipkin().launch(&["--rewrite"], &[]).finish();
    assert!(errors.contains("--rewrite: needs a value"), "{errors}");
    assert!(!Path::new("/tmp/init-must-not-exist").exists());
}

#[test]
fn options_by_environment() {
    let code = |name: &str, value: &str, script: &str| shell(&[], script).env(name, value).finish();
    assert_eq!(code("PIPKIN_INIT_EXIT_ZERO", "3,4", "exit 4").0, 0);
    assert_eq!(code("PIPKIN_INIT_EXIT_ZERO", "", "exit 4").0, 4, "empty is as good as not set");
    assert!(code("PIPKIN_INIT_VERBOSE", "2", "true").2.lines().count() > 1);
    assert_eq!(code("PIPKIN_INIT_VERBOSE", "0", "true").2, "");
    for (name, value) in [
        ("PIPKIN_INIT_GRACE", "soon"),
        ("PIPKIN_INIT_GRAC", "5s"),
        ("PIPKIN_INIT_ONCE", "maybe"),
        ("PIPKIN_INIT_REWRITE", "TERM"),
        ("PIPKIN_INIT_HELP", "1"),
        ("PIPKIN_INIT_", "1"),
    ] {
        let (code, output, errors) = code(name, value, "echo started");
        assert_eq!((code, output.as_str()), (125, ""), "{name}={value}");
        assert!(errors.contains(name), "{errors}");
    }
    // Contradictions are refused, unless it is the command line that contradicts.
    let both = |options: &[&str]| {
        let launch = shell(options, "echo started").env("PIPKIN_INIT_WAIT", "1s").env("PIPKIN_INIT_NO_WAIT", "1");
        launch.finish()
    };
    let (code, output, errors) = both(&[]);
    assert_eq!((code, output.as_str()), (125, ""), "{errors}");
    assert!(errors.contains("WAIT=1") && errors.contains("contradicts another option"), "{errors}");
    let (code, output, _) = shell(&["--no-wait"], "echo started").env("PIPKIN_INIT_WAIT", "1s").finish();
    assert_eq!((code, output.as_str()), (0, "started\n"));
    // Under another name too, where the exit code is that program's.
    let tini = Init { path: Init::all().pop().unwrap().path, ..Init::pipkin() };
    let folder = tini.path.parent().unwrap().to_owned();
    let tini = Init { path: folder.join("tini"), ..tini };
    assert_eq!(tini.launch(&["--"], &["true"]).env("PIPKIN_INIT_GRACE", "soon").finish().0, 1);
    let mut running = tini
        .launch(&["-s", "--"], &["sh", "-c", "trap '' TERM; echo ready; sleep 300; sleep 300"])
        .env("PIPKIN_INIT_GRACE", "200ms")
        .start();
    running.await_line("ready");
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), 137);
    drop(running);
    // The command line has the last word.
    let (code, ..) =
        shell(&["--wait=0"], "(trap '' TERM; sleep 300) & sleep 0.2; exit 4").env("PIPKIN_INIT_WAIT", "1h").finish();
    assert_eq!(code, 4);
}

/// Numbers are reused: a process that has the main child's when that is gone ends as what it is.
#[test]
fn who_has_the_main_childs_number_later_is_not_the_main_child() {
    if !is_root() {
        return;
    }
    // PID 1 is the init, the main child is 2. When that is gone, the next process is made to be 2, as an orphan.
    let rest = "while kill -0 2; do :; done 2>/dev/null
        (echo 1 >/proc/sys/kernel/ns_last_pid; sh -c 'echo number $$; exit 9' &)
        until ! kill -0 2; do :; done 2>/dev/null; echo reaped";
    let script = format!("trap '' TERM; setsid sh -c '{}' & exit 4", rest.replace('\'', "'\\''"));
    let mut running = shell(&["--wait"], &script).in_the_place_of_pid1().start();
    assert_eq!(running.await_line("number"), "2");
    running.await_line("reaped");
    assert_eq!(running.wait(), 4);
}

#[test]
fn a_pause_lasts_until_term() {
    in_both_places(|place| {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let mut running = place(Init::pipkin().launch(&["--pause"], &[])).start();
            await_true("it waits", || {
                std::fs::read_to_string(format!("/proc/{}/wchan", running.pid()))
                    .unwrap_or_default()
                    .contains("sigtimedwait")
            });
            running.signal(libc::SIGHUP);
            running.signal(signal);
            assert_eq!(running.wait(), 0);
        }
    });
}

#[test]
fn a_megabyte_of_arguments() {
    let long = "x".repeat(100_000);
    let mut launch = Init::pipkin().launch(&["--"], &["sh", "-c", "echo $#; echo ${#1}", "sh"]);
    for _ in 0..10 {
        launch = launch.arg(&long);
    }
    let (code, output, _) = launch.finish();
    assert_eq!((code, output.as_str()), (0, "10\n100000\n"));
    // As an option it is refused in one short line.
    let bogus = format!("--{long}");
    for option in [bogus.as_str(), &format!("--grace={long}"), &format!("-r{long}"), &format!("-{long}")] {
        let (code, _, errors) = Init::pipkin().launch(&[option], &["touch", "/tmp/init-must-not-exist"]).finish();
        assert_eq!(code, 125);
        assert!(errors.len() < 600 && errors.lines().count() == 1, "{}", errors.len());
    }
    // As a command it is not found.
    let (code, _, errors) = Init::pipkin().launch(&["--"], &[&long]).finish();
    assert!(code == 127 || code == 126, "{code}");
    assert!(errors.len() < 600, "{errors}");
    assert!(!Path::new("/tmp/init-must-not-exist").exists());
}

/// Without any environment, and without even a name.
#[test]
fn with_nothing_at_all() {
    let program = std::ffi::CString::new(init_support::inits::program().to_str().unwrap()).unwrap();
    // SAFETY: the child makes system calls only, on strings that live here.
    let status = unsafe {
        let child = libc::fork();
        if child == 0 {
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            libc::dup2(null, 2);
            let (argv, envp) = ([std::ptr::null::<libc::c_char>()], [std::ptr::null::<libc::c_char>()]);
            libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr());
            libc::_exit(99);
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        status
    };
    // Linux puts an empty word where there was none (5.18), which is the name: no command follows.
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 125, "{status:x}");
}

#[test]
fn a_caller_that_ignores_sigchld() {
    let (code, output, _) = Init::pipkin()
        .probe(&[], "report")
        .prepare(|| {
            // SAFETY: takes no pointer.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            Ok(())
        })
        .finish();
    let report = init_support::probe::parse(&output);
    assert_eq!(code, 0);
    assert_eq!(u64::from_str_radix(&report["ignored"], 16).unwrap() & 1 << 16, 1 << 16, "the child inherits it");
}

#[test]
fn a_child_that_is_killed_or_stops_itself() {
    in_both_places(|place| {
        let mut running = place(Init::pipkin().probe(&[], "wait")).start();
        running.await_line("ready");
        let child = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).unwrap();
        // SAFETY: takes no pointer; the init's child, which is not reaped while the init waits for signals.
        unsafe { libc::kill(child.trim().parse().unwrap(), libc::SIGKILL) };
        assert_eq!(running.wait(), 137);

        let mut running = place(Init::pipkin().probe(&[], "stop-self")).start();
        running.await_line("ready");
        let child = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).unwrap();
        let child = child.trim().parse().unwrap();
        await_true("it is stopped", || running::stat(child).unwrap().0 == 'T');
        assert!(running.is_silent_for(Duration::from_millis(200)));
        assert_ne!(running::stat(running.pid()).unwrap().0, 'T', "the init is not");
        running.signal(libc::SIGCONT);
        running.await_line("continued");
        assert_eq!(running.wait(), 6);
    });
}
