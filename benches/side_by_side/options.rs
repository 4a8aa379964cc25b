//! The benches' command line.

use std::path::PathBuf;

use super::{Setting, layout};

/// What a bench's command line says.
pub struct Options {
    /// How often each contender runs.
    pub rounds: usize,
    /// Contenders by name; empty: all.
    pub contenders: Vec<String>,
    /// Settings by name; empty: all.
    pub settings: Vec<String>,
    pub json: Option<PathBuf>,
    pub svg: Option<PathBuf>,
    /// A document between whose marks the tables go.
    pub markdown: Option<PathBuf>,
    /// What earlier runs have written with `--json`: nothing is measured then.
    pub from: Vec<PathBuf>,
    /// `/usr` of another system whose programs take part: laid over the machine's in the pure-v2 view.
    pub usr: Option<PathBuf>,
    /// Where runtimes are looked for before PATH.
    pub peers: Option<PathBuf>,
    /// Measure in the present view alone; set for the copy of itself that runs in the pure-v2 view.
    pub one_view: bool,
    /// Behind a comparison's title: where it was measured.
    pub layout: &'static str,
}

const USAGE: &str = "\
Options:
  --rounds N        how often each contender runs; long settings take a part of it
  --settings A,B…   only these
  --only A,B…       only these contenders
  --json FILE       write every sample there
  --from A,B…       measure nothing: take what earlier runs wrote with --json
  --markdown FILE   put the tables between the marks of this document
  --svg FILE        draw a chart
  --usr DIR         the /usr of a system with crun, laid over the machine's where cgroups are v2
  --peers DIR       a directory with more runtimes, such as youki, looked at before PATH
  --one-view        measure on the present cgroup layout only, not on cgroup v2 as well";

impl Options {
    /// Reads the command line; `--help` prints it and ends the program.
    pub fn parse(bench: &str, rounds: usize, settings: &[Setting]) -> Self {
        let mut options = Self {
            rounds,
            contenders: Vec::new(),
            settings: Vec::new(),
            json: None,
            svg: None,
            markdown: None,
            from: Vec::new(),
            usr: None,
            peers: None,
            one_view: false,
            layout: layout(),
        };
        let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--rounds" => options.rounds = value().parse().expect("--rounds: a number"),
                "--only" => options.contenders = list(value()),
                "--settings" => options.settings = list(value()),
                "--json" => options.json = Some(value().into()),
                "--svg" => options.svg = Some(value().into()),
                "--markdown" => options.markdown = Some(value().into()),
                "--from" => options.from = list(value()).into_iter().map(PathBuf::from).collect(),
                "--usr" => options.usr = Some(value().into()),
                "--peers" => options.peers = Some(value().into()),
                "--one-view" => options.one_view = true,
                "--help" | "-h" => {
                    println!(
                        "cargo bench --profile dev --bench {bench} -- [OPTIONS]\n\n{USAGE}\n\nSettings: {}",
                        names(settings)
                    );
                    std::process::exit(0);
                }
                // What cargo adds.
                "--bench" => {}
                other => panic!("{other}: unknown; --help lists the options"),
            }
        }
        options
    }

    /// The settings that are asked for.
    pub fn chosen<'a>(&self, settings: &'a [Setting]) -> Vec<&'a Setting> {
        let known = |name: &str| settings.iter().any(|(setting, _)| *setting == name);
        if let Some(unknown) = self.settings.iter().find(|name| !known(name)) {
            panic!("--settings {unknown}: unknown; there are {}", names(settings));
        }
        let asked = |name: &str| self.settings.is_empty() || self.settings.iter().any(|asked| asked == name);
        settings.iter().filter(|(name, _)| asked(name)).collect()
    }

    /// A part of the rounds, for what takes long.
    pub fn share(&self, part: usize) -> usize {
        (self.rounds / part).max(3)
    }
}

fn names(settings: &[Setting]) -> String {
    settings.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
