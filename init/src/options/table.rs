//! The options: one table for all personas. What each does is one line in the help text.

use super::persona::Persona;
use crate::start::Text;

/// What an option or a variable stands for, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "named after the options of pipkin-init")]
pub enum Meaning {
    Group,
    SingleChild,
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

    /// Whether it is in this set.
    pub fn is_in(self, set: u32) -> bool {
        set >> self as u8 & 1 == 1
    }
}

/// Who has an option: with its letter the low four bits, by its name the high four, each a bit for a [`Persona`].
type Users = u8;
const OURS: Users = 0x11 << Persona::Pipkin as u8;
const DUMB: Users = 0x11 << Persona::DumbInit as u8;
const TINI: Users = 0x01 << Persona::Tini as u8;
const CATATONIT: Users = 0x01 << Persona::Catatonit as u8;

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// Its letter, or 0.
    pub letter: u8,
    users: Users,
    /// What it stands for.
    pub meaning: Meaning,
}

impl Opt {
    const fn new(letter: u8, users: Users, meaning: Meaning) -> Self {
        Self { letter, users, meaning }
    }

    /// Whether `persona` has it with its letter.
    pub fn has_letter(self, persona: Persona) -> bool {
        self.users >> persona as u8 & 1 == 1
    }

    /// Whether `persona` has it by its name.
    pub fn has_name(self, persona: Persona) -> bool {
        self.users >> 4 >> persona as u8 & 1 == 1
    }
}

/// The long names of [`OPTIONS`].
pub const NAMES: Text<'static> = Text::of(
    c"group single-child once rewrite delay wait no-wait grace exit-zero subreaper no-subreaper parent-death session pause \
      verbose report-reaped help version license",
);

/// All options of all personas.
pub static OPTIONS: [Opt; 20] = [
    Opt::new(b'g', OURS | TINI | CATATONIT, Meaning::Group),
    Opt::new(b'c', OURS | DUMB, Meaning::SingleChild),
    Opt::new(0, OURS, Meaning::Once),
    Opt::new(b'r', OURS | DUMB, Meaning::Rewrite),
    Opt::new(0, OURS, Meaning::Delay),
    Opt::new(0, OURS, Meaning::Wait),
    Opt::new(0, OURS, Meaning::NoWait),
    Opt::new(0, OURS, Meaning::Grace),
    Opt::new(b'e', OURS | TINI, Meaning::ExitZero),
    Opt::new(b's', OURS | TINI, Meaning::Subreaper),
    Opt::new(0, OURS, Meaning::NoSubreaper),
    Opt::new(b'p', OURS | TINI, Meaning::ParentDeath),
    Opt::new(0, OURS, Meaning::Session),
    Opt::new(b'P', OURS | CATATONIT, Meaning::Pause),
    Opt::new(b'v', OURS | DUMB | TINI, Meaning::Verbose),
    Opt::new(b'w', OURS | TINI, Meaning::ReportReaped),
    Opt::new(b'h', OURS | DUMB | TINI | CATATONIT, Meaning::Help),
    Opt::new(b'V', OURS | DUMB | CATATONIT | CATATONIT << 4, Meaning::Version),
    Opt::new(b'L', OURS | CATATONIT, Meaning::License),
    Opt::new(b'l', TINI, Meaning::License),
];

/// Options with a value: `-oVALUE`, `-o VALUE`, `--option=VALUE` or `--option VALUE`.
pub const TAKE_VALUE: u32 = Meaning::Rewrite.bit()
    | Meaning::Delay.bit()
    | Meaning::Grace.bit()
    | Meaning::ExitZero.bit()
    | Meaning::ParentDeath.bit();

/// Options that do something at once, and have no variable.
pub const ACTIONS: u32 = Meaning::Help.bit() | Meaning::Version.bit() | Meaning::License.bit();

/// Options of `pipkin-init` that contradict each other: no two of one row.
pub static CONFLICTS: [u32; 3] = [
    Meaning::Group.bit() | Meaning::SingleChild.bit() | Meaning::Once.bit(),
    Meaning::Wait.bit() | Meaning::NoWait.bit(),
    Meaning::Subreaper.bit() | Meaning::NoSubreaper.bit(),
];

/// What has no effect without a command.
pub const NEED_COMMAND: u32 = CONFLICTS_ON_SIGNALS
    | Meaning::Rewrite.bit()
    | Meaning::Delay.bit()
    | Meaning::Wait.bit()
    | Meaning::NoWait.bit()
    | Meaning::Grace.bit()
    | Meaning::ExitZero.bit()
    | Meaning::Session.bit();
const CONFLICTS_ON_SIGNALS: u32 = Meaning::Group.bit() | Meaning::SingleChild.bit() | Meaning::Once.bit();

/// The variables of the originals.
pub const VARIABLE_NAMES: Text<'static> = Text::of(
    c"DUMB_INIT_DEBUG DUMB_INIT_SETSID TINI_SUBREAPER TINI_KILL_PROCESS_GROUP TINI_VERBOSITY CATATONIT_DEBUG CATATONIT_LOG",
);

/// Whose variables [`VARIABLE_NAMES`] are, the one value that counts (0: any does), and what they stand for.
pub static VARIABLES: [(Persona, u8, Meaning); 7] = [
    (Persona::DumbInit, b'1', Meaning::Debug),
    (Persona::DumbInit, b'0', Meaning::SingleChild),
    (Persona::Tini, 0, Meaning::Subreaper),
    (Persona::Tini, 0, Meaning::Group),
    (Persona::Tini, 0, Meaning::Level),
    (Persona::Catatonit, 0, Meaning::Debug),
    (Persona::Catatonit, 0, Meaning::Reserved),
];
