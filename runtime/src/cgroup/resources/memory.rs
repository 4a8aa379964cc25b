//! `memory`: limit, reservation, swap, kernel memory, swappiness, the OOM killer.

use oci_spec::runtime::{LinuxMemory, LinuxResources};

use super::{Compiler, Version, or_max};
use crate::cgroup::setting::Setting;

impl Compiler<'_> {
    pub(super) fn memory(&mut self, resources: &LinuxResources) {
        let Some(memory) = resources.memory() else { return };
        if !self.memory_makes_sense(memory) {
            return;
        }
        let limit = memory.limit().unwrap_or(0);
        // An unlimited memory without a word on swap means unlimited swap as well, as with runc.
        let swap = match memory.swap().unwrap_or(0) {
            0 if limit == -1 => -1,
            swap => swap,
        };
        let version = if self.asks_for_memory(memory, swap) { self.needed("memory", "memory") } else { None };
        match version {
            Some(Version::V1) => self.memory_v1(memory, limit, swap),
            Some(Version::V2) => self.memory_v2(memory, limit, swap),
            None => {}
        }
    }

    /// Whether anything is to be written at all; "unlimited" is what a new cgroup has.
    fn asks_for_memory(&self, memory: &LinuxMemory, swap: i64) -> bool {
        let limits = [memory.limit().unwrap_or(0), memory.reservation().unwrap_or(0), swap];
        limits.iter().any(|&n| n > 0 || n == -1 && !self.fresh)
            || memory.swappiness().is_some()
            || memory.disable_oom_killer() == Some(true)
            || memory.kernel_tcp().is_some_and(|n| n > 0)
    }

    fn memory_makes_sense(&mut self, memory: &LinuxMemory) -> bool {
        let before = self.problems.iter().count();
        let kernel = memory.kernel();
        let limits = [
            ("limit", memory.limit()),
            ("reservation", memory.reservation()),
            ("swap", memory.swap()),
            ("kernel", kernel),
            ("kernelTCP", memory.kernel_tcp()),
        ];
        for (name, value) in limits {
            if let Some(n) = value.filter(|&n| n < -1) {
                self.problem(&format!("memory.{name}"), format_args!("{n}: bytes, or -1 for no limit"));
            }
        }
        let limit = memory.limit().unwrap_or(0);
        if let Some(swap) = memory.swap().filter(|&n| n > 0) {
            // An update may leave the limit as it is, but version 2 has to know it to tell swap apart.
            let limit_is_known =
                limit > 0 || (limit == 0 && !self.fresh && self.version("memory") == Some(Version::V1));
            if !limit_is_known {
                let message = format_args!("{swap}: it is memory and swap together, so memory.limit must be set too");
                self.problem("memory.swap", message);
            } else if swap < limit {
                let message =
                    format_args!("{swap}: it is memory and swap together, so at least memory.limit ({limit})");
                self.problem("memory.swap", message);
            }
        }
        if let (Some(reservation), true) = (memory.reservation(), limit > 0)
            && reservation > limit
        {
            self.problem("memory.reservation", format_args!("{reservation}: more than memory.limit ({limit})"));
        }
        if kernel.is_some_and(|n| n > 0) {
            self.problem("memory.kernel", "kernel memory has no limit of its own since Linux 5.16; use memory.limit");
        }
        if let Some(swappiness) = memory.swappiness().filter(|&n| n > 100) {
            self.problem("memory.swappiness", format_args!("{swappiness}: from 0 to 100"));
        }
        if memory.use_hierarchy() == Some(false) {
            self.problem("memory.useHierarchy", "false: memory is always counted hierarchically since Linux 5.11");
        }
        self.problems.iter().count() == before
    }

    fn memory_v1(&mut self, memory: &LinuxMemory, limit: i64, swap: i64) {
        // memory.limit_in_bytes first: in a new cgroup it may not exceed memory.memsw.limit_in_bytes.
        if limit != 0 && !(self.fresh && limit == -1) {
            self.set("memory.limit_in_bytes", limit, "memory.limit");
        }
        if swap != 0 && !(self.fresh && swap == -1) {
            self.set("memory.memsw.limit_in_bytes", swap, "memory.swap");
        }
        if let Some(bytes) = memory.reservation().filter(|&n| n > 0 || n == -1 && !self.fresh) {
            self.set("memory.soft_limit_in_bytes", bytes, "memory.reservation");
        }
        if let Some(bytes) = memory.kernel_tcp().filter(|&n| n > 0) {
            self.set("memory.kmem.tcp.limit_in_bytes", bytes, "memory.kernelTCP");
        }
        if let Some(swappiness) = memory.swappiness() {
            self.set("memory.swappiness", swappiness, "memory.swappiness");
        }
        match memory.disable_oom_killer() {
            Some(true) => self.set("memory.oom_control", 1, "memory.disableOOMKiller"),
            Some(false) if !self.fresh => self.set("memory.oom_control", 0, "memory.disableOOMKiller"),
            _ => {}
        }
    }

    fn memory_v2(&mut self, memory: &LinuxMemory, limit: i64, swap: i64) {
        if memory.disable_oom_killer() == Some(true) {
            self.problem("memory.disableOOMKiller", "cgroup version 2 can not switch the OOM killer off; remove it");
        }
        if memory.swappiness().is_some() {
            self.problem("memory.swappiness", "cgroup version 2 has no swappiness; limit swap with memory.swap");
        }
        if memory.kernel_tcp().is_some_and(|n| n > 0) {
            self.problem("memory.kernelTCP", "cgroup version 2 counts TCP's memory in memory.limit; remove it");
        }
        // Version 2 counts swap alone, config.json memory and swap together.
        let swap_alone = match swap {
            0 => None,
            -1 => Some(-1),
            both => Some(both - limit),
        };
        if let Some(bytes) = swap_alone.filter(|&n| !(self.fresh && n == -1)) {
            let mut setting = Setting::new("memory.swap.max", or_max(bytes), self.field("memory.swap"));
            if bytes <= 0 {
                // A kernel that does not count swap has no swap to forbid or to set free.
                setting = setting.or_nothing();
            }
            self.settings.push(setting);
        }
        if limit != 0 && !(self.fresh && limit == -1) {
            self.set("memory.max", or_max(limit), "memory.limit");
        }
        if let Some(bytes) = memory.reservation().filter(|&n| n > 0 || n == -1 && !self.fresh) {
            self.set("memory.low", or_max(bytes), "memory.reservation");
        }
    }
}
