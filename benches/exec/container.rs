//! Something to execute programs in.

use std::fs;

use pipkin_harness::{Bundle, Lab};
use pipkin_measure::Contender;

use crate::runtimes::Runtime;
use crate::side_by_side::{finish, milliseconds};

/// A running container, or why it does not run; deleted when dropped.
pub struct Container {
    pub runtime: Runtime,
    id: String,
    /// Its first process.
    running: Result<String, String>,
}

impl Container {
    /// Starts it, detached.
    pub fn run(lab: &Lab, runtime: Runtime, bundle: &Bundle) -> Self {
        let id = format!("{}-{}", lab.name(), runtime.name);
        let pid_file = lab.path(format!("{}-pid", runtime.name));
        let pid_text = pid_file.to_str().expect("plain words");
        let started = finish(&mut runtime.command([
            "run",
            "--detach",
            "--bundle",
            bundle.path_text(),
            "--pid-file",
            pid_text,
            &id,
        ]));
        let pid = || fs::read_to_string(&pid_file).map_err(|error| format!("{pid_text}: {error}"));
        Self { runtime, id, running: started.and_then(|()| pid()) }
    }

    /// An `exec` in it, in milliseconds.
    pub fn contender(&self) -> (String, Contender<'_>) {
        let name = self.runtime.name;
        let mut command = self.runtime.command(["exec", &self.id, "/bin/true"]);
        let once = move || {
            self.running.clone()?;
            milliseconds(&mut command)
        };
        (name.to_owned(), Contender::new(name, once))
    }

    /// Its name, which is that of its cgroup, too.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its first process's number.
    pub fn pid(&self) -> Result<&str, String> {
        self.running.as_deref().map(str::trim).map_err(Clone::clone)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.running.is_ok()
            && let Err(error) = finish(&mut self.runtime.command(["delete", "--force", &self.id]))
        {
            eprintln!("delete {}: {error}", self.id);
        }
    }
}
