//! The command line of `pipkin-runtime`: runc's, one file per command.

mod checkpoint;
mod create;
mod delete;
mod duration;
mod events;
mod exec;
mod features;
mod go_flags;
mod kill;
mod list;
mod one_command;
mod pause;
mod plain;
mod plan;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, FromArgMatches, Parser, Subcommand};

use crate::cgroup;
use crate::container::Runtime;
use crate::error::Result;
use crate::log;
use crate::state::Store;
use crate::trace;

/// A container runtime: makes, starts and removes containers as the Open Container Initiative specifies.
///
/// Engines such as podman, containerd and Docker call it; its command line is that of runc.
#[derive(Debug, Parser)]
#[command(name = "pipkin-runtime", version = VERSION, propagate_version = false, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// Those that come before the command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
struct Options {
    /// Where the containers' states are kept.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Write warnings and errors to this file, too; or to the machine's log: journald:NAME, syslog:NAME.
    #[arg(long, value_name = "FILE")]
    log: Option<log::Destination>,
    /// How they are written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: log::Format,
    /// Write how long each step took there, for chrome://tracing or Perfetto.
    #[arg(long, value_name = "FILE")]
    trace_boot: Option<PathBuf>,
    /// What is written: this and what is worse.
    #[arg(long, value_name = "LEVEL", default_value = "warning")]
    log_level: log::Level,
    /// Tell more: as --log-level debug.
    #[arg(long)]
    debug: bool,
    /// Let systemd make the cgroups; linux.cgroupsPath is then SLICE:PREFIX:NAME.
    #[arg(long, conflicts_with = "cgroup_manager")]
    systemd_cgroup: bool,
    /// Who makes the cgroups; "disabled": containers stay in the caller's.
    #[arg(long, value_name = "WHO", default_value = "cgroupfs")]
    cgroup_manager: cgroup::Manager,
    /// Whether a container goes without a cgroup where it may not have one: true, false, or auto, unless root calls.
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = rootless)]
    rootless: Rootless,
    /// The program for checkpoint and restore.
    #[arg(long, value_name = "FILE", default_value = "criu")]
    criu: PathBuf,
}

/// What `--version` prints; engines read the second line.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

#[derive(Debug, Subcommand)]
enum Command {
    Checkpoint(checkpoint::Checkpoint),
    Create(create::Create),
    Delete(delete::Delete),
    Events(events::Events),
    Exec(exec::Exec),
    Features(features::Features),
    Kill(kill::Kill),
    List(list::List),
    Pause(pause::Pause),
    Plan(plan::Plan),
    Ps(ps::Ps),
    Restore(checkpoint::Restore),
    Resume(pause::Resume),
    Run(run::Run),
    Spec(spec::Spec),
    Start(start::Start),
    State(state::State),
    Update(update::Update),
}

/// The definitions behind `--help`, for man pages and completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parses, runs, and turns the result into an exit status.
pub fn main() -> u8 {
    let cli = match plain::parse(std::env::args_os()).or_else(one_command::parse).map_or_else(parse, Ok) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let failure = if matches!(cli.command, Command::Exec(_)) { exec::FAILURE } else { 1 };
    let Options { log, log_format, log_level, debug, trace_boot, .. } = &cli.options;
    let level = if *debug { log::Level::Debug } else { *log_level };
    let result = log::set_up(log.as_ref(), *log_format, level)
        .and_then(|()| trace_boot.as_deref().map_or(Ok(()), trace::begin))
        .and_then(|()| cli.run());
    trace::step("tidy up");
    trace::flush();
    match result {
        Ok(status) => status,
        Err(error) => {
            log::error(error);
            failure
        }
    }
}

#[cold]
#[inline(never)]
fn parse() -> std::result::Result<Cli, clap::Error> {
    let command = go_flags::forgiving(command());
    let words = go_flags::arguments(&command);
    Cli::from_arg_matches_mut(&mut command.try_get_matches_from(words)?)
}

/// What is wrong with the command line, or the help that was asked for; the exit status.
#[cold]
#[inline(never)]
fn explain(error: &clap::Error) -> u8 {
    if error.kind() == clap::error::ErrorKind::InvalidUtf8 {
        let words = std::env::args_os().filter(|word| word.to_str().is_none()).map(|word| format!("{word:?}"));
        let message =
            format!("error: {}: not UTF-8, which only names of files may be", words.collect::<Vec<_>>().join(", "));
        eprintln!("{message}");
        log_misuse(&message);
        return 1;
    }
    let _ = error.print();
    if error.use_stderr() {
        log_misuse(&error.to_string());
    }
    u8::from(error.use_stderr())
}

/// Engines read the log file, also when the rest of the command line made no sense.
fn log_misuse(message: &str) {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let value = |name: &str| {
        let position = words.iter().position(|word| word.split('=').next() == Some(name))?;
        words[position].split_once('=').map(|(_, value)| value.to_owned()).or_else(|| words.get(position + 1).cloned())
    };
    let format = if value("--log-format").as_deref() == Some("json") { log::Format::Json } else { log::Format::Text };
    if let Some(log) = value("--log")
        && log::set_up(Some(&OsString::from(log).into()), format, log::Level::default()).is_ok()
    {
        let line = message.lines().next().unwrap_or_default();
        log::to_log(line.strip_prefix("error: ").unwrap_or(line));
    }
}

impl Cli {
    /// Each command's `run` is kept out of line: inlined here, the locals of all of them would be one frame of four pages, and
    /// every page of the stack that is touched costs a start a microsecond.
    #[inline(never)]
    fn run(self) -> Result<u8> {
        let Options { root, systemd_cgroup, cgroup_manager, rootless, criu, .. } = self.options;
        let manager = if systemd_cgroup { cgroup::Manager::Systemd } else { cgroup_manager };
        let cgroups = cgroup::Driving { manager, forgiving: rootless.0 };
        let runtime = Runtime::new(root.unwrap_or_else(Store::default_root)).with_cgroups(cgroups).with_criu(criu);
        let done = |result: Result<()>| result.map(|()| 0);
        match self.command {
            Command::Checkpoint(checkpoint) => done(checkpoint.run(&runtime)),
            Command::Create(create) => done(create.run(&runtime)),
            Command::Delete(delete) => done(delete.run(&runtime)),
            Command::Events(events) => done(events.run(&runtime)),
            Command::Exec(exec) => exec.run(&runtime),
            Command::Features(features) => done(features.run()),
            Command::Kill(kill) => done(kill.run(&runtime)),
            Command::List(list) => done(list.run(&runtime)),
            Command::Pause(pause) => done(pause.run(&runtime)),
            Command::Plan(plan) => plan.run(&runtime),
            Command::Ps(ps) => done(ps.run(&runtime)),
            Command::Restore(restore) => restore.run(&runtime),
            Command::Resume(resume) => done(resume.run(&runtime)),
            Command::Run(run) => run.run(&runtime),
            Command::Spec(spec) => done(spec.run()),
            Command::Start(start) => done(start.run(&runtime)),
            Command::State(state) => done(state.run(&runtime)),
            Command::Update(update) => done(update.run(&runtime)),
        }
    }
}

/// `--rootless`; `None` is auto.
#[derive(Clone, Copy, Debug)]
struct Rootless(Option<bool>);

/// As Go reads it: `true`, `false` and their short forms, `auto`.
fn rootless(text: &str) -> std::result::Result<Rootless, String> {
    match text {
        "auto" => Ok(Rootless(None)),
        text => {
            let value = go_flags::truth(text).ok_or_else(|| "is neither true, false nor auto".to_owned())?;
            Ok(Rootless(Some(value)))
        }
    }
}

/// Writes to standard output; a reader that has gone away is no error worth a word.
fn print(text: &str) {
    use std::io::Write;
    let mut output = std::io::stdout();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// An exit status as a process can have it.
fn exit_status(status: i32) -> u8 {
    u8::try_from(status & 0xff).unwrap_or(u8::MAX)
}
