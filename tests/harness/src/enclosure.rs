//! A network and mount namespace of its own, where container engines may make bridges, rules and mounts as they like.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::program::{Program, Running};
use crate::{host, skipped};

/// A lab whose engine runs behind walls: nothing that it does to the network or to mounts reaches the machine.
///
/// `/run` and `/dev/shm` are empty and its own, so engines find no state of others there; everybody may use `/dev/net/tun`.
pub struct Enclosure {
    holder: Running,
    lab: Lab,
}

impl Enclosure {
    /// A new one for root's engine; `None`, and a SKIPPED line, without root or without one of the programs that the tests
    /// need.
    pub fn new(programs: &[&str]) -> Option<Self> {
        Self::around(Lab::root()?, programs)
    }

    /// One for the engine of an ordinary user with subordinate ids. Only root can make the walls.
    pub fn of_user(programs: &[&str]) -> Option<Self> {
        if !host::is_root() {
            skipped("needs root");
            return None;
        }
        Self::around(Lab::user()?, programs)
    }

    fn around(lab: Lab, programs: &[&str]) -> Option<Self> {
        if let Some(missing) = programs.iter().find(|program| host::which(program).is_none()) {
            skipped(&format!("{missing} is not installed"));
            return None;
        }
        let script = "set -e; ip link set lo up; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /dev/shm; \
                      chmod 1777 /dev/shm; mkdir /run/lock; \
                      mknod -m 666 /run/tun c 10 200; mount --bind /run/tun /dev/net/tun; echo ready; exec sleep infinity";
        let words = ["--net", "--mount", "--propagation", "private", "/bin/sh", "-c", script];
        let mut holder = lab.program_of_caller("unshare").args(words).start();
        holder.hear("ready");
        Some(Self { holder, lab })
    }

    /// The lab that it belongs to.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A program of the lab's user behind the walls.
    pub fn program(&self, program: impl AsRef<Path>) -> Program {
        let entered = self.entered();
        let Some(user) = self.lab.as_user() else { return entered.arg(program.as_ref()) };
        let ids = [format!("--reuid={}", user.uid), format!("--regid={}", user.gid)];
        entered.arg("setpriv").args(ids).arg("--clear-groups").arg(program.as_ref())
    }

    /// The beginning of a command line behind the walls, as root.
    fn entered(&self) -> Program {
        let target = format!("--target={}", self.holder.pid());
        let wd = format!("--wd={}", self.lab.path("").display());
        self.lab.program_of_caller("nsenter").args([&target, "--net", "--mount", &wd, "--"])
    }

    /// What runtimes have left: their state, one path a line. Engines that are closed leave nothing.
    pub fn states_left(&self) -> String {
        self.entered()
            .arg("find")
            .arg("/run")
            .arg(self.lab.path("run"))
            .args(["-name", "state.json"])
            .run()
            .ok()
            .stdout()
    }

    /// Removes the cgroups that the engine itself has made, by their names, when the last process in them has ended, which may
    /// take a moment longer than the command that ended it. Those that do not get empty stay, and count as leaks.
    pub fn remove_cgroups(&self, names: &[&str]) {
        let end = Instant::now() + Duration::from_secs(20);
        for cgroup in host::cgroups_named(self.lab.name()) {
            let name = cgroup.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let removed = || std::fs::remove_dir(&cgroup).is_ok() || !cgroup.exists();
            while names.contains(&name.as_str()) && !removed() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Something costly that all tests of one file share while any of them uses it: an engine and its image.
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Shared<T> {
    /// Nothing is made yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The one that is there, or a new one. The last user ends it.
    pub fn get(&self, make: impl FnOnce() -> Option<T>) -> Option<Arc<T>> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = shared.upgrade() {
            return Some(there);
        }
        let made = Arc::new(make()?);
        *shared = Arc::downgrade(&made);
        Some(made)
    }
}
