//! Tests of the grammar: examples for each persona, and properties over many made-up command lines.

use super::refusal::Cause;
use super::table::{NAMES, OPTIONS, TAKE_VALUE};
use super::{Delivery, Isolation, Rest, Settings};
use crate::duration::Duration;
use crate::signal::Signal;
use crate::start::{CommandLine, Words};

/// What is read: the number of the word in front of the command, and the settings.
fn parse(words: &[&str]) -> Result<(usize, Settings), Cause> {
    parse_with(words, &[])
}

fn parse_with(words: &[&str], environment: &[&str]) -> Result<(usize, Settings), Cause> {
    let words = CommandLine::of(words);
    let environment = Words::of(environment);
    let mut settings = Settings::NOTHING;
    let result =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| super::read(words, environment, &mut settings)));
    match result {
        Ok(rest) => Ok((words.count() - rest.count(), settings)),
        Err(ending) => Err(*ending.downcast::<Cause>().unwrap_or_else(|other| std::panic::resume_unwind(other))),
    }
}

fn settings(words: &[&str]) -> Settings {
    parse(words).unwrap().1
}

const SECOND: Duration = Duration::seconds(1);

#[test]
fn the_name_decides() {
    for (name, isolation, rest) in [
        ("/usr/bin/dumb-init", Isolation::Session, Rest::Terminate),
        ("tini", Isolation::Group, Rest::Leave),
        ("tini-static", Isolation::Group, Rest::Leave),
        ("./docker-init", Isolation::Group, Rest::Leave),
        ("/catatonit", Isolation::Group, Rest::Leave),
        ("pipkin-init", Isolation::Group, Rest::Wait),
        ("", Isolation::Group, Rest::Wait),
        ("tini/", Isolation::Group, Rest::Wait),
        ("tini=", Isolation::Group, Rest::Wait),
        ("/dev/init", Isolation::Group, Rest::Wait),
    ] {
        let settings = settings(&[name, "true"]);
        assert_eq!((settings.isolation, settings.rest), (isolation, rest), "{name}");
    }
}

#[test]
fn options_end_at_the_command() {
    for name in ["pipkin-init", "dumb-init", "tini", "catatonit"] {
        assert_eq!(parse(&[name, "node", "-g", "--version"]).unwrap().0, 0);
        assert_eq!(parse(&[name, "--", "--", "x"]).unwrap().0, 1);
        assert_eq!(parse(&[name, "-"]).unwrap().0, 0);
        assert_eq!(parse(&[name]).unwrap_err(), Cause::NO_COMMAND);
        assert_eq!(parse(&[name, "--"]).unwrap_err(), Cause::NO_COMMAND);
    }
}

#[test]
fn values_in_every_place() {
    for words in [
        &["pipkin-init", "--grace", "1s", "true"][..],
        &["pipkin-init", "--grace=1s", "true"],
        &["pipkin-init", "--grace=5m", "--grace", "1000ms", "--", "true"],
    ] {
        assert_eq!(settings(words).grace, SECOND, "{words:?}");
    }
    let rewritten = |words: &[&str]| settings(words).rewrites.apply(Signal::TERM);
    assert_eq!(rewritten(&["dumb-init", "-cvr15:3", "true"]), Some(Signal::QUIT));
    assert_eq!(rewritten(&["dumb-init", "-r", "15:0", "true"]), None);
    assert_eq!(rewritten(&["dumb-init", "--rewr=15:2", "true"]), Some(Signal::INT));
    assert_eq!(rewritten(&["pipkin-init", "-r", "TERM:KILL", "true"]), Some(Signal::KILL));
    for (words, rest, limit) in [
        (&["pipkin-init", "true"][..], Rest::Wait, None),
        (&["pipkin-init", "--wait=1", "true"], Rest::Wait, Some(SECOND)),
        (&["pipkin-init", "--wait", "true"], Rest::Wait, Some(Duration::FOREVER)),
        (&["pipkin-init", "--wait=forever", "true"], Rest::Wait, Some(Duration::FOREVER)),
        (&["pipkin-init", "--no-wait", "true"], Rest::Terminate, None),
    ] {
        assert_eq!((settings(words).rest, settings(words).limit), (rest, limit), "{words:?}");
    }
    assert_eq!(settings(&["tini", "-pSIGHUP", "true"]).parent_death, Some(Signal::HUP));
    assert_eq!(settings(&["tini", "-vvv", "true"]).verbosity, 4);
}

#[test]
fn dumb_init_turns_terminal_stops_into_stop_unless_told_otherwise() {
    let rewritten = |words: &[&str]| settings(words).rewrites.apply(Signal::TSTP);
    assert_eq!(rewritten(&["dumb-init", "true"]), Some(Signal::STOP));
    assert_eq!(rewritten(&["dumb-init", "-r", "20:20", "true"]), Some(Signal::TSTP));
    assert_eq!(rewritten(&["dumb-init", "-c", "true"]), Some(Signal::TSTP));
    assert_eq!(rewritten(&["dumb-init", "-c", "-r", "20:19", "true"]), Some(Signal::STOP));
    assert_eq!(rewritten(&["pipkin-init", "true"]), Some(Signal::TSTP));
    assert_eq!(rewritten(&["catatonit", "true"]), None);
}

#[test]
fn refusals() {
    for (words, cause) in [
        (&["pipkin-init", "--gra", "1s", "x"][..], Cause::UNKNOWN_OPTION),
        (&["dumb-init", "--ver", "x"], Cause::AMBIGUOUS_OPTION),
        (&["dumb-init", "--", "--ver"], Cause::NO_COMMAND),
        (&["tini", "--version", "x"], Cause::UNKNOWN_OPTION),
        (&["tini", "-g", "--version"], Cause::UNKNOWN_OPTION),
        (&["tini", "-L", "x"], Cause::UNKNOWN_LETTER),
        (&["catatonit", "-l", "x"], Cause::UNKNOWN_LETTER),
        (&["pipkin-init", "--=1", "x"], Cause::UNKNOWN_OPTION),
        (&["pipkin-init", "--wait+", "x"], Cause::UNKNOWN_OPTION),
        (&["pipkin-init", "--wait:1", "x"], Cause::UNKNOWN_OPTION),
        (&["tini", "--subreaper", "x"], Cause::UNKNOWN_OPTION),
        (&["catatonit", "-s", "x"], Cause::UNKNOWN_LETTER),
        (&["pipkin-init", "-r"], Cause::MISSING_VALUE),
        (&["pipkin-init", "--delay"], Cause::MISSING_VALUE),
        (&["pipkin-init", "--once=1", "x"], Cause::UNWANTED_VALUE),
        (&["pipkin-init", "--pause", "x"], Cause::COMMAND_WITH_PAUSE),
        (&["pipkin-init", "--pause", "--grace=1s"], Cause::NEEDS_COMMAND),
        (&["pipkin-init", "--group", "--once", "x"], Cause::CONFLICT),
        (&["pipkin-init", "-r", "STOP:TERM", "x"], Cause::NOT_A_REWRITE),
        (&["pipkin-init", "-r", "TERM:INT:HUP", "x"], Cause::NOT_A_REWRITE),
        (&["pipkin-init", "-r", "TERM:INT,", "x"], Cause::NOT_A_REWRITE),
        (&["pipkin-init", "-e", "0,256", "x"], Cause::NOT_AN_EXIT_CODE),
    ] {
        let expected = if words == ["dumb-init", "--", "--ver"] { None } else { Some(cause) };
        assert_eq!(parse(words).err(), expected, "{words:?}");
    }
}

#[test]
fn the_environment_says_the_same() {
    let read = |entries: &[&str]| parse_with(&["pipkin-init", "x"], entries).map(|(_, settings)| settings);
    assert_eq!(read(&["PATH=/bin", "PIPKIN_INITX=1", "PIPKIN_STARTED=1", ""]), Ok(settings(&["pipkin-init", "x"])));
    assert_eq!(read(&["PIPKIN_INIT_GRACE=1s"]), Ok(settings(&["pipkin-init", "--grace=1s", "x"])));
    assert_eq!(read(&["PIPKIN_INIT_NO_WAIT=yes"]), Ok(settings(&["pipkin-init", "--no-wait", "x"])));
    assert_eq!(read(&["PIPKIN_INIT_ONCE=off"]), Ok(settings(&["pipkin-init", "x"])));
    assert_eq!(read(&["PIPKIN_INIT_VERBOSE=2"]), Ok(settings(&["pipkin-init", "-vv", "x"])));
    assert_eq!(read(&["PIPKIN_INIT_WAIT=forever"]), Ok(settings(&["pipkin-init", "--wait", "x"])));
    assert_eq!(read(&["PIPKIN_INIT_LICENSE=1"]), Err(Cause::UNKNOWN_VARIABLE));
    assert_eq!(read(&["PIPKIN_INIT_grace=1"]), Err(Cause::UNKNOWN_VARIABLE));
    assert_eq!(read(&["PIPKIN_INIT_ONCE=2"]), Err(Cause::NOT_A_SWITCH));
    assert_eq!(read(&["PIPKIN_INIT_DELAY=1y"]), Err(Cause::NOT_A_TIME));
    assert_eq!(read(&["PIPKIN_INIT_ONCE=1", "PIPKIN_INIT_GROUP=1"]), Err(Cause::CONFLICT));
    assert_eq!(read(&["PIPKIN_INIT_ONCE=0", "PIPKIN_INIT_GROUP=1"]), Ok(settings(&["pipkin-init", "--group", "x"])));
    let (_, both) = parse_with(&["pipkin-init", "-c", "x"], &["PIPKIN_INIT_ONCE=1"]).unwrap();
    assert_eq!(both, settings(&["pipkin-init", "-c", "x"]), "the command line has the last word");
}

#[test]
fn originals_have_their_variables() {
    let changed = |name: &str, entry: &str| {
        let plain = settings(&[name, "x"]);
        let (_, with) = parse_with(&[name, "x"], &[entry]).unwrap();
        (with != plain).then_some(with)
    };
    for (name, entry) in [
        ("dumb-init", "DUMB_INIT_DEBUG=1"),
        ("dumb-init", "DUMB_INIT_SETSID=0"),
        ("tini", "TINI_SUBREAPER="),
        ("tini-static", "TINI_KILL_PROCESS_GROUP=1"),
        ("docker-init", "TINI_VERBOSITY=3"),
        ("catatonit", "CATATONIT_DEBUG="),
    ] {
        assert!(changed(name, entry).is_some(), "{name} {entry}");
        assert!(changed("pipkin-init", entry).is_none(), "{entry}");
    }
    for (name, entry) in [
        ("dumb-init", "DUMB_INIT_DEBUG=10"),
        ("dumb-init", "DUMB_INIT_DEBUG=0"),
        ("dumb-init", "DUMB_INIT_SETSID=1"),
        ("dumb-init", "TINI_SUBREAPER=1"),
        ("tini", "TINI_SUBREAPERS=1"),
        ("tini", "XTINI_SUBREAPER=1"),
        ("tini", "CATATONIT_LOG=1"),
    ] {
        assert!(changed(name, entry).is_none(), "{name} {entry}");
    }
    assert_eq!(parse_with(&["catatonit", "x"], &["CATATONIT_LOG="]).unwrap_err(), Cause::RESERVED);
    assert_eq!(changed("tini", "TINI_VERBOSITY=0").unwrap().verbosity, 0);
}

/// Every option of `pipkin-init` has a variable that does the same.
#[test]
fn every_option_has_its_variable() {
    let names = std::str::from_utf8(NAMES.bytes()).unwrap();
    for (option, name) in OPTIONS.iter().zip(names.split(' ')) {
        let variable = format!("PIPKIN_INIT_{}", name.to_uppercase().replace('-', "_"));
        let value = match name {
            "help" | "version" | "license" => {
                let entry = format!("{variable}=1");
                assert_eq!(parse_with(&["pipkin-init", "x"], &[&entry]).unwrap_err(), Cause::UNKNOWN_VARIABLE);
                continue;
            }
            "rewrite" => "TERM:INT",
            "exit-zero" => "143",
            "parent-death" => "HUP",
            "delay" | "grace" => "3s",
            _ => "1",
        };
        let by_option = match name {
            _ if option.meaning.is_in(TAKE_VALUE) || name == "wait" => format!("--{name}={value}"),
            _ => format!("--{name}"),
        };
        let command: &[&str] = if name == "pause" { &[] } else { &["x"] };
        // What is usual for one program is not for another.
        let program = if matches!(name, "group" | "subreaper") { "tini" } else { "pipkin-init" };
        let by_option = match name {
            "group" => "-g",
            "subreaper" => "-s",
            _ => &by_option,
        };
        let by_variable = parse_with(&[&[program], command].concat(), &[&format!("{variable}={value}")]).unwrap().1;
        assert_eq!(by_variable, parse(&[&[program, by_option], command].concat()).unwrap().1, "{name}");
        assert_ne!(by_variable, settings(&[program, "x"]), "{name}");
    }
}

/// A generator of numbers that looks random and is the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Any words at all: an answer, and never a panic; what is accepted has a command that exists.
#[test]
fn any_words_get_an_answer() {
    let pieces = [
        "-",
        "--",
        "=",
        "g",
        "r",
        "TERM",
        ":",
        "15",
        "0",
        "wait",
        "grace",
        "5s",
        "forever",
        "\u{fffd}",
        "",
        "-v",
        "--once",
        "-c",
        "P",
        "no-",
        "e",
        ",",
        "255",
        "true",
        "--rewrite",
        "--exit-zero=",
        "V",
        "--session",
    ];
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let names = ["pipkin-init", "dumb-init", "tini", "catatonit"];
    let mut accepted = 0;
    for _ in 0..100_000 {
        let mut words = vec![names[numbers.below(names.len())].to_owned()];
        for _ in 0..numbers.below(5) {
            let word: String = (0..1 + numbers.below(4)).map(|_| pieces[numbers.below(pieces.len())]).collect();
            words.push(word);
        }
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let result = std::panic::catch_unwind(|| parse(&words));
        if let Ok(Ok((before, settings))) = result
            && !settings.pause
        {
            let index = before + 1;
            assert!(index < words.len(), "{words:?}");
            assert!(words[index] == "-" || !words[index].starts_with('-') || words[index - 1] == "--", "{words:?}");
            accepted += 1;
        }
    }
    assert!(accepted > 10_000, "{accepted}");
}

/// Options in any order and spelling mean the same, as long as they do not concern each other.
#[test]
fn order_and_spelling_do_not_matter() {
    let spellings: [&[&[&str]]; 8] = [
        &[&["--grace", "5s"], &["--grace=5s"], &["--grace=5000ms"]],
        &[&["--delay", "2m"], &["--delay=120"]],
        &[&["-r", "TERM:QUIT"], &["-r15:3"], &["--rewrite=SIGTERM:3"], &["--rewrite", "15:sigquit"]],
        &[&["-e", "3"], &["--exit-zero=3"], &["-e3"]],
        &[&["-p", "HUP"], &["--parent-death", "1"], &["-pSIGHUP"]],
        &[&["--once"]],
        &[&["--wait=7s"], &["--wait=7"]],
        &[&["-vw"], &["-wv"], &["-v", "--report-reaped"], &["--verbose", "-w"]],
    ];
    let plain: Vec<_> =
        ["pipkin-init"].into_iter().chain(spellings.iter().flat_map(|group| group[0].to_vec())).chain(["x"]).collect();
    let expected = settings(&plain);
    assert_eq!((expected.delivery, expected.grace), (Delivery::Once, Duration::seconds(5)));
    let mut numbers = Numbers(42);
    for _ in 0..20_000 {
        let mut order: Vec<_> = (0..spellings.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, numbers.below(at + 1));
        }
        let mut words = vec!["pipkin-init"];
        for group in order {
            words.extend(spellings[group][numbers.below(spellings[group].len())]);
        }
        if numbers.below(2) == 0 {
            words.push("--");
        }
        words.push("x");
        assert_eq!(settings(&words), expected, "{words:?}");
    }
}

#[test]
fn every_value_option_needs_its_value() {
    let names = std::str::from_utf8(NAMES.bytes()).unwrap();
    for (option, name) in OPTIONS.iter().zip(names.split(' ')) {
        let long = format!("--{name}");
        let result = std::panic::catch_unwind(|| parse(&["pipkin-init", &long]));
        match (result, name) {
            (Err(_), "help" | "version" | "license") => {} // printed
            (Ok(Ok(_)), "pause") => {}
            (Ok(Err(cause)), _) if option.meaning.is_in(TAKE_VALUE) => {
                assert_eq!(cause, Cause::MISSING_VALUE, "{long}")
            }
            (Ok(Err(cause)), _) => assert_eq!(cause, Cause::NO_COMMAND, "{long}"),
            other => panic!("{other:?}"),
        }
    }
}
