//! Cgroups made by systemd: a transient scope over D-Bus (org.freedesktop.systemd1(5), systemd.scope(5)).
//!
//! systemd makes and removes the cgroup and enables its controllers; everything else, limits included, is then done in
//! the cgroup itself as without systemd. The limits are also given as properties, because systemd writes its own idea of
//! them when it reloads.

mod annotation;
mod bus;
mod message;
mod property;
mod stand_in;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use self::bus::{Bus, Refusal};
use self::message::Body;
pub use self::message::{Property, Value};
pub use self::stand_in::StandIn;
use super::setting::Setting;
use crate::error::{Error, Kind, Problems, Result};

/// The scope in which a container runs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unit {
    /// `pipkin-ID.scope`
    pub name: String,
    /// The slice that it is in, `system.slice`.
    pub slice: String,
    /// Whether the user's manager makes it, not the system's.
    pub user: bool,
}

impl Unit {
    /// `linux.cgroupsPath` as `slice:prefix:name`; an empty slice, and an empty path, stand for the default.
    pub fn parse(id: &str, asked: Option<&Path>, user: bool, problems: &mut Problems) -> Option<Unit> {
        let asked = asked.map(|path| path.to_string_lossy().into_owned()).filter(|path| !path.is_empty());
        let asked = asked.unwrap_or_else(|| format!(":pipkin:{id}"));
        let mut problem = |message: &str| {
            problems.add("linux.cgroupsPath", format_args!("\"{}\": {message}", asked.escape_debug()));
            None
        };
        let parts: Vec<&str> = asked.split(':').collect();
        let [slice, prefix, name] = parts.as_slice() else {
            return problem("with --systemd-cgroup it must be slice:prefix:name, such as system.slice:pipkin:box");
        };
        let slice = match *slice {
            "" if user => "user.slice",
            "" => "system.slice",
            slice => slice,
        };
        if expand(slice).is_none() {
            return problem("its first part must be the name of a slice, such as machine.slice or a-b.slice");
        }
        if name.ends_with(".slice") {
            return problem("a container runs in a scope; its last part can not be a slice");
        }
        let dash = if prefix.is_empty() { "" } else { "-" };
        let unit = format!("{prefix}{dash}{name}.scope");
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-_.\\@".contains(&b);
        if name.is_empty() || unit.len() > 255 || unit.starts_with('.') || !unit.bytes().all(is_name) {
            return problem("makes no valid name of a unit (systemd.unit(5)): letters, digits and -_.\\@");
        }
        Some(Unit { name: unit, slice: slice.to_owned(), user })
    }

    /// Where its cgroup will be, below the top of the hierarchy that the manager has: `own` is this process's.
    pub fn expected_path(&self, own: &Path) -> PathBuf {
        let slice = expand(&self.slice).unwrap_or_default();
        // A user's manager is itself a service, user@1000.service, and has what is below that.
        let service = |part: &&Path| {
            let name = part.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            self.user && name.starts_with("user@") && name.ends_with(".service")
        };
        let top = own.ancestors().find(service).unwrap_or(Path::new(""));
        top.strip_prefix("/").unwrap_or(top).join(slice).join(&self.name)
    }

    /// Starts the scope with the stand-in in it.
    ///
    /// # Errors
    /// [`Kind::Exists`] when a unit of that name runs; else why the bus or systemd refuses.
    pub fn start(&self, stand_in: &StandIn, settings: &[Setting], annotated: &[Property]) -> Result<()> {
        let mut properties: Vec<Property> = vec![
            (
                "Description".to_owned(),
                Value::Text(format!("pipkin container {}", self.name.trim_end_matches(".scope"))),
            ),
            ("Slice".to_owned(), Value::Text(self.slice.clone())),
            ("PIDs".to_owned(), Value::UnsignedList(vec![stand_in.pid().as_raw_nonzero().get() as u32])),
            ("CollectMode".to_owned(), Value::Text("inactive-or-failed".to_owned())),
        ];
        for name in ["Delegate", "MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"] {
            properties.push((name.to_owned(), Value::Bool(true)));
        }
        properties.push(("DefaultDependencies".to_owned(), Value::Bool(false)));
        properties.extend(property::of_settings(settings));
        // Last, so that they win over the defaults above; the reserved ones have been refused.
        properties.extend(annotated.iter().cloned());

        let mut bus = self.bus()?;
        let body = || Body::default().text(&self.name).text("fail").properties(&properties).no_units();
        let mut result = bus.run_job("StartTransientUnit", body())?;
        if matches!(&result, Err(refusal) if refusal.is("UnitExists")) {
            // One that failed and was left over may be in the way.
            let _ = bus.manage("ResetFailedUnit", Body::default().text(&self.name))?;
            result = bus.run_job("StartTransientUnit", body())?;
        }
        match result {
            Ok(result) if result == "done" => Ok(()),
            Ok(result) => {
                let text = format!("systemd could not start {}: the job ended as \"{result}\"", self.name);
                Err(Error::new(Kind::System, text).remedy("see journalctl -b"))
            }
            Err(refusal) if refusal.is("UnitExists") => {
                Err(Error::new(Kind::Exists, format!("a unit {} exists in systemd already", self.name)))
            }
            Err(refusal) => Err(self.refused("start", &refusal)),
        }
    }

    /// Moves `pid` into the scope's cgroup, or into one `below` it. The user's manager asks the system's where the kernel does
    /// not allow it itself.
    ///
    /// # Errors
    /// Why the bus or systemd refuses.
    pub fn attach(&self, pid: Pid, below: &Path) -> Result<()> {
        let below = if below.as_os_str().is_empty() { "".to_owned() } else { format!("/{}", below.display()) };
        let body = Body::default().text(&self.name).text(&below).numbers(&[pid.as_raw_nonzero().get() as u32]);
        match self.bus()?.manage("AttachProcessesToUnit", body)? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.refused("move a process into", &refusal)),
        }
    }

    /// Tells systemd of changed limits, until the next boot.
    ///
    /// # Errors
    /// Why the bus or systemd refuses.
    pub fn set(&self, settings: &[Setting]) -> Result<()> {
        let properties = property::of_settings(settings);
        if properties.is_empty() {
            return Ok(());
        }
        let body = Body::default().text(&self.name).bool(true).properties(&properties);
        match self.bus()?.manage("SetUnitProperties", body)? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.refused("change", &refusal)),
        }
    }

    /// Makes systemd forget the scope: its name is free afterwards. One that is gone is fine.
    ///
    /// # Errors
    /// Why the bus or systemd refuses.
    pub fn stop(&self) -> Result<()> {
        let mut bus = self.bus()?;
        match bus.run_job("StopUnit", Body::default().text(&self.name).text("replace"))? {
            Err(refusal) if !refusal.is("NoSuchUnit") => return Err(self.refused("stop", &refusal)),
            _ => {}
        }
        // A scope whose process was killed for want of memory stays as failed with older systemds.
        let _ = bus.manage("ResetFailedUnit", Body::default().text(&self.name))?;
        Ok(())
    }

    fn bus(&self) -> Result<Bus> {
        Bus::connect(self.user)
    }

    fn refused(&self, verb: &str, refusal: &Refusal) -> Error {
        let Refusal { name, text } = refusal;
        Error::new(Kind::System, format!("systemd refuses to {verb} {}: {text} ({name})", self.name))
    }
}

impl Refusal {
    fn is(&self, name: &str) -> bool {
        self.name.strip_prefix("org.freedesktop.systemd1.") == Some(name)
    }
}

/// The properties that `org.systemd.property.NAME` annotations ask for.
pub fn annotated(annotations: &HashMap<String, String>, problems: &mut Problems) -> Vec<Property> {
    let mut asked: Vec<_> =
        annotations.iter().filter_map(|(key, v)| Some((key.strip_prefix(annotation::PREFIX)?, v))).collect();
    asked.sort();
    let mut properties = Vec::new();
    for (name, value) in asked {
        match annotation::parse(name, value) {
            Ok(property) => properties.push(property),
            Err(message) => problems.add(format_args!("annotations.{}{name}", annotation::PREFIX), message),
        }
    }
    properties
}

/// The path of a slice: `a-b.slice` is below `a.slice` (systemd.slice(5)). `None` when it is no name of a slice.
fn expand(slice: &str) -> Option<PathBuf> {
    let stem = slice.strip_suffix(".slice")?;
    if stem == "-" {
        return Some(PathBuf::new());
    }
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.\\@".contains(&b));
    let parts: Vec<&str> = stem.split('-').collect();
    let well_formed = slice.len() < 256 && parts.iter().all(|part| is_part(part));
    well_formed.then(|| (1..=parts.len()).map(|n| format!("{}.slice", parts[..n].join("-"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(asked: &str, user: bool) -> Option<Unit> {
        Unit::parse("box", Some(Path::new(asked)), user, &mut Problems::default())
    }

    #[test]
    fn units_and_their_paths() {
        let cases = [
            ("", "system.slice/pipkin-box.scope"),
            ("machine.slice:libpod:1234", "machine.slice/libpod-1234.scope"),
            (":docker:1234", "system.slice/docker-1234.scope"),
            (
                "kubepods-besteffort-pod1_2.slice:cri-containerd:c0",
                "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-containerd-c0.scope",
            ),
            ("-.slice::x", "x.scope"),
        ];
        for (asked, path) in cases {
            assert_eq!(parse(asked, false).unwrap().expected_path(Path::new("/anywhere")), Path::new(path));
        }
        let own = Path::new("/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope");
        assert_eq!(
            parse("", true).unwrap().expected_path(own),
            Path::new("user.slice/user-1000.slice/user@1000.service/user.slice/pipkin-box.scope")
        );
    }

    #[test]
    fn what_is_no_unit() {
        for asked in [
            "/a/b",
            "a:b",
            "a:b:c",
            "a--b.slice:x:y",
            "../a.slice:x:y",
            "s.slice:x:",
            "s.slice:x:y z",
            "s.slice:x:y/../z",
            "s.slice:x:y.slice",
            "s.slice:a:b:c",
            ".slice:x:y",
        ] {
            assert_eq!(parse(asked, false), None, "{asked}");
        }
    }
}
