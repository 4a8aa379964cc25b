//! What is above the floor, piece by piece: the floor with one piece of a runtime's kernel work more each time, all in one run.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use pipkin_harness::{Lab, host};
use pipkin_measure::{Comparison, Contender, Row, short};

use super::{milliseconds, states};

/// How the titles of such comparisons begin.
pub const ABOVE: &str = "above the floor: ";

/// Something that a runtime does and the floor does not: its name in `pipkin-floor --with`, what it is, and why it is done.
pub struct Piece(pub &'static str, pub &'static str, pub &'static str);

/// What is less in a runtime than in the floor.
pub const OWN_START: Piece = Piece(
    "",
    "a start of its own instead of the C library's",
    "less, not more: in a virtual machine the C library's start costs some 70 exits to the hypervisor (CPUID)",
);

/// In the order in which they are added; the last one's distance to `pipkin-runtime` is what the program itself does.
pub const BOOT: [Piece; 9] = [
    Piece(
        "stage",
        "the stage: a second program, from a handle that can not be written",
        "nothing writable of the host may be visible inside (CVE-2019-5736)",
    ),
    Piece(
        "channel",
        "a connection, a plan in memory, three messages",
        "errors come out; `run` publishes before the program runs",
    ),
    Piece(
        "network",
        "the network namespace is made by the launcher, beside the stage",
        "less, not more: it is most of a clone's price",
    ),
    Piece(
        "state",
        "the container's directory: lock, three files, removed at the end",
        "`state`, `list`, and `delete` after a killed launcher",
    ),
    Piece("look", "config.json, cgroups, mounts, user namespace, security modules", "the floor knows its machine"),
    Piece(
        "handles",
        "mounts by handles: 26 `openat2`, each mount made apart and moved",
        "no path of an image is trusted (CVE-2021-30465 and its kin)",
    ),
    Piece("keyring", "a session keyring", "the caller's keys are not the container's"),
    Piece(
        "devices",
        "all rules for devices (57 instructions on v2), beside the stage",
        "the floor's shortest program is not what anybody runs",
    ),
    Piece(
        "process",
        "signals, ids, standard streams, processors, looking for the program",
        "a program begins as it expects to; errors say what is wrong",
    ),
];

/// The same for `exec`.
pub const EXEC: [Piece; 4] = [
    Piece(
        "stage",
        "the stage: a second program, and a clone of it in the pid namespace",
        "nothing writable of the host may be visible inside (CVE-2019-5736); nobody inside may look into it",
    ),
    Piece("channel", "a connection, a plan in memory, four messages", "errors come out; who the program is"),
    Piece(
        "look",
        "state, config.json, first process, cgroup, whether it is paused",
        "the floor is told where everything is",
    ),
    Piece(
        "process",
        "signals, ids, standard streams, processors, looking for the program",
        "a program begins as it expects to; errors say what is wrong",
    ),
];

/// What is left.
const ITSELF: Piece = Piece(
    "",
    "the program itself: command line, JSON, checks, plan, the page faults of 3 MB",
    "every mistake is found before anything is made",
);

const CRUN_START: &str = "crun --version";

/// The floor, and the floor with ever more pieces; `rest` are the floor's last arguments.
pub fn contenders<'a>(lab: &Lab, pieces: &[Piece], state: &Path, rest: &[&str]) -> Vec<(String, Contender<'a>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, program: &str, with: &[&str]| {
        let mut command = Command::new(lab.product_path(program));
        if !with.is_empty() {
            command.args(["--with", &with.join(",")]);
        }
        command.arg("--state").arg(state).args(rest);
        all.push((name.to_owned(), Contender::new(name, move || milliseconds(&mut command))));
    };
    add("floor", "pipkin-floor", &[]);
    add(OWN_START.1, "pipkin-floor-bare", &[]);
    let names: Vec<&str> = pieces.iter().map(|piece| piece.0).collect();
    for (last, piece) in pieces.iter().enumerate() {
        add(piece.1, "pipkin-floor-bare", &names[..=last]);
    }
    all
}

/// What crun's program costs before it does anything, where there is one.
pub fn crun_start<'a>() -> Option<(String, Contender<'a>)> {
    let mut command = Command::new(host::which("crun")?);
    command.arg("--version");
    Some((CRUN_START.to_owned(), Contender::new(CRUN_START, move || milliseconds(&mut command))))
}

/// Where the floor keeps what a runtime would.
pub fn state_directory(lab: &Lab) -> std::path::PathBuf {
    let directory = states(lab).join("floor");
    std::fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    directory
}

/// Each line is what is added to the line before: the median of the differences round by round, and the difference of the minima,
/// which is what is left of it on a busy machine.
pub fn table(comparison: &Comparison) -> String {
    let title = comparison.title.trim_start_matches(ABOVE);
    let row = |name: &str| comparison.rows.iter().find(|row| row.name == name);
    let (Some(floor), Some(own)) = (row("floor"), row("pipkin-runtime")) else { return String::new() };
    let mut text = format!("\n| {title} | us | at best | what for |\n|---|---|---|---|\n");
    let mut line = |name: &str, [us, best]: [f64; 2], why: &str, sign: bool| {
        let _ = match sign {
            true => writeln!(text, "| {name} | {us:+.0} | {best:+.0} | {why} |"),
            false => writeln!(text, "| {name} | {us:.0} | {best:.0} | {why} |"),
        };
    };
    line("the floor", [median(floor), minimum(floor)].map(|ms| ms * 1000.0), "", false);
    let (mut sum, mut last) = ([0.0, 0.0], floor);
    let all = std::iter::once(&OWN_START).chain(if title.starts_with("boot") { &BOOT[..] } else { &EXEC[..] });
    let steps = all.filter_map(|piece| Some((row(piece.1)?, piece.1, piece.2)));
    for (with, name, why) in steps.chain([(own, ITSELF.1, ITSELF.2)]) {
        let added = between(last, with);
        sum = [sum[0] + added[0], sum[1] + added[1]];
        last = with;
        line(name, added, why, true);
    }
    line("**sum**", sum, "", true);
    let why = format!("{:.2} times the floor", ratio(own, floor));
    line("pipkin-runtime minus floor, as measured", between(floor, own), &why, true);
    if let Some(crun) = row("crun") {
        text += &of_crun(comparison, title, floor, crun, own);
    }
    text
}

/// What can be had of a peer's time at all.
fn of_crun(comparison: &Comparison, title: &str, floor: &Row, crun: &Row, own: &Row) -> String {
    let (wish, wanted) =
        if title.starts_with("boot") { ("2.1 times faster", 1.0 / 2.1) } else { ("0.45 of its time", 0.45) };
    let figures = |of: fn(&Row) -> f64, name: &str| {
        let (goal, floor) = (of(crun) * wanted * 1000.0, of(floor) * 1000.0);
        let place = if goal < floor { "less" } else { "more" };
        format!("{goal:.0} us, {:.0} {place} than the floor takes ({name})", (goal - floor).abs())
    };
    let mut text = format!(
        "\ncrun takes {} ms, {:.2} times the floor: {:+.0} us ({:+.0} at best)",
        short(median(crun)),
        ratio(crun, floor),
        between(floor, crun)[0],
        between(floor, crun)[1]
    );
    if let Some(start) = comparison.rows.iter().find(|row| row.name == CRUN_START) {
        let _ =
            write!(text, ". Its start alone, with its libraries, is {:.0} us (`{CRUN_START}`)", median(start) * 1000.0);
    }
    let _ = writeln!(
        text,
        ". {wish} would be {}, {}. pipkin-runtime takes {:.2} of crun's time.",
        figures(median, "medians"),
        figures(minimum, "minima"),
        ratio(own, crun)
    );
    text
}

fn median(row: &Row) -> f64 {
    row.samples.spread().median
}

fn minimum(row: &Row) -> f64 {
    row.samples.spread().minimum
}

/// Microseconds that the second takes more: the median round by round, and of the minima.
fn between(first: &Row, second: &Row) -> [f64; 2] {
    let pairs = first.samples.as_slice().iter().zip(second.samples.as_slice());
    let differences: pipkin_measure::Samples = pairs.map(|(first, second)| second - first).collect();
    [differences.spread().median, minimum(second) - minimum(first)].map(|ms| ms * 1000.0)
}

fn ratio(row: &Row, to: &Row) -> f64 {
    row.samples.divided_by(&to.samples).spread().median
}
