//! What the benches share: their options, both cgroup layouts, and timing of programs.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use pipkin_harness::Lab;
use pipkin_harness::host::{self, View};
use pipkin_measure::{Comparison, Contender, document, markdown, svg};
use serde_json::Value;

/// Something that is measured on each cgroup layout: its name for `--settings`, and the measuring, which prints what it finds.
pub type Setting = (&'static str, fn(&Lab, &Options) -> Option<Comparison>);

/// What a bench's command line says.
pub struct Options {
    /// How often each contender runs.
    pub rounds: usize,
    /// Contenders by name; empty: all.
    contenders: Vec<String>,
    /// Settings by name; empty: all.
    settings: Vec<String>,
    json: Option<PathBuf>,
    svg: Option<PathBuf>,
    /// A document between whose marks the tables go.
    markdown: Option<PathBuf>,
    /// `/usr` of another system whose programs take part: laid over the machine's in the pure-v2 view.
    usr: Option<PathBuf>,
    /// Measure in the present view alone; set for the copy of itself that runs in the pure-v2 view.
    one_view: bool,
}

const USAGE: &str = "options: --rounds N, --only NAME,… (contenders), --settings NAME,…, --json FILE, --svg FILE, --markdown FILE (tables go between its marks), \
                     --usr DIR (/usr of a system with crun), --one-view";

impl Options {
    fn parse(rounds: usize) -> Self {
        let (mut contenders, mut settings, mut one_view) = (Vec::new(), Vec::new(), false);
        let (mut rounds, mut json, mut svg, mut markdown, mut usr) = (rounds, None, None, None, None);
        let list = |text: String| text.split(',').map(str::to_owned).collect();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--rounds" => rounds = value().parse().expect("--rounds: a number"),
                "--only" => contenders = list(value()),
                "--settings" => settings = list(value()),
                "--json" => json = Some(value().into()),
                "--svg" => svg = Some(value().into()),
                "--markdown" => markdown = Some(value().into()),
                "--usr" => usr = Some(value().into()),
                "--one-view" => one_view = true,
                // What cargo adds.
                "--bench" => {}
                other => panic!("{other}: unknown; {USAGE}"),
            }
        }
        Self { rounds, contenders, settings, json, svg, markdown, usr, one_view }
    }

    /// The settings that are asked for.
    fn chosen<'a>(&self, settings: &'a [Setting]) -> Vec<&'a Setting> {
        let known = |name: &str| settings.iter().any(|(setting, _)| *setting == name);
        if let Some(unknown) = self.settings.iter().find(|name| !known(name)) {
            let names: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
            panic!("--settings {unknown}: unknown; there are {}", names.join(", "));
        }
        let asked = |name: &str| self.settings.is_empty() || self.settings.iter().any(|asked| asked == name);
        settings.iter().filter(|(name, _)| asked(name)).collect()
    }

    /// Runs a comparison of those contenders that are asked for, and prints it.
    pub fn compare(&self, title: &str, rounds: usize, contenders: Vec<(String, Contender<'_>)>) -> Comparison {
        let asked = |name: &str| self.contenders.is_empty() || self.contenders.iter().any(|asked| asked == name);
        let contenders =
            contenders.into_iter().filter(|(name, _)| asked(name)).map(|(_, contender)| contender).collect();
        let layout = if host::view() == View::V2 { "cgroup v2" } else { "hybrid cgroups" };
        let comparison = Comparison::run(format!("{title}, {layout}"), "ms", rounds, contenders);
        let comparison = comparison.unwrap_or_else(|error| panic!("{title}: {error}"));
        println!("\n{comparison}");
        comparison
    }
}

/// Measures on the machine's own cgroup layout and, where that is not v2, again in a private view that is; writes the results.
///
/// `rounds` is what `--rounds` is when it is not given.
pub fn run(bench: &str, rounds: usize, settings: &[Setting]) {
    let options = Options::parse(rounds);
    let Some(lab) = Lab::root() else { return };
    let _states = States(states(&lab));
    let chosen = options.chosen(settings);
    let mut comparisons: Vec<Comparison> = chosen.iter().filter_map(|(_, measure)| measure(&lab, &options)).collect();
    if host::view() == View::Hybrid && !options.one_view {
        comparisons.extend(in_pure_v2(&lab, &options));
    }
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&document(bench, &comparisons)).expect("figures are JSON");
        std::fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    if let Some(file) = &options.markdown {
        put_into(file, bench, &markdown(&comparisons));
    }
    if let Some(file) = &options.svg {
        let text = svg(&format!("pipkin: {bench}"), &comparisons);
        std::fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

/// Replaces what is between the marks `<!-- figures: BENCH -->` and `<!-- end -->` of a document.
fn put_into(file: &Path, bench: &str, tables: &str) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mark = format!("<!-- figures: {bench} -->\n");
    let parts = text.split_once(&mark).and_then(|(before, rest)| Some((before, rest.split_once("<!-- end -->")?.1)));
    let (before, after) = parts.unwrap_or_else(|| panic!("{}: has no {mark:?} with an end", file.display()));
    let text = format!("{before}{mark}\n{tables}\n<!-- end -->{after}");
    std::fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// Where the runtimes keep their states: in memory, as they do by default.
pub fn states(lab: &Lab) -> PathBuf {
    pipkin_measure::in_memory().join(format!("{}-states", lab.name()))
}

/// Removes them at the end.
struct States(PathBuf);

impl Drop for States {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a copy of this bench in a private mount namespace where `/sys/fs/cgroup` is cgroup2 and nothing else.
fn in_pure_v2(lab: &Lab, options: &Options) -> Vec<Comparison> {
    let file = lab.path("v2.json");
    let script = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit
        [ -z \"$1\" ] || mount -t overlay -o lowerdir=\"$1:/usr\" overlay /usr || exit
        shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "view"]).arg(options.usr.as_deref().unwrap_or(Path::new("")));
    command.arg(std::env::current_exe().expect("the bench's own path"));
    command.args(["--one-view", "--rounds", &options.rounds.to_string(), "--json"]).arg(&file);
    for (option, list) in [("--only", &options.contenders), ("--settings", &options.settings)] {
        if !list.is_empty() {
            command.args([option, &list.join(",")]);
        }
    }
    command.env("PIPKIN_TEST_VIEW", "v2").process_group(0);
    assert!(command.status().expect("unshare").success(), "the pure-v2 round failed");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let document: Value = serde_json::from_str(&text).expect("the copy writes JSON");
    let comparisons = document["comparisons"].as_array().expect("comparisons");
    comparisons.iter().map(|value| Comparison::from_json(value).expect("a comparison")).collect()
}

/// Milliseconds from before the start to after the end of a program; the error when it does not do its work.
pub fn milliseconds(command: &mut Command) -> Result<f64, String> {
    let started = Instant::now();
    finish(command)?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}

/// Runs a program to its end, without input and output.
pub fn finish(command: &mut Command) -> Result<(), String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {}", reason(command).unwrap_or_else(|| status.to_string())))
    }
}

/// What a command that failed says when it is asked once more; `None` when it does not fail again.
fn reason(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::piped()).output().ok().filter(|output| !output.status.success())?;
    Some(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
