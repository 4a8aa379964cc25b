//! `pipkin run`.

use std::fs::File;

use clap::Args;
use pipkin_images::container::{Container, Status};
use pipkin_images::error::Kind;
use pipkin_images::{hello, overlay, rootless};
use rustix::time::Timespec;

use crate::bundle::{self, Bundle, Limits, Volume, process};
use crate::cli::Global;
use crate::container;
use crate::failure::{Failure, Result};
use crate::places::companion;
use crate::size;

/// Run a program in a new container of an image, in the foreground
///
/// The container shares the network of this machine for now: its ports are the machine's ports.
///
/// Signals are passed on to the program. SIGTERM, which asks pipkin to stop, becomes the image's StopSignal.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The image: a name, the start of an id, or the built-in `hello`
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The program and its arguments, instead of the image's Cmd
    #[arg(value_name = "CMD", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Remove the container and what it wrote when it ends
    #[arg(long)]
    rm: bool,
    /// Run the program under pipkin-init, which reaps orphans and passes signals on
    #[arg(long)]
    init: bool,
    /// A name for the container [default: the start of its id]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Set an environment variable; without a value it is taken from the caller's environment
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Show a file or directory of this machine in the container
    #[arg(short, long, value_name = "SRC:DST[:ro]")]
    volume: Vec<String>,
    /// The directory in which the program starts
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Who the program runs as: names or numbers
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The program, instead of the image's Entrypoint; empty for none
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// The container's host name [default: the start of its id]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// The most memory, such as 64m or 1.5g
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// How many processors' time, such as 0.5 or 2
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// The most processes and threads
    #[arg(long, value_name = "NUMBER")]
    pids_limit: Option<i64>,
    /// Give the program a terminal
    #[arg(short, long)]
    tty: bool,
    /// Connect standard input; without it the program reads nothing
    #[arg(short, long)]
    interactive: bool,
}

/// Runs the container to its end; answers the program's exit code.
pub fn run(global: &Global, arguments: &Arguments, started: Timespec) -> Result<u8> {
    // Everything that can be wrong with the arguments, and all that must be seen from outside of a user namespace.
    let limits = limits(arguments)?;
    let volumes = arguments.volume.iter().map(|text| Volume::parse(text)).collect::<Result<Vec<_>>>()?;
    if let Some(bad) = arguments.env.iter().find(|pair| pair.is_empty() || pair.starts_with('=')) {
        return Err(Failure::argument("--env", format!("{bad:?} has no name")));
    }
    let init = arguments.init.then(|| companion("pipkin-init")).transpose()?;
    let host_namespaces = process::own_namespaces();
    let state = container::state_root(global)?;
    let terminal = terminal(arguments)?;

    let store = global.store()?;
    let policy = rootless::policy()?;
    let image = match store.find(&arguments.image) {
        Err(error) if error.kind() == Kind::NotFound && arguments.image == hello::NAME => {
            hello::image(&store, &companion("pipkin-hello")?, policy)?
        }
        Ok(image) if hello::is_hello(&image) => hello::image(&store, &companion("pipkin-hello")?, policy)?,
        result => result?,
    };
    let stop_signal = image.configuration.config().as_ref().and_then(|config| config.stop_signal().as_deref());
    let stop_signal = stop_signal
        .filter(|stop| !stop.is_empty())
        .map(|stop| container::parse_signal(stop).map_err(|error| Failure::argument("the image's StopSignal", error)))
        .transpose()?;
    let command = process::command(&image, arguments.entrypoint.as_deref(), &arguments.command)?;
    let mut environment = process::Environment::new(&image, &arguments.env, terminal);
    if hello::is_hello(&image) {
        environment.set("PIPKIN_STARTED", (started.tv_sec * 1_000_000_000 + started.tv_nsec).to_string());
        environment.set("PIPKIN_HOST_NAMESPACES", host_namespaces);
    }
    let (made, running) =
        Container::create(&store, arguments.name.as_deref(), &image, &arguments.image, command.clone())?;
    let removal = Removal { store: &store, container: &made, wanted: arguments.rm, running: Some(running) };
    let result = (|| {
        overlay::private_mounts()?;
        let rootfs = overlay::mount(&store, &made, policy.overlay, arguments.rm)?;
        let bundle = Bundle {
            container: &made,
            image: &image,
            rootfs: &rootfs,
            policy,
            command,
            environment,
            init,
            volumes,
            limits,
            user: arguments.user.as_deref(),
            workdir: arguments.workdir.as_deref(),
            hostname: arguments.hostname.as_deref(),
            read_only: arguments.read_only,
            terminal,
        };
        bundle::write(&bundle)?;
        container::run(&state, &made, stop_signal)
    })();
    removal.finish(result)
}

/// What happens to the container at the end, however that comes.
struct Removal<'a> {
    store: &'a pipkin_images::store::Store,
    container: &'a Container,
    wanted: bool,
    running: Option<pipkin_images::container::Running>,
}

impl Removal<'_> {
    /// Notes the exit code, or removes the container. One whose program never ran is always removed.
    fn finish(mut self, result: Result<u8>) -> Result<u8> {
        let kept = match &result {
            Ok(code) if !self.wanted => self.container.set_exit_code(*code).is_ok(),
            _ => false,
        };
        self.running = None;
        if kept {
            return result;
        }
        // The program's own result counts more than what could not be removed.
        if let Err(error) = self.remove() {
            eprintln!("pipkin: {error}");
        }
        result
    }

    fn remove(&self) -> pipkin_images::error::Result<()> {
        // The overlay is in the way only inside this process's own mount namespace.
        let _ = rustix::mount::unmount(self.container.directory.join("merged"), rustix::mount::UnmountFlags::DETACH);
        match self.container.status() {
            Ok(Status::Exited(_)) => self.container.clone().remove(self.store),
            // Another command removed it already.
            _ => Ok(()),
        }
    }
}

/// Whether the program gets a terminal; without `-i` its input is empty.
fn terminal(arguments: &Arguments) -> Result<bool> {
    if arguments.tty && arguments.interactive && !rustix::termios::isatty(std::io::stdin()) {
        return Err(Failure::argument("--tty --interactive", "standard input is not a terminal: leave out -t"));
    }
    if !arguments.interactive {
        let null = File::open("/dev/null").map_err(|cause| Failure::argument("open /dev/null", cause))?;
        rustix::stdio::dup2_stdin(null).map_err(|cause| Failure::argument("connect standard input", cause))?;
    }
    Ok(arguments.tty)
}

fn limits(arguments: &Arguments) -> Result<Limits> {
    let memory = match &arguments.memory {
        None => None,
        Some(text) => Some(
            size::parse(text)
                .ok_or_else(|| Failure::argument("--memory", format!("{text:?} is not a size such as 64m")))?,
        ),
    };
    let cpus = match &arguments.cpus {
        None => None,
        Some(text) => {
            let cpus = text.parse::<f64>().ok().filter(|cpus| *cpus >= 0.01 && *cpus <= 100_000.0);
            Some(cpus.ok_or_else(|| Failure::argument("--cpus", format!("{text:?} is not a number of at least 0.01")))?)
        }
    };
    if let Some(pids) = arguments.pids_limit.filter(|pids| *pids == 0 || *pids < -1) {
        return Err(Failure::argument("--pids-limit", format!("{pids} is neither positive nor -1 (no limit)")));
    }
    Ok(Limits { memory, cpus, pids: arguments.pids_limit })
}
