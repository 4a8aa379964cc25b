//! `linux.cgroupsPath`: where the container's cgroup is in each hierarchy.

use std::path::{Component, Path, PathBuf};

use super::layout::{Hierarchy, Version};
use crate::error::Problems;

/// A checked `linux.cgroupsPath`: it names a cgroup below some other one, and can not lead out of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CgroupsPath {
    /// From the top of every hierarchy.
    Absolute(PathBuf),
    /// From a place that the runtime chooses.
    Relative(PathBuf),
}

impl CgroupsPath {
    /// `asked`, or the container's id where nothing is asked for.
    pub fn parse(id: &str, asked: Option<&Path>, problems: &mut Problems) -> Option<CgroupsPath> {
        let path = asked.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new(id));
        let bytes = path.as_os_str().as_encoded_bytes();
        let wrong = if path.components().any(|part| part == Component::ParentDir) {
            Some("\"..\" is not allowed in it")
        } else if bytes.iter().any(|b| b.is_ascii_control()) {
            Some("control characters are not allowed in it")
        } else if path.components().any(|part| part.as_os_str().len() > 255) || bytes.len() > 3500 {
            Some("too long")
        } else {
            None
        };
        if let Some(message) = wrong {
            problems.add("linux.cgroupsPath", format_args!("\"{}\": {message}", path.to_string_lossy().escape_debug()));
            return None;
        }
        let clean: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        if clean.as_os_str().is_empty() {
            problems.add("linux.cgroupsPath", "names the root cgroup, which can not be a container's");
            return None;
        }
        Some(if path.is_absolute() { CgroupsPath::Absolute(clean) } else { CgroupsPath::Relative(clean) })
    }

    /// The cgroup's directory.
    ///
    /// A relative path starts at this process's own cgroup in version 1, and beside it in version 2, where a cgroup
    /// with processes can not hand controllers to a child ("no internal processes"). The same as runc does.
    pub fn directory(&self, hierarchy: &Hierarchy) -> PathBuf {
        match self {
            CgroupsPath::Absolute(path) => hierarchy.mount_point.join(path),
            CgroupsPath::Relative(path) => {
                let own = hierarchy.own_below_mount();
                let start = match hierarchy.version {
                    Version::V1 => own.as_path(),
                    Version::V2 => own.parent().unwrap_or(Path::new("")),
                };
                hierarchy.mount_point.join(start).join(path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(asked: &str) -> Result<CgroupsPath, String> {
        let mut problems = Problems::default();
        let path = CgroupsPath::parse("box", Some(Path::new(asked)), &mut problems);
        path.ok_or_else(|| problems.iter().map(|p| p.message.clone()).collect())
    }

    fn hierarchy(version: Version, own: &str) -> Hierarchy {
        Hierarchy {
            version,
            mount_point: "/m".into(),
            options: String::new(),
            own: own.into(),
            root: "/".into(),
            controllers: Vec::new(),
        }
    }

    #[test]
    fn absolute_and_relative() {
        let v1 = hierarchy(Version::V1, "/user/me");
        let v2 = hierarchy(Version::V2, "/user/me");
        let top = hierarchy(Version::V2, "/");
        let cases = [
            ("/a//b/./c/", "/m/a/b/c", "/m/a/b/c", "/m/a/b/c"),
            ("a/b", "/m/user/me/a/b", "/m/user/a/b", "/m/a/b"),
            ("", "/m/user/me/box", "/m/user/box", "/m/box"),
            ("slice:prefix:name", "/m/user/me/slice:prefix:name", "/m/user/slice:prefix:name", "/m/slice:prefix:name"),
        ];
        for (asked, in_v1, in_v2, in_top) in cases {
            let path = parse(asked).unwrap();
            assert_eq!(path.directory(&v1), Path::new(in_v1));
            assert_eq!(path.directory(&v2), Path::new(in_v2));
            assert_eq!(path.directory(&top), Path::new(in_top));
        }
    }

    #[test]
    fn what_can_not_be_a_path() {
        for asked in ["/", "///", ".", "/a/../b", "../x", "a\nb", "a\0b"] {
            assert!(parse(asked).is_err(), "{asked:?}");
        }
        assert!(parse(&"x".repeat(256)).is_err());
    }
}
