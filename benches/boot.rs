//! How long a container takes from nothing to nothing: `run` of a static `true` with `runc spec`'s default configuration, the whole
//! process, side by side with other runtimes and with the kernel's own price (`benches/floor`).
//!
//! All contenders run in turn within each round, so that whatever else the machine does hits all of them; ratios are taken
//! within a round and then summarized. Both cgroup layouts are measured: the machine's own and a private pure-v2 view.
//!
//! `make bench`, or `cargo bench --profile dev --bench boot -- [--rounds N] [--json FILE] [--only NAME,…]`; root; `PIPKIN_BIN_DIR` names the release programs.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can not be set up must stop, and say where")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use pipkin_harness::host::{self, View};
use pipkin_harness::{Bundle, Lab};
use serde_json::{Value, json};

fn main() {
    let options = Options::parse();
    let Some(lab) = Lab::root() else { return };
    let mut results = vec![measure(&lab, &options)];
    if host::view() == View::Hybrid && !options.one_view {
        results.extend(measure_pure_v2(&lab, &options));
    }
    if let Some(file) = &options.json {
        let document = json!({"bench": "boot", "unit": "milliseconds", "machine": machine(), "results": results});
        std::fs::write(file, serde_json::to_string_pretty(&document).unwrap()).expect("write the JSON file");
    }
}

struct Options {
    rounds: usize,
    json: Option<PathBuf>,
    only: Vec<String>,
    /// Measure in the present view alone; set for the copy of itself that runs in the pure-v2 view.
    one_view: bool,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { rounds: 100, json: None, only: Vec::new(), one_view: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--rounds" => options.rounds = value().parse().expect("--rounds: a number"),
                "--json" => options.json = Some(value().into()),
                "--only" => options.only = value().split(',').map(str::to_owned).collect(),
                "--one-view" => options.one_view = true,
                // What cargo adds.
                "--bench" => {}
                other => panic!("{other}: unknown; there are --rounds N, --json FILE, --only NAME,… and --one-view"),
            }
        }
        options
    }
}

/// A program that boots the container once.
struct Contender {
    name: &'static str,
    command: Vec<String>,
    samples: Vec<f64>,
}

fn contenders(lab: &Lab, bundle: &Bundle) -> Vec<Contender> {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let rootfs = bundle.rootfs("").to_str().unwrap().trim_end_matches('/').to_owned();
    let (state, path) = (lab.path("state").to_str().unwrap().to_owned(), bundle.path_text());
    let runtime = |program: &Path| {
        let program = program.to_str().unwrap();
        words(&[
            program,
            "--root",
            &format!("{state}-{}", program.replace('/', "-")),
            "run",
            "--bundle",
            path,
            lab.name(),
        ])
    };
    let mut all = vec![
        ("floor", Some(words(&[lab.product_path("pipkin-floor").to_str().unwrap(), &rootfs, lab.name(), "/bin/true"]))),
        ("pipkin-runtime", Some(runtime(&lab.product_path("pipkin-runtime")))),
    ];
    for name in ["runc", "crun", "youki"] {
        all.push((name, host::which(name).map(|program| runtime(&program))));
    }
    let bubblewrap = host::which("bwrap").map(|program| {
        let arguments = ["--unshare-all", "--bind", &rootfs, "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"];
        words(&[&[program.to_str().unwrap()], &arguments[..]].concat())
    });
    all.push(("bwrap (no cgroup)", bubblewrap));
    all.push(("no container", Some(words(&[&format!("{rootfs}/bin/busybox"), "true"]))));
    let all =
        all.into_iter().filter_map(|(name, command)| Some(Contender { name, command: command?, samples: Vec::new() }));
    all.collect()
}

impl Contender {
    /// Milliseconds from before the start to after the end of the whole program; the error when it does not do its work.
    fn once(&self) -> Result<f64, String> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let status = command.status().map_err(|error| error.to_string())?;
        let elapsed = started.elapsed();
        if status.success() { Ok(elapsed.as_secs_f64() * 1000.0) } else { Err(status.to_string()) }
    }
}

/// Measures in the present view, prints the table, gives the figures.
fn measure(lab: &Lab, options: &Options) -> Value {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.save();
    let mut contenders = contenders(lab, &bundle);
    contenders.retain(|contender| options.only.is_empty() || options.only.iter().any(|name| name == contender.name));
    // Warm-up: page cache, and who can not boot here at all.
    contenders.retain(|contender| match (0..3).try_for_each(|_| contender.once().map(drop)) {
        Ok(()) => true,
        Err(error) => {
            println!("{}: left out: {error}", contender.name);
            false
        }
    });
    for round in 0..options.rounds {
        let count = contenders.len();
        for turn in 0..count {
            // Everybody comes after everybody in the end.
            let contender = &mut contenders[(turn + round) % count];
            match contender.once() {
                Ok(sample) => contender.samples.push(sample),
                Err(error) => panic!("{} failed in round {round}: {error}", contender.name),
            }
        }
    }
    report(&contenders, options.rounds)
}

/// Runs a copy of this bench in a private mount namespace where `/sys/fs/cgroup` is cgroup2 and nothing else.
fn measure_pure_v2(lab: &Lab, options: &Options) -> Option<Value> {
    let file = lab.path("v2.json");
    let script = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "view"]).arg(std::env::current_exe().unwrap());
    command.args(["--one-view", "--rounds", &options.rounds.to_string(), "--json"]).arg(&file);
    if !options.only.is_empty() {
        command.args(["--only", &options.only.join(",")]);
    }
    command.env("PIPKIN_TEST_VIEW", "v2").process_group(0);
    assert!(command.status().expect("unshare").success(), "the pure-v2 round failed");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    document["results"].get(0).cloned()
}

/// Minimum, quartiles and maximum.
fn spread(samples: &[f64]) -> [f64; 5] {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    [at(0.0), at(0.25), at(0.5), at(0.75), at(1.0)]
}

/// Prints the table. "at best" compares the minima: what is left when nothing else disturbs either.
fn report(contenders: &[Contender], rounds: usize) -> Value {
    println!("\nboot of a static `true`, default configuration, {:?} cgroups, {rounds} rounds, ms", host::view());
    let columns = ["median", "minimum", "quarter", "3/4"].map(|name| format!("{name:>8}")).join(" ");
    println!("{:20} {columns}   {:>24}  {:>7}", "", "times the floor (1/4-3/4)", "at best");
    let floor = contenders.iter().find(|contender| contender.name == "floor");
    let mut figures = Vec::new();
    for contender in contenders {
        let [minimum, quarter, median, three, maximum] = spread(&contender.samples);
        let ratio = floor.map(|floor| {
            let pairs: Vec<f64> =
                contender.samples.iter().zip(&floor.samples).map(|(own, floor)| own / floor).collect();
            let [_, quarter, median, three, _] = spread(&pairs);
            (quarter, median, three, minimum / spread(&floor.samples)[0])
        });
        let shown = ratio.map_or(String::new(), |(quarter, median, three, best)| {
            let pairs = format!("{median:.2} ({quarter:.2}-{three:.2})");
            format!("{pairs:>24}  {best:7.2}")
        });
        println!("{:20} {median:8.2} {minimum:8.2} {quarter:8.2} {three:8.2}   {shown}", contender.name);
        figures.push(json!({
            "name": contender.name, "command": contender.command, "samples": contender.samples,
            "minimum": minimum, "quarter": quarter, "median": median, "three_quarters": three, "maximum": maximum,
            "times_the_floor": ratio.map(|(quarter, median, three, best)| {
                json!({"quarter": quarter, "median": median, "three_quarters": three, "at_best": best})
            }),
        }));
    }
    json!({"view": format!("{:?}", host::view()), "rounds": rounds, "contenders": figures})
}

fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    json!({"kernel": read("/proc/sys/kernel/osrelease"), "processors": processors, "loadavg": read("/proc/loadavg")})
}
