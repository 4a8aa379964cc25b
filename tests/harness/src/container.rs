//! A container that a test has created, seen the way an engine sees it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use serde_json::Value;

use crate::bundle::Bundle;
use crate::lab::Lab;
use crate::program::{DEADLINE, Finished, Program, await_readable};

/// A created container; `delete --force`d when dropped, unless it has been deleted.
pub struct Container<'lab> {
    lab: &'lab Lab,
    id: String,
    pid: i32,
    pidfd: OwnedFd,
    created: Finished,
    deleted: bool,
}

impl<'lab> Container<'lab> {
    #[track_caller]
    pub(crate) fn create(lab: &'lab Lab, bundle: &Bundle) -> Self {
        let id = lab.id();
        let pid_file = lab.path(format!("{id}.pid"));
        let pid_text = pid_file.to_str().expect("made of plain words");
        let created = lab.runtime(["create", "--bundle", bundle.path_text(), "--pid-file", pid_text, &id]).run().ok();
        let pid = std::fs::read_to_string(&pid_file).expect("create has written --pid-file");
        let pid: i32 = pid.trim().parse().unwrap_or_else(|_| panic!("--pid-file has {pid:?}"));
        let pidfd =
            pidfd_open(Pid::from_raw(pid).expect("a pid"), PidfdFlags::empty()).expect("the container's process");
        Self { lab, id, pid, pidfd, created, deleted: false }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host's pid of its init.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What `create` and the container itself have written to stdout until now.
    pub fn stdout(&self) -> String {
        self.created.stdout()
    }

    /// What `create` and the container itself have written to stderr until now.
    pub fn stderr(&self) -> String {
        self.created.stderr()
    }

    /// A command of the runtime about this container: `verb`, `options`, id, `rest`.
    pub fn command(&self, verb: &str, options: &[&str], rest: &[&str]) -> Program {
        let words = [verb].into_iter().chain(options.iter().copied()).chain([self.id.as_str()]);
        self.lab.runtime(words.chain(rest.iter().copied()))
    }

    /// `start`.
    #[track_caller]
    pub fn start(&self) {
        self.command("start", &[], &[]).run().ok();
    }

    /// `state`, parsed.
    #[track_caller]
    pub fn state(&self) -> Value {
        let text = self.command("state", &[], &[]).run().ok().stdout();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("state: {error}: {text}"))
    }

    /// `status` of `state`.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    /// `kill`.
    #[track_caller]
    pub fn kill(&self, signal: &str) {
        self.command("kill", &[], &[signal]).run().ok();
    }

    /// `exec` of a command line, to be run or started by the caller.
    pub fn exec(&self, options: &[&str], args: &[&str]) -> Program {
        self.command("exec", options, args)
    }

    /// Waits for the end of its init and gives the exit code (128+n for a signal).
    ///
    /// # Panics
    /// When it has not ended within [`DEADLINE`].
    #[track_caller]
    pub fn wait(&self) -> i32 {
        assert!(await_readable(&self.pidfd, Instant::now() + DEADLINE), "container {} did not end", self.id);
        let status = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        let status = status.expect("the container is a child of the test").expect("it has ended");
        status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).expect("exit or signal")
    }

    /// Whether its init has ended.
    pub fn has_ended(&self) -> bool {
        await_readable(&self.pidfd, Instant::now())
    }

    /// `delete`, which must work.
    #[track_caller]
    pub fn delete(mut self) {
        self.command("delete", &[], &[]).run().ok();
        self.deleted = true;
    }

    /// `delete --force`, which must work.
    #[track_caller]
    pub fn delete_force(mut self) {
        self.command("delete", &["--force"], &[]).run().ok();
        self.deleted = true;
    }

    /// The caller has deleted it by other means.
    pub fn is_gone(mut self) {
        self.deleted = true;
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if !self.deleted {
            let finished = self.command("delete", &["--force"], &[]).run();
            if !finished.status.success() && !std::thread::panicking() {
                panic!("delete --force: {}", finished.all());
            }
        }
    }
}
