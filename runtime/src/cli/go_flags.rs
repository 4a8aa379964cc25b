//! What Go's flag package takes, and so runc, beyond getopt_long(3): `--debug=true`, `-t=false`, `-bundle DIR`; of an option
//! given twice the last counts. Engines write such command lines, and put options of their own before configured ones.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

/// The command, with which an option may be there twice.
pub(super) fn forgiving(command: Command) -> Command {
    command.args_override_self(true).mut_subcommands(|command| command.args_override_self(true))
}

/// The process's arguments in the one spelling that `command` knows. As in Go, options end at the first word that is none.
pub(super) fn arguments(command: &Command) -> Vec<OsString> {
    spelled(command, std::env::args_os())
}

pub(super) fn spelled(mut command: &Command, words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.peekable();
    let mut done: Vec<OsString> = words.next().into_iter().collect();
    // Where the command's own options begin: `=false` takes back what was said before it.
    let mut own = done.len();
    while let Some(word) = words.next() {
        let Some((name, value)) = option(&word) else {
            let subcommand = command.find_subcommand(&word);
            done.push(word);
            match subcommand {
                Some(found) => (command, own) = (found, done.len()),
                None => break,
            }
            continue;
        };
        let arg = command.get_arguments().find(|arg| is_called(arg, name));
        let spelling = match arg.and_then(Arg::get_long) {
            Some(long) => format!("--{long}"),
            None if name == "v" && command.get_version().is_some() => "--version".to_owned(),
            None if ["help", "version"].contains(&name) => format!("--{name}"),
            None => {
                done.push(word);
                continue;
            }
        };
        let flag = arg.is_none_or(|arg| matches!(arg.get_action(), ArgAction::SetTrue));
        match value {
            Some(value) if flag => match truth(value) {
                Some(true) => done.push(spelling.into()),
                Some(false) => {
                    let earlier = done.split_off(own);
                    done.extend(earlier.into_iter().filter(|word| *word != *spelling));
                }
                None => done.push(word),
            },
            Some(value) => done.push(format!("{spelling}={value}").into()),
            None => {
                done.push(spelling.into());
                if !flag {
                    done.extend(words.next());
                }
            }
        }
    }
    done.extend(words);
    done
}

/// `--name`, `-name`, and the value behind `=`.
fn option(word: &OsStr) -> Option<(&str, Option<&str>)> {
    let word = word.to_str()?.strip_prefix('-')?;
    let word = word.strip_prefix('-').unwrap_or(word);
    let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    (!name.is_empty()).then_some((name, value))
}

fn is_called(arg: &Arg, name: &str) -> bool {
    let short = || arg.get_short().is_some_and(|short| name.strip_prefix(short) == Some(""));
    arg.get_long() == Some(name) || short()
}

/// As Go's `strconv.ParseBool` reads it.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_spelled_as_the_parser_knows_them() {
        for (given, expected) in [
            ("--debug=true --log-format json list", "--debug --log-format json list"),
            ("--debug --systemd-cgroup --debug=false state x", "--systemd-cgroup state x"),
            ("-root /r run -bundle /b -d x", "--root /r run --bundle /b --detach x"),
            ("--root=/r run -bundle=/b -detach=0 x", "--root=/r run --bundle=/b x"),
            ("--root --debug --debug=maybe list", "--root --debug --debug=maybe list"),
            ("exec -it x prog --tty=false -bundle", "exec -it x prog --tty=false -bundle"),
            ("exec -t=T -e A=B -env=C=D x -tty", "exec --tty --env A=B --env=C=D x -tty"),
            ("-v", "--version"),
            ("run -help", "run --help"),
        ] {
            let words = ["pipkin-runtime"].into_iter().chain(given.split(' ')).map(OsString::from);
            let spelled = spelled(&crate::cli::command(), words);
            let text: Vec<&str> = spelled[1..].iter().filter_map(|word| word.to_str()).collect();
            assert_eq!(text.join(" "), expected, "{given}");
        }
    }
}
