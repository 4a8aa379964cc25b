//! The cgroup, and what it limits: `cgroups(7)`, version 1 and 2.

use super::fields::{decimal, split_at};
use super::{Content, Report, path_in};
use crate::line::Line;
use crate::start::Text;

/// A limit, where each version of cgroups keeps it.
struct Limit {
    label: &'static str,
    v2: &'static str,
    v1_controller: &'static str,
    v1: &'static str,
    /// Adds the limit in the file to the line. False: there is none.
    add: fn(&[u8], &mut Line) -> bool,
}

const LIMITS: [Limit; 3] = [
    Limit {
        label: "memory",
        v2: "/memory.max",
        v1_controller: "memory",
        v1: "/memory.limit_in_bytes",
        add: |content, line| match decimal(content, u64::MAX >> 2) {
            None => false,
            Some(bytes) => {
                let (number, unit) = match bytes {
                    0..0x10_0000 => (bytes >> 10, " KiB"),
                    _ => (bytes >> 20, " MiB"),
                };
                line.text("at most ").number(number).text(unit);
                true
            }
        },
    },
    Limit {
        label: "processes",
        v2: "/pids.max",
        v1_controller: "pids",
        v1: "/pids.max",
        add: |content, line| match decimal(content, u64::MAX) {
            None => false,
            Some(number) => {
                line.text("at most ").number(number);
                true
            }
        },
    },
    Limit { label: "cpu", v2: "/cpu.max", v1_controller: "cpu", v1: "/cpu.cfs_quota_us", add: add_cpu },
];

/// `max 100000` or `50000 100000`; version 1 has the first number here and always 100000 as the other unless changed.
fn add_cpu(content: &[u8], line: &mut Line) -> bool {
    let (quota, period) = split_at(content, b' ');
    let period = period.and_then(|period| decimal(period, 1_000_000)).unwrap_or(100_000).max(1);
    let Some(quota) = decimal(quota, u64::MAX / 100) else { return false };
    let hundredths = quota * 100 / period;
    line.text("at most ").number(hundredths / 100).text(".").number(hundredths / 10 % 10).number(hundredths % 10);
    line.text(" of a core's time");
    true
}

/// Adds the rows on the cgroup to `report`.
pub fn add_to(report: &mut Report) {
    let membership = Content::of(Text::of(c"/proc/self/cgroup"));
    let v2 = membership.field("0::");
    let named = v2.filter(|path| *path != b"/").or_else(|| path_of(&membership, b"pids")).or(v2);
    match named {
        None => report.row("cgroup").text("not visible"),
        Some(path) => report.row("cgroup").foreign(path),
    };
    report.end();
    let mut visible = false;
    for limit in LIMITS {
        let mut room = [0; 1024];
        let controller = limit.v1_controller.as_bytes();
        let v1 = path_of(&membership, controller).unwrap_or_default();
        // With a cgroup namespace or a bind mount the own cgroup is the top of what is mounted; else it is below.
        let places: [[&[u8]; 4]; 4] = [
            [b"/sys/fs/cgroup", v2.unwrap_or_default(), limit.v2.as_bytes(), b""],
            [b"/sys/fs/cgroup", limit.v2.as_bytes(), b"", b""],
            [b"/sys/fs/cgroup/", controller, v1, limit.v1.as_bytes()],
            [b"/sys/fs/cgroup/", controller, limit.v1.as_bytes(), b""],
        ];
        let content = places.iter().filter_map(|place| read(path_in(&mut room, place)?)).next();
        if let Some(content) = content {
            visible = true;
            let mut line = Line::new();
            if !(limit.add)(content.first_line(), &mut line) {
                line.text("no limit");
            }
            report.row(limit.label).foreign(line.as_bytes());
            report.end();
        }
    }
    if !visible {
        report.row("limits").text("none is visible from here");
        report.end();
    }
}

fn read(path: Text<'_>) -> Option<Content> {
    Some(Content::of(path)).filter(|content| !content.bytes().is_empty())
}

/// The path in the line `7:cpu,cpuacct:/path` that has this controller.
fn path_of<'a>(membership: &'a Content, controller: &[u8]) -> Option<&'a [u8]> {
    membership.bytes().split(|byte| *byte == b'\n').find_map(|line| {
        let (controllers, path) = split_at(split_at(line, b':').1?, b':');
        controllers.split(|byte| *byte == b',').any(|name| name == controller).then_some(path?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(limit: &Limit, content: &str) -> String {
        let mut line = Line::new();
        let limited = (limit.add)(content.as_bytes(), &mut line);
        if limited { String::from_utf8_lossy(line.as_bytes()).into_owned() } else { "no limit".into() }
    }

    #[test]
    fn limits_of_both_versions() {
        let [memory, pids, cpu] = &LIMITS;
        assert_eq!(shown(memory, "67108864"), "at most 64 MiB");
        assert_eq!(shown(memory, "max"), "no limit");
        assert_eq!(shown(memory, "9223372036854771712"), "no limit");
        assert_eq!(shown(memory, "524288"), "at most 512 KiB");
        assert_eq!(shown(pids, "32"), "at most 32");
        assert_eq!(shown(pids, "max"), "no limit");
        assert_eq!(shown(cpu, "50000 100000"), "at most 0.50 of a core's time");
        assert_eq!(shown(cpu, "200000 100000"), "at most 2.00 of a core's time");
        assert_eq!(shown(cpu, "max 100000"), "no limit");
        assert_eq!(shown(cpu, "-1"), "no limit");
        assert_eq!(shown(cpu, "5000"), "at most 0.05 of a core's time");
    }
}
