//! Which cgroup hierarchies this machine has, where they are mounted, and where in them this process is.

use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file;
use crate::error::{Context, Result};

/// Generation of a hierarchy.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Version {
    /// One hierarchy per controller or group of controllers (cgroups(7), "Cgroups version 1").
    V1,
    /// The unified hierarchy (Documentation/admin-guide/cgroup-v2.rst).
    V2,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Hierarchy {
    /// Its generation.
    pub version: Version,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Version 1: its controllers or name as /proc/self/cgroup has them, `cpu,cpuacct` or `name=systemd`. Version 2: empty.
    pub options: String,
    /// This process's cgroup in it, as /proc/self/cgroup says.
    pub own: PathBuf,
    /// The cgroup that is visible at the mount point; not `/` in a container without a cgroup namespace.
    pub root: PathBuf,
    /// The controllers that can limit something in it.
    pub controllers: Vec<String>,
}

/// The hierarchies of this machine: unified (version 2 alone), legacy (version 1 alone) or hybrid (both).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Layout {
    /// Every hierarchy that is mounted and that this process is in. Empty where no cgroups are visible.
    pub hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Reads /proc/self/mountinfo and /proc/self/cgroup, and for version 2 the list of its controllers.
    ///
    /// # Errors
    /// When /proc can not be read. A kernel without cgroups is not an error: the layout is empty.
    pub fn detect() -> Result<Layout> {
        let memberships = match file::read_path("/proc/self/cgroup") {
            Err(rustix::io::Errno::NOENT) => return Ok(Layout::default()),
            other => other.on("read", "/proc/self/cgroup")?,
        };
        let mounts = file::read_path("/proc/self/mountinfo").on("read", "/proc/self/mountinfo")?;
        let mut layout = Layout::parse(&mounts, &memberships);
        for hierarchy in layout.hierarchies.iter_mut().filter(|h| h.version == Version::V2) {
            let list = hierarchy.mount_point.join("cgroup.controllers");
            // Absent on kernels before 4.5's final layout: nothing can be limited there then.
            hierarchy.controllers =
                file::read_path(list).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        }
        Ok(layout)
    }

    /// The hierarchies of these two files of /proc (proc_pid_mountinfo(5), cgroups(7)).
    fn parse(mounts: &str, memberships: &str) -> Layout {
        let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
        let hierarchies = memberships.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (options, own) = (parts.next()?, parts.next()?);
            let version = if options.is_empty() { Version::V2 } else { Version::V1 };
            // A hierarchy can be mounted several times; the first place below /sys/fs/cgroup is the host's view.
            let mut places = mounts.iter().filter(|mount| mount.shows(version, options));
            let first = places.clone().next()?;
            let mount = places.find(|mount| mount.point.starts_with("/sys/fs/cgroup")).unwrap_or(first);
            let named = options.starts_with("name=");
            Some(Hierarchy {
                version,
                mount_point: mount.point.clone(),
                options: options.to_owned(),
                own: PathBuf::from(own.strip_suffix(" (deleted)").unwrap_or(own)),
                root: mount.root.clone(),
                controllers: options.split(',').filter(|o| !named && !o.is_empty()).map(str::to_owned).collect(),
            })
        });
        Layout { hierarchies: hierarchies.collect() }
    }

    /// Whether version 2 is all there is.
    pub fn is_unified(&self) -> bool {
        !self.hierarchies.is_empty() && self.hierarchies.iter().all(|h| h.version == Version::V2)
    }

    /// The hierarchy where `controller` can limit something.
    pub fn of(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.has(controller))
    }
}

impl Hierarchy {
    /// Whether `controller` can limit something in it.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// The name of its mount point below /sys/fs/cgroup: `memory`, `cpu,cpuacct`, `unified`; empty when it is all there is.
    pub fn name(&self) -> String {
        match self.mount_point.strip_prefix("/sys/fs/cgroup") {
            Ok(name) => name.display().to_string(),
            Err(_) => self.options.strip_prefix("name=").unwrap_or(&self.options).to_owned(),
        }
    }

    /// This process's cgroup, below the mount point.
    pub(super) fn own_below_mount(&self) -> PathBuf {
        // Outside of what is mounted (another cgroup namespace's view): the top of the mount is all that is reachable.
        let below = self.own.strip_prefix(&self.root).unwrap_or(Path::new(""));
        below.components().filter(|part| matches!(part, Component::Normal(_))).collect()
    }
}

/// A line of mountinfo that shows a cgroup hierarchy.
struct Mount<'a> {
    root: PathBuf,
    point: PathBuf,
    version: Version,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (place, filesystem) = at_dash(line)?;
        let mut filesystem = filesystem.split(' ');
        let version = match filesystem.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = filesystem.nth(1)?;
        let mut place = place.split(' ').skip(3);
        Some(Mount { root: unescape(place.next()?), point: unescape(place.next()?), version, options })
    }

    fn shows(&self, version: Version, wanted: &str) -> bool {
        self.version == version
            && wanted.split(',').filter(|w| !w.is_empty()).all(|w| self.options.split(',').any(|o| o == w))
    }
}

/// What is before and behind the dash between blanks. By byte: a search for all three takes several times as long, and a busy host
/// has a thousand lines.
fn at_dash(line: &str) -> Option<(&str, &str)> {
    let lone = |(at, _): &(usize, &str)| line[..*at].ends_with(' ') && line[at + 1..].starts_with(' ');
    let (at, _) = line.match_indices('-').find(lone)?;
    Some((&line[..at - 1], &line[at + 2..]))
}

/// Undoes mountinfo's octal escapes (`\040` for a space).
fn unescape(field: &str) -> PathBuf {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| byte == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) => {
                text.push(value);
                rest = &tail[3..];
            }
            None => {
                text.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
99 31 0:32 /a /mnt/with\\040space-- rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn hybrid_layout() {
        let own =
            "4:name=systemd:/user.slice\n3:memory:/a/b\n2:cpu,cpuacct:/\n1:freezer:/not/mounted\n0::/x:y (deleted)\n";
        let layout = Layout::parse(HYBRID, own);
        let seen: Vec<(Version, &str, String, &str)> = layout
            .hierarchies
            .iter()
            .map(|h| (h.version, h.options.as_str(), h.name(), h.own.to_str().unwrap()))
            .collect();
        assert_eq!(
            seen,
            [
                (Version::V1, "name=systemd", "systemd".to_owned(), "/user.slice"),
                (Version::V1, "memory", "memory".to_owned(), "/a/b"),
                (Version::V1, "cpu,cpuacct", "cpu,cpuacct".to_owned(), "/"),
                (Version::V2, "", "unified".to_owned(), "/x:y"),
            ]
        );
        assert!(!layout.is_unified());
        assert_eq!(layout.of("cpuacct").unwrap().options, "cpu,cpuacct");
        assert!(layout.of("name=systemd").is_none() && layout.of("pids").is_none());
    }

    #[test]
    fn unified_layout_among_leftover_memberships() {
        let mounts = "30 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let layout = Layout::parse(mounts, "4:memory:/\n0::/own\n");
        assert!(layout.is_unified());
        assert_eq!(layout.hierarchies[0].name(), "");
    }

    #[test]
    fn nested_view_without_cgroup_namespace() {
        let mounts = "30 23 0:27 /docker/abc /sys/fs/cgroup/memory\\011x rw - cgroup cgroup rw,memory\n";
        let layout = Layout::parse(mounts, "4:memory:/docker/abc/in\n");
        let memory = &layout.hierarchies[0];
        assert_eq!(memory.mount_point, Path::new("/sys/fs/cgroup/memory\tx"));
        assert_eq!(memory.own_below_mount(), Path::new("in"));
        let outside = Layout::parse(mounts, "4:memory:/elsewhere\n");
        assert_eq!(outside.hierarchies[0].own_below_mount(), Path::new(""));
    }

    #[test]
    fn nothing_visible() {
        assert_eq!(Layout::parse("", ""), Layout::default());
        assert_eq!(Layout::parse("garbage\n1 2 3 - cgroup\n", "x\n0::/\n"), Layout::default());
        assert!(!Layout::default().is_unified());
    }

    #[test]
    fn this_machine() {
        let layout = Layout::detect().unwrap();
        for hierarchy in &layout.hierarchies {
            assert!(hierarchy.mount_point.join("cgroup.procs").exists(), "{hierarchy:?}");
        }
    }
}
