//! Device nodes: the spec's default ones and `linux.devices` (config-linux.md, "Devices", "Default Devices").

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};
use serde::{Deserialize, Serialize};

use super::Step;
use super::paths::normalize;
use crate::error::Problems;

/// A node to make.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Device {
    /// In the container; normalized.
    pub path: PathBuf,
    /// Character, block or fifo.
    pub kind: DeviceKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
}

/// What sort of node.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A character device.
    Character {
        /// Driver.
        major: u32,
        /// Device of that driver.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Driver.
        major: u32,
        /// Device of that driver.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// config-linux.md, "Default Devices"; /dev/console and /dev/ptmx are made otherwise.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// runtime-linux.md, "Dev symbolic links", and ptmx of the container's own devpts. `core` is what runc adds.
const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Nodes, then links. A device of the configuration takes the place of a default one of that path.
pub(super) fn compile(linux: Option<&Linux>, problems: &mut Problems) -> Vec<Step> {
    let listed = linux.and_then(|linux| linux.devices().as_ref());
    let mut devices: Vec<Device> = Vec::new();
    for (index, device) in listed.into_iter().flatten().enumerate() {
        if let Some(device) = compile_one(&format!("linux.devices[{index}]"), device, problems) {
            devices.retain(|earlier| earlier.path != device.path);
            devices.push(device);
        }
    }
    let defaults = DEFAULT.iter().filter(|(path, ..)| !devices.iter().any(|device| device.path == Path::new(path)));
    let defaults: Vec<Device> = defaults
        .map(|(path, major, minor)| Device {
            path: PathBuf::from(path),
            kind: DeviceKind::Character { major: *major, minor: *minor },
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    // The container's own terminals come from its own devpts, whatever the configuration copied from the host.
    devices.retain(|device| device.path != Path::new("/dev/ptmx"));
    let nodes = defaults.into_iter().chain(devices).map(Step::Device);
    let links = LINKS.iter().map(|(path, target)| Step::Symlink { path: path.into(), target: target.into() });
    nodes.chain(links).collect()
}

fn compile_one(field: &str, device: &LinuxDevice, problems: &mut Problems) -> Option<Device> {
    let path = normalize(device.path());
    if !device.path().is_absolute() || path == Path::new("/") {
        problems.add(format!("{field}.path"), format!("{:?} is not an absolute path of a file", device.path()));
        return None;
    }
    let number = |name: &str, value: i64, problems: &mut Problems| match u32::try_from(value) {
        Ok(number) => number,
        Err(_) => {
            problems.add(format!("{field}.{name}"), format!("{value} is not a device number"));
            0
        }
    };
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Character {
            major: number("major", device.major(), problems),
            minor: number("minor", device.minor(), problems),
        },
        LinuxDeviceType::B => DeviceKind::Block {
            major: number("major", device.major(), problems),
            minor: number("minor", device.minor(), problems),
        },
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => {
            problems
                .add(format!("{field}.type"), "\"a\" is for rules of linux.resources.devices; a node is c, b, u or p");
            return None;
        }
    };
    Some(Device {
        path,
        kind,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{compile_text, minimal, problems_of};

    fn devices(list: &str) -> Vec<Device> {
        let text = minimal(&format!(r#"{{"namespaces":[{{"type":"mount"}}],"devices":{list}}}"#));
        let steps = compile_text(&text).unwrap().inside.steps;
        steps.into_iter().filter_map(|step| if let Step::Device(device) = step { Some(device) } else { None }).collect()
    }

    #[test]
    fn defaults_and_their_replacement() {
        assert_eq!(devices("[]").len(), 6);
        let listed = devices(
            r#"[{"path":"/dev/null","type":"c","major":1,"minor":3,"fileMode":384,"uid":7},
                {"path":"/dev/ptmx","type":"c","major":5,"minor":2}]"#,
        );
        assert_eq!(listed.len(), 6);
        let null = listed.iter().find(|device| device.path == Path::new("/dev/null")).unwrap();
        assert_eq!((null.mode, null.uid), (0o600, 7));
    }

    #[test]
    fn bad_devices() {
        for (device, message) in [
            (r#"{"path":"/dev/x","type":"a","major":1,"minor":1}"#, "linux.devices[0].type"),
            (r#"{"path":"dev/x","type":"c","major":1,"minor":1}"#, "linux.devices[0].path"),
            (r#"{"path":"/dev/x","type":"c","major":-1,"minor":1}"#, "linux.devices[0].major"),
        ] {
            let text = problems_of(&minimal(&format!(r#"{{"namespaces":[{{"type":"mount"}}],"devices":[{device}]}}"#)));
            assert!(text.contains(message), "{text}");
        }
    }
}
