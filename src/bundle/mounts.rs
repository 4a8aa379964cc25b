//! What is mounted in a container: the kernel's file systems, a few files, volumes.

use std::path::PathBuf;

use oci_spec::OciSpecError;
use oci_spec::runtime::{Mount, MountBuilder};
use pipkin_images::unpack::metadata::Owners;

use super::{Bundle, files};
use crate::failure::{Failure, Result};

/// Where pipkin-init is in a container. `/run` is there or can be made in every image, also for a read-only root.
pub const INIT: &str = "/run/pipkin-init";

/// `SRC:DST[:ro]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Volume {
    source: PathBuf,
    destination: String,
    read_only: bool,
}

impl Volume {
    /// Reads what was typed; a relative source is one of the caller's directory.
    ///
    /// # Errors
    /// It does not have the form, or the source is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Failure::argument(format!("--volume {text:?}"), why);
        let mut parts = text.split(':');
        let (Some(source), Some(destination)) = (parts.next(), parts.next()) else {
            return Err(bad("expected SRC:DST or SRC:DST:ro"));
        };
        let read_only = match (parts.next(), parts.next()) {
            (None | Some("rw"), None) => false,
            (Some("ro"), None) => true,
            _ => return Err(bad("the only options are ro and rw")),
        };
        if source.is_empty() || !source.contains('/') && source != "." && source != ".." {
            return Err(bad("named volumes are not supported: give a path, such as ./data:/data"));
        }
        if !destination.starts_with('/')
            || destination.trim_matches('/').is_empty()
            || destination.split('/').any(|part| part == "..")
        {
            return Err(bad("the destination must be an absolute path in the container, and not its root"));
        }
        let source = std::path::absolute(source).map_err(|cause| bad(&cause.to_string()))?;
        if let Err(cause) = std::fs::metadata(&source) {
            let cause = cause
                .raw_os_error()
                .map_or_else(|| cause.to_string(), |errno| nix::errno::Errno::from_raw(errno).desc().to_string());
            return Err(bad(&format!("{}: {cause}", source.display())));
        }
        Ok(Self { source, destination: destination.to_string(), read_only })
    }
}

/// All mounts, in order.
pub fn mounts(bundle: &Bundle) -> std::result::Result<Vec<Mount>, OciSpecError> {
    // Group 5 is tty; with one mapped id it does not exist.
    let several_ids = bundle.policy.owners == Owners::FromArchive;
    let pts: &[&str] = if several_ids {
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    } else {
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    };
    let mut mounts = vec![
        of("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        of("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        of("/dev/pts", "devpts", "devpts", pts)?,
        of("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"])?,
        of("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?,
    ];
    if bundle.rootless() {
        // A user namespace without a network of its own can not mount sysfs; the machine's is shown, all of it read-only
        // (CVE-2023-25809).
        mounts.push(of("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "rro"])?);
    } else {
        mounts.push(of("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])?);
        mounts.push(of("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"])?);
    }
    for (name, destination) in files::FILES {
        let source = bundle.container.directory.join(name);
        mounts.push(of(
            destination,
            "bind",
            &source.to_string_lossy(),
            &["rbind", "rprivate", "nosuid", "nodev", "noexec"],
        )?);
    }
    for volume in &bundle.volumes {
        let options: &[&str] = if volume.read_only { &["rbind", "rprivate", "rro"] } else { &["rbind", "rprivate"] };
        mounts.push(of(&volume.destination, "bind", &volume.source.to_string_lossy(), options)?);
    }
    if let Some(init) = &bundle.init {
        mounts.push(of(INIT, "bind", &init.to_string_lossy(), &["bind", "rprivate", "ro", "nosuid", "nodev"])?);
    }
    Ok(mounts)
}

fn of(destination: &str, kind: &str, source: &str, options: &[&str]) -> std::result::Result<Mount, OciSpecError> {
    let options: Vec<String> = options.iter().map(|option| option.to_string()).collect();
    MountBuilder::default().destination(destination).typ(kind).source(source).options(options).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_have_two_paths_and_maybe_an_option() {
        let volume = Volume::parse("/tmp:/data:ro").unwrap();
        assert_eq!(volume, Volume { source: "/tmp".into(), destination: "/data".into(), read_only: true });
        assert!(Volume::parse(".:/data").unwrap().source.is_absolute());
        for bad in [
            "",
            "/tmp",
            "/tmp:",
            "/tmp:data",
            "/tmp:/",
            "/tmp:/a/../b",
            "/tmp:/a:z",
            "/tmp:/a:ro:ro",
            "name:/a",
            "/no/such:/a",
            ":/a",
        ] {
            assert!(Volume::parse(bad).is_err(), "{bad}");
        }
    }
}
