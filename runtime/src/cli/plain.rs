//! Command lines as engines write them, read without the parser that knows everything: that takes a tenth of a millisecond, as long
//! as a process takes to start, and each engine's request is a new one.
//!
//! Whatever is not among the options listed here, or not spelled in the one ordinary way, is left to the parser; a test holds both
//! against each other.

use clap::ValueEnum;

use super::{Cli, Command, Options, create, delete, exec, kill, pause, rootless, run, start, state};

/// An option that is read here: its long name, its short one, and whether a value follows.
pub(super) type Known = (&'static str, Option<char>, bool);

const GLOBAL: &[Known] = &[
    ("root", None, true),
    ("log", None, true),
    ("log-format", None, true),
    ("debug", None, false),
    ("systemd-cgroup", None, false),
    ("rootless", None, true),
];

/// A command: its name, its options, and what makes it of what was given.
type Form = (&'static str, &'static [&'static [Known]], fn(&mut Given) -> Option<Command>);

const FORMS: &[Form] = &[
    ("create", &[create::Bundle::PLAIN], |given| create::Create::plain(given).map(Command::Create)),
    ("delete", &[delete::Delete::PLAIN], |given| delete::Delete::plain(given).map(Command::Delete)),
    ("exec", &[exec::Exec::PLAIN], |given| exec::Exec::plain(given).map(Command::Exec)),
    ("kill", &[kill::Kill::PLAIN], |given| kill::Kill::plain(given).map(Command::Kill)),
    ("pause", &[], |given| pause::Pause::plain(given).map(Command::Pause)),
    ("resume", &[], |given| pause::Resume::plain(given).map(Command::Resume)),
    ("run", &[create::Bundle::PLAIN, run::Run::PLAIN], |given| run::Run::plain(given).map(Command::Run)),
    ("start", &[], |given| start::Start::plain(given).map(Command::Start)),
    ("state", &[], |given| state::State::plain(given).map(Command::State)),
];

/// What was given to a command, to be taken piece by piece.
pub(super) struct Given {
    options: Vec<(&'static str, Option<String>)>,
    /// What comes behind the options.
    words: std::vec::IntoIter<String>,
}

impl Given {
    /// Whether an option without a value was given.
    pub fn flag(&self, name: &str) -> bool {
        self.options.iter().any(|(given, _)| *given == name)
    }

    /// The value of an option; of several the last.
    pub fn value(&mut self, name: &str) -> Option<String> {
        self.values(name).pop()
    }

    /// All values of an option, in order.
    pub fn values(&mut self, name: &str) -> Vec<String> {
        self.options.iter_mut().filter(|(given, _)| *given == name).filter_map(|(_, value)| value.take()).collect()
    }

    /// A number; the outer `None` when what was given is none, or not in plain digits.
    #[expect(clippy::option_option, reason = "not given, or not plain")]
    pub fn number(&mut self, name: &str) -> Option<Option<u32>> {
        let Some(text) = self.value(name) else { return Some(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).map(Some)
    }

    /// The next word behind the options, which must not look like one.
    pub fn word(&mut self) -> Option<String> {
        self.words.next().filter(|word| !word.starts_with('-'))
    }

    /// The one word behind the options.
    pub fn only_word(&mut self) -> Option<String> {
        self.word().filter(|_| self.words.len() == 0)
    }

    /// All words that are left, whatever they look like.
    pub fn rest(&mut self) -> Vec<String> {
        self.words.by_ref().collect()
    }
}

/// `None`: the parser has to look at it.
#[inline(never)]
pub(super) fn parse(words: impl Iterator<Item = std::ffi::OsString>) -> Option<Cli> {
    let words: Option<Vec<String>> = words.skip(1).map(|word| word.into_string().ok()).collect();
    let mut words = words?.into_iter();
    let mut given = Given { options: Vec::new(), words: Vec::new().into_iter() };
    let name = options(&[GLOBAL], &mut words, &mut given)?;
    let log_format = match given.value("log-format") {
        Some(text) => ValueEnum::from_str(&text, false).ok()?,
        None => crate::log::Format::default(),
    };
    let rootless = rootless(given.value("rootless").as_deref().unwrap_or("auto")).ok()?;
    let options_before = Options {
        root: given.value("root").map(Into::into),
        log: given.value("log").map(|log| std::ffi::OsString::from(log).into()),
        log_format,
        log_level: crate::log::Level::default(),
        trace_boot: None,
        debug: given.flag("debug"),
        systemd_cgroup: given.flag("systemd-cgroup"),
        cgroup_manager: crate::cgroup::Manager::default(),
        rootless,
        criu: "criu".into(),
    };
    let (_, known, make) = FORMS.iter().find(|(form, ..)| *form == name)?;
    given.options.clear();
    let first = options(known, &mut words, &mut given)?;
    given.words = std::iter::once(first).chain(words).collect::<Vec<_>>().into_iter();
    Some(Cli { options: options_before, command: make(&mut given)? })
}

/// Takes the options off, and the first word that is none.
fn options(known: &[&[Known]], words: &mut std::vec::IntoIter<String>, given: &mut Given) -> Option<String> {
    loop {
        let word = words.next()?;
        if !word.starts_with('-') {
            return Some(word);
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let is = |(long, short, _): &&Known| match name.strip_prefix("--") {
            Some(name) => name == *long,
            None => value.is_none() && short.is_some_and(|short| name[1..].chars().eq([short])),
        };
        let (long, _, takes_value) = known.iter().copied().flatten().find(is)?;
        let value = match (takes_value, value) {
            (false, None) => None,
            (false, Some(_)) => return None,
            (true, Some(value)) => Some(value).filter(|value| !value.is_empty()),
            (true, None) => words.next().filter(|value| !value.is_empty() && !value.starts_with('-')),
        };
        if *takes_value && value.is_none() {
            return None;
        }
        given.options.push((long, value));
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::FromArgMatches;

    use super::*;
    use crate::cli::go_flags;

    fn words<'a>(line: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = OsString> {
        ["pipkin-runtime"].into_iter().chain(line).map(OsString::from).collect::<Vec<_>>().into_iter()
    }

    fn by_the_parser(line: &[&str]) -> Option<String> {
        let command = go_flags::forgiving(crate::cli::command());
        let words = go_flags::spelled(&command, words(line.iter().copied()));
        let cli = Cli::from_arg_matches_mut(&mut command.try_get_matches_from(words).ok()?).ok()?;
        Some(format!("{cli:?}"))
    }

    fn plainly(line: &[&str]) -> Option<String> {
        parse(words(line.iter().copied())).map(|cli| format!("{cli:?}"))
    }

    /// The spellings of an option, with a value that every option with its name takes.
    fn spellings(&(long, short, takes_value): &Known) -> Vec<Vec<String>> {
        let value = match long {
            "log-format" => "json",
            "rootless" => "true",
            _ => "7",
        };
        let names = std::iter::once(format!("--{long}")).chain(short.map(|short| format!("-{short}")));
        let mut all: Vec<Vec<String>> =
            names.map(|name| std::iter::once(name).chain(takes_value.then(|| value.to_owned())).collect()).collect();
        if takes_value {
            all.push(vec![format!("--{long}={value}")]);
        }
        all
    }

    #[test]
    fn every_option_means_what_the_parser_says() {
        for (name, known, _) in FORMS {
            let behind: &[&str] = match *name {
                "exec" => &["id", "program", "-x"],
                "kill" => &["id", "9"],
                _ => &["id"],
            };
            for before in [None].into_iter().chain(GLOBAL.iter().map(Some)) {
                for option in [None].into_iter().chain(known.iter().copied().flatten().map(Some)) {
                    let before = before.map_or(vec![Vec::new()], spellings);
                    let options = option.map_or(vec![Vec::new()], spellings);
                    for (before, option) in before.iter().flat_map(|one| options.iter().map(move |other| (one, other)))
                    {
                        let line = before.iter().map(String::as_str).chain([*name]);
                        let line = line.chain(option.iter().map(String::as_str)).chain(behind.iter().copied());
                        let line: Vec<&str> = line.collect();
                        let plain = plainly(&line);
                        assert!(plain.is_some(), "{line:?}");
                        assert_eq!(plain, by_the_parser(&line), "{line:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn all_else_is_the_parsers() {
        let lines = [
            "exec id",
            "exec -it id sh",
            "exec -e A=1 --env B=2 -t id sh -c x",
            "exec id -x",
            "exec -- id sh",
            "exec --preserve-fds +1 id sh",
            "exec --preserve-fds 4294967296 id sh",
            "exec --user 1 --user 2 --process f id",
            "exec --user -1 id sh",
            "run --bundle --detach id",
            "run --bundle=b --bundle c id",
            "run --bundle= id",
            "run -d=true id",
            "run -bundle b id",
            "run",
            "kill id",
            "kill -a id 9",
            "kill id 9 9",
            "kill --all=false id KILL",
            "kill id -9",
            "delete id --force",
            "delete id id",
            "--debug=1 state id",
            "--root state",
            "--root state state",
            "--log-format xml state id",
            "--rootless maybe state id",
            "--cgroup-manager systemd --systemd-cgroup state id",
            "--systemd-cgroup --root r run -b x -d id",
            "--version",
            "-h",
            "--help state",
            "state --help",
            "nothing id",
            "- id",
            "state -",
            "state id extra",
        ];
        for line in lines {
            let line: Vec<&str> = line.split(' ').collect();
            if let Some(plain) = plainly(&line) {
                assert_eq!(Some(plain), by_the_parser(&line), "{line:?}");
            }
        }
    }
}
