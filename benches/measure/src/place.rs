//! Where what is measured keeps its files.

use std::path::{Path, PathBuf};

/// A directory in memory: /run, where it is one, or /dev/shm. Runtimes keep their states in /run by default, which is on a disk in
/// some virtual machines and containers: there, to remove a state takes longer than many other things that are to be measured.
pub fn in_memory() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let is_tmpfs = |place: &&str| {
        // proc_pid_mounts(5): device, mount point, type; the last one counts.
        let on = mounts.lines().rev().find(|line| line.split(' ').nth(1) == Some(place));
        on.is_some_and(|line| line.split(' ').nth(2) == Some("tmpfs"))
    };
    let place = ["/run", "/dev/shm"].into_iter().find(is_tmpfs).unwrap_or("/run");
    Path::new(place).to_owned()
}
