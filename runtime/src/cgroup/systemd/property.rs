//! Limits as properties of a unit (systemd.resource-control(5)), so that systemd does not undo them when it reloads.

use super::message::{Property, Value};
use crate::cgroup::setting::{Absent, Setting};

/// systemd's "no limit".
const INFINITY: u64 = u64::MAX;

/// The properties that say the same as the settings. Settings without one (burst, RDMA, huge pages) are only written
/// to the cgroup; systemd leaves files alone that it has no property for.
pub fn of_settings(settings: &[Setting]) -> Vec<Property> {
    let mut properties = Vec::new();
    for setting in settings {
        let direct = of(&setting.file, &setting.value);
        let other = || match &setting.absent {
            Absent::Try { file, value } => of(file, value),
            _ => Vec::new(),
        };
        properties.extend(if direct.is_empty() { other() } else { direct });
    }
    properties
}

fn of(file: &str, value: &str) -> Vec<Property> {
    let one = |name: &str, value: Option<Value>| value.map(|value| (name.to_owned(), value)).into_iter().collect();
    match file {
        "memory.max" => one("MemoryMax", limit(value)),
        "memory.high" => one("MemoryHigh", limit(value)),
        "memory.low" => one("MemoryLow", limit(value)),
        "memory.min" => one("MemoryMin", limit(value)),
        "memory.swap.max" => one("MemorySwapMax", limit(value)),
        "pids.max" => one("TasksMax", limit(value)),
        "cpu.weight" => one("CPUWeight", limit(value)),
        // A weight of 0 is systemd's word for idle (since version 252).
        "cpu.idle" if value == "1" => one("CPUWeight", Some(Value::UnsignedLong(0))),
        "cpu.max" => quota(value),
        "cpuset.cpus" => one("AllowedCPUs", bits(value)),
        "cpuset.mems" => one("AllowedMemoryNodes", bits(value)),
        "io.weight" => match value.split_once(' ') {
            Some((device, weight)) => one("IODeviceWeight", for_device(device, weight)),
            None => one("IOWeight", limit(value)),
        },
        "io.max" => throttle(value),
        _ => Vec::new(),
    }
}

fn limit(value: &str) -> Option<Value> {
    let number = if value == "max" { INFINITY } else { value.parse().ok()? };
    Some(Value::UnsignedLong(number))
}

/// systemd counts the quota for a second, in whole per cents: rounded up, so that the exact value that is written to the
/// cgroup afterwards fits below.
fn quota(value: &str) -> Vec<Property> {
    let mut words = value.split_whitespace();
    let quota = words.next().unwrap_or("max");
    let period: u64 = words.next().and_then(|word| word.parse().ok()).filter(|&n| n > 0).unwrap_or(100_000);
    let a_second = match quota.parse::<u64>() {
        Ok(quota) => quota.saturating_mul(1_000_000).div_ceil(period).next_multiple_of(10_000),
        Err(_) => INFINITY,
    };
    vec![
        ("CPUQuotaPeriodUSec".to_owned(), Value::UnsignedLong(period)),
        ("CPUQuotaPerSecUSec".to_owned(), Value::UnsignedLong(a_second)),
    ]
}

/// A list such as `0-3,6` as a bit field, lowest byte first.
fn bits(list: &str) -> Option<Value> {
    let mut field = Vec::new();
    for part in list.split(',') {
        let part = part.trim();
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        for bit in first..=last {
            let byte = usize::from(bit / 8);
            if field.len() <= byte {
                field.resize(byte + 1, 0u8);
            }
            field[byte] |= 1 << (bit % 8);
        }
    }
    Some(Value::Bytes(field))
}

fn for_device(device: &str, number: &str) -> Option<Value> {
    let number = if number == "max" { INFINITY } else { number.parse().ok()? };
    Some(Value::TextsWithNumbers(vec![(format!("/dev/block/{device}"), number)]))
}

fn throttle(value: &str) -> Vec<Property> {
    let Some((device, limits)) = value.split_once(' ') else { return Vec::new() };
    let of_limit = |limit: &str| {
        let (key, number) = limit.split_once('=')?;
        let name = match key {
            "rbps" => "IOReadBandwidthMax",
            "wbps" => "IOWriteBandwidthMax",
            "riops" => "IOReadIOPSMax",
            "wiops" => "IOWriteIOPSMax",
            _ => return None,
        };
        Some((name.to_owned(), for_device(device, number)?))
    };
    limits.split_whitespace().filter_map(of_limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_properties() {
        let number = |name: &str, value| (name.to_owned(), Value::UnsignedLong(value));
        assert_eq!(of("memory.max", "1024"), [number("MemoryMax", 1024)]);
        assert_eq!(of("pids.max", "max"), [number("TasksMax", u64::MAX)]);
        assert_eq!(of("cpu.idle", "1"), [number("CPUWeight", 0)]);
        assert_eq!(
            of("cpu.max", "50000 100000"),
            [number("CPUQuotaPeriodUSec", 100_000), number("CPUQuotaPerSecUSec", 500_000)]
        );
        assert_eq!(of("cpu.max", "33333 100000")[1], number("CPUQuotaPerSecUSec", 340_000));
        assert_eq!(of("cpu.max", "max 100000")[1], number("CPUQuotaPerSecUSec", u64::MAX));
        assert_eq!(of("cpuset.cpus", "0-1,9"), [("AllowedCPUs".to_owned(), Value::Bytes(vec![3, 2]))]);
        assert_eq!(of("io.max", "8:0 rbps=5")[0].1, Value::TextsWithNumbers(vec![("/dev/block/8:0".into(), 5)]));
        assert_eq!(of("rdma.max", "x hca_handle=1"), []);
    }
}
