//! What the benches share: their options, both cgroup layouts, timing of programs, and what is made of the figures.
#![allow(dead_code, reason = "each bench uses a part of it")]

mod options;
pub mod pieces;
mod report;
mod timing;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipkin_harness::Lab;
use pipkin_harness::host::{self, View};
use pipkin_measure::{Comparison, Contender, document};
use serde_json::Value;

pub use options::Options;
#[allow(unused_imports, reason = "each bench uses a part of it")]
pub use timing::{finish, milliseconds, milliseconds_in_a_few_attempts, wait_for_all};

/// Something that is measured on each cgroup layout: its name for `--settings`, and the measuring.
pub type Setting = (&'static str, fn(&Lab, &Options) -> Vec<Comparison>);

/// In the titles of what is in the details alone: its tail is what counts there.
pub const EACH: &str = "each of them";

/// The cgroup layouts, as they are in titles.
pub const LAYOUTS: [&str; 2] = [", hybrid cgroups", ", cgroup v2"];

/// The present one.
fn layout() -> &'static str {
    LAYOUTS[usize::from(host::view() == View::V2)]
}

impl Options {
    /// Runs a comparison of those contenders that are asked for, in milliseconds, and prints it.
    pub fn compare(&self, title: &str, rounds: usize, contenders: Vec<(String, Contender<'_>)>) -> Comparison {
        self.compare_in("ms", title, rounds, contenders)
    }

    /// The same in another unit.
    pub fn compare_in(
        &self,
        unit: &str,
        title: &str,
        rounds: usize,
        contenders: Vec<(String, Contender<'_>)>,
    ) -> Comparison {
        let asked = |name: &str| self.contenders.is_empty() || self.contenders.iter().any(|asked| asked == name);
        let contenders =
            contenders.into_iter().filter(|(name, _)| asked(name)).map(|(_, contender)| contender).collect();
        let comparison = Comparison::run(format!("{title}{}", self.layout), unit, rounds, contenders);
        let comparison = comparison.unwrap_or_else(|error| panic!("{title}: {error}"));
        println!("\n{comparison}");
        for (name, why) in &comparison.left_out {
            assert!(!name.starts_with("pipkin") && !name.starts_with("floor"), "{title}: {name} is left out: {why}");
        }
        comparison
    }
}

/// Measures on the machine's own cgroup layout and, where that is not v2, again in a private view that is; writes the results.
///
/// `rounds` is what `--rounds` is when it is not given.
pub fn run(bench: &str, rounds: usize, settings: &[Setting]) {
    measure_and_write(bench, settings, Options::parse(bench, rounds, settings));
}

/// The same for what has nothing to do with cgroups: once.
pub fn run_anywhere(bench: &str, rounds: usize, settings: &[Setting]) {
    let options = Options { one_view: true, layout: "", ..Options::parse(bench, rounds, settings) };
    measure_and_write(bench, settings, options);
}

fn measure_and_write(bench: &str, settings: &[Setting], options: Options) {
    let documents = if options.from.is_empty() {
        let Some(comparisons) = measure(&options, settings) else { return };
        vec![document(bench, &comparisons)]
    } else {
        options.from.iter().map(|file| read(file)).collect()
    };
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&documents[0]).expect("figures are JSON");
        std::fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    report::write(&options, &documents);
}

fn measure(options: &Options, settings: &[Setting]) -> Option<Vec<Comparison>> {
    let lab = Lab::root()?;
    let _states = States(states(&lab));
    let chosen = options.chosen(settings);
    let mut comparisons: Vec<Comparison> = chosen.iter().flat_map(|(_, measure)| measure(&lab, options)).collect();
    if host::view() == View::Hybrid && !options.one_view {
        comparisons.extend(in_pure_v2(&lab, options));
    }
    Some(comparisons)
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
    if let Some(peers) = &options.peers {
        command.arg("--peers").arg(peers);
    }
    command.env("PIPKIN_TEST_VIEW", "v2").process_group(0);
    assert!(command.status().expect("unshare").success(), "the pure-v2 round failed");
    report::comparisons(&read(&file))
}

/// What `--json` has written.
fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
