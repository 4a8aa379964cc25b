//! From the words of the command line and of the environment to [`Settings`]: what an init is to do, checked.
//!
//! Every persona has a table of options and a few rules of its own; one grammar reads them all.

mod environment;
mod grammar;
mod persona;
mod refusal;
mod table;

pub use persona::Persona;
use refusal::Reader;

use crate::duration::Duration;
use crate::signal::Signal;
use crate::start::{CommandLine, Text, Words};

/// To whom a signal is passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// To the main child's whole process group.
    Group,
    /// To the main child.
    MainChild,
    /// To the main child, and to each process of its group whose parent does not handle the signal.
    Once,
}

/// What the main child is isolated in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// Nothing: it stays in the init's group.
    None,
    /// A process group of its own, in the foreground of the terminal when the init was there.
    Group,
    /// A session of its own, which gets the terminal on standard input.
    Session,
}

/// What becomes of the processes that outlive the main child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// The init ends at once.
    Leave,
    /// Their group gets SIGTERM, and the init ends at once.
    Terminate,
    /// They get SIGTERM, and are waited for; SIGKILL when the [`Settings::limit`] is over.
    Wait,
}

/// What a received signal is passed on as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewrites {
    /// What is usual for TSTP, TTIN and TTOU: their numbers, 0 for nothing, or that of STOP, which stops also those to whom
    /// the kernel would not apply them.
    stops: [u8; 3],
    /// For every signal another's number, [`Self::NOTHING`], or [`Self::USUAL`].
    table: [u8; 65],
}

impl Rewrites {
    const USUAL: u8 = 0;
    const NOTHING: u8 = 255;

    /// What `signal` is passed on as, if it is.
    #[inline(never)]
    pub fn apply(&self, signal: Signal) -> Option<Signal> {
        let place = self.table.get(usize::from(signal.number()));
        let stop = self.stops.get(usize::from(signal.number().wrapping_sub(Signal::TSTP.number())));
        match (place, stop) {
            (Some(&Self::USUAL), Some(stop)) => Signal::new(*stop),
            (Some(&Self::USUAL), None) => Some(signal),
            (place, _) => Signal::new(*place?),
        }
    }

    /// From now on `from` is passed on as `to`, or not at all.
    fn set(&mut self, from: Signal, to: Option<Signal>) {
        if let Some(place) = self.table.get_mut(usize::from(from.number())) {
            *place = to.map_or(Self::NOTHING, Signal::number);
        }
    }
}

/// Exit codes of the main child that are to become 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExitCodes([u64; 4]);

impl ExitCodes {
    /// Whether `code` is among them.
    pub fn contains(&self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] >> (code & 63) & 1 == 1
    }

    fn insert(&mut self, code: u8) {
        self.0[usize::from(code >> 6)] |= 1 << (code & 63);
    }
}

/// What the init is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each field has the name of its option in table.rs, or a type that says it")]
#[repr(C)]
pub struct Settings {
    pub persona: Persona,
    pub isolation: Isolation,
    pub delivery: Delivery,
    pub rest: Rest,
    pub subreaper: bool,
    /// Say so when orphans will not become this process's children.
    pub warn_no_subreaper: bool,
    /// Stop this process too when told by TSTP, TTIN or TTOU to stop.
    pub stop_with_child: bool,
    pub pause: bool,
    pub report_reaped: bool,
    /// How much the init says: 0 errors, 1 warnings, too, 2 what happens, 3 each signal.
    pub verbosity: u8,
    pub parent_death: Option<Signal>,
    /// How long TERM is held back; 0: it is not.
    pub delay: Duration,
    pub grace: Duration,
    /// How long what outlives the main child is waited for. By default ten seconds when the main child ended by itself;
    /// as long as it takes when the init was told to stop, since whoever told it has a limit of its own.
    pub limit: Option<Duration>,
    pub success: ExitCodes,
    pub rewrites: Rewrites,
}

impl Settings {
    /// Nothing is to be done, and nothing said.
    pub const NOTHING: Self = Self {
        persona: Persona::Pipkin,
        isolation: Isolation::None,
        delivery: Delivery::Group,
        rest: Rest::Leave,
        subreaper: false,
        warn_no_subreaper: false,
        stop_with_child: false,
        pause: false,
        report_reaped: false,
        verbosity: 0,
        parent_death: None,
        delay: Duration::NONE,
        grace: Duration::NONE,
        limit: None,
        success: ExitCodes([0; 4]),
        rewrites: Rewrites { stops: [0; 3], table: [Rewrites::USUAL; 65] },
    };
}

/// Reads into `settings`, which say nothing yet, what a command line and an environment ask for, and returns the command line up to the command.
/// There is none only if the settings ask for a pause.
pub fn read<'a>(words: CommandLine<'a>, environment: Words<'a>, settings: &mut Settings) -> CommandLine<'a> {
    let persona = Persona::of(words.from_last().first().unwrap_or(Text::of(c"")));
    persona.prepare(settings);
    let mut reader = Reader { settings, word: Text::of(c""), seen: 0 };
    reader.environment(environment);
    let words = reader.command_line(words);
    reader.original_variables(environment);
    persona.complete(settings);
    words
}

#[cfg(test)]
mod tests;
