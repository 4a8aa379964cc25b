//! `pipkin-init`: PID 1 for containers, and drop-in for dumb-init, tini and catatonit.
//!
//! A program without a C library and without the standard library: a container has one of it in memory for as long as
//! it lives, and its start is part of every container's. Read from [`run`] downwards.
//!
//! - [`options`]: from the command line and the environment to [`options::Settings`]
//! - [`command`]: the main child; [`diagnosis`]: why it does not start
//! - [`supervisor`]: signals, orphans, the end; with [`delivery`] and [`job`]
//! - [`processes`]: what `/proc` knows; [`messages`] and [`line`]: what is said
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
pub mod texts;
pub mod words;

use command::Command;
use kernel::errno::EAGAIN;
use kernel::process::{self, Pid};
use kernel::signals::{self, Action, SignalSet};
use kernel::{file, terminal};
use line::Line;
use messages::{say, say_of};
use options::{Isolation, Settings};
use signal::Signal;
use start::{CommandLine, Text, Words};
use supervisor::Supervisor;

/// The init. Returns its exit code.
pub fn run(words: CommandLine<'static>, environment: Words<'static>) -> u8 {
    let mut settings = Settings::NOTHING;
    let words = options::read(words, environment, &mut settings);

    let blocked = signals::block(SignalSet::ALL);
    // Ignored, children would vanish without a word.
    let on_child = signals::set_action(Signal::CHLD, &Action::DEFAULT);
    adopt_orphans(&settings);
    if let Some(signal) = settings.parent_death
        && process::signal_on_parent_death(signal) != 0
    {
        say(&settings, 0, text!("PR_SET_PDEATHSIG failed"), 0);
        return settings.persona.codes().own;
    }
    let (mut child, mut unmeant) = (Pid(0), SignalSet(0));
    if !settings.pause {
        if settings.isolation == Isolation::Session {
            unmeant = give_up_terminal();
        }
        let (isolation, parent) = (settings.isolation, process::own_pid());
        let name = words.peek().unwrap_or(Text::of(c""));
        let mut command = Command { words, name, environment, isolation, blocked, on_child, parent, failure: 0 };
        child.0 = command.start();
        if child.0 < 0 {
            return explain(&settings, &command, child.0);
        }
        say_of(&settings, 2, text!("the main child is process #: @"), child.0 as u64, command.name);
    }
    // An init holds nothing that others may wait to become free: no file system, no pipe, no socket.
    file::leave_working_directory();
    file::close_inherited();
    Supervisor::supervise(&settings, child, unmeant)
}

fn adopt_orphans(settings: &Settings) {
    if process::own_pid() == Pid(1) {
        return;
    }
    if settings.subreaper {
        process::become_subreaper(); // fails before Linux 3.4 only
    } else if settings.warn_no_subreaper {
        say(settings, 1, text!("not PID 1 and no subreaper: orphans go elsewhere; use -s or set TINI_SUBREAPER"), 0);
    }
}

/// Leaves the terminal to the session that the main child will lead. Its old session's leader is told by HUP and CONT,
/// which are not meant for the child then.
fn give_up_terminal() -> SignalSet {
    let leads = process::own_session() == process::own_pid();
    if terminal::give_up_stdin() && leads {
        SignalSet(SignalSet::of(Signal::HUP).0 | SignalSet::of(Signal::CONT).0)
    } else {
        SignalSet(0)
    }
}

/// Says why the command was not started, and returns the exit code for that.
#[cold]
#[inline(never)]
fn explain(settings: &Settings, command: &Command<'_>, errno: i32) -> u8 {
    let mut code = settings.persona.codes().own;
    let mut line = Line::new();
    messages::begin(&mut line, settings.persona, 0);
    if command.failure != 0 {
        let exists = diagnosis::explain(command, errno, &mut line);
        code = settings.persona.codes().for_execution(errno, exists);
    } else {
        line.add(text!("no process can be started: "), 0, command.name);
        let text = if errno == EAGAIN { text!("the number of processes is limited") } else { text!("error #") };
        line.add(text, errno.unsigned_abs().into(), command.name);
    }
    line.end(2);
    code
}
