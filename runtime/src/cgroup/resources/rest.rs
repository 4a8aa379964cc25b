//! `pids`, `hugepageLimits`, `network` and `rdma`.

use oci_spec::runtime::LinuxResources;

use super::{Compiler, Version, or_max};
use crate::cgroup::setting::Setting;

impl Compiler<'_> {
    pub(super) fn pids(&mut self, resources: &LinuxResources) {
        let Some(limit) = resources.pids().map(|pids| pids.limit()).filter(|&n| n != 0) else { return };
        if limit < -1 {
            self.problem("pids.limit", format_args!("{limit}: a number of processes, or -1 for no limit"));
        } else if !(self.fresh && limit == -1) && self.needed("pids", "pids.limit").is_some() {
            self.set("pids.max", or_max(limit), "pids.limit");
        }
    }

    pub(super) fn huge_pages(&mut self, resources: &LinuxResources) {
        for (index, huge) in resources.hugepage_limits().iter().flatten().enumerate() {
            let (size, limit) = (huge.page_size(), huge.limit());
            let field = format!("hugepageLimits[{index}]");
            if !is_page_size(size) {
                self.problem(&format!("{field}.pageSize"), format_args!("\"{size}\": a size such as 2MB or 1GB"));
                continue;
            }
            if limit < 0 {
                self.problem(&format!("{field}.limit"), format_args!("{limit}: bytes"));
                continue;
            }
            let file = match self.needed("hugetlb", &field) {
                Some(Version::V1) => "limit_in_bytes",
                Some(Version::V2) => "max",
                None => continue,
            };
            self.set(format!("hugetlb.{size}.{file}"), limit, &field);
            // Linux 5.7 counts reservations apart, and a page is reserved before it is used.
            let reserved = Setting::new(format!("hugetlb.{size}.rsvd.{file}"), limit, self.field(&field));
            self.settings.push(reserved.or_nothing());
        }
    }

    pub(super) fn network(&mut self, resources: &LinuxResources) {
        let Some(network) = resources.network() else { return };
        let class = network.class_id().filter(|&id| id != 0);
        if class.is_some() && self.needed("net_cls", "network.classID").is_some() {
            self.set("net_cls.classid", class.unwrap_or(0), "network.classID");
        }
        for (index, priority) in network.priorities().iter().flatten().enumerate() {
            let field = format!("network.priorities[{index}]");
            let name = priority.name();
            if name.is_empty() || name.len() > 15 || name.contains(|c: char| c.is_whitespace() || c == '/') {
                self.problem(&format!("{field}.name"), format_args!("\"{name}\": not a name of a network interface"));
            } else if self.needed("net_prio", &field).is_some() {
                self.set("net_prio.ifpriomap", format_args!("{name} {}", priority.priority()), &field);
            }
        }
    }

    pub(super) fn rdma(&mut self, resources: &LinuxResources) {
        let Some(devices) = resources.rdma() else { return };
        let mut devices: Vec<_> = devices.iter().collect();
        devices.sort_by_key(|(name, _)| *name);
        for (name, limits) in devices {
            let field = format!("rdma.{name}");
            if name.is_empty() || name.contains(char::is_whitespace) {
                self.problem(&field, "not a name of an RDMA device");
                continue;
            }
            let handles = limits.hca_handles().map(|n| format!(" hca_handle={n}")).unwrap_or_default();
            let objects = limits.hca_objects().map(|n| format!(" hca_object={n}")).unwrap_or_default();
            if handles.is_empty() && objects.is_empty() {
                self.problem(&field, "neither hcaHandles nor hcaObjects is set");
            } else if self.needed("rdma", &field).is_some() {
                self.set("rdma.max", format_args!("{name}{handles}{objects}"), &field);
            }
        }
    }
}

/// `^[1-9][0-9]*[KMG]B$`, as the spec's schema has it. It becomes a part of a file's name.
fn is_page_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    number.is_some_and(|n| !n.is_empty() && !n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn page_sizes() {
        assert!(["2MB", "1GB", "64KB", "16GB"].iter().all(|s| super::is_page_size(s)));
        assert!(
            !["", "MB", "0MB", "2M", "2mb", "../2MB", "2MB/", "-2MB", "2 MB"].iter().any(|s| super::is_page_size(s))
        );
    }
}
