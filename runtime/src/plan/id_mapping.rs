//! Id-mapped mounts: `mounts[].uidMappings`, `gidMappings` and the options `idmap` and `ridmap`.

use std::path::PathBuf;

use oci_spec::runtime::Mount;
use serde::{Deserialize, Serialize};

use super::ids::{IdMaps, check_list};
use super::mount_options::Recursive;
use super::namespaces::{NamespaceKind, Namespaces};
use crate::error::Problems;

/// How the owners of files appear through a mount (mount_setattr(2), `MOUNT_ATTR_IDMAP`).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IdMapping {
    /// Where the maps are.
    pub maps: MappingSource,
    /// For all mounts below, too.
    pub recursive: bool,
}

/// The user namespace that says which owner becomes which.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MappingSource {
    /// One made for it: `container` is the owner in the file system, `host` what the mount shows.
    Maps(IdMaps),
    /// The one that the container joins.
    Namespace(PathBuf),
}

pub(super) fn compile(
    field: &str,
    mount: &Mount,
    option: Option<Recursive>,
    namespaces: &Namespaces,
    id_maps: Option<&IdMaps>,
    problems: &mut Problems,
) -> Option<IdMapping> {
    let given = (mount.uid_mappings().as_ref(), mount.gid_mappings().as_ref());
    if option.is_none() && given == (None, None) {
        return None;
    }
    let maps = match given {
        (Some(uid), Some(gid)) if !uid.is_empty() && !gid.is_empty() => MappingSource::Maps(IdMaps {
            uid: check_list(&format!("{field}.uidMappings"), uid, problems),
            gid: check_list(&format!("{field}.gidMappings"), gid, problems),
        }),
        (None, None) => match (id_maps, namespaces.join.iter().find(|join| join.kind == NamespaceKind::User)) {
            (Some(maps), _) => MappingSource::Maps(maps.clone()),
            (None, Some(join)) => MappingSource::Namespace(join.path.clone()),
            (None, None) => {
                problems.add(
                    format!("{field}.options"),
                    "idmap needs uidMappings and gidMappings beside it, or a user namespace of the container's own",
                );
                return None;
            }
        },
        (None | Some(_), _) => {
            let missing = if given.0.is_none_or(Vec::is_empty) { "uidMappings" } else { "gidMappings" };
            problems.add(format!("{field}.{missing}"), "is missing: uidMappings and gidMappings need each other");
            return None;
        }
    };
    if namespaces.joins(NamespaceKind::Mount) {
        problems.add(field, "a mount can not be id-mapped into a mount namespace that is joined");
    }
    Some(IdMapping { maps, recursive: option == Some(Recursive::Yes) })
}
