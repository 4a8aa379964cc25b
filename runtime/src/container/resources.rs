//! `update` and `events`: limits and figures of a container's cgroup.

use oci_spec::runtime::LinuxResources;
use rustix::event::{PollFd, Timespec};
use rustix::io::Errno;

use super::Runtime;
use crate::cgroup::{Cgroup, Stats};
use crate::error::{Error, Kind, Result};
use crate::state::{Directory, Record, Status};

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The figures, at each interval.
    Stats(Box<Stats>),
    /// The kernel killed a process for want of memory.
    Oom,
}

impl Runtime {
    /// Changes limits; what is not named stays.
    pub fn update(&self, id: &str, resources: &LinuxResources) -> Result<()> {
        let (_directory, record, status) = self.lock(id)?;
        running_cgroup(id, &record, status)?.update(resources)
    }

    /// Changes the shares of caches and memory bandwidth of a container that has its own (resctrl): lines for `schemata`.
    pub fn update_shares(&self, id: &str, schemata: &[String]) -> Result<()> {
        let (_directory, record, status) = self.lock(id)?;
        running_cgroup(id, &record, status)?;
        match &record.resctrl {
            Some(group) => group.update(schemata),
            None => Err(Error::new(
                Kind::Invalid,
                "--l3-cache-schema, --mem-bw-schema: the container has no group in resctrl; create it with linux.intelRdt",
            )),
        }
    }

    /// What the container uses now.
    pub fn stats(&self, id: &str) -> Result<Stats> {
        let (_directory, record, status) = self.look_up(id)?;
        running_cgroup(id, &record, status)?.stats()
    }

    /// Reports figures every `interval` and OOM kills as they happen, until the container has stopped or `report` fails.
    pub fn watch(&self, id: &str, interval: Timespec, mut report: impl FnMut(Event) -> Result<()>) -> Result<()> {
        let (directory, record, status) = self.look_up(id)?;
        let cgroup = running_cgroup(id, &record, status)?;
        let init = directory.init()?.map(crate::state::Identity::open).transpose()?.flatten();
        let Some(init) = init else { return Ok(()) };
        let oom = cgroup.watch_oom()?;
        let mut kills = oom.as_ref().map(crate::cgroup::OomEvents::kills).transpose()?.flatten().unwrap_or(0);
        loop {
            let mut waiting = vec![PollFd::new(&init, rustix::event::PollFlags::IN)];
            if let Some(oom) = &oom {
                let (file, flags) = oom.poll_on();
                waiting.push(PollFd::from_borrowed_fd(file, flags));
            }
            let ready = match rustix::event::poll(&mut waiting, Some(&interval)) {
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::system("wait for events", errno)),
                Ok(ready) => ready,
            };
            let ended = !waiting[0].revents().is_empty();
            if let Some(now) = oom.as_ref().map(crate::cgroup::OomEvents::kills).transpose()?.flatten() {
                for _ in kills..now {
                    report(Event::Oom)?;
                }
                kills = now.max(kills);
            }
            if ended || !still_there(&directory)? {
                return Ok(());
            }
            if ready == 0 {
                report(Event::Stats(Box::new(cgroup.stats()?)))?;
            }
        }
    }
}

fn still_there(directory: &Directory) -> Result<bool> {
    Ok(directory.record()?.is_some())
}

fn running_cgroup(id: &str, record: &Record, status: Status) -> Result<Cgroup> {
    if matches!(status, Status::Stopped | Status::Creating) {
        return Err(Error::new(Kind::State, format!("container not running: {id} is {status}")));
    }
    let cgroup = record.cgroup.as_ref().map(crate::cgroup::Record::open);
    cgroup.ok_or_else(|| Error::new(Kind::State, format!("container {id} has no cgroup of its own")))
}
