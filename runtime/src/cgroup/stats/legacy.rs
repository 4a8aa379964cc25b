//! The figures of version 1.

use super::{BlkioEntry, CpuUsage, Hugetlb, MemoryEntry, Source, Stats};
use crate::cgroup::record::Seat;
use crate::error::Result;

/// Nanoseconds in a tick of `cpuacct.stat`: USER_HZ is 100 on every architecture.
const TICK: u64 = 10_000_000;

/// Adds what the controllers of one hierarchy count.
pub fn add(stats: &mut Stats, seat: &Seat, source: Source<'_>) -> Result<()> {
    for controller in seat.options.split(',') {
        match controller {
            "cpu" => cpu(stats, source)?,
            "cpuacct" => stats.cpu.usage = usage(source)?,
            "cpuset" => cpuset(stats, source)?,
            "memory" => memory(stats, source)?,
            "pids" => {
                stats.pids.current = source.number("pids.current")?;
                stats.pids.limit = Some(source.number("pids.max")?).filter(|&limit| limit != u64::MAX).unwrap_or(0);
            }
            "blkio" => blkio(stats, source)?,
            "hugetlb" => hugetlb(stats, source)?,
            _ => {}
        }
    }
    Ok(())
}

fn cpu(stats: &mut Stats, source: Source<'_>) -> Result<()> {
    let table = source.table("cpu.stat")?;
    let get = |key: &str| table.get(key).copied().unwrap_or(0);
    stats.cpu.throttling.periods = get("nr_periods");
    stats.cpu.throttling.throttled_periods = get("nr_throttled");
    stats.cpu.throttling.throttled_time = get("throttled_time");
    Ok(())
}

fn usage(source: Source<'_>) -> Result<CpuUsage> {
    let row = |name: &str| -> Result<Vec<u64>> {
        let text = source.text(name)?.unwrap_or_default();
        Ok(text.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect())
    };
    let mut usage = CpuUsage {
        total: source.number("cpuacct.usage")?,
        percpu: row("cpuacct.usage_percpu")?,
        percpu_kernel: row("cpuacct.usage_percpu_sys")?,
        percpu_user: row("cpuacct.usage_percpu_user")?,
        ..CpuUsage::default()
    };
    let ticks = source.table("cpuacct.stat")?;
    usage.kernel = ticks.get("system").copied().unwrap_or(0) * TICK;
    usage.user = ticks.get("user").copied().unwrap_or(0) * TICK;
    Ok(usage)
}

fn cpuset(stats: &mut Stats, source: Source<'_>) -> Result<()> {
    let set = &mut stats.cpuset;
    set.cpus = source.list("cpuset.cpus")?;
    set.mems = source.list("cpuset.mems")?;
    set.cpu_exclusive = source.number("cpuset.cpu_exclusive")?;
    set.mem_hardwall = source.number("cpuset.mem_hardwall")?;
    set.mem_exclusive = source.number("cpuset.mem_exclusive")?;
    set.memory_migrate = source.number("cpuset.memory_migrate")?;
    set.memory_spread_page = source.number("cpuset.memory_spread_page")?;
    set.memory_spread_slab = source.number("cpuset.memory_spread_slab")?;
    set.memory_pressure = source.number("cpuset.memory_pressure")?;
    set.sched_load_balance = source.number("cpuset.sched_load_balance")?;
    let level = source.text("cpuset.sched_relax_domain_level")?;
    set.sched_relax_domain_level = level.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Ok(())
}

fn memory(stats: &mut Stats, source: Source<'_>) -> Result<()> {
    let entry = |kind: &str| -> Result<MemoryEntry> {
        Ok(MemoryEntry {
            limit: source.number(&format!("memory.{kind}limit_in_bytes"))?,
            usage: source.number(&format!("memory.{kind}usage_in_bytes"))?,
            max: source.number(&format!("memory.{kind}max_usage_in_bytes"))?,
            failcnt: source.number(&format!("memory.{kind}failcnt"))?,
        })
    };
    let memory = &mut stats.memory;
    memory.usage = entry("")?;
    memory.swap = entry("memsw.")?;
    memory.kernel = entry("kmem.")?;
    memory.kernel_tcp = entry("kmem.tcp.")?;
    memory.raw = source.table("memory.stat")?;
    // Counted with all cgroups below, as everything else here.
    memory.cache = memory.raw.get("total_cache").copied().unwrap_or(0);
    memory.event_count.oom_kill = source.table("memory.oom_control")?.get("oom_kill").copied().unwrap_or(0);
    Ok(())
}

/// Under the BFQ scheduler its own files count, else the throttling layer's.
fn blkio(stats: &mut Stats, source: Source<'_>) -> Result<()> {
    let read = |kind: &str| -> Result<Vec<BlkioEntry>> {
        let bfq = entries(&source.text(&format!("blkio.bfq.{kind}_recursive"))?.unwrap_or_default());
        if bfq.is_empty() {
            return Ok(entries(&source.text(&format!("blkio.throttle.{kind}_recursive"))?.unwrap_or_default()));
        }
        Ok(bfq)
    };
    stats.blkio.io_service_bytes_recursive = read("io_service_bytes")?;
    stats.blkio.io_serviced_recursive = read("io_serviced")?;
    Ok(())
}

/// Lines such as `8:0 Read 4096`; the sum of all devices (`Total 4096`) is left out.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = (words.next()?, words.next()?);
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

fn hugetlb(stats: &mut Stats, source: Source<'_>) -> Result<()> {
    for size in super::huge_page_sizes() {
        if source.text(&format!("hugetlb.{size}.usage_in_bytes"))?.is_some() {
            let entry = Hugetlb {
                usage: source.number(&format!("hugetlb.{size}.usage_in_bytes"))?,
                max: source.number(&format!("hugetlb.{size}.max_usage_in_bytes"))?,
                failcnt: source.number(&format!("hugetlb.{size}.failcnt"))?,
            };
            stats.hugetlb.insert(size, entry);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_devices() {
        let text = "8:0 Read 4096\n8:0 Write 0\n8:0 Total 4096\nTotal 4096\n";
        let entries = entries(text);
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0], BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 4096 });
    }
}
