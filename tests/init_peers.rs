//! One suite for all inits: the originals, which proves that it describes them, and `pipkin-init` under each of their
//! names, which proves that it can take their place. Where an original does otherwise for no good reason, the test says so.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod init_support;

use init_support::{Init, Original, is_root, probe, running};

/// Runs `check` for each of `inits`, and names the one with which it fails.
fn for_each(inits: Vec<Init>, check: impl Fn(&Init) + std::panic::RefUnwindSafe) {
    let mut failed = Vec::new();
    for init in inits {
        if std::panic::catch_unwind(|| check(&init)).is_err() {
            failed.push(init.label());
        }
    }
    assert!(failed.is_empty(), "failed with {failed:?}");
}

fn run(init: &Init, options: &[&str], command: &[&str]) -> (i32, String, String) {
    init.launch(options, command).finish()
}

#[test]
fn the_exit_code_is_the_childs() {
    for_each(Init::all(), |init| {
        for code in [0, 1, 7, 127, 255] {
            assert_eq!(run(init, &["--"], &["sh", "-c", &format!("exit {code}")]).0, code);
        }
    });
}

#[test]
fn a_child_that_a_signal_ends_gives_128_and_its_number() {
    for_each(Init::all(), |init| {
        for signal in [1, 2, 6, 9, 15, 34, 64] {
            let script = format!("kill -{signal} $$");
            assert_eq!(run(init, &["--"], &["bash", "-c", &script]).0, 128 + signal, "signal {signal}");
        }
    });
}

#[test]
fn a_command_that_cannot_be_executed() {
    for_each(Init::all(), |init| {
        let (not_found, not_permitted) = match init.original {
            Original::DumbInit => (2, 2),
            Original::Tini | Original::Pipkin => (127, 126),
            Original::Catatonit => (1, 1),
        };
        for (command, code) in [
            ("no-such-command", not_found),
            ("/no/such/command", not_found),
            ("", not_found),
            ("/etc/passwd", not_permitted),
            ("/tmp", not_permitted),
        ] {
            let (actual, _, errors) = run(init, &["--"], &[command]);
            assert_eq!(actual, code, "{command:?}");
            assert!(!errors.is_empty(), "{command:?}: nothing said");
        }
    });
}

#[test]
fn wrong_use_is_refused_and_starts_nothing() {
    for_each(Init::all(), |init| {
        let wrong: &[&[&str]] = match init.original {
            Original::DumbInit => {
                &[&["-x"], &["--bogus"], &["-r"], &["-r", "15"], &["-r", "15:99"], &["-r", "0:1"], &["--ver"], &["-cx"]]
            }
            Original::Tini => {
                &[&["-x"], &["--bogus"], &["-e", "300"], &["-e", "x"], &["-e", "-1"], &["-p", "FOO"], &["--version"]]
            }
            Original::Catatonit => &[&["-x"], &["--bogus"], &["-gx"]],
            Original::Pipkin => &[
                &["-x"],
                &["--bogus"],
                &["--grac", "5s"],
                &["--grace", "5x"],
                &["--grace=-1"],
                &["--delay="],
                &["--wait=soon"],
                &["--rewrite", "TERM"],
                &["--rewrite", "KILL:TERM"],
                &["-e", "256"],
                &["-p", "FOO"],
                &["--once=1"],
                &["--group", "--single-child"],
                &["--once", "-c"],
                &["--wait", "--no-wait"],
                &["--subreaper", "--no-subreaper"],
                &["--pause"],
            ],
        };
        let marker = format!("/tmp/init-started-{}-{}", std::process::id(), init.label().replace(' ', "-"));
        for options in wrong {
            let (code, _, errors) = run(init, options, &["touch", &marker]);
            assert_eq!(code, init.own_failure(), "{options:?}: {errors}");
            assert!(!errors.is_empty(), "{options:?}: nothing said");
            assert!(!std::path::Path::new(&marker).exists(), "{options:?}: the command was run");
        }
        let (code, _, errors) = run(init, &[], &[]);
        assert!(code == init.own_failure() && !errors.is_empty(), "no command: {code} {errors}");
    });
}

#[test]
fn versions_help_and_licence() {
    for_each(Init::all(), |init| {
        let (option, expected, on_stdout): (_, &[_], _) = match init.original {
            Original::DumbInit => ("--version", &["dumb-init v1.2.5"], false),
            Original::Tini => ("--version", &["tini version 0.19.0"], true),
            // Debian's is older than the one whose behaviour ours has.
            Original::Catatonit => {
                ("--version", &["tini version 0.1.7_catatonit", "tini version 0.2.1_catatonit"], true)
            }
            Original::Pipkin => ("--version", &[concat!("pipkin-init ", env!("CARGO_PKG_VERSION"))], true),
        };
        let (code, output, errors) = run(init, &[option], &[]);
        let (text, other) = if on_stdout { (output, errors) } else { (errors, output) };
        assert_eq!(code, 0);
        assert!(expected.contains(&text.trim()), "{text}");
        assert_eq!(other, "");

        let (code, output, errors) = run(init, &["-h"], &[]);
        assert_eq!(code, 0);
        let on_stdout = matches!(init.original, Original::Tini | Original::Pipkin);
        assert_eq!(output.is_empty(), !on_stdout, "{output}{errors}");
        assert!(format!("{output}{errors}").lines().count() > 3);

        let license = match init.original {
            Original::DumbInit => return,
            Original::Tini => "-l",
            Original::Catatonit | Original::Pipkin => "-L",
        };
        let (code, output, _) = run(init, &[license], &[]);
        assert!(code == 0 && !output.is_empty());
    });
}

/// What each init does with a signal that it gets, in its default mode: passes it on as which, if at all. `None`: the
/// original does not survive it, or behaves in a way that nobody can want.
fn expected(init: &Init, signal: i32) -> Option<Option<i32>> {
    let stops = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    match init.original {
        Original::DumbInit if stops.contains(&signal) => None, // stops itself and the child: a test of its own
        Original::Tini if [libc::SIGTTIN, libc::SIGTTOU].contains(&signal) => Some(None),
        Original::Catatonit if stops.contains(&signal) => Some(None),
        // These end the originals, whose child goes on without them.
        Original::Tini | Original::Catatonit if !init.is_ours() && [3, 4, 5, 6, 7, 8, 11, 31].contains(&signal) => {
            if signal == libc::SIGQUIT {
                Some(Some(signal))
            } else {
                None
            }
        }
        _ => Some(Some(signal)),
    }
}

/// All signals but those that nobody can handle, the children's own, the two of the C library and the last, which marks the end.
fn signals() -> impl Iterator<Item = i32> {
    (1..64).filter(|signal| ![9, 17, 19, 32, 33].contains(signal))
}

fn check_every_signal(init: &Init, in_the_place_of_pid1: bool) {
    let mut launch = init.probe(&[], "signals").env("INIT_PROBE_NUMBER", "64");
    if in_the_place_of_pid1 {
        launch = launch.in_the_place_of_pid1();
    }
    let mut running = launch.start();
    running.await_line("ready");
    for signal in signals() {
        match expected(init, signal) {
            Some(Some(expected)) => {
                running.signal(signal);
                assert_eq!(running.await_line("signal"), expected.to_string(), "signal {signal}");
            }
            Some(None) => running.signal(signal), // the next line is that of the next signal
            None => {}
        }
    }
    running.signal(64);
    assert_eq!(running.await_line("signal"), "64");
    assert_eq!(running.wait(), 7);
}

#[test]
fn every_signal_arrives() {
    for_each(Init::all(), |init| check_every_signal(init, false));
}

#[test]
fn every_signal_arrives_from_pid_1() {
    if is_root() {
        for_each(Init::all(), |init| check_every_signal(init, true));
    }
}

/// A shell that ignores the signal in front of a probe in its group: the probe gets it or not, as `expected`.
#[track_caller]
fn reaches_the_group(init: &Init, options: &[&str], variables: &[(&str, &str)], expected: bool) {
    let script =
        format!("trap '' USR1; trap 'echo shell' USR2; INIT_PROBE=signals {} & while :; do wait $!; done", probe());
    let mut options = options.to_vec();
    options.push("--");
    let mut running =
        init.launch(&options, &["sh", "-c", &script]).envs(variables).env("INIT_PROBE_NUMBER", "64").start();
    running.await_line("ready");
    running.signal(libc::SIGUSR2);
    let (mut shell, mut probe) = (false, false);
    // The shell gets it in any case, and says so; what the group gets comes before or after that.
    while !shell || expected && !probe {
        let line = running.line();
        shell |= line == "shell";
        probe |= line == "signal 12";
    }
    probe |= !expected && !running.is_silent_for(std::time::Duration::from_millis(300));
    assert_eq!(probe, expected, "with {options:?} {variables:?}");
}

#[test]
fn one_child_or_the_whole_group() {
    for_each(Init::all(), |init| {
        let (default, other): (bool, &[&str]) = match init.original {
            Original::DumbInit | Original::Pipkin => (true, &["-c"]),
            Original::Tini | Original::Catatonit => (false, &["-g"]),
        };
        reaches_the_group(init, &[], &[], default);
        reaches_the_group(init, other, &[], !default);
        let variable = match init.original {
            Original::DumbInit => ("DUMB_INIT_SETSID", "0"),
            Original::Tini => ("TINI_KILL_PROCESS_GROUP", ""),
            Original::Pipkin => ("PIPKIN_INIT_SINGLE_CHILD", "1"),
            Original::Catatonit => return,
        };
        reaches_the_group(init, &[], &[variable], !default);
    });
}

fn report(launch: init_support::Launch) -> init_support::probe::Report {
    let (code, output, errors) = launch.finish();
    assert_eq!(code, 0, "{errors}");
    init_support::probe::parse(&output)
}

#[test]
fn the_childs_group_and_session() {
    for_each(Init::all(), |init| {
        let report = report(init.probe(&[], "report"));
        assert_eq!(report["group"], report["pid"]);
        assert_eq!(report["session"] == report["pid"], init.original == Original::DumbInit);
    });
    for_each(Init::all_of(Original::DumbInit), |init| {
        let report = report(init.probe(&["-c"], "report"));
        assert_ne!(report["group"], report["pid"]);
    });
}

/// The mask and the ignored signals of the caller are the child's. dumb-init unblocks all and ignores none; catatonit
/// leaves TSTP, TTIN and TTOU blocked.
#[test]
fn blocked_and_ignored_signals_are_inherited() {
    let inits = Init::all().into_iter().filter(|init| init.is_ours() || init.original == Original::Tini).collect();
    for_each(inits, |init| {
        let prepared = |prepare: fn() -> std::io::Result<()>| report(init.probe(&[], "report").prepare(prepare));
        let plain = prepared(|| Ok(()));
        assert_eq!(u64::from_str_radix(&plain["blocked"], 16), Ok(0));
        let changed = prepared(|| {
            // SAFETY: a set that lives here.
            unsafe {
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, libc::SIGUSR1);
                libc::sigaddset(&mut set, 40);
                libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
                libc::signal(libc::SIGHUP, libc::SIG_IGN);
            }
            Ok(())
        });
        assert_eq!(u64::from_str_radix(&changed["blocked"], 16), Ok(1 << 9 | 1 << 39));
        let ignored = u64::from_str_radix(&changed["ignored"], 16).unwrap();
        assert_eq!(ignored & (1 | 1 << 16), 1, "HUP, and not CHLD: {ignored:x}");
    });
}

/// Sockets that are passed to the init are meant for its child. dumb-init and tini leave their own number in the variable.
#[test]
fn passed_sockets_are_the_childs() {
    let inits = Init::all().into_iter().filter(|init| init.is_ours() || init.original == Original::Catatonit).collect();
    for_each(inits, |init| {
        // A shell in between knows the pid that the init will have.
        let wrapper = Init { path: "/bin/sh".into(), ..init.clone() };
        let launch = wrapper.probe(&["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$INIT\" \"$@\"", "sh"], "report");
        let report = report(launch.env("INIT", init.path.to_str().unwrap()));
        assert_eq!(report["listen_pid"], report["pid"]);
        assert_ne!(report["pid"], report["parent"]);
    });
}

/// Orphans are adopted by PID 1, and by a subreaper otherwise.
#[test]
fn orphans_are_reaped() {
    let reaps = |init: &Init, options: &[&str], pid1: bool| {
        let mut launch = init.probe(options, "orphans").env("INIT_PROBE_NUMBER", "50");
        if pid1 {
            launch = launch.in_the_place_of_pid1();
        }
        let mut running = launch.start();
        let child: i32 = {
            running.await_line("orphaned");
            running.await_line("ready").parse().unwrap()
        };
        init_support::await_true("no zombie is left", || running.zombies() == 0);
        assert!(pid1 || running::stat(child).is_some());
        drop(running);
    };
    for_each(Init::all(), |init| {
        if is_root() {
            reaps(init, &[], true);
        }
        match init.original {
            Original::DumbInit => {}
            Original::Tini => reaps(init, &["-s"], false),
            Original::Catatonit | Original::Pipkin => reaps(init, &[], false),
        }
    });
}

/// Whether an orphan has the init as parent.
fn adopts(init: &Init, options: &[&str], variables: &[(&str, &str)]) -> bool {
    let script = format!("sh -c 'echo parent $$; INIT_PROBE=signals {} &'; exec sleep 300", probe());
    let mut options = options.to_vec();
    options.push("--");
    let mut running = init.launch(&options, &["sh", "-c", &script]).envs(variables).start();
    let parent: i32 = running.await_line("parent").parse().unwrap();
    let orphan: i32 = running.await_line("ready").parse().unwrap();
    // The shell between may not be gone yet.
    init_support::await_true("it is an orphan", || running::stat(orphan).unwrap().1 != parent);
    running::stat(orphan).unwrap().1 == running.pid()
}

#[test]
fn who_adopts_orphans_when_not_pid_1() {
    for_each(Init::all(), |init| {
        let default = matches!(init.original, Original::Catatonit | Original::Pipkin);
        assert_eq!(adopts(init, &[], &[]), default);
        match init.original {
            Original::Tini => {
                assert!(adopts(init, &["-s"], &[]));
                assert!(adopts(init, &[], &[("TINI_SUBREAPER", "")]));
                let warning = |variables| init.launch(&["--"], &["true"]).envs(variables).finish().2;
                assert!(warning(&[]).contains("WARN"));
                assert!(warning(&[("TINI_SUBREAPER", "1")]).is_empty());
                assert!(warning(&[("TINI_VERBOSITY", "0")]).is_empty());
            }
            Original::Pipkin => {
                assert!(!adopts(init, &["--no-subreaper"], &[]));
                assert!(!adopts(init, &[], &[("PIPKIN_INIT_NO_SUBREAPER", "1")]));
            }
            _ => {}
        }
    });
}

#[test]
fn exit_codes_are_remapped() {
    let inits = Init::all().into_iter().filter(|init| matches!(init.original, Original::Tini | Original::Pipkin));
    for_each(inits.collect(), |init| {
        let code = |options: &[&str], script: &str| run(init, options, &["--", "sh", "-c", script]).0;
        assert_eq!(code(&["-e", "3"], "exit 3"), 0);
        assert_eq!(code(&["-e", "3", "-e", "143"], "kill -TERM $$"), 0);
        assert_eq!(code(&["-e", "3", "-e", "0"], "exit 4"), 4);
        assert_eq!(code(&["-e", "255"], "exit 255"), 0);
        assert_eq!(code(&["-e64"], "exit 64"), 0);
    });
}

#[test]
fn rewriting_signals() {
    let inits = Init::all().into_iter().filter(|init| matches!(init.original, Original::DumbInit | Original::Pipkin));
    for_each(inits.collect(), |init| {
        let received = |options: &[&str], sent: &[i32], expected: &[&str]| {
            let mut running = init.probe(options, "signals").env("INIT_PROBE_NUMBER", "31").start();
            running.await_line("ready");
            for signal in sent {
                running.signal(*signal);
            }
            for expected in expected {
                assert_eq!(running.await_line("signal"), *expected, "{options:?}");
            }
            running.signal(31);
            assert_eq!(running.await_line("signal"), "31");
        };
        received(&["-r", "15:3"], &[15], &["3"]);
        received(&["-r15:3", "--rewrite=2:10"], &[15], &["3"]);
        received(&["--rewrite", "15:0"], &[15, 10], &["10"]);
        received(&["-r", "15:15", "-r", "15:1"], &[15], &["1"]);
        if init.original == Original::DumbInit {
            received(&["--rew=15:3", "--sing"], &[15], &["3"]);
        }
    });
}

/// dumb-init makes STOP of what a terminal stops with, and stops itself.
#[test]
fn dumb_init_stops_with_its_child() {
    for_each(Init::all_of(Original::DumbInit), |init| {
        let mut running = init.probe(&[], "signals").env("INIT_PROBE_NUMBER", "15").start();
        let child: i32 = running.await_line("ready").parse().unwrap();
        let state = |pid| running::stat(pid).unwrap().0;
        for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
            running.signal(signal);
            init_support::await_true("both are stopped", || state(child) == 'T' && state(running.pid()) == 'T');
            running.signal(libc::SIGCONT);
            assert_eq!(running.await_line("signal"), "18");
            init_support::await_true("both go on", || state(child) == 'S' && state(running.pid()) == 'S');
        }
        running.signal(libc::SIGTERM);
        assert_eq!(running.wait(), 7);
        drop(running);

        // Asked for by name, the signal itself is passed on.
        let mut running = init.probe(&["-r", "20:20"], "signals").env("INIT_PROBE_NUMBER", "15").start();
        running.await_line("ready");
        running.signal(libc::SIGTSTP);
        assert_eq!(running.await_line("signal"), "20");
    });
}

/// When the main child has ended, the originals end at once; dumb-init tells the group before.
#[test]
fn what_the_main_child_leaves() {
    let inits = Init::all().into_iter().filter(|init| init.original != Original::Pipkin).collect();
    for_each(inits, |init| {
        let script = format!("INIT_PROBE=signals {} & read line; exit 4", probe());
        let (reader, writer) = std::io::pipe().unwrap();
        let mut running = init
            .launch(&["--"], &["sh", "-c", &format!("exec 3<&0; {}", script.replace("read line", "read line <&3"))])
            .stdin(reader)
            .env("INIT_PROBE_NUMBER", "15")
            .start();
        running.await_line("ready");
        drop(writer);
        assert_eq!(running.wait(), 4);
        if init.original == Original::DumbInit {
            assert_eq!(running.await_line("signal"), "15");
        } else {
            assert!(running.is_silent_for(std::time::Duration::from_millis(200)));
        }
    });
}

#[test]
fn the_parents_death() {
    let inits = Init::all().into_iter().filter(|init| matches!(init.original, Original::Tini | Original::Pipkin));
    for_each(inits.collect(), |init| {
        // A shell between, which ends when its input does.
        let path = init.path.to_str().unwrap();
        let script = format!("{path} -p SIGUSR1 -- {} & read line", probe());
        let wrapper = Init { path: "/usr/bin/env".into(), ..init.clone() };
        let (reader, writer) = std::io::pipe().unwrap();
        let mut running = wrapper
            .launch(&[], &["sh", "-c", &script])
            .stdin(reader)
            .env("INIT_PROBE", "signals")
            .env("INIT_PROBE_NUMBER", "10")
            .start();
        running.await_line("ready");
        drop(writer);
        assert_eq!(running.await_line("signal"), "10");
    });
}

#[test]
fn catatonit_without_a_program() {
    for_each(Init::all_of(Original::Catatonit), |init| {
        for signal in [libc::SIGINT, libc::SIGTERM] {
            let mut running = init.launch(&["-P"], &[]).env("CATATONIT_DEBUG", "").start();
            // Ready when all its signals are blocked.
            init_support::await_true("it waits", || {
                let place = std::fs::read_to_string(format!("/proc/{}/wchan", running.pid())).unwrap_or_default();
                place.contains("sigtimedwait") || place.contains("signalfd")
            });
            running.signal(libc::SIGUSR1);
            running.signal(signal);
            assert_eq!(running.wait(), 0, "signal {signal}");
        }
        let (code, _, errors) = init.launch(&["--"], &["true"]).env("CATATONIT_LOG", "").finish();
        assert!(code == 1 && errors.contains("CATATONIT_LOG"), "{code} {errors}");
    });
}

/// A script without `#!` is the shell's, as execvp has it.
#[test]
fn a_script_without_first_line() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("init-script-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script = folder.join("script");
    pipkin_harness::install_text(&script, "echo \"$0 $1 $2\"; exit 5\n");
    let path = script.to_str().unwrap().to_owned();
    let found = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    for_each(Init::all(), |init| {
        let (code, output, errors) = run(init, &["--"], &[&path, "one", "two"]);
        assert_eq!((code, output.trim()), (5, format!("{path} one two").as_str()), "{errors}");
        let (code, output, _) = init.launch(&["--"], &["script", "one"]).env("PATH", &found).finish();
        assert_eq!((code, output.trim()), (5, format!("{path} one").as_str()));
    });
    std::fs::remove_dir_all(folder).unwrap();
}
