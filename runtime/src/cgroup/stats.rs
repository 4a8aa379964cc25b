//! What a container uses: the figures of `events --stats`, in the shape that runc gives them.

mod legacy;
mod unified;

use std::collections::BTreeMap;
use std::path::Path;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::file;
use super::handle::{Cgroup, is_gone};
use super::layout::Version;
use crate::error::{Context, Result};

/// Everything that the kernel counts for a cgroup; what it does not count is zero or absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Stats {
    /// Processor time and throttling.
    pub cpu: Cpu,
    /// Processors and memory nodes.
    pub cpuset: Cpuset,
    /// Memory and swap.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages by size (`2MB`).
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Cache and memory bandwidth: no figure of a cgroup, always empty here.
    pub intel_rdt: BTreeMap<String, String>,
    /// Network interfaces: no figure of a cgroup, always `null` here.
    pub network_interfaces: Option<Vec<String>>,
}

/// Processor time and throttling.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Cpu {
    /// Processor time.
    pub usage: CpuUsage,
    /// What the quota did.
    pub throttling: Throttling,
    /// Time lost waiting for a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// Processor time in nanoseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct CpuUsage {
    /// In all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub total: u64,
    /// For each processor (version 1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// In the kernel, for each processor (version 1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// In user space, for each processor (version 1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In user space.
    pub user: u64,
}

/// What the quota did.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Throttling {
    /// Periods that have passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Periods in which it was throttled.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// For how long, in nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// Processors and memory nodes; numbers of the files of the same names in version 1.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are the kernel's own words")]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory in bytes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Memory {
    /// Page cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// Memory.
    pub usage: MemoryEntry,
    /// Memory and swap together, on version 2 too.
    pub swap: MemoryEntry,
    /// The kernel's part.
    pub kernel: MemoryEntry,
    /// TCP buffers (version 1).
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// All of `memory.stat`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Time lost waiting for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
    /// What happened at the limits.
    pub event_count: MemoryEvents,
}

/// One kind of memory, in bytes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct MemoryEntry {
    /// The limit; 2^64-1 for none on version 2, a little less than 2^63 on version 1.
    pub limit: u64,
    /// In use.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most that was ever in use.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Counters of `memory.events` (version 2), or of `memory.oom_control` (version 1: `oom_kill` alone).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are the kernel's own words")]
pub struct MemoryEvents {
    #[serde(skip_serializing_if = "is_zero")]
    pub low: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub high: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub oom: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub oom_kill: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub oom_group_kill: u64,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Pids {
    /// How many there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// How many there may be; 0 for no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Blkio {
    /// Bytes read, written and so on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Time lost waiting for devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One device and operation.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct BlkioEntry {
    /// The device's major number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// The device's minor number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, `Discard` and so on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// Bytes or requests.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Hugetlb {
    /// In use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most that was ever in use (version 1).
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Pressure stall information (Documentation/accounting/psi.rst).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Psi {
    /// Some task waited.
    pub some: PsiData,
    /// All tasks waited.
    pub full: PsiData,
}

/// Shares of the time in per cent, and in all in microseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are the kernel's own words")]
pub struct PsiData {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

impl Cgroup {
    /// What the kernel counts now. A controller that is not there leaves its figures at zero.
    ///
    /// # Errors
    /// When a file is there and can not be read.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        for seat in self.seats() {
            let source = Source { directory: &seat.directory };
            match seat.version {
                Version::V1 => legacy::add(&mut stats, seat, source)?,
                Version::V2 => unified::add(&mut stats, source)?,
            }
        }
        Ok(stats)
    }
}

/// The files of one cgroup.
#[derive(Clone, Copy)]
struct Source<'a> {
    directory: &'a Path,
}

impl Source<'_> {
    /// The file's text; `None` where the kernel or the cgroup has no such file.
    fn text(self, name: &str) -> Result<Option<String>> {
        let path = self.directory.join(name);
        match file::read_path(&path) {
            Ok(text) => Ok(Some(text)),
            // EOPNOTSUPP: switched off (pressure, version 1's swap).
            Err(error) if is_gone(error) || error == Errno::OPNOTSUPP => Ok(None),
            Err(error) => Err(error).on("read", path),
        }
    }

    /// The file's only number, 0 where it is missing, 2^64-1 for `max`.
    fn number(self, name: &str) -> Result<u64> {
        Ok(self.text(name)?.map_or(0, |text| number(text.trim())))
    }

    /// The numbers of a file of `key value` lines; empty where it is missing.
    fn table(self, name: &str) -> Result<BTreeMap<String, u64>> {
        let text = self.text(name)?.unwrap_or_default();
        let line = |line: &str| line.split_once(' ').map(|(key, value)| (key.to_owned(), number(value.trim())));
        Ok(text.lines().filter_map(line).collect())
    }

    /// The processors or nodes of a list such as `0-3,6`.
    fn list(self, name: &str) -> Result<Vec<u16>> {
        Ok(self.text(name)?.map_or(Vec::new(), |text| list(text.trim())))
    }

    fn pressure(self, name: &str) -> Result<Option<Psi>> {
        Ok(self.text(name)?.map(|text| Psi { some: pressure(&text, "some"), full: pressure(&text, "full") }))
    }
}

fn number(text: &str) -> u64 {
    if text == "max" { u64::MAX } else { text.parse().unwrap_or(0) }
}

fn list(text: &str) -> Vec<u16> {
    let part = |part: &str| -> Option<std::ops::RangeInclusive<u16>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').filter_map(part).flatten().collect()
}

fn pressure(text: &str, kind: &str) -> PsiData {
    let mut data = PsiData::default();
    let line = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
    for (key, value) in line.split_whitespace().filter_map(|pair| pair.split_once('=')) {
        match key {
            "avg10" => data.avg10 = value.parse().unwrap_or_default(),
            "avg60" => data.avg60 = value.parse().unwrap_or_default(),
            "avg300" => data.avg300 = value.parse().unwrap_or_default(),
            "total" => data.total = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    data
}

/// The sizes of huge pages that the machine has, as the files of the controller are called: `2MB`, `1GB`.
fn huge_page_sizes() -> Vec<String> {
    let sizes = file::children(Path::new("/sys/kernel/mm/hugepages")).unwrap_or_default();
    let size = |path: &std::path::PathBuf| {
        let kilobytes: u64 =
            path.file_name()?.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        Some(match kilobytes {
            k if k >= 1 << 20 => format!("{}GB", k >> 20),
            k if k >= 1 << 10 => format!("{}MB", k >> 10),
            k => format!("{k}KB"),
        })
    };
    sizes.iter().filter_map(size).collect()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_numbers() {
        assert_eq!(list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(list(""), Vec::<u16>::new());
        assert_eq!((number("max"), number("17"), number("?")), (u64::MAX, 17, 0));
    }

    #[test]
    fn pressure_lines() {
        let text = "some avg10=0.12 avg60=1.00 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.50 avg300=0.00 total=7\n";
        assert_eq!(pressure(text, "some"), PsiData { avg10: 0.12, avg60: 1.0, avg300: 0.0, total: 42 });
        assert_eq!(pressure(text, "full").total, 7);
    }

    #[test]
    fn the_shape_that_runc_gives() {
        let mut stats = Stats::default();
        stats.pids.current = 3;
        stats.blkio.io_serviced_recursive.push(BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 5 });
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(json["pids"], serde_json::json!({"current": 3}));
        assert_eq!(json["cpu"], serde_json::json!({"usage": {"kernel": 0, "user": 0}, "throttling": {}}));
        assert_eq!(json["memory"]["kernelTCP"], serde_json::json!({"limit": 0, "failcnt": 0}));
        assert_eq!(json["blkio"], serde_json::json!({"ioServicedRecursive": [{"major": 8, "op": "Read", "value": 5}]}));
        assert!(json["network_interfaces"].is_null() && json["intel_rdt"].is_object());
    }
}
