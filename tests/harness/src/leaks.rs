//! What is left of a lab: found by its name, in every place where a container leaves traces.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::host;
use crate::program::await_readable;

/// The variable that every program started in a lab inherits; finds those that outlive their test.
pub(crate) const MARK: &str = "PIPKIN_TEST_LAB";

/// Everything of a lab that still exists.
pub(crate) struct Leaks {
    processes: Vec<(i32, String)>,
    mounts: Vec<PathBuf>,
    cgroups: Vec<PathBuf>,
    states: Vec<PathBuf>,
}

impl Leaks {
    /// Looks for all traces of a lab of that name. Processes that are just ending may do so for as long as `patience`.
    pub(crate) fn find(name: &str, directory: &Path, state_roots: &[PathBuf], patience: Duration) -> Self {
        let processes = processes(name);
        let end = Instant::now() + patience;
        let processes = processes.into_iter().filter(|(pid, _)| !has_ended(*pid, end)).collect();
        Self {
            processes,
            mounts: mounts_below(directory),
            cgroups: host::cgroups_named(name),
            states: state_roots.iter().flat_map(|root| states(root)).collect(),
        }
    }

    /// Whether the lab is as if it had never been.
    pub(crate) fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.mounts.is_empty() && self.cgroups.is_empty() && self.states.is_empty()
    }

    /// Removes everything: processes first, because they hold the rest.
    pub(crate) fn remove(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        for (pid, _) in &self.processes {
            if let Some(pidfd) = Pid::from_raw(*pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                await_readable(&pidfd, end);
            }
        }
        for mount in self.mounts.iter().rev() {
            let _ = unmount(mount, UnmountFlags::DETACH);
        }
        for cgroup in &self.cgroups {
            while fs::remove_dir(cgroup).is_err() && cgroup.exists() && Instant::now() < end {
                // A frozen process does not die; a dying one leaves its cgroup a moment later.
                let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
                let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pid, command) in &self.processes {
            writeln!(f, "process {pid}: {command}")?;
        }
        for (what, paths) in [("mount", &self.mounts), ("cgroup", &self.cgroups), ("state", &self.states)] {
            for path in paths {
                writeln!(f, "{what} {}", path.display())?;
            }
        }
        Ok(())
    }
}

/// Processes that carry the lab's mark in their environment or sit in one of its cgroups.
fn processes(name: &str) -> Vec<(i32, String)> {
    let own = std::process::id() as i32;
    let mark = format!("{MARK}={name}\0");
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own && host::is_alive(*pid))
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            String::from_utf8_lossy(&environment).contains(&mark) || cgroup.contains(name)
        })
        .map(|pid| {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, command.replace('\0', " "))
        })
        .collect()
}

fn has_ended(pid: i32, end: Instant) -> bool {
    match Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        Some(Ok(pidfd)) => await_readable(&pidfd, end),
        _ => true,
    }
}

fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4));
    targets.map(PathBuf::from).filter(|target| target.starts_with(directory)).collect()
}

/// Everything below a state root but a cache of seccomp filters as it should be: then what is wrong in it.
fn states(root: &Path) -> Vec<PathBuf> {
    let (caches, mut states): (Vec<_>, Vec<_>) =
        entries(root).into_iter().partition(|path| path.ends_with("@seccomp") && !path.is_symlink() && path.is_dir());
    let kept: Vec<PathBuf> = caches.iter().flat_map(|cache| entries(cache)).collect();
    if kept.len() > 32 {
        states.extend(caches);
    }
    states.extend(kept.into_iter().filter(|path| !is_kept_filter(path)));
    states
}

fn is_kept_filter(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let named = name.len() == 16 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    named && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= 256 * 1024)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}
