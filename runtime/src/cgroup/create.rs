//! Making a container's cgroup: directories, controllers, limits.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, Mode, Uid};
use rustix::io::Errno;

use super::enter::unified_membership;
use super::file;
use super::handle::{Cgroup, OpenSeat, collect};
use super::layout::Version;
use super::plan::{Group, Plan};
use super::record::Seat;
use super::setting::{Absent, Setting};
use super::systemd::{StandIn, Unit};
use crate::error::{Context, Error, Kind, Result};

impl Cgroup {
    /// Makes the directories (missing parents too) and sets the limits.
    ///
    /// A cgroup of that path that exists is used when it is empty and not frozen. After an error nothing stays of what was
    /// made, but parents.
    ///
    /// # Errors
    /// [`Kind::Exists`] when the cgroup is in use; else what the kernel refused, with the field that asked for it.
    pub fn create(plan: &Plan) -> Result<Cgroup> {
        if let Some(unit) = &plan.unit {
            return create_scope(plan, unit);
        }
        let mut made = Unfinished { directories: Vec::with_capacity(plan.groups.len()) };
        let mut seats = Vec::with_capacity(plan.groups.len());
        for group in &plan.groups {
            match create_group(group, plan.owner, &mut made) {
                Ok(seat) => seats.push(seat),
                Err(error) if plan.optional && is_forbidden(&error) => {}
                Err(error) => return Err(explain(error, plan)),
            }
        }
        made.directories.clear();
        Ok(Cgroup {
            seats,
            spare: plan.spare.clone(),
            devices: plan.devices.clone(),
            unit: None,
            stand_in: RefCell::new(None),
        })
    }
}

/// systemd makes the directory and hands the controllers down; the limits are written as without it.
fn create_scope(plan: &Plan, unit: &Unit) -> Result<Cgroup> {
    let stand_in = StandIn::start()?;
    let settings: Vec<Setting> = plan.groups.iter().flat_map(|group| group.settings.clone()).collect();
    unit.start(&stand_in, &settings, &plan.properties)?;
    let result = plan.groups.iter().map(|group| fill_scope(group, &stand_in, plan.owner)).collect::<Result<Vec<_>>>();
    match result {
        Ok(seats) => Ok(Cgroup {
            seats,
            spare: None,
            devices: plan.devices.clone(),
            unit: Some(unit.clone()),
            stand_in: RefCell::new(Some(stand_in)),
        }),
        Err(error) => {
            drop(stand_in);
            // Best effort: the error that led here is the one to report.
            let _ = unit.stop();
            Err(error)
        }
    }
}

fn fill_scope(group: &Group, stand_in: &StandIn, owner: Option<u32>) -> Result<OpenSeat> {
    // The stand-in is where systemd has put it: no need to guess where its slices are.
    let membership = unified_membership(stand_in.pid())?;
    let path = membership.strip_prefix(&group.root).unwrap_or(&membership);
    let directory = group.mount_point.join(path.strip_prefix("/").unwrap_or(path));
    let seat = Seat { directory, membership, ..group.seat.clone() };
    let handle = file::open_directory(&seat.directory).on("open", &seat.directory)?;
    let group = Group { seat, ..group.clone() };
    set_all(&handle, &group, None)?;
    if let Some(uid) = owner {
        hand_over(&group, uid)?;
    }
    Ok(OpenSeat { seat: group.seat, handle: Some(handle) })
}

/// Removes what was made when the rest fails.
#[derive(Default)]
pub(super) struct Unfinished {
    pub directories: Vec<PathBuf>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        for directory in self.directories.iter().rev() {
            // Best effort: the error that led here is the one to report.
            let _ = rustix::fs::rmdir(directory);
        }
    }
}

fn create_group(group: &Group, owner: Option<u32>, made: &mut Unfinished) -> Result<OpenSeat> {
    let directory = &group.seat.directory;
    make_directory(&group.seat, &group.mount_point, made)?;
    let handle = match group.seat.version {
        Version::V2 => Some(file::open_directory(directory).on("open", directory)?),
        Version::V1 => None,
    };
    let enabled = match group.enable.as_slice() {
        [] => Ok(()),
        controllers => enable(directory, &group.mount_point, controllers),
    };
    match &handle {
        Some(handle) => set_all(handle, group, enabled.err().as_ref())?,
        None if !group.settings.is_empty() => {
            let handle = file::open_directory(directory).on("open", directory)?;
            set_all(&handle, group, None)?;
        }
        None => {}
    }
    if let Some(uid) = owner {
        hand_over(group, uid)?;
    }
    Ok(OpenSeat { seat: group.seat.clone(), handle })
}

/// Makes the cgroup, and the parents only when that fails for want of them.
pub(super) fn make_directory(seat: &Seat, mount_point: &Path, made: &mut Unfinished) -> Result<()> {
    let directory = &seat.directory;
    // A new cpuset takes no process before it has processors; nor do its children.
    let is_cpuset = seat.holds("cpuset");
    match mkdir(directory) {
        Ok(()) => made.directories.push(directory.clone()),
        Err(Errno::EXIST) => check_unused(seat)?,
        Err(Errno::NOENT) => {
            let mut missing: Vec<&Path> =
                directory.ancestors().skip(1).take_while(|parent| *parent != mount_point).collect();
            missing.reverse();
            for parent in missing {
                match mkdir(parent) {
                    Ok(()) if is_cpuset => inherit_cpuset(parent)?,
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error).on("make the cgroup", parent),
                }
            }
            mkdir(directory).on("make the cgroup", directory)?;
            made.directories.push(directory.clone());
        }
        Err(error) => return Err(error).on("make the cgroup", directory),
    }
    if is_cpuset { inherit_cpuset(directory) } else { Ok(()) }
}

fn mkdir(directory: &Path) -> rustix::io::Result<()> {
    rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755))
}

/// A cgroup that somebody else uses must not become a container's: limits and `delete` would hit them.
fn check_unused(seat: &Seat) -> Result<()> {
    let directory = &seat.directory;
    let mut processes = Vec::new();
    collect(directory, &mut processes)?;
    let what = if !processes.is_empty() {
        format!("has processes in it ({})", processes.len())
    } else if is_frozen(seat) {
        "is frozen".to_owned()
    } else {
        return Ok(());
    };
    let text = format!("the cgroup {} exists and {what}: choose another cgroupsPath or remove it", directory.display());
    Err(Error::new(Kind::Exists, text))
}

fn is_frozen(seat: &Seat) -> bool {
    let read = |name| file::read_path(seat.directory.join(name)).unwrap_or_default();
    match seat.version {
        Version::V2 => read("cgroup.freeze").trim() == "1",
        Version::V1 if seat.holds("freezer") => read("freezer.self_freezing").trim() == "1",
        Version::V1 => false,
    }
}

/// Gives a version 1 cpuset its parent's processors and memory nodes, unless it has some (`cgroup.clone_children`).
fn inherit_cpuset(directory: &Path) -> Result<()> {
    let parent = directory.parent().unwrap_or(directory);
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = directory.join(name);
        if !file::read_path(&own).on("read", &own)?.trim().is_empty() {
            continue;
        }
        let parents = parent.join(name);
        let value = file::read_path(&parents).on("read", &parents)?;
        file::write_path(&own, value.trim()).on("write", &own)?;
    }
    Ok(())
}

/// Hands the controllers down to the cgroup: usually one write to the parent, from the top when that one has none.
pub(super) fn enable(directory: &Path, mount_point: &Path, controllers: &[String]) -> Result<()> {
    let parent = directory.parent().unwrap_or(mount_point);
    let all: String = controllers.iter().map(|controller| format!("+{controller} ")).collect();
    let switch = parent.join("cgroup.subtree_control");
    if file::write_path(&switch, all.trim_end()).is_ok() {
        return Ok(());
    }
    // Level by level and one by one: what one cgroup on the way does not allow must not stop the others.
    let mut way: Vec<&Path> = parent.ancestors().take_while(|level| level.starts_with(mount_point)).collect();
    way.reverse();
    let mut refused = None;
    for level in way {
        let switch = level.join("cgroup.subtree_control");
        for controller in controllers {
            if let Err(error) = file::write_path(&switch, &format!("+{controller}")) {
                refused.get_or_insert_with(|| {
                    let step = format!("write +{controller} to {}", switch.display());
                    let reported = Error::system(step, error);
                    match error {
                        Errno::BUSY => reported.remedy("a cgroup with processes can not hand controllers down"),
                        Errno::ACCESS | Errno::PERM => reported.remedy("the controller is not delegated to this user"),
                        _ => reported,
                    }
                });
            }
        }
    }
    refused.map_or(Ok(()), Err)
}

fn set_all(directory: impl AsFd, group: &Group, not_enabled: Option<&Error>) -> Result<()> {
    group.settings.iter().try_for_each(|setting| set(&directory, &group.seat.directory, setting, not_enabled))
}

/// Writes one value; `not_enabled` explains why the file may be missing.
pub(super) fn set(directory: impl AsFd, path: &Path, setting: &Setting, not_enabled: Option<&Error>) -> Result<()> {
    let mut file = setting.file.as_str();
    let mut result = file::write(&directory, file, &setting.value);
    if let (Err(Errno::NOENT), Absent::Try { file: other, value }) = (&result, &setting.absent) {
        file = other;
        result = file::write(&directory, file, value);
    }
    match (result, &setting.absent) {
        (Ok(()), _) | (Err(Errno::NOENT), Absent::Accept) => Ok(()),
        (Err(Errno::NOENT), _) => {
            let Setting { controller, field, .. } = setting;
            let text = format!("{field}: the cgroup {} has no file {file}", path.display());
            Err(match not_enabled {
                Some(why) => Error::new(
                    Kind::System,
                    format!("{text}, the controller \"{controller}\" could not be enabled: {why}"),
                ),
                None => Error::new(Kind::System, format!("{text}: this kernel does not support it")),
            })
        }
        (Err(error), _) => {
            let step = format!("{}: write \"{}\" to {}", setting.field, setting.value, path.join(file).display());
            Err(Error::system(step, error))
        }
    }
}

/// Gives the directory and the files that make a delegation to `uid` (cgroup-v2.rst, "Model of Delegation").
fn hand_over(group: &Group, uid: u32) -> Result<()> {
    if group.seat.version == Version::V1 {
        return Ok(()); // A version 1 hierarchy can not be delegated safely (cgroups(7)).
    }
    let directory = &group.seat.directory;
    let owner = Some(Uid::from_raw(uid));
    rustix::fs::chownat(CWD, directory, owner, None::<Gid>, rustix::fs::AtFlags::empty()).on("chown", directory)?;
    // The kernel's own list, since 4.15: only these, so that the limits stay out of the container's reach.
    let files = file::read_path("/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned());
    for name in files.lines().filter(|name| !name.contains('/')) {
        let path = directory.join(name);
        match rustix::fs::chownat(CWD, &path, owner, None::<Gid>, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error).on("chown", &path),
        }
    }
    Ok(())
}

fn is_forbidden(error: &Error) -> bool {
    error
        .errno()
        .is_some_and(|errno| [Errno::ACCESS, Errno::PERM, Errno::ROFS].contains(&Errno::from_raw_os_error(errno)))
}

fn explain(error: Error, plan: &Plan) -> Error {
    match is_forbidden(&error) && plan.devices.is_none() {
        true => error.remedy(
            "no cgroup is delegated to this user: start it in one of its own (systemd-run --user --scope -p Delegate=yes), \
             or ask for no limits and no cgroupsPath",
        ),
        false => error,
    }
}
