//! Containers as callers see them: each operation takes the container's lock, looks at what the kernel says, and is safe
//! to repeat.

mod checkpoint;
mod create;
mod delete;
mod exec;
mod resources;
mod restore;
mod signals;
mod view;

pub use checkpoint::{CheckpointOptions, Images};
pub use create::CreateOptions;
pub use exec::{ExecOptions, ExecProcess, ProcessChanges};
pub use resources::Event;
pub use restore::RestoreOptions;
pub use signals::parse_signal;
pub use view::View;

use std::path::PathBuf;

use crate::cgroup::Driving;
use crate::error::{Error, Kind, Result};
use crate::state::{Directory, Record, Status, Store};

/// All operations on the containers below one root.
#[derive(Clone, Debug)]
pub struct Runtime {
    store: Store,
    cgroups: Driving,
    criu: PathBuf,
}

impl Runtime {
    /// Nothing is touched until an operation is called.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { store: Store::new(root), cgroups: Driving::default(), criu: "criu".into() }
    }

    /// Who makes the cgroups of new containers, and whether they are needed.
    #[must_use]
    pub fn with_cgroups(mut self, cgroups: Driving) -> Self {
        self.cgroups = cgroups;
        self
    }

    /// The program for checkpoints, by path or by name.
    #[must_use]
    pub fn with_criu(mut self, criu: impl Into<PathBuf>) -> Self {
        self.criu = criu.into();
        self
    }

    /// The container as `state` prints it.
    pub fn state(&self, id: &str) -> Result<View> {
        let directory = self.store.open(id)?;
        View::of(&directory, directory.existing_record()?)
    }

    /// All containers that are completely there, by name.
    pub fn list(&self) -> Result<Vec<View>> {
        let mut views = Vec::new();
        for id in self.store.list()? {
            // Deleted, or not yet made, while the list was read: no error.
            let directory = match self.store.open(&id) {
                Err(error) if error.kind() == Kind::NotFound => continue,
                Err(error) => {
                    crate::log::warn(error);
                    continue;
                }
                Ok(directory) => directory,
            };
            match directory.record().and_then(|record| record.map(|record| View::of(&directory, record)).transpose()) {
                Ok(view) => views.extend(view),
                Err(error) => crate::log::warn(error),
            }
        }
        Ok(views)
    }

    /// The processes of the container, by number in this process's pid namespace, sorted; in a container that has stopped
    /// those that are left, if any.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>> {
        let (directory, record, status) = self.look_up(id)?;
        let mut pids: Vec<i32> = match &record.cgroup {
            Some(cgroup) => cgroup.open().processes()?.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect(),
            None if status == Status::Stopped => Vec::new(),
            None => directory.init()?.map(|init| init.pid).into_iter().collect(),
        };
        pids.sort_unstable();
        Ok(pids)
    }

    /// Freezes the container.
    pub fn pause(&self, id: &str) -> Result<()> {
        // Locked until it is frozen: a `resume` meanwhile would make it wait without end.
        let (_directory, record, status) = self.lock(id)?;
        match (status, &record.cgroup) {
            (Status::Running | Status::Created, Some(cgroup)) => cgroup.open().freeze(),
            (Status::Running | Status::Created, None) => Err(Error::new(
                Kind::State,
                format!("container {id} has no cgroup of its own, so it can not be paused"),
            )),
            (other, _) => Err(Error::new(Kind::State, format!("container not running: {id} is {other}"))),
        }
    }

    /// Thaws the container.
    pub fn resume(&self, id: &str) -> Result<()> {
        let (_directory, record, status) = self.lock(id)?;
        match (status, &record.cgroup) {
            (Status::Paused, Some(cgroup)) => cgroup.open().thaw(),
            (other, _) => Err(Error::new(Kind::State, format!("container not paused: {id} is {other}"))),
        }
    }

    fn look_up(&self, id: &str) -> Result<(Directory, Record, Status)> {
        let directory = self.store.open(id)?;
        let record = directory.existing_record()?;
        let status = directory.status(&record)?;
        Ok((directory, record, status))
    }

    /// As [`Runtime::look_up`], with the lock held as long as the directory is.
    fn lock(&self, id: &str) -> Result<(Directory, Record, Status)> {
        let directory = self.store.open(id)?;
        directory.lock_existing()?;
        let record = directory.existing_record()?;
        let status = directory.status(&record)?;
        Ok((directory, record, status))
    }
}
