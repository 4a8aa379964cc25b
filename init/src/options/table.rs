//! The options of each persona. What each does is one line in that persona's help text.

/// Whether an option has a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    /// No.
    Nothing,
    /// Yes: `--option VALUE` or `--option=VALUE`.
    Value,
    /// `--option=VALUE`, or nothing.
    MaybeValue,
}

/// What an option stands for, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "named after the options of pipkin-init")]
pub enum Meaning {
    SingleChild,
    Group,
    Once,
    Rewrite,
    Delay,
    Wait,
    NoWait,
    Grace,
    ExitZero,
    Subreaper,
    NoSubreaper,
    ParentDeath,
    Session,
    Pause,
    Verbose,
    ReportReaped,
    Help,
    Version,
    License,
    /// Only by variable: all messages.
    Debug,
    /// Only by variable: this level of messages.
    Level,
    /// Only by variable: nothing yet, and refused.
    Reserved,
}

impl Meaning {
    /// Its bit in a set of meanings.
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// One option.
#[derive(Debug)]
pub struct Opt {
    /// Its letter, or 0.
    pub letter: u8,
    /// Its long name, or nothing.
    pub name: &'static str,
    /// Whether it has a value.
    pub takes: Takes,
    /// What it stands for.
    pub meaning: Meaning,
}

const fn option(letter: u8, name: &'static str, takes: Takes, meaning: Meaning) -> Opt {
    Opt { letter, name, takes, meaning }
}

use Takes::{MaybeValue, Nothing, Value};

/// `pipkin-init`
pub static PIPKIN: [Opt; 19] = [
    option(b'g', "group", Nothing, Meaning::Group),
    option(b'c', "single-child", Nothing, Meaning::SingleChild),
    option(0, "once", Nothing, Meaning::Once),
    option(b'r', "rewrite", Value, Meaning::Rewrite),
    option(0, "delay", Value, Meaning::Delay),
    option(0, "wait", MaybeValue, Meaning::Wait),
    option(0, "no-wait", Nothing, Meaning::NoWait),
    option(0, "grace", Value, Meaning::Grace),
    option(b'e', "exit-zero", Value, Meaning::ExitZero),
    option(b's', "subreaper", Nothing, Meaning::Subreaper),
    option(0, "no-subreaper", Nothing, Meaning::NoSubreaper),
    option(b'p', "parent-death", Value, Meaning::ParentDeath),
    option(0, "session", Nothing, Meaning::Session),
    option(b'P', "pause", Nothing, Meaning::Pause),
    option(b'v', "verbose", Nothing, Meaning::Verbose),
    option(b'w', "report-reaped", Nothing, Meaning::ReportReaped),
    option(b'h', "help", Nothing, Meaning::Help),
    option(b'V', "version", Nothing, Meaning::Version),
    option(b'L', "license", Nothing, Meaning::License),
];

/// `dumb-init`
pub static DUMB_INIT: [Opt; 5] = [
    option(b'c', "single-child", Nothing, Meaning::SingleChild),
    option(b'r', "rewrite", Value, Meaning::Rewrite),
    option(b'v', "verbose", Nothing, Meaning::Verbose),
    option(b'h', "help", Nothing, Meaning::Help),
    option(b'V', "version", Nothing, Meaning::Version),
];

/// `tini`, `tini-static`, `docker-init`
pub static TINI: [Opt; 8] = [
    option(b'h', "", Nothing, Meaning::Help),
    option(b's', "", Nothing, Meaning::Subreaper),
    option(b'p', "", Value, Meaning::ParentDeath),
    option(b'v', "", Nothing, Meaning::Verbose),
    option(b'w', "", Nothing, Meaning::ReportReaped),
    option(b'g', "", Nothing, Meaning::Group),
    option(b'e', "", Value, Meaning::ExitZero),
    option(b'l', "", Nothing, Meaning::License),
];

/// `catatonit`
pub static CATATONIT: [Opt; 5] = [
    option(b'g', "", Nothing, Meaning::Group),
    option(b'h', "", Nothing, Meaning::Help),
    option(b'L', "", Nothing, Meaning::License),
    option(b'P', "", Nothing, Meaning::Pause),
    option(b'V', "version", Nothing, Meaning::Version),
];

/// A variable of an original.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The one value that counts; empty: every value does.
    pub value: &'static str,
    /// What it stands for.
    pub meaning: Meaning,
}

const fn variable(name: &'static str, value: &'static str, meaning: Meaning) -> Variable {
    Variable { name, value, meaning }
}

/// The variables of the originals, whose names tell whose they are.
pub static VARIABLES: [Variable; 7] = [
    variable("DUMB_INIT_DEBUG", "1", Meaning::Debug),
    variable("DUMB_INIT_SETSID", "0", Meaning::SingleChild),
    variable("TINI_SUBREAPER", "", Meaning::Subreaper),
    variable("TINI_KILL_PROCESS_GROUP", "", Meaning::Group),
    variable("TINI_VERBOSITY", "", Meaning::Level),
    variable("CATATONIT_DEBUG", "", Meaning::Debug),
    variable("CATATONIT_LOG", "", Meaning::Reserved),
];

/// Options of `pipkin-init` that contradict each other: no two of one row.
pub static CONFLICTS: [u32; 3] = [
    Meaning::Group.bit() | Meaning::SingleChild.bit() | Meaning::Once.bit(),
    Meaning::Wait.bit() | Meaning::NoWait.bit(),
    Meaning::Subreaper.bit() | Meaning::NoSubreaper.bit(),
];

/// What has no effect without a command.
pub const NEEDS_COMMAND: u32 = Meaning::Group.bit()
    | Meaning::SingleChild.bit()
    | Meaning::Once.bit()
    | Meaning::Rewrite.bit()
    | Meaning::Delay.bit()
    | Meaning::Wait.bit()
    | Meaning::NoWait.bit()
    | Meaning::Grace.bit()
    | Meaning::ExitZero.bit()
    | Meaning::Session.bit();
