//! `pipkin-init`: PID 1 for containers, and drop-in for dumb-init, tini and catatonit.
//!
//! A program without a C library and without the standard library: a container has one of it in memory for as long as
//! it lives, and its start is part of every container's. Read from [`run`] downwards.
//!
//! - [`options`]: from the command line and the environment to [`options::Settings`]
//! - [`command`]: the main child; [`diagnosis`]: why it does not start
//! - [`supervisor`]: signals, orphans, the end; with [`delivery`] and [`job`]
//! - [`processes`]: what `/proc` knows
//! - [`start`] and [`kernel`]: the machine and the system calls, and all that is `unsafe`
//! - [`hello`]: the other program of this package
#![cfg_attr(not(test), no_std)]

pub mod command;
pub mod delivery;
pub mod diagnosis;
pub mod duration;
pub mod hello;
pub mod job;
pub mod kernel;
pub mod line;
pub mod messages;
pub mod options;
pub mod processes;
pub mod signal;
pub mod start;
pub mod supervisor;
pub mod words;

use command::{Command, Failure};
use kernel::process::{self, Pid};
use kernel::signals::{self, Disposition, SignalSet};
use kernel::{file, terminal};
use messages::Messages;
use options::persona::LICENSE;
use options::{Isolation, Persona, Reading, Refusal, Settings, Verbosity};
use signal::Signal;
use start::{CommandLine, Environment};
use supervisor::Supervisor;

/// The init. Returns its exit code.
pub fn run(mut words: CommandLine, mut environment: Environment) -> u8 {
    let persona = Persona::of(words.get(0).unwrap_or_default().to_bytes());
    let mut settings = persona.defaults;
    let reading = match read_options(persona, &words, &environment, &mut settings) {
        Ok(reading) => reading,
        Err(refusal) => return refuse(persona, &refusal),
    };
    let messages = Messages::new(persona.style, settings.verbosity);
    let first = match reading {
        Reading::Help => return print(persona.help),
        Reading::Version => return print(persona.version),
        Reading::License => return print((LICENSE, 1)),
        Reading::Pause => None,
        Reading::Command(first) => Some(first),
    };

    let blocked = signals::block(SignalSet::ALL);
    // Ignored, children would vanish without a word.
    let on_child = signals::set_disposition(Signal::CHLD, Disposition::Default);
    adopt_orphans(&settings, messages);
    if let Some(signal) = settings.parent_death
        && process::signal_on_parent_death(signal).is_err()
    {
        messages.say_text(Verbosity::ERRORS, "PR_SET_PDEATHSIG failed");
        return persona.codes.own;
    }
    let Some(first) = first else {
        leave_surroundings();
        return Supervisor::new(&settings, messages, None, SignalSet(0)).run();
    };
    let unmeant = if settings.isolation == Isolation::Session { give_up_terminal() } else { SignalSet(0) };
    let isolation = settings.isolation;
    let mut command = Command { words: &mut words, environment: &mut environment, first, isolation, blocked, on_child };
    match command.start() {
        Ok(child) => {
            messages.say(Verbosity::INFORMATION, &mut |line| {
                line.text("the main child is process ").number(child.0 as u64).text(": ").foreign(command.name());
            });
            leave_surroundings();
            Supervisor::new(&settings, messages, Some(child), unmeant).run()
        }
        Err(failure) => explain(persona, messages, &command, failure),
    }
}

fn read_options(
    persona: &Persona,
    words: &CommandLine,
    environment: &Environment,
    settings: &mut Settings,
) -> Result<Reading, Refusal> {
    options::read_environment(environment.iter(), settings)?;
    let reading = options::read_command_line(persona, words, settings)?;
    options::read_originals(persona, environment.iter(), settings)?;
    persona.complete(settings);
    Ok(reading)
}

fn refuse(persona: &Persona, refusal: &Refusal) -> u8 {
    Messages::new(persona.style, Verbosity::ERRORS).say(Verbosity::ERRORS, &mut |line| {
        refusal.describe(line);
        line.text(" (see -h)");
    });
    persona.codes.own
}

fn print((text, to): (&str, i32)) -> u8 {
    file::write(to, text.as_bytes());
    0
}

fn adopt_orphans(settings: &Settings, messages: Messages) {
    if process::own_pid() == Pid(1) {
        return;
    }
    if settings.subreaper {
        let _ = process::become_subreaper(); // fails before Linux 3.4 only
    } else if settings.warn_no_subreaper {
        messages.say_text(
            Verbosity::WARNINGS,
            "not PID 1 and no subreaper: orphans go elsewhere; use -s or set TINI_SUBREAPER",
        );
    }
}

/// Leaves the terminal to the session that the main child will lead. Its old session's leader is told by HUP and CONT,
/// which are not meant for the child then.
fn give_up_terminal() -> SignalSet {
    let leads = process::own_session() == process::own_pid();
    match terminal::give_up_stdin() {
        Ok(()) if leads => SignalSet(1 << (Signal::HUP.number() - 1) | 1 << (Signal::CONT.number() - 1)),
        _ => SignalSet(0),
    }
}

/// An init holds nothing that others may wait to become free: no file system, no pipe, no socket.
fn leave_surroundings() {
    file::leave_working_directory();
    file::close_inherited();
}

fn explain(persona: &Persona, messages: Messages, command: &Command<'_>, failure: Failure) -> u8 {
    let mut code = persona.codes.own;
    messages.say(Verbosity::ERRORS, &mut |line| match failure {
        Failure::NoProcess(kernel::Errno(11)) => {
            line.text("no process can be started: the number of processes is limited");
        }
        Failure::NoProcess(errno) => {
            line.text("no process can be started: error ").number(errno.0.into());
        }
        Failure::NotExecuted(errno) => {
            let exists = diagnosis::explain(command, errno, line);
            code = persona.codes.for_execution(errno, exists);
        }
    });
    code
}
