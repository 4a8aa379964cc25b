//! From the words of the command line and of the environment to [`Settings`]: what an init is to do, checked.
//!
//! Every persona has a table of options and a few rules of its own; one grammar reads them all.

mod environment;
mod grammar;
pub mod persona;
mod refusal;
mod table;

pub use environment::{read as read_environment, read_originals};
pub use grammar::{Reading, read as read_command_line};
pub use persona::Persona;
pub use refusal::{Cause, Refusal};

use crate::duration::Duration;
use crate::signal::Signal;

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
    /// They get SIGTERM, and are waited for.
    Wait(Limit),
}

/// How long they are waited for before they get SIGKILL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// Ten seconds when the main child ended by itself; as long as it takes when the init was told to stop, since
    /// whoever told it has a limit of its own.
    Usual,
    /// This long.
    After(Duration),
    /// As long as it takes.
    Never,
}

/// How much the init says: each level includes those before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub struct Verbosity(pub u8);

#[allow(missing_docs, reason = "the names say it")]
impl Verbosity {
    pub const ERRORS: Self = Self(0);
    pub const WARNINGS: Self = Self(1);
    pub const INFORMATION: Self = Self(2);
    pub const DETAILS: Self = Self(3);
}

/// What a received signal is passed on as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewrites {
    /// For every signal another's number, 0 for nothing, or [`Self::USUAL`].
    table: [u8; 65],
    /// What is usual for TSTP, TTIN and TTOU: STOP, which stops also those to whom the kernel would not apply them.
    stop_for_certain: bool,
}

impl Rewrites {
    const USUAL: u8 = 255;

    const fn usual() -> Self {
        Self { table: [Self::USUAL; 65], stop_for_certain: false }
    }

    /// What `signal` is passed on as, if it is.
    pub fn apply(&self, signal: Signal) -> Option<Signal> {
        match self.table[usize::from(signal.number() & 127).min(64)] {
            Self::USUAL if self.stop_for_certain && signal.is_terminal_stop() => Some(Signal::STOP),
            Self::USUAL => Some(signal),
            number => Signal::new(number),
        }
    }

    /// From now on `from` is passed on as `to`, or not at all.
    pub const fn set(&mut self, from: Signal, to: Option<Signal>) {
        self.table[from.number() as usize] = match to {
            Some(to) => to.number(),
            None => 0,
        };
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
pub struct Settings {
    pub delivery: Delivery,
    pub isolation: Isolation,
    pub rewrites: Rewrites,
    pub delay: Option<Duration>,
    pub grace: Option<Duration>,
    pub rest: Rest,
    pub subreaper: bool,
    pub parent_death: Option<Signal>,
    pub success: ExitCodes,
    pub pause: bool,
    pub verbosity: Verbosity,
    pub report_reaped: bool,
    /// Stop this process too when told by TSTP, TTIN or TTOU to stop.
    pub stop_with_child: bool,
    /// Say so when orphans will not become this process's children.
    pub warn_no_subreaper: bool,
}

impl Settings {
    /// What is right for the entry point of an image.
    pub const ENTRYPOINT: Self = Self {
        delivery: Delivery::Group,
        isolation: Isolation::Group,
        rewrites: Rewrites::usual(),
        delay: None,
        grace: None,
        rest: Rest::Wait(Limit::Usual),
        subreaper: true,
        parent_death: None,
        success: ExitCodes([0; 4]),
        pause: false,
        verbosity: Verbosity::WARNINGS,
        report_reaped: false,
        stop_with_child: false,
        warn_no_subreaper: false,
    };
}

#[cfg(test)]
mod tests;
