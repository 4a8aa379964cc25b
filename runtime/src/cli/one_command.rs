//! Reads a command line knowing only the command that it asks for: to know the options of all takes longer than anything
//! else before the first side effect (155 us against about 90).

use std::ffi::OsStr;

use clap::{Args, FromArgMatches};

use super::{Cli, Options, create, delete, events, exec, go_flags, kill, pause, ps, run, start, state, update};

/// `None` when anything is unusual, such as a mistake or `--help`: whoever knows all commands then has the right words.
#[cold]
#[inline(never)]
pub(super) fn parse() -> Option<Cli> {
    let (name, options_of) = std::env::args_os().skip(1).find_map(|word| options_of(&word))?;
    let command = options_of(clap::Command::new(name));
    let program = Options::augment_args(clap::Command::new("pipkin-runtime")).subcommand(command);
    let program = go_flags::forgiving(program);
    let words = go_flags::arguments(&program);
    let mut matches = program.try_get_matches_from(words).ok()?;
    Cli::from_arg_matches_mut(&mut matches).ok()
}

/// A command's name, and what gives it its options.
type Named = (&'static str, fn(clap::Command) -> clap::Command);

/// The commands that engines wait for. A word that is none, such as the value of an option that happens to be called so,
/// does no harm: what then does not fit is read again.
fn options_of(word: &OsStr) -> Option<Named> {
    Some(match word.to_str()? {
        "create" => ("create", create::Create::augment_args),
        "delete" => ("delete", delete::Delete::augment_args),
        "events" => ("events", events::Events::augment_args),
        "exec" => ("exec", exec::Exec::augment_args),
        "kill" => ("kill", kill::Kill::augment_args),
        "pause" => ("pause", pause::Pause::augment_args),
        "ps" => ("ps", ps::Ps::augment_args),
        "resume" => ("resume", pause::Resume::augment_args),
        "run" => ("run", run::Run::augment_args),
        "start" => ("start", start::Start::augment_args),
        "state" => ("state", state::State::augment_args),
        "update" => ("update", update::Update::augment_args),
        _ => return None,
    })
}
