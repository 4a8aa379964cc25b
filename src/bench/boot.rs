//! `pipkin bench boot`: `run`, and `create` + `start` + `delete`, of any OCI runtimes side by side.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Args;
use pipkin_measure::{Comparison, Contender};
use serde_json::{Value, json};

use super::steps;
use crate::failure::{Failure, Result};
use crate::output;
use crate::places::companion;

/// Measure how long containers take to start and to end
///
/// Each round runs every runtime once, in turn; ratios are taken within a round. Without --runtime: pipkin-runtime and those of
/// runc, crun and youki that are installed. Without --bundle: a program that ends at once, with the default configuration.
#[derive(Args, Debug)]
pub struct Arguments {
    /// An OCI runtime, by path or name; may be given several times
    #[arg(long = "runtime", value_name = "PATH")]
    runtimes: Vec<PathBuf>,
    /// A directory with config.json; its program must end by itself with exit code 0
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// How many rounds
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Write every sample there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a chart there
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// The runtime that can be traced.
const OWN: &str = "pipkin-runtime";

/// Measures, prints, writes.
pub fn run(arguments: &Arguments) -> Result<()> {
    let json_file = Output::create("--json", arguments.json.as_deref())?;
    let chart_file = Output::create("--svg", arguments.svg.as_deref())?;
    let given = arguments.bundle.as_deref().map(readable_bundle).transpose()?;
    let place = Place::new()?;
    let bundle = given.map_or_else(|| place.default_bundle(), Ok)?;
    let runtimes = match arguments.runtimes.as_slice() {
        [] => installed()?,
        given => given.iter().map(|path| look_up(path)).collect::<Result<_>>()?,
    };
    let rounds = arguments.runs as usize;
    let all: Vec<Runtime> = runtimes
        .iter()
        .enumerate()
        .map(|(number, program)| Runtime {
            name: short_name(program, &runtimes),
            program: program.clone(),
            state: place.state.join(number.to_string()),
            id: format!("pipkin-bench-{}", std::process::id()),
            bundle: bundle.clone(),
        })
        .collect();
    let failed = |error: String| Failure::argument("bench boot", error);
    let mut comparisons = Vec::new();
    for (title, once) in [
        ("run", Runtime::run as fn(&Runtime) -> std::result::Result<(), String>),
        ("create + start + delete", Runtime::create_start_delete),
    ] {
        let contenders = all.iter().map(|runtime| runtime.contender(once)).collect();
        let comparison = Comparison::run(title, "ms", rounds, contenders).map_err(failed)?;
        output::line(&comparison);
        if comparison.rows.is_empty() {
            return Err(Failure::argument("bench boot", "no runtime could boot the bundle"));
        }
        comparisons.push(comparison);
    }
    let mut document = pipkin_measure::document("boot", &comparisons);
    let mut timelines = Vec::new();
    for runtime in all.iter().filter(|runtime| runtime.program.file_name().is_some_and(|name| name == OWN)) {
        let file = place.directory.join("trace.json");
        let timeline = steps::measure(rounds.min(30), &file, || runtime.traced(&file)).map_err(failed)?;
        steps::print(&runtime.name, &timeline);
        timelines.push(json!({"name": runtime.name, "steps": steps::json(&timeline)}));
    }
    document["timelines"] = timelines.into();
    json_file.write(&format!("{document:#}\n"))?;
    chart_file.write(&pipkin_measure::svg("How long containers take", &comparisons))
}

/// From before the start to after the end.
fn milliseconds(once: impl FnOnce() -> std::result::Result<(), String>) -> std::result::Result<f64, String> {
    let started = Instant::now();
    once()?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}

/// A bundle's directory, absolute.
fn readable_bundle(bundle: &Path) -> Result<PathBuf> {
    let wrong = |cause: &dyn Display| Failure::argument("--bundle", cause);
    let bundle = std::path::absolute(bundle).map_err(|cause| wrong(&cause))?;
    let config = bundle.join("config.json");
    match File::open(&config) {
        Ok(_) => Ok(bundle),
        Err(cause) => Err(wrong(&format_args!("open {}: {cause}", config.display()))),
    }
}

/// A file for results, if one is asked for: made before anything is measured, which takes a while.
struct Output(Option<(File, String)>);

impl Output {
    fn create(option: &str, file: Option<&Path>) -> Result<Self> {
        let Some(path) = file else { return Ok(Self(None)) };
        let step = format!("write {}", path.display());
        let file = File::create(path).map_err(|cause| Failure::argument(option, format!("{step}: {cause}")))?;
        Ok(Self(Some((file, format!("{option}: {step}")))))
    }

    fn write(self, text: &str) -> Result<()> {
        let Some((mut file, step)) = self.0 else { return Ok(()) };
        file.write_all(text.as_bytes()).map_err(|cause| Failure::argument(step, cause))
    }
}

/// One of those that are compared.
struct Runtime {
    name: String,
    program: PathBuf,
    state: PathBuf,
    /// Of its container; another bench at the same time has another, as both are in the same cgroup.
    id: String,
    bundle: PathBuf,
}

impl Runtime {
    fn contender(&self, once: fn(&Self) -> std::result::Result<(), String>) -> Contender<'_> {
        Contender::new(&self.name, move || milliseconds(|| once(self)))
    }

    fn command(&self, before: &[&str], verb: &str, after: &[&str]) -> std::result::Result<(), String> {
        let mut command = Command::new(&self.program);
        command.args(before).arg("--root").arg(&self.state).arg(verb);
        if matches!(verb, "run" | "create") {
            command.arg("--bundle").arg(&self.bundle);
        }
        command.args(after).arg(&self.id).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("{verb}: {status}")) }
    }

    fn run(&self) -> std::result::Result<(), String> {
        self.command(&[], "run", &[])
    }

    fn create_start_delete(&self) -> std::result::Result<(), String> {
        self.command(&[], "create", &[])?;
        let started = self.command(&[], "start", &[]);
        let deleted = self.command(&[], "delete", &["--force"]);
        started.and(deleted)
    }

    fn traced(&self, file: &Path) -> std::result::Result<(), String> {
        self.command(&["--trace-boot", &file.to_string_lossy()], "run", &[])
    }
}

/// The file's name, unless another one has the same.
fn short_name(program: &Path, all: &[PathBuf]) -> String {
    let same = all.iter().filter(|other| other.file_name() == program.file_name()).count();
    let name = program.file_name().filter(|_| same == 1).map(Path::new).unwrap_or(program);
    name.display().to_string()
}

/// The runtimes that are there.
fn installed() -> Result<Vec<PathBuf>> {
    let own = companion(OWN).or_else(|_| look_up(Path::new(OWN)))?;
    let peers = ["runc", "crun", "youki"].into_iter().filter_map(|name| look_up(Path::new(name)).ok());
    Ok(std::iter::once(own).chain(peers).collect())
}

fn look_up(name: &Path) -> Result<PathBuf> {
    let not_found = || Failure::argument("--runtime", format!("{} was not found", name.display()));
    if name.components().count() > 1 {
        return std::path::absolute(name).ok().filter(|path| path.is_file()).ok_or_else(not_found);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file()).ok_or_else(not_found)
}

/// Where the bench works; removed at its end.
struct Place {
    directory: PathBuf,
    /// In memory, as the states of containers are.
    state: PathBuf,
}

impl Place {
    fn new() -> Result<Self> {
        let name = format!("pipkin-bench-{}", std::process::id());
        let memory = match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(directory) if !rustix::process::geteuid().is_root() => PathBuf::from(directory),
            _ => pipkin_measure::in_memory(),
        };
        let place = Self { directory: std::env::temp_dir().join(&name), state: memory.join(&name) };
        make(&place.directory)?;
        make(&place.state)?;
        Ok(place)
    }

    /// The default configuration, and a program that ends at once.
    fn default_bundle(&self) -> Result<PathBuf> {
        let bundle = self.directory.join("bundle");
        for directory in ["", "rootfs/bin", "rootfs/proc", "rootfs/sys", "rootfs/dev"] {
            make(&bundle.join(directory))?;
        }
        copy(&companion("pipkin-hello")?, &bundle.join("rootfs/bin/hello"))?;
        let mut spec = Command::new(companion(OWN).or_else(|_| look_up(Path::new(OWN)))?);
        spec.arg("spec").arg("--bundle").arg(&bundle);
        if !rustix::process::geteuid().is_root() {
            spec.arg("--rootless");
        }
        let made = spec.status().map_err(|cause| Failure::argument("pipkin-runtime spec", cause))?;
        if !made.success() {
            return Err(Failure::argument("pipkin-runtime spec", made));
        }
        let file = bundle.join("config.json");
        let wrong = |cause: &dyn Display| Failure::argument(file.display(), cause);
        let text = std::fs::read(&file).map_err(|cause| wrong(&cause))?;
        let mut config: Value = serde_json::from_slice(&text).map_err(|cause| wrong(&cause))?;
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/hello"]);
        std::fs::write(&file, config.to_string()).map_err(|cause| wrong(&cause))?;
        Ok(bundle)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

fn make(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).map_err(|cause| Failure::argument(directory.display(), cause))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).map(drop).map_err(|cause| Failure::argument(to.display(), cause))
}
