//! The grammar of the command line: `getopt_long(3)`'s, up to the first word that is no option or to `--`.
//!
//! The options end at the command, so that its own options remain its own.

use super::persona::{Persona, Usage};
use super::table::{self, Meaning, Opt, Takes};
use super::{Cause, Delivery, Isolation, Limit, Refusal, Rest, Settings, Verbosity};
use crate::duration::Duration;
use crate::signal::{Signal, decimal};
use crate::start::CommandLine;
use crate::words::{parts, position, split_at};

/// The words of a command line, the program's own name being number 0.
pub trait Words {
    /// Word `index`, if there are so many.
    fn word(&self, index: usize) -> Option<&'static [u8]>;
}

impl Words for CommandLine {
    fn word(&self, index: usize) -> Option<&'static [u8]> {
        self.get(index).map(core::ffi::CStr::to_bytes)
    }
}

/// What a command line asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// To run the command that begins with this word.
    Command(usize),
    /// To run nothing, and wait.
    Pause,
    /// To print the help.
    Help,
    /// To print the version.
    Version,
    /// To print the licence.
    License,
}

/// Reads `words` into `settings`.
pub fn read(persona: &Persona, words: &impl Words, settings: &mut Settings) -> Result<Reading, Refusal> {
    if persona.usage == Usage::VersionAlone
        && words.word(1).is_some_and(|word| position("--version", word).is_some())
        && words.word(2).is_none()
    {
        return Ok(Reading::Version);
    }
    let mut seen = 0;
    let mut index = 1;
    while let Some(word) = words.word(index) {
        match word {
            b"--" => {
                index += 1;
                break;
            }
            [b'-', b'-', long @ ..] => {
                let (name, attached) = split_at(long, b'=');
                let option = find_long(persona, name)?;
                // For messages: the option's whole name rather than what was typed of it.
                let name = option.name.as_bytes();
                let value = match (option.takes, attached) {
                    (Takes::Nothing, Some(_)) => return Err(Refusal::new(Cause::UnwantedValue, name)),
                    (Takes::Value, None) => {
                        index += 1;
                        Some(words.word(index).ok_or(Refusal::new(Cause::MissingValue, name))?)
                    }
                    (_, attached) => attached,
                };
                if let Some(reading) = take(option.meaning, name, value, settings, &mut seen)? {
                    return Ok(reading);
                }
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                for (position, letter) in letters.iter().enumerate() {
                    let name = core::slice::from_ref(letter);
                    let option = persona.options.iter().find(|option| option.letter == *letter && *letter != 0);
                    let option = option.ok_or(Refusal::new(Cause::UnknownOption, name))?;
                    let mut value = None;
                    if option.takes == Takes::Value {
                        value = letters.get(position + 1..).filter(|rest| !rest.is_empty());
                        if value.is_none() {
                            index += 1;
                            value = Some(words.word(index).ok_or(Refusal::new(Cause::MissingValue, name))?);
                        }
                    }
                    if let Some(reading) = take(option.meaning, name, value, settings, &mut seen)? {
                        return Ok(reading);
                    }
                    if option.takes == Takes::Value {
                        break;
                    }
                }
            }
            _ => break,
        }
        index += 1;
    }
    for conflict in table::CONFLICTS {
        if (seen & conflict).count_ones() > 1 {
            let last = persona.options.iter().rfind(|option| seen & conflict & option.meaning.bit() != 0);
            return Err(Refusal::new(Cause::Conflict, last.map_or(b"", |option| option.name.as_bytes())));
        }
    }
    let has_command = words.word(index).is_some();
    if settings.pause && !has_command {
        let needless = persona.options.iter().find(|option| seen & table::NEEDS_COMMAND & option.meaning.bit() != 0);
        return match needless {
            Some(option) if persona.usage == Usage::Pipkin => {
                Err(Refusal::new(Cause::NeedsCommand, option.name.as_bytes()))
            }
            _ => Ok(Reading::Pause),
        };
    }
    if settings.pause && persona.usage == Usage::Pipkin {
        return Err(Refusal::new(Cause::CommandWithPause, b""));
    }
    match (settings.pause, has_command) {
        (true, _) => Ok(Reading::Pause),
        (false, true) => Ok(Reading::Command(index)),
        (false, false) => Err(Refusal::new(Cause::NoCommand, b"")),
    }
}

/// Finds the option called `name`, or, where the persona's original has that, the only one whose name begins so.
fn find_long(persona: &Persona, name: &'static [u8]) -> Result<&'static Opt, Refusal> {
    let mut found = Err(Refusal::new(Cause::UnknownOption, name));
    for option in persona.options {
        let known = option.name.as_bytes();
        if known.is_empty()
            || !known.starts_with(name)
            || known.len() != name.len() && persona.usage != Usage::Abbreviated
        {
            continue;
        }
        if found.is_ok() {
            return Err(Refusal::new(Cause::AmbiguousOption, name));
        }
        found = Ok(option);
    }
    found
}

fn take(
    meaning: Meaning,
    name: &'static [u8],
    value: Option<&'static [u8]>,
    settings: &mut Settings,
    seen: &mut u32,
) -> Result<Option<Reading>, Refusal> {
    *seen |= meaning.bit();
    match meaning {
        Meaning::Help => return Ok(Some(Reading::Help)),
        Meaning::Version => return Ok(Some(Reading::Version)),
        Meaning::License => return Ok(Some(Reading::License)),
        _ => apply(meaning, value, settings).map_err(|cause| Refusal {
            cause,
            subject: name,
            value: value.unwrap_or_default(),
        })?,
    }
    Ok(None)
}

/// Makes in `settings` the change that an option with this meaning and value asks for.
pub(super) fn apply(meaning: Meaning, value: Option<&'static [u8]>, settings: &mut Settings) -> Result<(), Cause> {
    let text = value.unwrap_or_default();
    let time = || Duration::parse(text).ok_or(Cause::NotATime);
    match meaning {
        Meaning::SingleChild => settings.delivery = Delivery::MainChild,
        Meaning::Group => settings.delivery = Delivery::Group,
        Meaning::Once => settings.delivery = Delivery::Once,
        Meaning::Delay => settings.delay = Some(time()?),
        Meaning::Grace => settings.grace = Some(time()?),
        Meaning::NoWait => settings.rest = Rest::Terminate,
        Meaning::Wait => {
            settings.rest = Rest::Wait(match value {
                None => Limit::Never,
                Some(word) if position("forever", word).is_some() => Limit::Never,
                Some(_) => Limit::After(time()?),
            });
        }
        Meaning::Subreaper => settings.subreaper = true,
        Meaning::NoSubreaper => settings.subreaper = false,
        Meaning::ParentDeath => settings.parent_death = Some(Signal::parse(text).ok_or(Cause::NotASignal)?),
        Meaning::Session => settings.isolation = Isolation::Session,
        Meaning::Pause => settings.pause = true,
        Meaning::Verbose => settings.verbosity = Verbosity(settings.verbosity.0.saturating_add(1)),
        Meaning::ReportReaped => settings.report_reaped = true,
        Meaning::Rewrite => {
            for pair in parts(text, b',') {
                let (from, to) = rewrite(pair).ok_or(Cause::NotARewrite)?;
                settings.rewrites.set(from, to);
            }
        }
        Meaning::ExitZero => {
            for code in parts(text, b',') {
                settings.success.insert(decimal(code, 255).ok_or(Cause::NotAnExitCode)? as u8);
            }
        }
        Meaning::Debug => settings.verbosity = Verbosity::DETAILS,
        Meaning::Level => settings.verbosity = Verbosity(decimal(text, 9).unwrap_or(0) as u8),
        Meaning::Reserved => return Err(Cause::Reserved),
        Meaning::Help | Meaning::Version | Meaning::License => {}
    }
    Ok(())
}

/// Reads `FROM:TO`. KILL and STOP never arrive, so that they can not be rewritten.
fn rewrite(pair: &[u8]) -> Option<(Signal, Option<Signal>)> {
    let (from, Some(to)) = split_at(pair, b':') else { return None };
    let from = Signal::parse(from).filter(|from| !from.is_unblockable() && *from != Signal::CHLD)?;
    let to = if to == b"0" { None } else { Some(Signal::parse(to)?) };
    Some((from, to))
}
