//! Tests of the grammar: examples for each persona, and properties over many made-up command lines.

use super::grammar::{Reading, Words, read};
use super::persona::Persona;
use super::table::{Meaning, Takes};
use super::{Cause, Delivery, Isolation, Limit, Rest, Settings, Verbosity, read_environment};
use crate::duration::Duration;
use crate::signal::Signal;

impl Words for Vec<&'static str> {
    fn word(&self, index: usize) -> Option<&'static [u8]> {
        self.get(index).map(|word| word.as_bytes())
    }
}

fn parse(words: &[&'static str]) -> Result<(Reading, Settings), Cause> {
    let persona = Persona::of(words[0].as_bytes());
    let mut settings = persona.defaults;
    let reading = read(persona, &words.to_vec(), &mut settings).map_err(|refusal| refusal.cause)?;
    persona.complete(&mut settings);
    Ok((reading, settings))
}

fn settings(words: &[&'static str]) -> Settings {
    parse(words).unwrap().1
}

const SECOND: Duration = Duration::seconds(1);

#[test]
fn the_name_decides() {
    for (name, isolation, rest) in [
        ("/usr/bin/dumb-init", Isolation::Session, Rest::Terminate),
        ("tini", Isolation::Group, Rest::Leave),
        ("./docker-init", Isolation::Group, Rest::Leave),
        ("/catatonit", Isolation::Group, Rest::Leave),
        ("pipkin-init", Isolation::Group, Rest::Wait(Limit::Usual)),
        ("", Isolation::Group, Rest::Wait(Limit::Usual)),
        ("/dev/init", Isolation::Group, Rest::Wait(Limit::Usual)),
    ] {
        let settings = settings(&[if name.is_empty() { "x" } else { name }, "true"]);
        assert_eq!((settings.isolation, settings.rest), (isolation, rest), "{name}");
    }
}

#[test]
fn options_end_at_the_command() {
    for name in ["pipkin-init", "dumb-init", "tini", "catatonit"] {
        assert_eq!(parse(&[name, "node", "-g", "--version"]).unwrap().0, Reading::Command(1));
        assert_eq!(parse(&[name, "--", "--", "x"]).unwrap().0, Reading::Command(2));
        assert_eq!(parse(&[name, "-"]).unwrap().0, Reading::Command(1));
        assert_eq!(parse(&[name]).unwrap_err(), Cause::NoCommand);
        assert_eq!(parse(&[name, "--"]).unwrap_err(), Cause::NoCommand);
    }
}

#[test]
fn values_in_every_place() {
    for words in [
        &["pipkin-init", "--grace", "1s", "true"][..],
        &["pipkin-init", "--grace=1s", "true"],
        &["pipkin-init", "--grace=5m", "--grace", "1000ms", "--", "true"],
    ] {
        assert_eq!(settings(words).grace, Some(SECOND), "{words:?}");
    }
    let rewritten = |words: &[&'static str]| settings(words).rewrites.apply(Signal::TERM);
    assert_eq!(rewritten(&["dumb-init", "-cvr15:3", "true"]), Some(Signal::QUIT));
    assert_eq!(rewritten(&["dumb-init", "-r", "15:0", "true"]), None);
    assert_eq!(rewritten(&["dumb-init", "--rewr=15:2", "true"]), Some(Signal::INT));
    assert_eq!(rewritten(&["pipkin-init", "-r", "TERM:KILL", "true"]), Some(Signal::KILL));
    assert_eq!(settings(&["pipkin-init", "--wait=1", "true"]).rest, Rest::Wait(Limit::After(SECOND)));
    assert_eq!(settings(&["pipkin-init", "--wait", "true"]).rest, Rest::Wait(Limit::Never));
    assert_eq!(settings(&["pipkin-init", "--wait=forever", "true"]).rest, Rest::Wait(Limit::Never));
    assert_eq!(settings(&["tini", "-pSIGHUP", "true"]).parent_death, Some(Signal::HUP));
    assert_eq!(settings(&["tini", "-vvv", "true"]).verbosity, Verbosity(4));
}

#[test]
fn dumb_init_turns_terminal_stops_into_stop_unless_told_otherwise() {
    let rewritten = |words: &[&'static str]| settings(words).rewrites.apply(Signal::TSTP);
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
        (&["pipkin-init", "--gra", "1s", "x"][..], Cause::UnknownOption),
        (&["dumb-init", "--ver", "x"], Cause::AmbiguousOption),
        (&["dumb-init", "--", "--ver"], Cause::NoCommand),
        (&["tini", "--version", "x"], Cause::UnknownOption),
        (&["tini", "--subreaper", "x"], Cause::UnknownOption),
        (&["catatonit", "-s", "x"], Cause::UnknownOption),
        (&["pipkin-init", "-r"], Cause::MissingValue),
        (&["pipkin-init", "--delay"], Cause::MissingValue),
        (&["pipkin-init", "--once=1", "x"], Cause::UnwantedValue),
        (&["pipkin-init", "--pause", "x"], Cause::CommandWithPause),
        (&["pipkin-init", "--pause", "--grace=1s"], Cause::NeedsCommand),
        (&["pipkin-init", "--group", "--once", "x"], Cause::Conflict),
        (&["pipkin-init", "-r", "STOP:TERM", "x"], Cause::NotARewrite),
        (&["pipkin-init", "-r", "TERM:INT:HUP", "x"], Cause::NotARewrite),
        (&["pipkin-init", "-r", "TERM:INT,", "x"], Cause::NotARewrite),
        (&["pipkin-init", "-e", "0,256", "x"], Cause::NotAnExitCode),
    ] {
        let expected = if words == ["dumb-init", "--", "--ver"] { None } else { Some(cause) };
        assert_eq!(parse(words).err(), expected, "{words:?}");
    }
}

#[test]
fn the_environment_says_the_same() {
    let read = |entries: &[&'static str]| {
        let mut settings = Settings::ENTRYPOINT;
        read_environment(entries.iter().map(|entry| entry.as_bytes()), &mut settings)
            .map(|()| settings)
            .map_err(|refusal| refusal.cause)
    };
    assert_eq!(read(&["PATH=/bin", "PIPKIN_INITX=1", "PIPKIN_STARTED=1", ""]), Ok(Settings::ENTRYPOINT));
    assert_eq!(read(&["PIPKIN_INIT_GRACE=1s"]), Ok(settings(&["pipkin-init", "--grace=1s", "x"])));
    assert_eq!(read(&["PIPKIN_INIT_NO_WAIT=yes"]), Ok(settings(&["pipkin-init", "--no-wait", "x"])));
    assert_eq!(read(&["PIPKIN_INIT_ONCE=off"]), Ok(Settings::ENTRYPOINT));
    assert_eq!(read(&["PIPKIN_INIT_VERBOSE=2"]), Ok(settings(&["pipkin-init", "-vv", "x"])));
    assert_eq!(read(&["PIPKIN_INIT_WAIT=forever"]), Ok(settings(&["pipkin-init", "--wait", "x"])));
    assert_eq!(read(&["PIPKIN_INIT_LICENSE=1"]), Err(Cause::UnknownVariable));
    assert_eq!(read(&["PIPKIN_INIT_grace=1"]), Err(Cause::UnknownVariable));
    assert_eq!(read(&["PIPKIN_INIT_ONCE=2"]), Err(Cause::NotASwitch));
    assert_eq!(read(&["PIPKIN_INIT_DELAY=1y"]), Err(Cause::NotATime));
}

#[test]
fn the_help_tells_of_every_option() {
    for name in ["pipkin-init", "dumb-init", "tini", "catatonit"] {
        let persona = Persona::of(name.as_bytes());
        for option in persona.options {
            if option.letter != 0 {
                assert!(persona.help.0.contains(&format!("-{}", option.letter as char)), "{name} {option:?}");
            }
            assert!(
                option.name.is_empty() || persona.help.0.contains(&format!("--{}", option.name)),
                "{name} {option:?}"
            );
        }
        assert!(persona.help.0.lines().all(|line| line.len() <= 110), "{name}");
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
        let mut words = vec![names[numbers.below(names.len())]];
        for _ in 0..numbers.below(5) {
            let word: String = (0..1 + numbers.below(4)).map(|_| pieces[numbers.below(pieces.len())]).collect();
            words.push(Box::leak(word.into_boxed_str()));
        }
        if let Ok((Reading::Command(index), _)) = parse(&words) {
            assert!(index >= 1 && index < words.len(), "{words:?}");
            assert!(words[index] == "-" || !words[index].starts_with('-') || words[index - 1] == "--", "{words:?}");
            accepted += 1;
        }
    }
    assert!(accepted > 10_000, "{accepted}");
}

/// Options in any order and spelling mean the same, as long as they do not concern each other.
#[test]
fn order_and_spelling_do_not_matter() {
    let spellings: [&[&[&'static str]]; 8] = [
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
    assert_eq!((expected.delivery, expected.grace), (Delivery::Once, Some(Duration::seconds(5))));
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
    for option in &super::table::PIPKIN {
        let long: &'static str = Box::leak(format!("--{}", option.name).into_boxed_str());
        let result = parse(&["pipkin-init", long]);
        match option.takes {
            Takes::Value => assert_eq!(result.unwrap_err(), Cause::MissingValue, "{long}"),
            _ if matches!(option.meaning, Meaning::Help | Meaning::Version | Meaning::License | Meaning::Pause) => {
                assert!(result.is_ok(), "{long}");
            }
            _ => assert_eq!(result.unwrap_err(), Cause::NoCommand, "{long}"),
        }
    }
}
