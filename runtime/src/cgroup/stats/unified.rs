//! The figures of version 2.

use super::{BlkioEntry, Hugetlb, MemoryEntry, MemoryEvents, Source, Stats, number};
use crate::error::Result;

/// Adds what version 2 counts; in the hybrid layout that is pressure, and controllers that version 1 does not hold.
pub fn add(stats: &mut Stats, source: Source<'_>) -> Result<()> {
    stats.cpu.psi = source.pressure("cpu.pressure")?;
    stats.memory.psi = source.pressure("memory.pressure")?;
    stats.blkio.psi = source.pressure("io.pressure")?;
    cpu(stats, source)?;
    memory(stats, source)?;
    io(stats, source)?;
    if let Some(current) = source.text("pids.current")? {
        stats.pids.current = number(current.trim());
        stats.pids.limit = Some(source.number("pids.max")?).filter(|&limit| limit != u64::MAX).unwrap_or(0);
    }
    if source.text("cpuset.cpus.effective")?.is_some() {
        stats.cpuset.cpus = source.list("cpuset.cpus.effective")?;
        stats.cpuset.mems = source.list("cpuset.mems.effective")?;
    }
    hugetlb(stats, source)
}

fn cpu(stats: &mut Stats, source: Source<'_>) -> Result<()> {
    if stats.cpu.usage.total != 0 {
        return Ok(()); // Version 1's cpuacct has counted it.
    }
    let table = source.table("cpu.stat")?;
    let nanoseconds = |key: &str| table.get(key).copied().unwrap_or(0).saturating_mul(1000);
    stats.cpu.usage.total = nanoseconds("usage_usec");
    stats.cpu.usage.user = nanoseconds("user_usec");
    stats.cpu.usage.kernel = nanoseconds("system_usec");
    if let Some(&periods) = table.get("nr_periods") {
        stats.cpu.throttling.periods = periods;
        stats.cpu.throttling.throttled_periods = table.get("nr_throttled").copied().unwrap_or(0);
        stats.cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    }
    Ok(())
}

fn memory(stats: &mut Stats, source: Source<'_>) -> Result<()> {
    let Some(current) = source.text("memory.current")? else { return Ok(()) };
    let memory = &mut stats.memory;
    memory.raw = source.table("memory.stat")?;
    let raw = |key: &str| memory.raw.get(key).copied().unwrap_or(0);
    let (cache, kernel) = (raw("file"), raw("kernel"));
    let events = source.table("memory.events")?;
    let event = |key: &str| events.get(key).copied().unwrap_or(0);
    memory.event_count = MemoryEvents {
        low: event("low"),
        high: event("high"),
        max: event("max"),
        oom: event("oom"),
        oom_kill: event("oom_kill"),
        oom_group_kill: event("oom_group_kill"),
    };
    memory.cache = cache;
    memory.kernel.usage = kernel;
    memory.usage = MemoryEntry {
        limit: source.number("memory.max")?,
        usage: number(current.trim()),
        max: source.number("memory.peak")?,
        failcnt: event("max"),
    };
    if source.text("memory.swap.current")?.is_some() {
        // With the memory, as in version 1, because that is what the field has always meant.
        memory.swap = MemoryEntry {
            limit: source.number("memory.swap.max")?.saturating_add(memory.usage.limit),
            usage: source.number("memory.swap.current")?.saturating_add(memory.usage.usage),
            max: 0,
            failcnt: source.table("memory.swap.events")?.get("max").copied().unwrap_or(0),
        };
    }
    Ok(())
}

fn io(stats: &mut Stats, source: Source<'_>) -> Result<()> {
    let Some(text) = source.text("io.stat")? else { return Ok(()) };
    stats.blkio.io_service_bytes_recursive =
        entries(&text, &[("rbytes", "Read"), ("wbytes", "Write"), ("dbytes", "Discard")]);
    stats.blkio.io_serviced_recursive = entries(&text, &[("rios", "Read"), ("wios", "Write"), ("dios", "Discard")]);
    Ok(())
}

/// Lines such as `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn entries(text: &str, kinds: &[(&str, &str)]) -> Vec<BlkioEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            if let Some((_, op)) = kinds.iter().find(|(kind, _)| *kind == key) {
                entries.push(BlkioEntry { major, minor, op: (*op).to_owned(), value: number(value) });
            }
        }
    }
    entries
}

fn hugetlb(stats: &mut Stats, source: Source<'_>) -> Result<()> {
    for size in super::huge_page_sizes() {
        let Some(current) = source.text(&format!("hugetlb.{size}.current"))? else { continue };
        let failcnt = source.table(&format!("hugetlb.{size}.events"))?.get("max").copied().unwrap_or(0);
        stats.hugetlb.insert(size, Hugetlb { usage: number(current.trim()), max: 0, failcnt });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_devices() {
        let text = "253:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\ngarbage\n";
        let read = entries(text, &[("rbytes", "Read")]);
        assert_eq!(read, [BlkioEntry { major: 253, minor: 0, op: "Read".into(), value: 4096 }]);
    }
}
