//! Changing the limits of a running container.

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use super::create::{Unfinished, enable, make_directory, set};
use super::devices::Rules;
use super::file;
use super::handle::{Cgroup, is_gone};
use super::layout::{Hierarchy, Layout, Version};
use super::record::Seat;
use super::resources::Compiler;
use super::setting::Setting;
use crate::error::{Context, Error, Kind, Problems, Result};

impl Cgroup {
    /// Sets the limits that `resources` names; what it does not name stays.
    ///
    /// All of it is checked before anything is written. The device rules, when given, replace all earlier ones in one step
    /// on version 2, and on version 1 so that nothing is denied meanwhile that is allowed before and after.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for wrong values, [`Kind::State`] when the container has no cgroup, [`Kind::System`] when the
    /// kernel refuses a value: then the values before it are set.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        let layout = Layout::detect()?;
        let mut problems = Problems::default();
        let mut compiler =
            Compiler { layout: &layout, settings: Vec::new(), problems: &mut problems, prefix: "", fresh: false };
        compiler.compile(resources);
        let settings = compiler.settings;
        let asked = resources.devices().as_ref().filter(|devices| !devices.is_empty());
        let rules = asked.map(|devices| Rules::compile_update(devices, &mut problems));
        problems.into_result()?;

        if resources.memory().and_then(|memory| memory.check_before_update()) == Some(true) {
            self.check_usage(resources)?;
        }
        if let Some(unit) = &self.unit {
            unit.set(&settings)?;
        }
        let mut later = Vec::new();
        for setting in &settings {
            // Two values can bound each other (memory and swap, quota, period and burst): which may go first depends on
            // the old ones. What the kernel calls invalid now is tried again after the rest.
            match self.change(setting, &layout) {
                Err(error) if error.errno() == Some(Errno::INVAL.raw_os_error()) => later.push(setting),
                other => other?,
            }
        }
        later.into_iter().try_for_each(|setting| self.change(setting, &layout))?;
        rules.map_or(Ok(()), |rules| self.restrict_to(&rules, false))
    }

    fn change(&self, setting: &Setting, layout: &Layout) -> Result<()> {
        let Setting { controller, field, .. } = setting;
        let hierarchy = layout.of(controller).ok_or_else(|| unavailable(controller, field))?;
        let seat = match self.seat_in(hierarchy) {
            Some(seat) => seat,
            None => self.take_spare(hierarchy)?.ok_or_else(|| unavailable(controller, field))?,
        };
        let handle = match file::open_directory(&seat.directory) {
            Err(error) if is_gone(error) => {
                let text = format!("{field}: the container's cgroup {} is gone", seat.directory.display());
                return Err(Error::new(Kind::State, text));
            }
            other => other.on("open", &seat.directory)?,
        };
        let enabled = match hierarchy.version {
            Version::V2 => enable(&seat.directory, &hierarchy.mount_point, std::slice::from_ref(controller)),
            Version::V1 => Ok(()),
        };
        set(handle, &seat.directory, setting, enabled.err().as_ref()).map_err(|error| explain(error, setting))
    }

    fn seat_in(&self, hierarchy: &Hierarchy) -> Option<&Seat> {
        let is_in = |seat: &&Seat| seat.version == hierarchy.version && seat.options == hierarchy.options;
        self.seats.iter().map(|open| &open.seat).find(is_in).or_else(|| self.spare_in_use().filter(is_in))
    }

    /// Makes the cgroup that was not needed until now, and moves everyone in.
    fn take_spare(&self, hierarchy: &Hierarchy) -> Result<Option<&Seat>> {
        let Some(seat) = self.spare.as_ref().filter(|seat| seat.options == hierarchy.options) else { return Ok(None) };
        let mut made = Unfinished::default();
        make_directory(seat, &hierarchy.mount_point, &mut made)?;
        let list = seat.directory.join("cgroup.procs");
        // Until nobody is left outside: who forks meanwhile has a child in either place.
        let mut moved = Vec::new();
        loop {
            let rest: Vec<_> = self.processes()?.into_iter().filter(|pid| !moved.contains(pid)).collect();
            if rest.is_empty() {
                break;
            }
            for pid in rest {
                match file::write_path(&list, &pid.as_raw_nonzero().to_string()) {
                    Ok(()) | Err(Errno::SRCH) => moved.push(pid),
                    Err(error) => return Err(error).on("write a process's id to", &list),
                }
            }
        }
        made.directories.clear();
        Ok(Some(seat))
    }

    /// `memory.checkBeforeUpdate`: a limit below what is in use would end processes (version 2) or fail half way.
    fn check_usage(&self, resources: &LinuxResources) -> Result<()> {
        let Some(limit) = resources.memory().and_then(|memory| memory.limit()).filter(|&n| n > 0) else {
            return Ok(());
        };
        let legacy = self.legacy("memory").map(|seat| seat.directory.join("memory.usage_in_bytes"));
        let unified = || self.unified().map(|open| open.seat.directory.join("memory.current"));
        let Some(path) = legacy.or_else(unified) else { return Ok(()) };
        let usage: i64 = match file::read_path(&path) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if is_gone(error) => 0,
            Err(error) => return Err(error).on("read", &path),
        };
        if usage < limit {
            return Ok(());
        }
        let text = format!("{limit}: less than the {usage} bytes in use, and checkBeforeUpdate is set");
        Err(Error::invalid("memory.limit", text))
    }
}

fn unavailable(controller: &str, field: &str) -> Error {
    let text = format!("{field}: the container has no cgroup of its own with the controller \"{controller}\"");
    Error::new(Kind::State, text)
}

fn explain(error: Error, setting: &Setting) -> Error {
    let is_busy = error.errno() == Some(Errno::BUSY.raw_os_error());
    match is_busy && setting.file == "memory.limit_in_bytes" {
        true => error.remedy("the processes use more than that and it can not be reclaimed"),
        false => error,
    }
}
