//! `create`, `start` and `run`.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use super::{Runtime, delete};
use crate::channel::{Channel, Report};
use crate::error::{Context, Error, Kind, Result};
use crate::launch::{
    Boot, Booted, Foreground, NotifyRelay, NotifySocket, Outcome, boot, check_preserved, hooks, notify_inside,
    seccomp_agent,
};
use crate::plan::{self, Host, Plan, Request, Start};
use crate::seccomp::NewProfile;
use crate::state::{Directory, Identity, Record, Status};
use crate::{config, log, trace};

/// What `create` and `run` take beside the container's name.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The directory with config.json.
    pub bundle: PathBuf,
    /// A Unix socket that gets the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Where the process's number is written.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the program keeps, those of socket activation included.
    pub preserve_fds: u32,
    /// How many of them, the first, are sockets handed over by systemd (sd_listen_fds(3)); the program is told.
    pub listen_fds: u32,
    /// What the program gets when the caller of `run` is asked to end by SIGTERM; without one, SIGTERM.
    pub stop_signal: Option<Signal>,
    /// Leave the container there when its program has ended (`run`).
    pub keep: bool,
    /// Do not wait for the container's orphans (`run`).
    pub no_subreaper: bool,
    /// As [`Request::no_pivot`].
    pub no_pivot: bool,
    /// As [`Request::no_new_keyring`].
    pub no_new_keyring: bool,
    /// A Unix socket that gets the descriptor of the container's first process.
    pub pidfd_socket: Option<PathBuf>,
    /// The service manager that hears what the program has to say about itself.
    pub notify_socket: Option<NotifySocket>,
}

impl Runtime {
    /// Makes a container that waits to be started.
    pub fn create(&self, id: &str, options: &CreateOptions) -> Result<()> {
        let mut prepared = self.prepare(id, options, Start::OnRequest)?;
        check_terminal(&prepared.plan, options, true)?;
        prepared.boot(self, options).map(drop)
    }

    /// Starts a created container. With a service manager, until the program is ready.
    pub fn start(&self, id: &str, manager: Option<&NotifySocket>) -> Result<()> {
        let (directory, record, status) = self.lock(id)?;
        match status {
            Status::Created => {}
            Status::Stopped => {
                return Err(Error::new(Kind::State, format!("cannot start a container that has stopped: {id}")));
            }
            Status::Creating => {
                return Err(Error::new(Kind::State, format!("cannot start container {id}: it is still being created")));
            }
            Status::Paused => {
                return Err(
                    Error::new(Kind::State, format!("cannot start a paused container: {id}")).remedy("resume it first")
                );
            }
            Status::Running => {
                return Err(Error::new(Kind::State, format!("cannot start an already running container: {id}")));
            }
        }
        let notify = match manager {
            Some(manager) if record.notify => Some(NotifyRelay::new(directory.notify_directory()?.as_fd(), manager)?),
            Some(_) => {
                log::warn(format_args!("NOTIFY_SOCKET is set, but was not when container {id} was created: not used"));
                None
            }
            None => None,
        };
        let connection = Channel::from(directory.connect_to_start()?);
        directory.remove_start()?;
        // From here on it is started; what it does before its program runs must not keep others from ending it.
        directory.unlock()?;
        if let (Some(agent), Some(init)) = (&record.seccomp_agent, directory.init()?)
            && let Some(stage) = init.open()?
        {
            let state = record.document.at(Status::Created, Some(init.pid));
            seccomp_agent::serve(agent, &connection, stage.as_fd(), init.pid, &state)?;
        }
        // Silence until the end of the connection means that the program runs.
        match connection.receive_report()? {
            Some((Report::Failed(error), _)) => return Err(error),
            _ => run_poststart(&directory, &record, None)?,
        }
        match (notify, directory.init()?) {
            (Some(notify), Some(init)) => until_ready(&notify, init),
            _ => Ok(()),
        }
    }

    /// Creates, starts, waits for the end and deletes: the program's exit status. Detached it does not wait.
    pub fn run(&self, id: &str, options: &CreateOptions, detach: bool) -> Result<i32> {
        let mut prepared = self.prepare(id, options, Start::AtOnce)?;
        check_terminal(&prepared.plan, options, detach)?;
        if detach {
            return prepared.run_detached(self, options).map(|()| 0);
        }
        let foreground = Foreground::enter(options.stop_signal, !options.no_subreaper)?;
        prepared.run_to_the_end(self, options, &foreground)
    }

    /// What would be done, without doing any of it.
    pub fn plan(&self, id: &str, bundle: &Path) -> Result<(Option<Box<Plan>>, crate::error::Problems)> {
        crate::state::check_id(id)?;
        let bundle = absolute(bundle)?;
        let spec = config::load(&bundle)?.spec;
        let request = Request::new(id, &bundle, self.cgroups);
        let mut problems = crate::error::Problems::default();
        let plan = plan::compile_noting(&request, &spec, &Host::detect()?, &mut problems);
        Ok((plan, problems))
    }

    // Out of line, and its result on the heap: nothing of it stays on the stack while the container runs.
    #[inline(never)]
    fn prepare(&self, id: &str, options: &CreateOptions, start: Start) -> Result<Box<Prepared>> {
        crate::state::check_id(id)?;
        check_preserved(options.preserve_fds, options.listen_fds)?;
        let bundle = absolute(&options.bundle)?;
        trace::step("begin");
        let cache = self.store.filters();
        let mut config = config::load_to_run(&bundle, &cache)?;
        trace::step("read config.json");
        if options.notify_socket.is_some() {
            notify_inside(&mut config.spec, &self.store.notify_path(id)?);
        }
        let host = Host::detect()?;
        trace::step("look at the host");
        let request = Request {
            id,
            bundle: &bundle,
            cgroups: self.cgroups,
            no_pivot: options.no_pivot,
            no_new_keyring: options.no_new_keyring,
            preserve_fds: options.preserve_fds,
            listen_fds: options.listen_fds,
            start,
            filter: config.filter.cached(),
        };
        let plan = plan::compile(&request, &config.spec, &host)?;
        trace::step("make the plan");
        for warning in config.warnings.iter().chain(&plan.warnings) {
            log::warn(warning);
        }
        log::debug(|| format!("plan:\n{plan}"));
        if options.no_pivot {
            log::warn("--no-pivot: the host's root stays mounted below the container's; use it on an initramfs only");
        }
        let mut record = Record::of(&plan, &config.spec);
        record.notify = options.notify_socket.is_some();
        let new_profile = config.new_profile(&cache);
        Ok(Box::new(Prepared { plan, record, host, configuration: config.text, new_profile }))
    }
}

/// All decided, nothing done.
struct Prepared {
    plan: Box<Plan>,
    record: Record,
    host: Host,
    configuration: Vec<u8>,
    new_profile: Option<NewProfile>,
}

impl Prepared {
    fn boot(&mut self, runtime: &Runtime, options: &CreateOptions) -> Result<Booted> {
        let directory = runtime.store.create(&self.plan.id)?;
        self.boot_in(&directory, options, None)
    }

    #[inline(never)]
    fn boot_in(
        &mut self,
        directory: &Directory,
        options: &CreateOptions,
        caller: Option<&Foreground>,
    ) -> Result<Booted> {
        boot(Boot {
            plan: &mut self.plan,
            record: &mut self.record,
            host: &self.host,
            directory,
            console_socket: options.console_socket.as_deref(),
            pid_file: options.pid_file.as_deref(),
            pidfd_socket: options.pidfd_socket.as_deref(),
            configuration: &self.configuration,
            new_profile: self.new_profile.as_ref(),
            notify_socket: options.notify_socket.as_ref(),
            caller,
        })
    }

    fn run_detached(&mut self, runtime: &Runtime, options: &CreateOptions) -> Result<()> {
        let directory = runtime.store.create(&self.plan.id)?;
        let booted = self.boot_in(&directory, options, None)?;
        if let Err(error) = booted.wait_for_program(None) {
            booted.child.kill();
            delete::remove(&directory, &self.record)?;
            return Err(error);
        }
        run_poststart(&directory, &self.record, None)?;
        directory.unlock()?;
        match &booted.notify {
            Some(notify) => notify.until_ready(booted.child.as_fd(), booted.child.pid()),
            None => Ok(()),
        }
    }

    fn run_to_the_end(&mut self, runtime: &Runtime, options: &CreateOptions, foreground: &Foreground) -> Result<i32> {
        let directory = runtime.store.create(&self.plan.id)?;
        let booted = self.boot_in(&directory, options, Some(foreground))?;
        if !self.record.hooks.poststart.is_empty() {
            if let Err(error) = booted.wait_for_program(Some(foreground)) {
                booted.child.kill();
                delete::remove(&directory, &self.record)?;
                return Err(error);
            }
            run_poststart(&directory, &self.record, Some(foreground))?;
        }
        // Others may look at the container, pause or kill it while it runs.
        directory.unlock()?;
        let outcome = foreground.attend(&booted.child, None, booted.channel, booted.terminal, booted.notify.as_ref());
        trace::step("wait for the program's end");
        // The same directory, not one of the same name: somebody may have deleted the container meanwhile.
        if directory.lock()? && !(options.keep && matches!(outcome, Ok(Outcome::Exited(_)))) {
            match outcome {
                Ok(_) => delete::remove_ended(&directory, &self.record)?,
                Err(_) => delete::remove(&directory, &self.record)?,
            }
        }
        match outcome? {
            Outcome::Exited(status) => Ok(status),
            Outcome::Failed(error) => Err(error),
        }
    }
}

fn until_ready(notify: &NotifyRelay, init: Identity) -> Result<()> {
    match (init.open()?, Pid::from_raw(init.pid)) {
        (Some(program), Some(pid)) => notify.until_ready(program.as_fd(), pid),
        _ => Ok(()),
    }
}

impl Booted {
    /// Until the program runs, or its error.
    fn wait_for_program(&self, caller: Option<&Foreground>) -> Result<()> {
        if let Some(caller) = caller {
            caller.await_readable(self.channel.as_fd())?;
        }
        match self.channel.receive()? {
            Some((Report::Failed(error), _)) => Err(error),
            _ => Ok(()),
        }
    }
}

/// A failing poststart hook is logged, the container goes on (config.md, "Poststart").
fn run_poststart(directory: &Directory, record: &Record, caller: Option<&Foreground>) -> Result<()> {
    if record.hooks.poststart.is_empty() {
        return Ok(());
    }
    let pid = directory.init()?.map(|init| init.pid);
    let state = record.document.at(Status::Running, pid);
    for error in hooks::run_all("poststart", &record.hooks.poststart, &state, caller) {
        log::warn(error);
    }
    Ok(())
}

/// A terminal needs somebody at its other end.
pub(super) fn check_terminal(plan: &Plan, options: &CreateOptions, detached: bool) -> Result<()> {
    let terminal = plan.inside.process.terminal.is_some();
    if options.console_socket.is_some() && !(detached && terminal) {
        return Err(Error::invalid(
            "--console-socket",
            "cannot use console socket if pipkin-runtime will not detach or allocate tty",
        ));
    }
    if options.console_socket.is_none() && detached && terminal {
        return Err(Error::invalid(
            "process.terminal",
            "cannot allocate tty if pipkin-runtime will detach without setting console socket",
        ));
    }
    Ok(())
}

pub(super) fn absolute(bundle: &Path) -> Result<PathBuf> {
    Ok(plan::normalize(&std::path::absolute(bundle).on("look up the bundle", bundle)?))
}
