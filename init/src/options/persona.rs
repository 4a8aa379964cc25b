//! The programs as which the init can be called, told apart by the name it is called with: their options, variables,
//! defaults, exit codes and version lines.

use super::table::{CATATONIT, DUMB_INIT, Opt, PIPKIN, TINI};
use super::{Delivery, Isolation, Rest, Settings};
use crate::kernel::Errno;
use crate::signal::Signal;
use crate::words::{parts, position};

/// How a persona's original reads its command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usage {
    /// Whole names; contradictions are errors.
    Pipkin,
    /// Long names may be abbreviated, `getopt_long(3)`.
    Abbreviated,
    /// Letters only, and `--version` when it is all there is.
    VersionAlone,
}

/// How a persona's original begins its messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the style of that program")]
pub enum MessageStyle {
    Pipkin,
    DumbInit,
    Tini,
    Catatonit,
}

/// Exit codes for what fails before the command runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailureCodes {
    /// The command line or the init itself.
    pub own: u8,
    /// The command was not found.
    pub not_found: u8,
    /// The command can not be executed: `EACCES`.
    pub not_permitted: u8,
    /// It can not be executed for another reason.
    pub other: u8,
}

impl FailureCodes {
    /// The code for a command whose execution failed with `errno`, the file being there or not.
    pub fn for_execution(&self, errno: Errno, exists: bool) -> u8 {
        match errno {
            // The file may be there and its interpreter not, which the originals do not tell apart.
            Errno(2) if !exists || self.own == 1 => self.not_found,
            Errno(13) => self.not_permitted,
            _ => self.other,
        }
    }
}

/// One of the programs.
pub struct Persona {
    /// Its options.
    pub options: &'static [Opt],
    /// How it reads them.
    pub usage: Usage,
    /// How it begins its messages.
    pub style: MessageStyle,
    /// What it prints when asked for its version, and where: 1 or 2.
    pub version: (&'static str, i32),
    /// What it prints when asked for help, and where.
    pub help: (&'static str, i32),
    /// What it does unless told otherwise.
    pub defaults: Settings,
    /// Its exit codes for failures.
    pub codes: FailureCodes,
    /// With what its variables begin.
    pub(super) variables: &'static str,
}

/// What all of them print when asked for their licence.
pub const LICENSE: &str =
    "pipkin-init, part of pipkin. Apache License, Version 2.0: http://www.apache.org/licenses/LICENSE-2.0\n";

impl Persona {
    /// The persona for the name with which the program was called, whatever directory stands before it.
    pub fn of(name: &[u8]) -> &'static Self {
        let name = parts(name, b'/').last().unwrap_or_default();
        match position("dumb-init catatonit tini tini-static docker-init", name) {
            Some(0) => &DUMB,
            Some(1) => &CATATONIC,
            Some(_) => &TINY,
            None => &OWN,
        }
    }

    /// What follows from the options when all are read.
    pub fn complete(&self, settings: &mut Settings) {
        if self.style == MessageStyle::DumbInit && settings.delivery == Delivery::MainChild {
            settings.isolation = Isolation::None;
            settings.stop_with_child = true;
            settings.rewrites.stop_for_certain = false;
        }
    }
}

static OWN: Persona = Persona {
    options: &PIPKIN,
    usage: Usage::Pipkin,
    style: MessageStyle::Pipkin,
    version: (concat!("pipkin-init ", env!("CARGO_PKG_VERSION"), "\n"), 1),
    help: (
        "\
Usage: pipkin-init [OPTION...] [--] COMMAND [ARGUMENT...]
Runs COMMAND as the main child, passes signals on, reaps orphans, and ends with COMMAND's exit code.

Signals
  -g, --group            pass them to the main child's whole process group (default)
  -c, --single-child     pass them to the main child alone
      --once             spare those whose parent handles the signal, and so passes it on
  -r, --rewrite FROM:TO  pass FROM on as TO: TERM:QUIT, 15:3, HUP:RTMIN+1; TO 0 drops it
      --delay TIME       hold the first TERM back for TIME; a second one passes at once
The end
      --wait[=TIME]      when the main child is gone, TERM the rest, wait, KILL it after TIME
                         (default: 10s, or no limit once told to stop; without TIME: no limit)
      --no-wait          TERM the rest and end at once
      --grace TIME       TIME after TERM or INT was passed on, KILL all, end with 137
  -e, --exit-zero CODE   end with 0 when COMMAND ended with CODE
The process
  -s, --subreaper        adopt orphans also when not PID 1 (default)
      --no-subreaper     do not
  -p, --parent-death SIG get SIG when the parent dies
      --session          run COMMAND in a session of its own
  -P, --pause            run nothing: reap until TERM or INT
Messages
  -v, --verbose          say more; -vv: say all
  -w, --report-reaped    tell of each orphan that ended
  -h, --help   -V, --version   -L, --license

TIME: 500ms, 10s, 2m, 1h. Each option also by environment: PIPKIN_INIT_GRACE=8s, PIPKIN_INIT_ONCE=1.
Exit codes: COMMAND's, or 128+n when signal n ended it; 127 not found, 126 not executable, 125 other.
",
        1,
    ),
    defaults: Settings::ENTRYPOINT,
    codes: FailureCodes { own: 125, not_found: 127, not_permitted: 126, other: 126 },
    variables: "PIPKIN_INIT_",
};

static DUMB: Persona = Persona {
    options: &DUMB_INIT,
    usage: Usage::Abbreviated,
    style: MessageStyle::DumbInit,
    version: ("dumb-init v1.2.5\n", 2),
    help: (
        "\
Usage: dumb-init [OPTION...] COMMAND [ARGUMENT...]
  -c, --single-child  signals go to the child alone, not to its session
  -r, --rewrite S:R   pass signal S on as R; R 0 drops it
  -v, --verbose       say what happens
  -h, --help   -V, --version
",
        2,
    ),
    defaults: {
        let mut settings = ORIGINALS;
        settings.isolation = Isolation::Session;
        settings.subreaper = false;
        settings.rest = Rest::Terminate;
        settings.rewrites.stop_for_certain = true;
        settings.stop_with_child = true;
        settings
    },
    codes: FailureCodes { own: 1, not_found: 2, not_permitted: 2, other: 2 },
    variables: "DUMB_INIT_",
};

static TINY: Persona = Persona {
    options: &TINI,
    usage: Usage::VersionAlone,
    style: MessageStyle::Tini,
    version: ("tini version 0.19.0\n", 1),
    help: (
        "\
Usage: tini [OPTION...] COMMAND [ARGUMENT...] | --version
  -s         adopt orphans when not PID 1 (TINI_SUBREAPER)
  -g         signals go to the child's process group (TINI_KILL_PROCESS_GROUP)
  -e CODE    end with 0 when COMMAND ended with CODE
  -p SIGNAL  get SIGNAL when the parent dies
  -w         tell of each orphan that ended
  -v         say more (TINI_VERBOSITY)
  -h help  -l licence
",
        1,
    ),
    defaults: {
        let mut settings = ORIGINALS;
        settings.delivery = Delivery::MainChild;
        settings.subreaper = false;
        settings.warn_no_subreaper = true;
        settings.rewrites.set(Signal::TTIN, None);
        settings.rewrites.set(Signal::TTOU, None);
        settings
    },
    codes: FailureCodes { own: 1, not_found: 127, not_permitted: 126, other: 1 },
    variables: "TINI_",
};

static CATATONIC: Persona = Persona {
    options: &CATATONIT,
    usage: Usage::Abbreviated,
    style: MessageStyle::Catatonit,
    // Docker looks for these first two words.
    version: ("tini version 0.2.1_catatonit\n", 1),
    help: (
        "\
Usage: catatonit [-ghLPV] [--] COMMAND [ARGUMENT...]
  -g             signals go to the child's process group
  -P             run nothing: reap until TERM or INT
  -h help  -L licence  -V, --version
",
        2,
    ),
    defaults: {
        let mut settings = ORIGINALS;
        settings.delivery = Delivery::MainChild;
        settings.rewrites.set(Signal::TSTP, None);
        settings.rewrites.set(Signal::TTIN, None);
        settings.rewrites.set(Signal::TTOU, None);
        settings
    },
    codes: FailureCodes { own: 1, not_found: 1, not_permitted: 1, other: 1 },
    variables: "CATATONIT_",
};

/// What the three originals have in common.
const ORIGINALS: Settings = Settings { rest: Rest::Leave, ..Settings::ENTRYPOINT };
