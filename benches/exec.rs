//! How long `exec ID true` takes on a running container, side by side with other runtimes.
//!
//! `cargo bench --profile dev --bench exec`; root; `PIPKIN_BIN_DIR` names the release programs.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that can not be set up must stop, and say where")]

#[path = "side_by_side/runtimes.rs"]
mod runtimes;
mod side_by_side;

use pipkin_harness::{Bundle, Lab};
use pipkin_measure::{Comparison, Contender};

use runtimes::{Runtime, runtimes};
use side_by_side::{Options, finish, milliseconds};

fn main() {
    side_by_side::run("exec", 100, &[("exec", compare)]);
}

fn compare(lab: &Lab, options: &Options) -> Option<Comparison> {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/sleep", "100000"]);
    bundle.save();
    let runtimes = runtimes(lab);
    let containers: Vec<Container> = runtimes.iter().map(|runtime| Container::run(lab, runtime, &bundle)).collect();
    let mut contenders = Vec::new();
    for container in &containers {
        let name = container.runtime.name;
        contenders.push((name.to_owned(), Contender::new(name, || container.exec())));
    }
    Some(options.compare("exec of a static `true` in a running container", options.rounds, contenders))
}

/// A running container, or why it does not run; deleted when dropped.
struct Container<'a> {
    runtime: &'a Runtime,
    id: String,
    running: Result<(), String>,
}

impl<'a> Container<'a> {
    fn run(lab: &Lab, runtime: &'a Runtime, bundle: &Bundle) -> Self {
        let id = format!("{}-{}", lab.name(), runtime.name);
        let running = finish(&mut runtime.command(["run", "--detach", "--bundle", bundle.path_text(), &id]));
        Self { runtime, id, running }
    }

    fn exec(&self) -> Result<f64, String> {
        self.running.clone()?;
        milliseconds(&mut self.runtime.command(["exec", &self.id, "/bin/true"]))
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if self.running.is_ok()
            && let Err(error) = finish(&mut self.runtime.command(["delete", "--force", &self.id]))
        {
            eprintln!("delete {}: {error}", self.id);
        }
    }
}
