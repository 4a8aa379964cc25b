//! `blockIO`: weights and throttles.

use oci_spec::runtime::{LinuxBlockIo, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice};

use super::{Compiler, Version};
use crate::cgroup::setting::Setting;

impl Compiler<'_> {
    pub(super) fn block_io(&mut self, resources: &LinuxResources) {
        let Some(io) = resources.block_io() else { return };
        if !asks_for_io(io) || !self.block_io_makes_sense(io) {
            return;
        }
        // Version 1 calls the controller blkio, version 2 io.
        match self.version("blkio").or_else(|| self.version("io")) {
            Some(Version::V1) => self.block_io_v1(io),
            Some(Version::V2) => self.block_io_v2(io),
            None => drop(self.needed("io", "blockIO")),
        }
    }

    fn block_io_makes_sense(&mut self, io: &LinuxBlockIo) -> bool {
        let before = self.problems.iter().count();
        let mut weights =
            vec![("blockIO.weight".to_owned(), io.weight()), ("blockIO.leafWeight".to_owned(), io.leaf_weight())];
        for (index, device) in io.weight_device().iter().flatten().enumerate() {
            weights.push((format!("blockIO.weightDevice[{index}].weight"), device.weight()));
            weights.push((format!("blockIO.weightDevice[{index}].leafWeight"), device.leaf_weight()));
        }
        for (field, weight) in weights {
            if let Some(weight) = weight.filter(|&w| w != 0 && !(10..=1000).contains(&w)) {
                self.problem(&field, format_args!("{weight}: from 10 to 1000"));
            }
        }
        let throttled = throttles(io).into_iter().flat_map(|t| {
            t.devices.iter().enumerate().map(move |(i, d)| (format!("blockIO.{}[{i}]", t.field), d.major(), d.minor()))
        });
        let weighted = io.weight_device().iter().flatten().enumerate();
        let weighted = weighted.map(|(i, d)| (format!("blockIO.weightDevice[{i}]"), d.major(), d.minor()));
        for (field, major, minor) in throttled.chain(weighted).collect::<Vec<_>>() {
            if major < 0 || minor < 0 {
                self.problem(&field, format_args!("{major}:{minor}: not a device number"));
            }
        }
        self.problems.iter().count() == before
    }

    fn block_io_v1(&mut self, io: &LinuxBlockIo) {
        if let Some(weight) = io.weight().filter(|&w| w != 0) {
            // Kernels since 5.0 have weights with the BFQ scheduler only.
            let field = self.field("blockIO.weight");
            self.settings.push(Setting::new("blkio.weight", weight, field).or("blkio.bfq.weight", weight));
        }
        if let Some(weight) = io.leaf_weight().filter(|&w| w != 0) {
            self.set("blkio.leaf_weight", weight, "blockIO.leafWeight");
        }
        for (index, device) in io.weight_device().iter().flatten().enumerate() {
            if let Some(value) = weight_of(device, device.weight()) {
                let field = self.field(&format!("blockIO.weightDevice[{index}].weight"));
                let setting = Setting::new("blkio.weight_device", &value, field).or("blkio.bfq.weight_device", &value);
                self.settings.push(setting);
            }
            if let Some(value) = weight_of(device, device.leaf_weight()) {
                let field = format!("blockIO.weightDevice[{index}].leafWeight");
                self.set("blkio.leaf_weight_device", value, &field);
            }
        }
        for Throttle { field, v1, devices, .. } in throttles(io) {
            for (index, device) in devices.iter().enumerate() {
                let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
                self.set(format!("blkio.throttle.{v1}_device"), value, &format!("blockIO.{field}[{index}]"));
            }
        }
    }

    fn block_io_v2(&mut self, io: &LinuxBlockIo) {
        let leaf = io.leaf_weight().is_some_and(|w| w != 0)
            || io.weight_device().iter().flatten().any(|d| d.leaf_weight().is_some_and(|w| w != 0));
        if leaf {
            self.problem("blockIO.leafWeight", "cgroup version 2 has no weight of leaves; use blockIO.weight");
        }
        if let Some(weight) = io.weight().filter(|&w| w != 0) {
            let field = self.field("blockIO.weight");
            self.settings.push(Setting::new("io.bfq.weight", weight, field).or("io.weight", io_weight(weight)));
        }
        for (index, device) in io.weight_device().iter().flatten().enumerate() {
            let Some(weight) = device.weight().filter(|&w| w != 0) else { continue };
            let number = format!("{}:{}", device.major(), device.minor());
            let field = self.field(&format!("blockIO.weightDevice[{index}].weight"));
            let setting = Setting::new("io.bfq.weight", format_args!("{number} {weight}"), field);
            self.settings.push(setting.or("io.weight", format_args!("{number} {}", io_weight(weight))));
        }
        for Throttle { field, v2, devices, .. } in throttles(io) {
            for (index, device) in devices.iter().enumerate() {
                let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
                let value = format!("{}:{} {v2}={rate}", device.major(), device.minor());
                self.set("io.max", value, &format!("blockIO.{field}[{index}]"));
            }
        }
    }
}

/// One of the four kinds of throttle: its field, and its name in each version.
struct Throttle<'a> {
    field: &'static str,
    v1: &'static str,
    v2: &'static str,
    devices: &'a [LinuxThrottleDevice],
}

fn throttles(io: &LinuxBlockIo) -> [Throttle<'_>; 4] {
    [
        throttle("throttleReadBpsDevice", "read_bps", "rbps", io.throttle_read_bps_device()),
        throttle("throttleWriteBpsDevice", "write_bps", "wbps", io.throttle_write_bps_device()),
        throttle("throttleReadIOPSDevice", "read_iops", "riops", io.throttle_read_iops_device()),
        throttle("throttleWriteIOPSDevice", "write_iops", "wiops", io.throttle_write_iops_device()),
    ]
}

fn throttle<'a>(
    field: &'static str,
    v1: &'static str,
    v2: &'static str,
    devices: &'a Option<Vec<LinuxThrottleDevice>>,
) -> Throttle<'a> {
    Throttle { field, v1, v2, devices: devices.as_deref().unwrap_or_default() }
}

fn asks_for_io(io: &LinuxBlockIo) -> bool {
    io.weight().is_some_and(|w| w != 0)
        || io.leaf_weight().is_some_and(|w| w != 0)
        || io.weight_device().as_ref().is_some_and(|d| !d.is_empty())
        || throttles(io).iter().any(|t| !t.devices.is_empty())
}

fn weight_of(device: &LinuxWeightDevice, weight: Option<u16>) -> Option<String> {
    weight.filter(|&w| w != 0).map(|w| format!("{}:{} {w}", device.major(), device.minor()))
}

/// `io.weight` (1 to 10000) for blkio's weight (10 to 1000), on a straight line as runc and crun have it.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

#[cfg(test)]
mod tests {
    #[test]
    fn io_weight_meets_the_ends() {
        assert_eq!([10, 500, 1000].map(super::io_weight), [1, 4950, 10_000]);
    }
}
