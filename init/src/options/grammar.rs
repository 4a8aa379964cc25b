//! The grammar of the command line: `getopt_long(3)`'s, up to the first word that is no option or to `--`.
//!
//! The options end at the command, so that its own options remain its own.

use super::persona::Persona;
use super::refusal::{Cause, Reader};
use super::table::{self, Meaning, OPTIONS, Opt};
use super::{Delivery, Isolation, Rest, Settings};
use crate::duration::Duration;
use crate::signal::Signal;
use crate::start::{CommandLine, Text};
use crate::words::{self, Likeness, is_end, number, position};

const NOTHING: Text<'static> = Text::of(c"");

impl<'a> Reader<'_, 'a> {
    /// Reads `words` up to the command. There is none only if the settings ask for a pause.
    #[inline(never)]
    pub fn command_line(&mut self, mut words: CommandLine<'a>) -> CommandLine<'a> {
        let persona = self.settings.persona;
        while let Some(word) = words.peek() {
            let mut letters = word;
            if !letters.strip(b'-') || letters.is_empty() {
                break;
            }
            words.next();
            self.word = word;
            if !letters.strip(b'-') {
                self.short(letters, &mut words);
            } else if letters.is_empty() {
                break;
            } else {
                if persona == Persona::Tini
                    && self.seen == 0
                    && words.peek().is_none()
                    && position(Text::of(c"version"), letters) == Some(0)
                {
                    persona.print_version(); // when it is all there is
                }
                self.long(letters, &mut words);
            }
        }
        self.word = NOTHING;
        let is_strict = persona == Persona::Pipkin;
        let cause = match (words.peek().is_some(), self.settings.pause) {
            (true, true) if is_strict => Cause::COMMAND_WITH_PAUSE,
            (false, true) if is_strict && self.seen & table::NEED_COMMAND != 0 => Cause::NEEDS_COMMAND,
            (false, false) => Cause::NO_COMMAND,
            _ => return words,
        };
        self.refuse(cause, NOTHING)
    }

    /// Reads the letters behind `-`.
    fn short(&mut self, mut letters: Text<'_>, words: &mut CommandLine<'_>) {
        while let Some(letter) = letters.next() {
            let has = |option: &&Opt| option.letter == letter && option.has_letter(self.settings.persona);
            let Some(option) = OPTIONS.iter().find(has) else {
                self.refuse(Cause::UNKNOWN_LETTER, Text::within(&mut [letter, 0]));
            };
            let mut value = None;
            if option.meaning.is_in(table::TAKE_VALUE) {
                value = Some(letters).filter(|letters| !letters.is_empty()).or_else(|| words.next());
                letters = NOTHING;
            }
            self.take(option.meaning, value);
        }
    }

    /// Reads what stands behind `--`: the name of an option, or, where the persona's original has that, what only one name
    /// begins with; and its value.
    fn long(&mut self, name: Text<'_>, words: &mut CommandLine<'_>) {
        let persona = self.settings.persona;
        let mut found = None;
        let mut names = table::NAMES;
        for option in &OPTIONS {
            let (likeness, rest) = words::compare(&mut names, name, |byte| byte);
            let is_like = likeness == Likeness::Same || likeness == Likeness::Abbreviated && persona.abbreviates();
            if is_like && matches!(rest.first(), 0 | b'=') && option.has_name(persona) {
                if found.is_some() {
                    self.refuse(Cause::AMBIGUOUS_OPTION, NOTHING);
                }
                found = Some((option, rest));
            }
        }
        let Some((option, mut rest)) = found else { self.refuse(Cause::UNKNOWN_OPTION, NOTHING) };
        let mut value = None;
        if rest.strip(b'=') {
            value = Some(rest);
            if !option.meaning.is_in(table::TAKE_VALUE | Meaning::Wait.bit()) {
                self.refuse(Cause::UNWANTED_VALUE, NOTHING);
            }
        } else if option.meaning.is_in(table::TAKE_VALUE) {
            value = words.next();
        }
        self.take(option.meaning, value);
    }

    /// Notes an option, refuses one that contradicts those before it, and does what it asks for.
    #[inline(never)]
    pub(super) fn take(&mut self, meaning: Meaning, value: Option<Text<'_>>) {
        let before = self.seen & !meaning.bit();
        if table::CONFLICTS.iter().any(|conflict| meaning.is_in(*conflict) && before & conflict != 0) {
            self.refuse(Cause::CONFLICT, NOTHING);
        }
        self.seen |= meaning.bit();
        match meaning {
            Meaning::Help => self.settings.persona.print_help(),
            Meaning::Version => self.settings.persona.print_version(),
            Meaning::License => self.settings.persona.print_license(),
            _ => {}
        }
        if value.is_none() && meaning.is_in(table::TAKE_VALUE) {
            self.refuse(Cause::MISSING_VALUE, NOTHING);
        }
        self.apply(meaning, value);
    }

    /// Does what an option with this meaning and value asks for.
    pub(super) fn apply(&mut self, meaning: Meaning, value: Option<Text<'_>>) {
        if let Err(cause) = apply(meaning, value, self.settings) {
            self.refuse(cause, value.unwrap_or(NOTHING));
        }
    }
}

/// Makes in `settings` the change that an option with this meaning and value asks for.
#[inline(never)]
fn apply(meaning: Meaning, value: Option<Text<'_>>, settings: &mut Settings) -> Result<(), Cause> {
    let mut text = value.unwrap_or(NOTHING);
    match meaning {
        Meaning::SingleChild => settings.delivery = Delivery::MainChild,
        Meaning::Group => settings.delivery = Delivery::Group,
        Meaning::Once => settings.delivery = Delivery::Once,
        Meaning::NoWait => settings.rest = Rest::Terminate,
        Meaning::Wait if value.is_none() || position(Text::of(c"forever"), text).is_some() => {
            settings.rest = Rest::Wait;
            settings.limit = Some(Duration::FOREVER);
        }
        Meaning::Wait | Meaning::Delay | Meaning::Grace => {
            let time = Duration::parse(text).ok_or(Cause::NOT_A_TIME)?;
            match meaning {
                Meaning::Delay => settings.delay = time,
                Meaning::Grace => settings.grace = time,
                _ => {
                    settings.rest = Rest::Wait;
                    settings.limit = Some(time);
                }
            }
        }
        Meaning::Subreaper => settings.subreaper = true,
        Meaning::NoSubreaper => settings.subreaper = false,
        Meaning::ParentDeath => {
            settings.parent_death = Signal::take(&mut text).filter(|_| text.is_empty());
            settings.parent_death.ok_or(Cause::NOT_A_SIGNAL)?;
        }
        Meaning::Session => settings.isolation = Isolation::Session,
        Meaning::Pause => settings.pause = true,
        Meaning::Verbose => settings.verbosity = settings.verbosity.saturating_add(1),
        Meaning::ReportReaped => settings.report_reaped = true,
        Meaning::Rewrite => while_comma(&mut text, |text| rewrite(text, settings)).ok_or(Cause::NOT_A_REWRITE)?,
        Meaning::ExitZero => while_comma(&mut text, |text| {
            settings.success.insert(number(text, 255)? as u8);
            Some(())
        })
        .ok_or(Cause::NOT_AN_EXIT_CODE)?,
        Meaning::Debug => settings.verbosity = 3,
        Meaning::Level => settings.verbosity = number(&mut text, 9).unwrap_or(0) as u8,
        Meaning::Reserved => return Err(Cause::RESERVED),
        Meaning::Help | Meaning::Version | Meaning::License => {}
    }
    Ok(())
}

/// Takes one after the other off `text`, with `,` between, to its end.
fn while_comma(text: &mut Text<'_>, mut take: impl FnMut(&mut Text<'_>) -> Option<()>) -> Option<()> {
    loop {
        take(text)?;
        if !text.strip(b',') {
            return text.is_empty().then_some(());
        }
    }
}

/// Takes `FROM:TO`. KILL and STOP never arrive, so that they can not be rewritten.
fn rewrite(pair: &mut Text<'_>, settings: &mut Settings) -> Option<()> {
    let from = Signal::take(pair).filter(|from| !from.is_unblockable() && *from != Signal::CHLD)?;
    if !pair.strip(b':') {
        return None;
    }
    let mut none = *pair;
    let to = if none.strip(b'0') && is_end(none.first()) {
        *pair = none;
        None
    } else {
        Some(Signal::take(pair)?)
    };
    settings.rewrites.set(from, to);
    Some(())
}
