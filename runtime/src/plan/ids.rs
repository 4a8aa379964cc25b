//! `linux.uidMappings` and `linux.gidMappings` (user_namespaces(7)).

use oci_spec::runtime::{Linux, LinuxIdMapping};
use serde::{Deserialize, Serialize};

use super::namespaces::{NamespaceKind, Namespaces};
use crate::error::Problems;

/// The kernel's limit for one map (user_namespaces(7), since Linux 4.15).
const MOST_LINES: usize = 340;

/// One line of a map: `size` ids from `container` on are the host's from `host` on.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IdMap {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// Both maps of a new user namespace.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IdMaps {
    /// /proc/PID/uid_map
    pub uid: Vec<IdMap>,
    /// /proc/PID/gid_map
    pub gid: Vec<IdMap>,
}

impl IdMaps {
    /// Whether a user id exists inside.
    pub fn maps_uid(&self, uid: u32) -> bool {
        maps(&self.uid, uid)
    }

    /// What a user id of the container is on the host.
    pub fn host_uid(&self, uid: u32) -> Option<u32> {
        let map = self.uid.iter().find(|map| uid >= map.container && uid - map.container < map.size)?;
        map.host.checked_add(uid - map.container)
    }

    /// Whether a group id exists inside.
    pub fn maps_gid(&self, gid: u32) -> bool {
        maps(&self.gid, gid)
    }
}

fn maps(list: &[IdMap], id: u32) -> bool {
    list.iter().any(|map| id >= map.container && id - map.container < map.size)
}

pub(super) fn compile(linux: Option<&Linux>, namespaces: &Namespaces, problems: &mut Problems) -> Option<IdMaps> {
    let uid = linux.and_then(|linux| linux.uid_mappings().as_ref()).filter(|list| !list.is_empty());
    let gid = linux.and_then(|linux| linux.gid_mappings().as_ref()).filter(|list| !list.is_empty());
    if !namespaces.makes(NamespaceKind::User) {
        // Maps beside a joined user namespace describe it; engines write both.
        if !namespaces.joins(NamespaceKind::User) {
            for (field, list) in [("linux.uidMappings", uid), ("linux.gidMappings", gid)] {
                if list.is_some() {
                    problems.add(field, "needs a user namespace; add {\"type\": \"user\"} to linux.namespaces");
                }
            }
        }
        return None;
    }
    let mut check = |field: &str, list: Option<&Vec<LinuxIdMapping>>| match list {
        None => {
            problems.add(field, "is missing: a new user namespace needs at least one mapping");
            Vec::new()
        }
        Some(list) => check_list(field, list, problems),
    };
    Some(IdMaps { uid: check("linux.uidMappings", uid), gid: check("linux.gidMappings", gid) })
}

pub(super) fn check_list(field: &str, list: &[LinuxIdMapping], problems: &mut Problems) -> Vec<IdMap> {
    if list.len() > MOST_LINES {
        problems.add(field, format!("has {} entries; the kernel takes at most {MOST_LINES}", list.len()));
    }
    let mut compiled: Vec<IdMap> = Vec::with_capacity(list.len());
    for (index, mapping) in list.iter().enumerate() {
        let map = IdMap { container: mapping.container_id(), host: mapping.host_id(), size: mapping.size() };
        if map.size == 0 {
            problems.add(format!("{field}[{index}].size"), "must not be 0");
        }
        for (side, start) in [("containerID", map.container), ("hostID", map.host)] {
            if start.checked_add(map.size).is_none() {
                problems.add(
                    format!("{field}[{index}]"),
                    format!("{side} {start} + size {} is above 4294967295", map.size),
                );
            }
        }
        if let Some(other) =
            compiled.iter().position(|other| overlap(other.container, map.container, other.size, map.size))
        {
            problems.add(format!("{field}[{index}]"), format!("overlaps [{other}] in the container's ids"));
        }
        if let Some(other) = compiled.iter().position(|other| overlap(other.host, map.host, other.size, map.size)) {
            problems.add(format!("{field}[{index}]"), format!("overlaps [{other}] in the host's ids"));
        }
        compiled.push(map);
    }
    compiled
}

fn overlap(first: u32, second: u32, first_size: u32, second_size: u32) -> bool {
    let (first, second) = (u64::from(first), u64::from(second));
    first < second + u64::from(second_size) && second < first + u64::from(first_size)
}

#[cfg(test)]
mod tests {
    use crate::plan::tests::{compile_text, minimal, problems_of};

    fn with_maps(uid: &str, gid: &str) -> String {
        minimal(&format!(
            r#"{{"namespaces":[{{"type":"mount"}},{{"type":"user"}}],"uidMappings":{uid},"gidMappings":{gid}}}"#
        ))
    }

    #[test]
    fn good_maps() {
        let one = r#"[{"containerID":0,"hostID":1000,"size":1},{"containerID":1,"hostID":100000,"size":65536}]"#;
        let maps = compile_text(&with_maps(one, one)).unwrap().id_maps.unwrap();
        assert!(maps.maps_uid(0) && maps.maps_uid(65536) && !maps.maps_gid(65537));
    }

    #[test]
    fn bad_maps() {
        let good = r#"[{"containerID":0,"hostID":0,"size":1}]"#;
        let cases = [
            (r#"[{"containerID":0,"hostID":0,"size":10},{"containerID":9,"hostID":100,"size":1}]"#, "container's ids"),
            (r#"[{"containerID":0,"hostID":0,"size":10},{"containerID":10,"hostID":9,"size":1}]"#, "host's ids"),
            (r#"[{"containerID":0,"hostID":0,"size":0}]"#, "[0].size"),
            (r#"[{"containerID":4294967295,"hostID":0,"size":2}]"#, "above 4294967295"),
            ("[]", "is missing"),
        ];
        for (map, message) in cases {
            let text = problems_of(&with_maps(map, good));
            assert!(text.contains("linux.uidMappings") && text.contains(message), "{map}: {text}");
        }
        assert!(
            problems_of(&minimal(&format!(r#"{{"namespaces":[{{"type":"mount"}}],"uidMappings":{good}}}"#)))
                .contains("needs a user namespace")
        );
    }
}
