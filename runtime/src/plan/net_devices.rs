//! `linux.netDevices` (config-linux.md, "Network Devices").

use std::fmt::{self, Display, Formatter};

use oci_spec::runtime::Linux;
use serde::{Deserialize, Serialize};

use super::namespaces::{NamespaceKind, Namespaces};
use crate::error::Problems;

/// A network device of the host that becomes the container's.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NetDevice {
    /// What the host calls it.
    pub host: String,
    /// What the container calls it; with `%d` at its end, that and the first number that is free.
    pub container: String,
}

impl NetDevice {
    /// What comes before the number, if one is to be found.
    pub fn template(&self) -> Option<&str> {
        self.container.strip_suffix("%d")
    }
}

/// The longest name of a device (`IFNAMSIZ`, with room for the NUL).
const LONGEST: usize = 15;

pub(super) fn compile(linux: Option<&Linux>, namespaces: &Namespaces, problems: &mut Problems) -> Vec<NetDevice> {
    let given = linux.and_then(|linux| linux.net_devices().as_ref()).filter(|devices| !devices.is_empty());
    let Some(given) = given else { return Vec::new() };
    if !namespaces.has_own(NamespaceKind::Network) {
        problems.add(
            "linux.netDevices",
            "needs a network namespace of the container's own; add {\"type\": \"network\"} to linux.namespaces",
        );
    }
    let mut devices: Vec<NetDevice> = given
        .iter()
        .map(|(host, device)| NetDevice {
            host: host.clone(),
            container: device.name().clone().filter(|name| !name.is_empty()).unwrap_or_else(|| host.clone()),
        })
        .collect();
    // A plan is the same every time.
    devices.sort_by(|one, other| one.host.cmp(&other.host));
    for (index, device) in devices.iter().enumerate() {
        let field = format!("linux.netDevices[{:?}]", device.host);
        let known = device.template().unwrap_or(&device.container);
        for name in [device.host.as_str(), known] {
            if let Some(complaint) = complaint(name) {
                problems.add(&field, format!("{name:?} {complaint}"));
            }
        }
        let same = |earlier: &&NetDevice| earlier.container == device.container && device.template().is_none();
        if let Some(earlier) = devices[..index].iter().find(same) {
            problems.add(format!("{field}.name"), format!("{:?} is that of {:?}, too", device.container, earlier.host));
        }
    }
    devices
}

/// Why the kernel does not take it as a name (`dev_valid_name`).
fn complaint(name: &str) -> Option<&'static str> {
    let forbidden = |c: char| c == '/' || c == ':' || c == '%' || c == '\0' || c.is_whitespace();
    match name {
        "" | "." | ".." => Some("is not the name of a network device"),
        long if long.len() > LONGEST => Some("is longer than the 15 bytes that a network device's name may have"),
        bad if bad.contains(forbidden) => {
            Some("has a character that is in no network device's name; %d is allowed at the end of the new name")
        }
        _ => None,
    }
}

impl Display for NetDevice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        if self.host == self.container { Ok(()) } else { write!(f, " as {}", self.container) }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::tests::{compile_text, minimal, problems_of};

    fn with(devices: &str) -> String {
        minimal(&format!(r#"{{"namespaces":[{{"type":"mount"}},{{"type":"network"}}],"netDevices":{devices}}}"#))
    }

    #[test]
    fn devices_and_their_names() {
        let plan = compile_text(&with(r#"{"eth1":{"name":"net%d"},"eth0":{}}"#)).unwrap();
        let devices: Vec<String> = plan.net_devices.iter().map(ToString::to_string).collect();
        assert_eq!(devices, ["eth0", "eth1 as net%d"]);
        assert_eq!(plan.net_devices[1].template(), Some("net"));
    }

    #[test]
    fn what_is_refused() {
        for (devices, message) in [
            (r#"{"eth0":{"name":"a/b"}}"#, "has a character"),
            (r#"{"eth0":{"name":"a%d%d"}}"#, "has a character"),
            (r#"{"eth0":{"name":"sixteen-bytes-xx"}}"#, "longer than"),
            (r#"{"eth0":{"name":".."}}"#, "is not the name"),
            (r#"{"eth0":{"name":"a"},"eth1":{"name":"a"}}"#, "that of \"eth0\", too"),
        ] {
            let text = problems_of(&with(devices));
            assert!(text.contains("linux.netDevices") && text.contains(message), "{devices}: {text}");
        }
        let text = problems_of(&minimal(r#"{"namespaces":[{"type":"mount"}],"netDevices":{"eth0":{}}}"#));
        assert!(text.contains("network namespace of the container's own"), "{text}");
    }
}
