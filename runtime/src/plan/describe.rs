//! A plan as a person reads it: what would be done, in order.

use std::fmt::{self, Display, Formatter};

use super::{
    Attributes, Device, DeviceKind, MappingSource, Mount, MountKind, NamespaceKind, Parameter, Plan, SourceLink, Start,
    Step,
};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "container {} from {}", self.id, self.bundle.display())?;
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        writeln!(f, "outside")?;
        for join in &self.namespaces.join {
            writeln!(f, "  join the {} namespace of {}", join.kind.name(), join.path.display())?;
        }
        let later = |kind: &NamespaceKind| self.inside.awaits_network && *kind == NamespaceKind::Network;
        let new: Vec<_> = self.namespaces.new.iter().filter(|kind| !later(kind)).map(|kind| kind.name()).collect();
        writeln!(f, "  make new namespaces: {}", new.join(", "))?;
        if let Some(maps) = &self.id_maps {
            for (name, maps) in [("user", &maps.uid), ("group", &maps.gid)] {
                for map in maps {
                    writeln!(
                        f,
                        "  map {name} ids: {} of the container are {} of the host, {} in all",
                        map.container, map.host, map.size
                    )?;
                }
            }
        }
        if self.inside.awaits_network {
            writeln!(f, "  make the network namespace while the stage works, and bring lo up")?;
        }
        for device in &self.net_devices {
            writeln!(f, "  move the network device {device} into the container")?;
        }
        match &self.cgroup {
            Some(cgroup) => write!(f, "{cgroup}")?,
            None => writeln!(f, "  no cgroup of its own")?,
        }
        if let Some(score) = self.oom_score_adj {
            writeln!(f, "  set oom_score_adj {score}")?;
        }
        for (kind, hooks) in [("prestart", &self.hooks.prestart), ("createRuntime", &self.hooks.create_runtime)] {
            for hook in hooks {
                writeln!(f, "  run {kind} hook {}", hook.path.display())?;
            }
        }
        self.fmt_inside(f)
    }
}

impl Plan {
    fn fmt_inside(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let inside = &self.inside;
        writeln!(f, "inside")?;
        for offset in &inside.time_offsets {
            writeln!(f, "  move the clock {offset}")?;
        }
        if inside.loopback {
            writeln!(f, "  bring lo up")?;
        }
        writeln!(f, "  root file system {}, {}", inside.rootfs.path.display(), inside.rootfs.propagation.name())?;
        for step in &inside.steps {
            writeln!(f, "  {step}")?;
        }
        writeln!(f, "  change the root{}", if inside.rootfs.readonly { ", read-only" } else { "" })?;
        for (field, value) in [("hostname", &inside.hostname), ("domainname", &inside.domainname)] {
            if let Some(value) = value {
                writeln!(f, "  set {field} {value}")?;
            }
        }
        for sysctl in &inside.sysctls {
            writeln!(f, "  write {:?} to /proc/sys/{}", sysctl.value, sysctl.path)?;
        }
        let process = &inside.process;
        writeln!(
            f,
            "  become user {}, group {}, groups {:?}",
            process.user.uid, process.user.gid, process.user.additional_gids
        )?;
        let bits = process.capabilities.bounding;
        let names: Vec<_> =
            caps::all().into_iter().filter(|cap| bits & cap.bitmask() != 0).map(|cap| cap.to_string()).collect();
        writeln!(
            f,
            "  keep capabilities: {}",
            if names.is_empty() {
                "none".to_owned()
            } else {
                let mut names = names;
                names.sort();
                names.join(", ")
            }
        )?;
        if let Some(scheduler) = &process.scheduling.scheduler {
            writeln!(f, "  schedule as {scheduler}")?;
        }
        if let Some(priority) = &process.scheduling.io_priority {
            writeln!(f, "  set the I/O priority {priority}")?;
        }
        if let Some(policy) = &process.memory_policy {
            writeln!(f, "  take memory by {policy}")?;
        }
        if let Some(domain) = process.personality {
            writeln!(f, "  set the personality {domain}")?;
        }
        for limit in &process.rlimits {
            let name = limit.resource().map_or_else(|| limit.resource.to_string(), |resource| format!("{resource:?}"));
            writeln!(f, "  limit RLIMIT_{}: soft {}, hard {}", name.to_uppercase(), limit.soft, limit.hard)?;
        }
        if let Some(profile) = &process.labels.apparmor {
            writeln!(f, "  run under the AppArmor profile {profile}")?;
        }
        if let Some(label) = &process.labels.selinux {
            writeln!(f, "  run under the SELinux label {label}")?;
        }
        if process.no_new_privileges {
            writeln!(f, "  set no_new_privs")?;
        }
        if let Some(filter) = &process.seccomp {
            writeln!(f, "  load a seccomp filter of {} instructions", filter.program.len())?;
        }
        if inside.start == Start::OnRequest {
            writeln!(f, "  wait for start")?;
        }
        let words: Vec<_> = process.args.iter().map(|word| format!("{word:?}")).collect();
        writeln!(f, "  execute {} in {}", words.join(" "), process.cwd.display())
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(mount) => mount.fmt(f),
            Self::Device(device) => device.fmt(f),
            Self::Symlink { path, target } => write!(f, "link {} to {}", path.display(), target.display()),
            Self::ReadonlyPath(path) => write!(f, "make read-only {}", path.display()),
            Self::MaskedPath(path) => write!(f, "mask {}", path.display()),
        }
    }
}

impl Display for Mount {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            MountKind::Filesystem { filesystem, parameters, copy_up, .. } => {
                write!(f, "mount {filesystem} on {}", self.destination.display())?;
                for parameter in parameters {
                    write!(f, " {parameter}")?;
                }
                if *copy_up {
                    write!(f, " with a copy of what is there")?;
                }
            }
            MountKind::Bind { source, recursive, link } => {
                let how = if *recursive { "bind with all below" } else { "bind" };
                write!(f, "{how} {} on {}", source.display(), self.destination.display())?;
                match link {
                    SourceLink::Follow => {}
                    SourceLink::Mount => write!(f, ", itself if it is a link,")?,
                    SourceLink::Copy => write!(f, ", or copy it if it is a link,")?,
                }
            }
            MountKind::Remount { parameters } => {
                write!(f, "change the mount on {}", self.destination.display())?;
                for parameter in parameters {
                    write!(f, " {parameter}")?;
                }
            }
            MountKind::Cgroup(view) => {
                write!(f, "mount {} cgroup hierarchies on {}", view.hierarchies.len(), self.destination.display())?;
            }
        }
        write!(f, "{}", self.attributes)?;
        if !self.recursive_attributes.is_empty() {
            write!(f, ", with all below:{}", self.recursive_attributes)?;
        }
        if let Some(mapping) = &self.id_mapping {
            write!(f, ", ids mapped{}", if mapping.recursive { " with all below" } else { "" })?;
            if let MappingSource::Maps(maps) = &mapping.maps {
                for (kind, list) in [("user", &maps.uid), ("group", &maps.gid)] {
                    for map in list {
                        write!(f, " {kind} {} as {} ({} in all)", map.container, map.host, map.size)?;
                    }
                }
            }
        }
        self.propagation.map_or(Ok(()), |propagation| write!(f, " {}", propagation.name()))
    }
}

impl Display for Attributes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const NAMES: [(u64, &str, &str); 6] = [
            (libc::MOUNT_ATTR_RDONLY, "ro", "rw"),
            (libc::MOUNT_ATTR_NOSUID, "nosuid", "suid"),
            (libc::MOUNT_ATTR_NODEV, "nodev", "dev"),
            (libc::MOUNT_ATTR_NOEXEC, "noexec", "exec"),
            (libc::MOUNT_ATTR_NODIRATIME, "nodiratime", "diratime"),
            (libc::MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"),
        ];
        for (bit, set, clear) in NAMES {
            if self.set & bit != 0 {
                write!(f, " {set}")?;
            } else if self.clear & bit != 0 {
                write!(f, " {clear}")?;
            }
        }
        if self.clear & libc::MOUNT_ATTR__ATIME != 0 {
            let name = match self.set & libc::MOUNT_ATTR__ATIME {
                libc::MOUNT_ATTR_NOATIME => "noatime",
                libc::MOUNT_ATTR_STRICTATIME => "strictatime",
                _ => "relatime",
            };
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

impl Display for Parameter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(key) => f.write_str(key),
            Self::Value { key, value } => write!(f, "{key}={value}"),
        }
    }
}

impl Display for Device {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "make {} ", self.path.display())?;
        match self.kind {
            DeviceKind::Character { major, minor } => write!(f, "character device {major}:{minor}")?,
            DeviceKind::Block { major, minor } => write!(f, "block device {major}:{minor}")?,
            DeviceKind::Fifo => write!(f, "fifo")?,
        }
        write!(f, " mode {:04o}", self.mode)?;
        if (self.uid, self.gid) != (0, 0) {
            write!(f, " owner {}:{}", self.uid, self.gid)?;
        }
        Ok(())
    }
}
