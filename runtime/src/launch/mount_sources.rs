//! What the stage can not open by itself for its mounts.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use super::id_maps;
use super::process::Child;
use crate::error::{Context, Result};
use crate::plan::{IdMaps, Inside, MappingSource, Mount, MountKind, NamespaceKind, Step};
use crate::stage::{map_ids, open_source};
use crate::sys::process::{CloneOptions, Cloned, clone3, exit_now};

/// Opens the sources of bind mounts that only the launcher may: in a user namespace the stage can not reach what only the
/// host's root may, and nobody but the host's root maps the ids of the host's files. The plan gets their numbers.
pub(super) fn open(inside: &mut Inside) -> Result<Vec<OwnedFd>> {
    let mut opened = Vec::new();
    let user_namespace = inside.namespaces.has_own(NamespaceKind::User) && rustix::process::geteuid().is_root();
    let foreign = inside.namespaces.joins(NamespaceKind::Mount);
    let mut made = Vec::new();
    for step in &inside.steps {
        let Step::Mount(mount) = step else { continue };
        if mount.id_mapping.is_none() && (!user_namespace || foreign) {
            continue;
        }
        let during = |error: crate::error::Error| error.during(format!("mounts[{}]", mount.index));
        if let Some(file) = open_one(mount, &mut made).map_err(during)? {
            inside.opened_sources.push((mount.index, file.as_raw_fd()));
            opened.push(file);
        }
    }
    Ok(opened)
}

type Made = Vec<(MappingSource, OwnedFd)>;

fn open_one(mount: &Mount, made: &mut Made) -> Result<Option<OwnedFd>> {
    let source = match &mount.kind {
        MountKind::Bind { source, recursive, link } => {
            let opened = open_source(source, *recursive, *link);
            Some(opened.map_err(|error| match (error.errno(), &mount.id_mapping) {
                (Some(libc::EPERM), Some(_)) => error.remedy("an id-mapped mount (idmap) needs root of the host"),
                _ => error,
            })?)
        }
        _ => None,
    };
    let Some(mapping) = &mount.id_mapping else { return Ok(source) };
    // Containers often have many mounts with the same maps.
    let namespace = match made.iter().position(|(maps, _)| *maps == mapping.maps) {
        Some(place) => &made[place].1,
        None => {
            made.push((mapping.maps.clone(), open_user_namespace(&mapping.maps)?));
            &made[made.len() - 1].1
        }
    };
    match source {
        Some(source) => map_ids(&source, mapping, namespace).map(|()| Some(source)),
        None => namespace.try_clone().step(|| "duplicate a user namespace").map(Some),
    }
}

fn open_user_namespace(maps: &MappingSource) -> Result<OwnedFd> {
    match maps {
        MappingSource::Maps(maps) => make_user_namespace(maps),
        MappingSource::Namespace(path) => {
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", path)
        }
    }
}

/// A user namespace that nobody is in, for its maps: it lives as long as its descriptor.
fn make_user_namespace(maps: &IdMaps) -> Result<OwnedFd> {
    let step = || "make a user namespace for an id-mapped mount";
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).step(step)?;
    let options = CloneOptions { flags: libc::CLONE_NEWUSER as u64, ..CloneOptions::default() };
    match clone3(&options).step(step)? {
        Cloned::Child => {
            drop(writer);
            // Until the launcher kills it, or is gone.
            let _ = rustix::io::read(&reader, &mut [0]);
            exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => {
            let child = Child::new(pid, pidfd);
            let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let namespace = id_maps::write(pid, maps)
                .and_then(|()| rustix::fs::open(&path, flags, Mode::empty()).on("open", &path));
            child.kill();
            namespace
        }
    }
}
