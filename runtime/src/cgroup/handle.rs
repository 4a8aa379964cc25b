//! A container's cgroup on the machine.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::Pid;

use super::devices::Rules;
use super::file;
use super::layout::Version;
use super::record::{Record, Seat};
use super::systemd::{StandIn, Unit};
use crate::error::{Context, Result};

/// A container's cgroup: one directory in every hierarchy it has joined.
///
/// A cgroup that is not there (any more) is no error for most operations: it has no processes, and nothing to remove.
#[derive(Debug)]
pub struct Cgroup {
    pub(super) seats: Vec<OpenSeat>,
    /// As [`Record::spare`]: made by an `update`, or not there.
    pub(super) spare: Option<Seat>,
    pub(super) devices: Option<Rules>,
    /// The scope, where systemd has made the cgroup.
    pub(super) unit: Option<Unit>,
    /// Keeps the scope until somebody else is in it.
    pub(super) stand_in: RefCell<Option<StandIn>>,
}

/// One of its directories; version 2's is held open, for `CLONE_INTO_CGROUP`, bpf(2) and its many files.
#[derive(Debug)]
pub(super) struct OpenSeat {
    pub seat: Seat,
    pub handle: Option<OwnedFd>,
}

impl Record {
    /// A handle on the cgroup. Nothing is made or changed, and it need not be there.
    pub fn open(&self) -> Cgroup {
        let open = |seat: &Seat| OpenSeat {
            seat: seat.clone(),
            handle: (seat.version == Version::V2).then(|| file::open_directory(&seat.directory).ok()).flatten(),
        };
        Cgroup {
            seats: self.seats.iter().map(open).collect(),
            spare: self.spare.clone(),
            devices: None,
            unit: self.unit.clone(),
            stand_in: RefCell::new(None),
        }
    }
}

impl Cgroup {
    /// What state.json keeps: what there really is.
    pub fn record(&self) -> Record {
        let seats = self.seats.iter().map(|open| open.seat.clone()).collect();
        Record { seats, spare: self.spare.clone(), unit: self.unit.clone() }
    }

    /// The directory for `CLONE_INTO_CGROUP` (clone(2)): version 2's, in the hybrid layout the unified one.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.unified().and_then(|open| open.handle.as_ref()).map(AsFd::as_fd)
    }

    /// Every process in it and in the cgroups below, in no order; none when it is gone.
    ///
    /// # Errors
    /// When a list can not be read.
    pub fn processes(&self) -> Result<Vec<Pid>> {
        let mut all = Vec::new();
        if let Some(seat) = self.census() {
            collect(&seat.directory, &mut all)?;
        }
        Ok(all)
    }

    /// Whether it has its directory still.
    pub fn exists(&self) -> bool {
        self.seats.iter().any(|open| open.seat.directory.exists())
    }

    /// Every hierarchy in which it may have a directory.
    pub(super) fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().map(|open| &open.seat).chain(&self.spare)
    }

    /// Version 2's directory.
    pub(super) fn unified(&self) -> Option<&OpenSeat> {
        self.seats.iter().find(|open| open.seat.version == Version::V2)
    }

    /// Version 1's directory for a controller.
    pub(super) fn legacy(&self, controller: &str) -> Option<&Seat> {
        self.seats.iter().map(|open| &open.seat).find(|seat| seat.holds(controller))
    }

    /// The spare directory, when an `update` has made it.
    pub(super) fn spare_in_use(&self) -> Option<&Seat> {
        self.spare.as_ref().filter(|seat| seat.directory.exists())
    }

    /// The hierarchy whose list of processes counts: a container that divides its cgroup does so where it can.
    fn census(&self) -> Option<&Seat> {
        let first = || self.seats.first().map(|open| &open.seat);
        self.unified().map(|open| &open.seat).or_else(|| self.legacy("devices")).or_else(first)
    }
}

/// Appends the processes of the cgroup at `directory` and below.
pub(super) fn collect(directory: &Path, all: &mut Vec<Pid>) -> Result<()> {
    let list = directory.join("cgroup.procs");
    match file::read_path(&list) {
        Ok(text) => all.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?))),
        Err(error) if is_gone(error) => return Ok(()),
        // A threaded cgroup: its processes are in the list of the domain above.
        Err(Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error).on("read", &list),
    }
    let below = match file::children(directory) {
        Err(error) if is_gone(error) => return Ok(()),
        other => other.on("list", directory)?,
    };
    below.iter().try_for_each(|child| collect(child, all))
}

/// How cgroupfs says that a cgroup has been removed: before and after its file was opened.
pub(super) fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NODEV)
}
