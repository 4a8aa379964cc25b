//! Inits and terminals: the keyboard's signals, windows that change, and job control, in a container and in a shell.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod init_support;

use init_support::{Init, Original, Running, Terminal, await_true, is_root, probe, running};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

fn state(pid: i32) -> char {
    running::stat(pid).map_or('X', |(state, _)| state)
}

/// The init leads the session of the terminal, as in a container that has one.
fn in_container(init: &Init, options: &[&str], mode: &str) -> (Terminal, Running, i32) {
    let (mut terminal, peer) = Terminal::new();
    let running = init.probe(options, mode).env("INIT_PROBE_NUMBER", "15").on_terminal(peer).start();
    let child = terminal.await_text("ready ").parse().unwrap();
    (terminal, running, child)
}

#[test]
fn the_child_is_in_the_foreground() {
    for init in Init::all() {
        let (mut terminal, mut running, child) = in_container(&init, &[], "signals");
        assert_eq!(terminal.foreground(), child, "{}", init.label());
        terminal.resize(50, 132);
        assert_eq!(terminal.await_text("signal "), "28", "{}", init.label());
        terminal.keys(CTRL_C);
        assert_eq!(terminal.await_text("signal "), "2", "{}", init.label());
        // From the runtime, to the init.
        running.signal(libc::SIGWINCH);
        assert_eq!(terminal.await_text("signal "), "28", "{}", init.label());
        running.signal(libc::SIGTERM);
        assert_eq!(running.wait(), 7);
    }
}

/// Who leads the session tells the terminal's group with HUP and CONT when it gives the terminal up, which dumb-init then
/// does not pass on. Who does not lead it gets none, and passes on whatever comes.
#[test]
fn a_hangup_that_is_meant_is_passed_on() {
    for init in Init::all_of(Original::DumbInit) {
        let (mut terminal, peer) = Terminal::new();
        let shell = Init { path: "/bin/sh".into(), ..init.clone() };
        let launch = shell.launch(&["-c", "INIT_PROBE=signals \"$INIT\" -- \"$PROBE\"; exit $?"], &[]);
        let launch =
            launch.env("INIT", init.path.to_str().unwrap()).env("PROBE", probe()).env("INIT_PROBE_NUMBER", "15");
        let mut running = launch.on_terminal(peer).start();
        let child = terminal.await_text("ready ").parse().unwrap();
        let (_, pid) = running::stat(child).unwrap();
        for signal in [libc::SIGHUP, libc::SIGCONT, libc::SIGTERM] {
            // SAFETY: takes no pointer; the init runs until it has passed TERM on.
            unsafe { libc::kill(pid, signal) };
            assert_eq!(terminal.await_text("signal "), signal.to_string(), "{}", init.label());
        }
        assert_eq!(running.wait(), 7);
    }
}

#[test]
fn ctrl_c_ends_it() {
    for init in Init::all() {
        let (mut terminal, mut running, _) = in_container(&init, &[], "wait");
        terminal.keys(CTRL_C);
        assert_eq!(running.wait(), 130, "{}", init.label());
    }
}

/// Ctrl-C reaches the whole group past the init: what handles it is not disturbed by a TERM because the shell is gone.
#[test]
fn ctrl_c_is_not_followed_by_term() {
    let (mut terminal, peer) = Terminal::new();
    let mut running = Init::pipkin().probe(&[], "parent").env("INIT_PROBE_NUMBER", "10").on_terminal(peer).start();
    let child: i32 = terminal.await_text("ready").parse().unwrap();
    let (_, parent) = running::stat(child).unwrap();
    terminal.keys(CTRL_C);
    assert_eq!(terminal.await_text("signal "), "2");
    await_true("the init has reaped its parent", || running::stat(parent).is_none());
    running.signal(libc::SIGUSR1);
    assert_eq!(terminal.await_text("signal "), "10", "and not TERM");
    assert_eq!(running.wait(), 130);
}

/// In a container there is no shell that could resume what Ctrl-Z stops, so that it does not stay stopped.
#[test]
fn ctrl_z_in_a_container_is_no_trap() {
    for init in [Original::Pipkin, Original::Tini, Original::Catatonit]
        .map(|it| Init::all_of(it).into_iter().rfind(Init::is_ours).unwrap())
    {
        let (mut terminal, mut running, _) = in_container(&init, &[], "wait");
        terminal.keys(CTRL_Z);
        terminal.keys(CTRL_Z);
        terminal.keys(CTRL_C); // has no effect on what is stopped
        assert_eq!(running.wait(), 130, "{}", init.label());
    }
    if is_root() {
        let (mut terminal, peer) = Terminal::new();
        let wrapper = Init { path: "/usr/bin/unshare".into(), ..Init::pipkin() };
        let init = Init::pipkin().path;
        let mut running = wrapper
            .launch(
                &["--pid", "--fork", "--mount-proc", "--kill-child", "setsid", "--ctty"],
                &[init.to_str().unwrap(), probe()],
            )
            .env("INIT_PROBE", "wait")
            .stdin(peer.try_clone().unwrap())
            .stdout(peer.try_clone().unwrap())
            .stderr(peer)
            .start();
        terminal.await_text("ready");
        terminal.keys(CTRL_Z);
        terminal.keys(CTRL_C);
        assert_eq!(running.wait(), 130);
    }
}

/// For as long as the init stops with its job, TSTP is not blocked in it; before and afterwards everything is. While it
/// waits the kernel shows nothing as blocked, so that it is stopped to look.
#[test]
fn all_signals_are_blocked_again_after_a_stop() {
    let blocked = |running: &Running| {
        running.signal(libc::SIGSTOP);
        await_true("the init is stopped", || state(running.pid()) == 'T');
        let mask = running::status_field(running.pid(), "SigBlk").unwrap();
        running.signal(libc::SIGCONT);
        await_true("the init goes on", || state(running.pid()) == 'S');
        u64::from_str_radix(&mask, 16).unwrap()
    };
    let all = !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));
    let (terminal, mut running, child) = in_container(&Init::pipkin(), &[], "signals");
    assert_eq!(blocked(&running), all);
    // SIGTSTP is blocked in this child.
    // SAFETY: takes no pointer; the child of a running init of this test.
    unsafe { libc::kill(child, libc::SIGSTOP) };
    await_true("the init has taken the terminal", || terminal.foreground() != child);
    running.signal(libc::SIGCONT);
    await_true("the child goes on", || state(child) != 'T');
    assert_eq!(blocked(&running), all);
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), 7);
}

/// Who is told by name to stop stays stopped until told to go on.
#[test]
fn a_stop_that_was_sent_lasts() {
    let (_terminal, mut running, child) = in_container(&Init::pipkin(), &[], "wait");
    running.signal(libc::SIGTSTP);
    await_true("the child is stopped", || state(child) == 'T');
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(state(child) == 'T' && state(running.pid()) != 'T');
    running.signal(libc::SIGCONT);
    await_true("the child goes on", || state(child) == 'S');
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), 143);
}

#[test]
fn a_terminal_that_goes_away() {
    for init in Init::all().iter().filter(|init| init.original != Original::DumbInit) {
        let (terminal, mut running, _) = in_container(init, &[], "wait");
        drop(terminal);
        assert_eq!(running.wait(), 129, "{}", init.label());
    }
}

/// A shell with job control on a terminal.
fn interactive_shell() -> (Terminal, Running) {
    let (mut terminal, peer) = Terminal::new();
    let bash = Init { path: "/bin/bash".into(), ..Init::pipkin() };
    let running = bash
        .launch(&["--norc", "--noprofile", "--noediting"], &["-i"])
        .env("PS1", "$ ")
        .env("TERM", "dumb")
        .env("HISTFILE", "")
        .env("INIT", Init::pipkin().path.to_str().unwrap())
        .env("PROBE", probe())
        .on_terminal(peer)
        .start();
    terminal.keys("stty -echo; echo prepared\n");
    terminal.await_text("prepared\r\n");
    (terminal, running)
}

#[test]
fn job_control_in_a_shell() {
    let (mut terminal, shell) = interactive_shell();
    terminal.keys("INIT_PROBE=wait $INIT -- $PROBE\n");
    let child: i32 = terminal.await_text("ready ").parse().unwrap();
    let init = running::stat(child).unwrap().1;
    for _ in 0..3 {
        assert_eq!(terminal.foreground(), child);
        terminal.keys(CTRL_Z);
        terminal.await_text("Stopped");
        assert_eq!((state(init), state(child)), ('T', 'T'));
        assert_eq!(terminal.foreground(), shell.pid());
        terminal.keys("echo the shell is back\n");
        terminal.await_text("the shell is back");
        terminal.keys("fg\n");
        await_true("it is in the foreground again", || {
            terminal.foreground() == child && state(init) == 'S' && state(child) == 'S'
        });
    }
    // In the background it runs, and the shell keeps the terminal.
    terminal.keys(CTRL_Z);
    terminal.await_text("Stopped");
    terminal.keys("bg; echo in the background\n");
    terminal.await_text("in the background");
    await_true("it goes on", || state(init) == 'S' && state(child) == 'S');
    assert_eq!(terminal.foreground(), shell.pid());
    // A running job becomes the foreground's without a word to it: Ctrl-C reaches it through the init.
    terminal.keys("fg\n");
    await_true("it is in the foreground again", || [init, child].contains(&terminal.foreground()));
    terminal.keys(CTRL_C);
    terminal.keys("echo code=$?\n");
    assert_eq!(terminal.await_text("code="), "130");
}

/// From the background to the foreground, and there it reads.
#[test]
fn a_job_that_reads_gets_the_terminal() {
    let (mut terminal, shell) = interactive_shell();
    terminal.keys("$INIT -- sh -c 'echo begun; sleep 0.2; read word; echo \"go\"t $word' &\n");
    terminal.await_text("begun");
    assert_eq!(terminal.foreground(), shell.pid());
    terminal.keys("fg\n");
    await_true("the shell has let go", || terminal.foreground() != shell.pid());
    terminal.keys("something\n");
    assert_eq!(terminal.await_text("got "), "something");
}

#[test]
fn a_background_job_takes_no_terminal() {
    let (mut terminal, shell) = interactive_shell();
    terminal.keys("INIT_PROBE=wait $INIT -- $PROBE & wait=1\n");
    let child: i32 = terminal.await_text("ready ").parse().unwrap();
    terminal.keys("echo still here\n");
    terminal.await_text("still here");
    assert_eq!(terminal.foreground(), shell.pid());
    // Stopped by name, not by the terminal: nobody's job is stopped.
    let init = running::stat(child).unwrap().1;
    // SAFETY: takes no pointer; the probe, which is not reaped while it has not ended.
    unsafe { libc::kill(child, libc::SIGSTOP) };
    await_true("it is stopped", || state(child) == 'T');
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_ne!(state(init), 'T');
    // SAFETY: as above.
    unsafe { libc::kill(child, libc::SIGCONT) };
    terminal.keys("kill %1; wait %1; echo code=$?\n");
    assert_eq!(terminal.await_text("code="), "143");
    assert_eq!(state(child), 'X');
}

/// The terminal is the caller's again afterwards: a script can read from it. tini and catatonit leave it with the group
/// of their child, which is gone.
#[test]
fn the_terminal_is_given_back() {
    for init in Init::all().iter().filter(|init| init.is_ours()) {
        let (mut terminal, peer) = Terminal::new();
        let script = "\"$INIT\" -- sh -c 'read word; echo \"child read $word\"'; read word; echo \"script read $word\"";
        let shell = Init { path: "/bin/sh".into(), ..init.clone() };
        let mut running =
            shell.launch(&["-c", script], &[]).env("INIT", init.path.to_str().unwrap()).on_terminal(peer).start();
        if init.original != Original::DumbInit {
            terminal.keys("one\n");
            assert_eq!(terminal.await_text("child read "), "one", "{}", init.label());
        } else {
            terminal.keys("\x04"); // its child has a session of its own, and no terminal
        }
        terminal.keys("two\n");
        if init.original != Original::DumbInit {
            assert_eq!(terminal.await_text("script read "), "two", "{}", init.label());
        }
        running.wait();
    }
}

/// Also when there was no child in the end: who asked for it was in the foreground for a moment.
#[test]
fn a_command_that_fails_to_start_gives_the_terminal_back() {
    for init in Init::all().iter().filter(|init| init.is_ours() && init.original != Original::DumbInit) {
        let (mut terminal, peer) = Terminal::new();
        let script = "\"$INIT\" -- /no/such/command; echo \"code $?\"; read word; echo \"script read $word\"";
        let shell = Init { path: "/bin/sh".into(), ..init.clone() };
        let mut running =
            shell.launch(&["-c", script], &[]).env("INIT", init.path.to_str().unwrap()).on_terminal(peer).start();
        terminal.await_text("code ");
        assert_eq!(terminal.foreground(), running.pid(), "{}", init.label());
        terminal.keys("two\n");
        assert_eq!(terminal.await_text("script read "), "two", "{}", init.label());
        running.wait();
    }
}

/// Messages of a process in the background do not stop it, whatever the terminal's settings.
#[test]
fn messages_do_not_stop_the_init() {
    let (mut terminal, peer) = Terminal::new();
    let script = "stty tostop; \"$INIT\" -vv -- sh -c 'exit 3'; echo code=$?";
    let shell = Init { path: "/bin/sh".into(), ..Init::pipkin() };
    let mut running =
        shell.launch(&["-c", script], &[]).env("INIT", Init::pipkin().path.to_str().unwrap()).on_terminal(peer).start();
    terminal.await_text("ended with code");
    assert_eq!(terminal.await_text("code="), "3");
    assert_eq!(running.wait(), 0);
}
