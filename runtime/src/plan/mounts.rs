//! `mounts`: file systems, bind mounts and the view of the cgroups.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::id_mapping::{self, IdMapping};
use super::ids::IdMaps;
use super::mount::{CgroupView, Mount, MountKind, Parameter, SourceLink};
use super::mount_options::{self, MountOptions, Recursive};
use super::namespaces::{NamespaceKind, Namespaces};
use super::paths::normalize;
use crate::cgroup;
use crate::error::Problems;

/// What the mounts depend on beside their list.
pub(super) struct Surroundings<'a> {
    /// The bundle's directory.
    pub bundle: &'a Path,
    /// Made and joined.
    pub namespaces: &'a Namespaces,
    /// The host's cgroup hierarchies.
    pub layout: &'a cgroup::Layout,
    /// The container's cgroup.
    pub cgroup: Option<cgroup::Record>,
    /// Of a new user namespace.
    pub id_maps: Option<&'a IdMaps>,
}

pub(super) fn compile(spec: &Spec, surroundings: &Surroundings<'_>, problems: &mut Problems) -> Vec<Mount> {
    let Surroundings { bundle, namespaces, layout, cgroup: record, id_maps } = surroundings;
    let mut compiled: Vec<Mount> = Vec::new();
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let field = format!("mounts[{index}]");
        let destination = mount.destination();
        if destination.as_os_str().is_empty() {
            problems.add(format!("{field}.destination"), "is empty");
            continue;
        }
        // The spec wants an absolute path; runc takes a relative one as one from the root, and engines rely on it.
        let destination = normalize(destination);
        if destination == Path::new("/") {
            problems.add(format!("{field}.destination"), "\"/\" is the root file system itself; use root.path");
            continue;
        }
        let options = match mount_options::parse(mount.options().as_deref().unwrap_or_default()) {
            Ok(options) => options,
            Err(message) => {
                problems.add(format!("{field}.options"), message);
                continue;
            }
        };
        let id_mapping = id_mapping::compile(&field, mount, options.id_mapped, namespaces, *id_maps, problems);
        let filesystem = mount.typ().as_deref().unwrap_or_default();
        let kind = match (options.bind, filesystem) {
            _ if options.remount => remount(&field, &compiled, &options, &destination, problems),
            (Some(recursive), _) => {
                bind(&field, bundle, mount.source().as_deref(), recursive, &options, &destination, problems)
            }
            (None, "bind") => {
                bind(&field, bundle, mount.source().as_deref(), Recursive::No, &options, &destination, problems)
            }
            (None, "") => {
                problems
                    .add(format!("{field}.type"), "is missing: name a file system, or give the option bind or rbind");
                None
            }
            (None, "cgroup" | "cgroup2") => Some(cgroup_view(namespaces, layout, record.as_ref())),
            (None, _) => {
                new_filesystem(&field, filesystem, mount.source().as_deref(), &options, &destination, problems)
            }
        };
        let Some(kind) = kind else { continue };
        check_extensions(&field, &kind, &options, id_mapping.as_ref(), namespaces, problems);
        let mut options = options;
        if matches!((filesystem, &kind), ("cgroup" | "cgroup2", MountKind::Bind { .. })) {
            // The host's own hierarchies: the container must not change what it has no share of (CVE-2023-25809).
            let closed =
                libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
            options.recursive_attributes.change(closed, 0);
        }
        if record.is_none() && matches!((filesystem, &kind), ("cgroup" | "cgroup2", MountKind::Filesystem { .. })) {
            options.attributes.change(libc::MOUNT_ATTR_RDONLY, 0);
        }
        compiled.push(Mount {
            index,
            destination,
            kind,
            attributes: options.attributes,
            recursive_attributes: options.recursive_attributes,
            propagation: options.propagation,
            id_mapping,
            destination_nofollow: options.destination_nofollow,
        });
    }
    compiled
}

/// What goes with some kinds of mounts only.
fn check_extensions(
    field: &str,
    kind: &MountKind,
    options: &MountOptions,
    id_mapping: Option<&IdMapping>,
    namespaces: &Namespaces,
    problems: &mut Problems,
) {
    let bind = matches!(kind, MountKind::Bind { .. });
    let own_ids = matches!(kind, MountKind::Filesystem { .. }) && !namespaces.has_own(NamespaceKind::User);
    if id_mapping.is_some() && !bind && !own_ids {
        problems.add(
            field,
            "only a bind mount, or without a user namespace a new file system, can be id-mapped; remove idmap",
        );
    }
    if let (MountKind::Cgroup(_), Some(parameter)) = (kind, options.parameters.first()) {
        problems.add(
            format!("{field}.options"),
            format!("{:?} has no meaning for the view of the container's cgroups", parameter.to_string()),
        );
    }
    if options.copy_up && !matches!(kind, MountKind::Filesystem { .. } | MountKind::Bind { .. }) {
        problems.add(format!("{field}.options"), "\"tmpcopyup\" is for a new tmpfs only");
    }
    if options.destination_nofollow && !bind {
        problems.add(format!("{field}.options"), "\"dest-nofollow\" is for bind mounts: nothing else covers a link");
    }
    if options.source_link != SourceLink::Follow && !bind {
        problems.add(format!("{field}.options"), "\"src-nofollow\" and \"copy-symlink\" are for bind mounts");
    }
}

/// Other options for what an earlier entry mounts. The file system below a bind mount is the host's, whose options are not
/// the container's to change.
fn remount(
    field: &str,
    earlier: &[Mount],
    options: &MountOptions,
    destination: &Path,
    problems: &mut Problems,
) -> Option<MountKind> {
    let Some(covered) = earlier.iter().rev().find(|mount| mount.destination == destination) else {
        problems.add(
            format!("{field}.options"),
            format!("\"remount\" needs an earlier entry that mounts something on {}", destination.display()),
        );
        return None;
    };
    let own = matches!(covered.kind, MountKind::Filesystem { .. } | MountKind::Remount { .. });
    let mut parameters = options.parameters.clone();
    if let Some(parameter) = parameters.first().filter(|_| !own || options.bind.is_some()) {
        problems.add(
            format!("{field}.options"),
            format!("{:?} belongs to a file system that is not the container's; remove it", parameter.to_string()),
        );
        return None;
    }
    if own && options.bind.is_none() {
        // Without "bind" it is the file system that becomes read-only or writable (mount(8)).
        for (bits, word) in [(options.attributes.set, "ro"), (options.attributes.clear, "rw")] {
            if bits & libc::MOUNT_ATTR_RDONLY != 0 {
                parameters.push(Parameter::Flag(word.to_owned()));
            }
        }
    }
    Some(MountKind::Remount { parameters })
}

fn bind(
    field: &str,
    bundle: &Path,
    source: Option<&Path>,
    recursive: Recursive,
    options: &MountOptions,
    destination: &Path,
    problems: &mut Problems,
) -> Option<MountKind> {
    let Some(source) = source.filter(|source| !source.as_os_str().is_empty()) else {
        problems.add(format!("{field}.source"), "is missing: a bind mount needs a file or directory of the host");
        return None;
    };
    if let Some(parameter) = options.parameters.first() {
        problems
            .add(format!("{field}.options"), format!("{:?} has no meaning for a bind mount", parameter.to_string()));
        return None;
    }
    if options.copy_up {
        problems.add(format!("{field}.options"), "\"tmpcopyup\" is for tmpfs only");
        return None;
    }
    if is_protected_proc(destination) {
        problems.add(
            format!("{field}.destination"),
            format!(
                "{} is inside /proc: only a few harmless files there may be mounted over (CVE-2019-16884)",
                destination.display()
            ),
        );
        return None;
    }
    Some(MountKind::Bind {
        source: bundle.join(source),
        recursive: recursive == Recursive::Yes,
        link: options.source_link,
    })
}

fn new_filesystem(
    field: &str,
    filesystem: &str,
    source: Option<&Path>,
    options: &MountOptions,
    destination: &Path,
    problems: &mut Problems,
) -> Option<MountKind> {
    if options.copy_up && filesystem != "tmpfs" {
        problems.add(format!("{field}.options"), "\"tmpcopyup\" is for tmpfs only");
        return None;
    }
    let proc_itself = filesystem == "proc" && destination == Path::new("/proc");
    if !proc_itself && is_protected_proc(destination) {
        problems.add(
            format!("{field}.destination"),
            format!(
                "a {filesystem} can not be mounted on {}: that hides what the kernel says (CVE-2019-16884)",
                destination.display()
            ),
        );
        return None;
    }
    let source = source.filter(|source| !source.as_os_str().is_empty());
    Some(MountKind::Filesystem {
        filesystem: filesystem.to_owned(),
        source: source.map_or_else(|| filesystem.to_owned(), |source| source.to_string_lossy().into_owned()),
        parameters: options.parameters.clone(),
        copy_up: options.copy_up,
    })
}

/// The container's cgroups; without a cgroup of its own, a bind mount of what the host shows.
fn cgroup_view(namespaces: &Namespaces, layout: &cgroup::Layout, record: Option<&cgroup::Record>) -> MountKind {
    let namespace = namespaces.makes(NamespaceKind::Cgroup);
    match record {
        Some(record) => MountKind::Cgroup(CgroupView {
            hierarchies: record.mounts_among(&layout.hierarchies),
            namespace,
            context: None,
        }),
        None if namespace && layout.is_unified() => MountKind::Filesystem {
            filesystem: "cgroup2".to_owned(),
            source: "cgroup".to_owned(),
            parameters: Vec::new(),
            copy_up: false,
        },
        None => MountKind::Bind { source: "/sys/fs/cgroup".into(), recursive: true, link: SourceLink::Follow },
    }
}

/// Whether a mount there could make a program believe a false /proc; these few files are what lxcfs and the like
/// provide, and the set that runc allows.
pub(crate) fn is_protected_proc(destination: &Path) -> bool {
    const ALLOWED: [&str; 11] = [
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    ];
    match destination.strip_prefix("/proc") {
        Err(_) => false,
        // A bind mount of another procfs on /proc itself is checked when its source is open.
        Ok(below) if below.as_os_str().is_empty() => false,
        Ok(below) => !ALLOWED.iter().any(|allowed| below == Path::new(allowed)),
    }
}

/// Whether the container gets a mount of its cgroup that it can write to.
pub(super) fn writable_cgroup(spec: &Spec) -> bool {
    let is_cgroup = |mount: &&oci_spec::runtime::Mount| matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"));
    let last = spec.mounts().iter().flatten().rfind(is_cgroup);
    last.is_some_and(|mount| {
        let readonly = |option: &String| option == "ro" || option == "rro";
        !mount.options().iter().flatten().any(readonly)
    })
}

/// Whether /dev is the container's own, so that device nodes are made in it: not when it is the host's.
pub(super) fn makes_dev(mounts: &[Mount]) -> bool {
    let dev = mounts.iter().find(|mount| mount.destination == Path::new("/dev"));
    dev.is_none_or(|mount| !matches!(mount.kind, MountKind::Bind { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Step;
    use crate::plan::tests::{compile_text, problems_of};

    fn with_mounts(mounts: &str) -> String {
        format!(
            r#"{{"ociVersion":"1.2.0","root":{{"path":"rootfs"}},"process":{{"cwd":"/","args":["true"],
                "user":{{"uid":0,"gid":0}}}},"linux":{{"namespaces":[{{"type":"mount"}}]}},"mounts":{mounts}}}"#
        )
    }

    fn first(mounts: &str) -> Mount {
        match &compile_text(&with_mounts(mounts)).unwrap().inside.steps[0] {
            Step::Mount(mount) => mount.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_bind_source_is_relative_to_the_bundle() {
        let mount = first(r#"[{"destination":"data/../x","source":"data","options":["rbind","ro"]}]"#);
        assert_eq!(mount.destination, Path::new("/x"));
        assert_eq!(
            mount.kind,
            MountKind::Bind { source: "/bundle/data".into(), recursive: true, link: SourceLink::Follow }
        );
    }

    #[test]
    fn a_mount_label_is_for_file_systems_that_have_none_of_their_own() {
        let labelled = |mount: &str| {
            let mut mount = first(mount);
            mount.kind.label("u:r:t:s0:c1,c2");
            mount.to_string()
        };
        let text = labelled(r#"[{"destination":"/a","type":"tmpfs","options":["mode=700"]}]"#);
        assert_eq!(text, "mount tmpfs on /a mode=700 context=u:r:t:s0:c1,c2");
        let text = labelled(r#"[{"destination":"/a","type":"tmpfs","options":["context=own"]}]"#);
        assert_eq!(text, "mount tmpfs on /a context=own");
        for other in [
            r#"[{"destination":"/proc","type":"proc"}]"#,
            r#"[{"destination":"/sys","type":"sysfs"}]"#,
            r#"[{"destination":"/a","source":"/x","options":["bind"]}]"#,
        ] {
            assert_eq!(labelled(other), first(other).to_string());
        }
    }

    #[test]
    fn what_is_refused() {
        for (mounts, message) in [
            (r#"[{"destination":"/proc/self","source":"/x","options":["bind"]}]"#, "inside /proc"),
            (r#"[{"destination":"/a/../proc/sys/kernel","type":"tmpfs"}]"#, "hides what the kernel says"),
            (r#"[{"destination":"/","type":"tmpfs"}]"#, "root file system itself"),
            (r#"[{"destination":"/a"}]"#, "mounts[0].type"),
            (r#"[{"destination":"/a","options":["bind"]}]"#, "mounts[0].source"),
            (r#"[{"destination":"/a","source":"/x","options":["bind","mode=7"]}]"#, "no meaning for a bind mount"),
            (r#"[{"destination":"/a","type":"proc","options":["tmpcopyup"]}]"#, "for tmpfs only"),
            (r#"[{"destination":"/a","source":"/x","options":["bind","idmap"]}]"#, "idmap needs uidMappings"),
            (
                r#"[{"destination":"/a","source":"/x","options":["bind"],"uidMappings":[
                    {"containerID":0,"hostID":1,"size":1}]}]"#,
                "mounts[0].gidMappings",
            ),
            (r#"[{"destination":"/a","options":["remount"]}]"#, "needs an earlier entry"),
            (r#"[{"destination":"/a","type":"cgroup","options":["ro","moon"]}]"#, "\"moon\" has no meaning"),
            (r#"[{"destination":"/a","type":"cgroup","options":["tmpcopyup"]}]"#, "new tmpfs only"),
            (
                r#"[{"destination":"/a","source":"/x","options":["bind"]},{"destination":"/a","options":["remount","size=1"]}]"#,
                "not the container's",
            ),
            (r#"[{"destination":"/a","type":"tmpfs","options":["dest-nofollow"]}]"#, "dest-nofollow"),
            (r#"[{"destination":"/a","type":"tmpfs","options":["copy-symlink"]}]"#, "copy-symlink"),
        ] {
            let text = problems_of(&with_mounts(mounts));
            assert!(text.contains(message), "{mounts}: {text}");
        }
    }

    #[test]
    fn harmless_files_in_proc_may_be_covered() {
        assert_eq!(
            problems_of(&with_mounts(r#"[{"destination":"/proc/meminfo","source":"/x","options":["bind"]}]"#)),
            ""
        );
    }

    #[test]
    fn no_device_nodes_in_the_hosts_dev() {
        let plan =
            compile_text(&with_mounts(r#"[{"destination":"/dev","source":"/dev","options":["rbind"]}]"#)).unwrap();
        assert!(plan.inside.steps.iter().all(|step| matches!(step, Step::Mount(_))));
    }
}
