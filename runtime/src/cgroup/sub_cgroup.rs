//! `exec --cgroup`: cgroups below a container's, which somebody has made there, for one process.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, OFlags};
use rustix::process::Pid;

use super::file;
use super::handle::Cgroup;
use super::layout::Version;
use super::record::Seat;
use crate::error::{Context, Error, Result};

/// Which cgroups below the container's: none, one path for every hierarchy, or paths by controller (version 1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SubCgroups(Vec<(Option<String>, PathBuf)>);

impl SubCgroups {
    /// Each `[CONTROLLER[,CONTROLLER…]:]PATH`. Without a controller there can be one only.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut places = Vec::new();
        for argument in arguments {
            let (controllers, path) = argument.split_once(':').unwrap_or(("", argument));
            let path = below(path).ok_or_else(|| {
                refuse(argument, "is not [CONTROLLER:]PATH with a path below the container's cgroup, without \"..\"")
            })?;
            match controllers {
                "" if arguments.len() > 1 => {
                    return Err(refuse(argument, "names no controller, so it must be the only one"));
                }
                "" => places.push((None, path)),
                _ => places.extend(controllers.split(',').map(|name| (Some(name.to_owned()), path.clone()))),
            }
        }
        Ok(Self(places))
    }

    /// Whether none is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The error that says why they can not be had.
    pub fn refused(&self, why: &str) -> Error {
        Error::invalid("--cgroup", why)
    }

    /// The directory for one hierarchy.
    fn of(&self, seat: &Seat) -> PathBuf {
        let meant = |controller: &Option<String>| match controller {
            None => true,
            Some(name) => seat.holds(name),
        };
        match self.0.iter().find(|(controller, _)| meant(controller)) {
            Some((_, path)) => seat.directory.join(path),
            None => seat.directory.clone(),
        }
    }

    /// Controllers must be those of some hierarchy.
    fn check(&self, cgroup: &Cgroup) -> Result<()> {
        for name in self.0.iter().filter_map(|(controller, _)| controller.as_ref()) {
            if !cgroup.seats().any(|seat| seat.holds(name)) {
                let text = format!("{name:?} is no version 1 controller in which the container has a cgroup");
                return Err(Error::invalid("--cgroup", text));
            }
        }
        Ok(())
    }
}

fn refuse(argument: &str, why: &str) -> Error {
    Error::invalid("--cgroup", format!("{argument:?} {why}"))
}

/// `/` is the container's own cgroup.
fn below(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain =
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir | Component::CurDir));
    let relative = path.strip_prefix("/").unwrap_or(path);
    (plain && !path.as_os_str().is_empty()).then(|| relative.to_owned())
}

impl Cgroup {
    /// How a process that joins a running container gets into its cgroup: version 2's directory for `CLONE_INTO_CGROUP`
    /// ([`Cgroup::clone_beside`]), and the doors of version 1 ([`Cgroup::doors`]); or those of the cgroups below it.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn entrances(&self, init: Pid, sub: &SubCgroups) -> Result<(Option<OwnedFd>, Vec<OwnedFd>)> {
        if sub.is_empty() {
            return Ok((self.clone_beside(init)?, self.doors()?));
        }
        sub.check(self)?;
        let missing = |error: Error| error.during("--cgroup").remedy("it must exist");
        let mut doors = Vec::new();
        for seat in self.seats().filter(|seat| seat.version == Version::V1 && seat.directory.exists()) {
            let tasks = sub.of(seat).join("tasks");
            doors.push(file::open(CWD, &tasks, OFlags::WRONLY).on("open", &tasks).map_err(missing)?);
        }
        let unified = self.unified().map(|open| sub.of(&open.seat));
        let unified = unified.map(|directory| file::open_directory(&directory).on("open", &directory).map_err(missing));
        Ok((unified.transpose()?, doors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<SubCgroups> {
        SubCgroups::parse(&arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn forms() {
        let of = |name: &str, path: &str| (Some(name.to_owned()), PathBuf::from(path));
        assert_eq!(parse(&["a/b"]).unwrap().0, [(None, "a/b".into())]);
        assert_eq!(parse(&["/"]).unwrap().0, [(None, "".into())]);
        assert_eq!(
            parse(&["cpu,memory:a", "pids:/b"]).unwrap().0,
            [of("cpu", "a"), of("memory", "a"), of("pids", "b")]
        );
        for bad in [&[""][..], &["../x"], &["a/../../x"], &["cpu:.."], &["a", "b"], &["cpu:a", "b"], &["cpu:"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
