//! `cpu`: shares, quota, period, burst, idle, real time, and the processors and memory nodes of `cpuset`.

use oci_spec::runtime::{LinuxCpu, LinuxResources};

use super::{Compiler, Version};

/// The kernel's period when none is set, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// What every cgroup has. containerd writes it into every configuration, also where no controller is there to be asked.
const DEFAULT_SHARES: u64 = 1024;

impl Compiler<'_> {
    pub(super) fn cpu(&mut self, resources: &LinuxResources) {
        let Some(cpu) = resources.cpu() else { return };
        self.cpuset(cpu);
        let there = self.version("cpu").is_some();
        if !asks_for_cpu(cpu, there) || !self.cpu_makes_sense(cpu) {
            return;
        }
        match self.needed("cpu", "cpu") {
            Some(Version::V1) => self.cpu_v1(cpu),
            Some(Version::V2) => self.cpu_v2(cpu),
            None => {}
        }
    }

    fn cpuset(&mut self, cpu: &LinuxCpu) {
        for (name, list) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
            let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
            let field = format!("cpu.{name}");
            if !is_list(list) {
                self.problem(&field, format_args!("\"{list}\": a list such as 0-3,6"));
            } else if self.needed("cpuset", &field).is_some() {
                self.set(format!("cpuset.{name}"), list, &field);
            }
        }
    }

    fn cpu_makes_sense(&mut self, cpu: &LinuxCpu) -> bool {
        let before = self.problems.iter().count();
        if let Some(quota) = cpu.quota().filter(|&n| n < -1) {
            self.problem("cpu.quota", format_args!("{quota}: microseconds in a period, or -1 for no limit"));
        }
        if let Some(quota) = cpu.quota().filter(|&n| n > 0 && n < 1000) {
            self.problem("cpu.quota", format_args!("{quota}: the kernel's smallest quota is 1000 microseconds"));
        }
        if let Some(period) = cpu.period().filter(|&n| n != 0 && !(1000..=1_000_000).contains(&n)) {
            self.problem("cpu.period", format_args!("{period}: from 1000 to 1000000 microseconds"));
        }
        if let (Some(burst), Some(quota)) = (cpu.burst(), cpu.quota())
            && quota > 0
            && burst > quota as u64
        {
            self.problem("cpu.burst", format_args!("{burst}: more than cpu.quota ({quota})"));
        }
        if let Some(idle) = cpu.idle().filter(|n| !(0..=1).contains(n)) {
            self.problem("cpu.idle", format_args!("{idle}: 0 or 1 (SCHED_IDLE)"));
        }
        if let Some(shares) = cpu.shares().filter(|&n| n != 0 && !(2..=262_144).contains(&n)) {
            self.problem("cpu.shares", format_args!("{shares}: from 2 to 262144"));
        }
        self.problems.iter().count() == before
    }

    fn cpu_v1(&mut self, cpu: &LinuxCpu) {
        // Real time first: it must be there before a real-time process enters.
        if let Some(period) = cpu.realtime_period().filter(|&n| n != 0) {
            self.set("cpu.rt_period_us", period, "cpu.realtimePeriod");
        }
        if let Some(runtime) = cpu.realtime_runtime().filter(|&n| n != 0) {
            self.set("cpu.rt_runtime_us", runtime, "cpu.realtimeRuntime");
        }
        if let Some(idle) = cpu.idle().filter(|&n| n != 0 || !self.fresh) {
            self.set("cpu.idle", idle, "cpu.idle");
        }
        // The kernel refuses shares for an idle group.
        if let Some(shares) = cpu.shares().filter(|&n| n != 0 && cpu.idle() != Some(1)) {
            self.set("cpu.shares", shares, "cpu.shares");
        }
        if let Some(period) = cpu.period().filter(|&n| n != 0) {
            self.set("cpu.cfs_period_us", period, "cpu.period");
        }
        if let Some(quota) = cpu.quota().filter(|&n| n != 0 && !(self.fresh && n == -1)) {
            self.set("cpu.cfs_quota_us", quota, "cpu.quota");
        }
        // After the quota, which it may not exceed.
        if let Some(burst) = cpu.burst().filter(|&n| n != 0 || !self.fresh) {
            self.set("cpu.cfs_burst_us", burst, "cpu.burst");
        }
    }

    fn cpu_v2(&mut self, cpu: &LinuxCpu) {
        if cpu.realtime_period().is_some_and(|n| n != 0) {
            self.problem("cpu.realtimePeriod", "cgroup version 2 does not divide real time; remove it");
        }
        if cpu.realtime_runtime().is_some_and(|n| n != 0) {
            self.problem("cpu.realtimeRuntime", "cgroup version 2 does not divide real time; remove it");
        }
        if let Some(idle) = cpu.idle().filter(|&n| n != 0 || !self.fresh) {
            self.set("cpu.idle", idle, "cpu.idle");
        }
        if let Some(shares) = cpu.shares().filter(|&n| n != 0 && cpu.idle() != Some(1)) {
            self.set("cpu.weight", weight(shares), "cpu.shares");
        }
        let quota = cpu.quota().unwrap_or(0);
        let period = cpu.period().filter(|&n| n != 0);
        if quota > 0 || period.is_some() || (quota == -1 && !self.fresh) {
            let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
            let period = period.unwrap_or(DEFAULT_PERIOD);
            let field = if cpu.quota().is_some() { "cpu.quota" } else { "cpu.period" };
            self.set("cpu.max", format_args!("{quota} {period}"), field);
        }
        if let Some(burst) = cpu.burst().filter(|&n| n != 0 || !self.fresh) {
            self.set("cpu.max.burst", burst, "cpu.burst");
        }
    }
}

/// Whether anything is asked for; without a controller all cgroups have equal shares, which is what the default says.
fn asks_for_cpu(cpu: &LinuxCpu, there: bool) -> bool {
    let shares = cpu.shares().filter(|&n| there || n != DEFAULT_SHARES);
    let numbers = [shares, cpu.period(), cpu.burst(), cpu.realtime_period()];
    numbers.iter().any(|n| n.is_some_and(|n| n != 0))
        || cpu.quota().is_some_and(|n| n != 0)
        || cpu.realtime_runtime().is_some_and(|n| n != 0)
        || cpu.idle().is_some_and(|n| n != 0)
}

/// Version 2's weight (1 to 10000, 100 by default) for version 1's shares (2 to 262144, 1024 by default).
///
/// Both ends and the defaults meet on a curve that is quadratic in the logarithm, as runc (since 1.3.2) and crun have it;
/// the straight line of older runtimes made the default 1024 a weight of 39.
pub fn weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// The kernel's list format: numbers and ranges with commas; strides (`0-31:1/2`) too.
fn is_list(list: &str) -> bool {
    let range = |part: &str| {
        let part = part.trim();
        let (range, stride) = part.split_once(':').map_or((part, None), |(range, stride)| (range, Some(stride)));
        let number = |n: &str| n.parse::<u32>().ok();
        let range_is_fine = match range.split_once('-') {
            Some((first, last)) => matches!((number(first), number(last)), (Some(f), Some(l)) if f <= l),
            None => number(range).is_some(),
        };
        let stride_is_fine =
            stride.is_none_or(|s| s.split_once('/').is_some_and(|(a, b)| number(a).zip(number(b)).is_some()));
        range_is_fine && stride_is_fine
    };
    list.split(',').all(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_meets_the_ends_and_the_defaults() {
        let pairs = [(0, 0), (1, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)];
        for (shares, expected) in pairs {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        assert!((2..262_144).step_by(97).all(|s| weight(s) <= weight(s + 97)));
    }

    #[test]
    fn lists_of_processors() {
        for list in ["0", "0-3", "0,2-4,7", "0-31:1/2", "0-1, 3"] {
            assert!(is_list(list), "{list}");
        }
        for list in ["", ",", "3-1", "a", "0-", "-1", "0;1", "0\n1", "0-31:1"] {
            assert!(!is_list(list), "{list}");
        }
    }
}
