//! Which devices a container may use: rules in order, the last one that matches decides.
//!
//! config-linux.md, "Allowed Device list". A container starts with everything denied.

use oci_spec::runtime::{Linux, LinuxDeviceCgroup, LinuxDeviceType};
use serde::{Deserialize, Serialize};

use crate::error::Problems;

/// Character or block.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum DeviceKind {
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// Any of mknod, read and write, as the kernel's `BPF_DEVCG_ACC_*` bits.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Access(u8);

impl Access {
    /// `m`
    pub const MKNOD: Access = Access(1);
    /// `rwm`
    pub const ALL: Access = Access(7);

    /// The kernel's bits: 1 mknod, 2 read, 4 write.
    pub fn bits(self) -> u8 {
        self.0
    }

    fn contains(self, other: Access) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn parse(text: &str) -> Option<Access> {
        let mut bits = 0;
        for letter in text.chars() {
            bits |= match letter {
                'm' => 1,
                'r' => 2,
                'w' => 4,
                _ => return None,
            };
        }
        (bits != 0).then_some(Access(bits))
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        [(2, "r"), (4, "w"), (1, "m")].iter().filter(|(bit, _)| self.0 & bit != 0).try_for_each(|(_, s)| f.write_str(s))
    }
}

/// Which devices; `None` stands for every number.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Devices {
    /// Character or block.
    pub kind: DeviceKind,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
}

impl Devices {
    const fn char(major: Option<u32>, minor: Option<u32>) -> Devices {
        Devices { kind: DeviceKind::Char, major, minor }
    }

    fn covers(self, other: Devices) -> bool {
        let number = |own: Option<u32>, others: Option<u32>| own.is_none() || own == others;
        self.kind == other.kind && number(self.major, other.major) && number(self.minor, other.minor)
    }

    fn overlaps(self, other: Devices) -> bool {
        let number = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && number(self.major, other.major) && number(self.minor, other.minor)
    }
}

impl std::fmt::Display for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let kind = if self.kind == DeviceKind::Char { 'c' } else { 'b' };
        write!(f, "{kind} {}:{}", number(self.major), number(self.minor))
    }
}

/// Allows or denies kinds of access to some devices.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rule {
    /// Allow, or deny.
    pub allow: bool,
    /// To which devices.
    pub devices: Devices,
    /// What kinds of access.
    pub access: Access,
}

impl Rule {
    fn hides(&self, earlier: &Rule) -> bool {
        self.devices.covers(earlier.devices) && self.access.contains(earlier.access)
    }
}

/// The rules of a container, in order; for each kind of access the last rule that matches decides.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rules {
    /// What holds where no rule matches.
    pub allow_others: bool,
    /// In order.
    pub rules: Vec<Rule>,
}

/// What every container may use besides its own list, as with runc: mknod of anything (a node alone gives nothing),
/// the devices of config-linux.md's "Default Devices", and pseudo-terminals.
const ALWAYS: [(Option<&str>, Devices, Access); 10] = [
    (None, Devices::char(None, None), Access::MKNOD),
    (None, Devices { kind: DeviceKind::Block, major: None, minor: None }, Access::MKNOD),
    (Some("/dev/null"), Devices::char(Some(1), Some(3)), Access::ALL),
    (Some("/dev/random"), Devices::char(Some(1), Some(8)), Access::ALL),
    (Some("/dev/full"), Devices::char(Some(1), Some(7)), Access::ALL),
    (Some("/dev/tty"), Devices::char(Some(5), Some(0)), Access::ALL),
    (Some("/dev/zero"), Devices::char(Some(1), Some(5)), Access::ALL),
    (Some("/dev/urandom"), Devices::char(Some(1), Some(9)), Access::ALL),
    (None, Devices::char(Some(136), None), Access::ALL),
    (None, Devices::char(Some(5), Some(2)), Access::ALL),
];

impl Rules {
    /// The rules of `linux.resources.devices` and, after them, what every container may use.
    ///
    /// A default device that `linux.devices` defines anew is left to the rules, as with runc.
    pub fn compile(linux: Option<&Linux>, problems: &mut Problems) -> Rules {
        let asked = linux.and_then(|l| l.resources().as_ref()).and_then(|r| r.devices().as_ref());
        let mut rules = Rules::default();
        for (index, rule) in asked.into_iter().flatten().enumerate() {
            rules.add_asked(rule, &format!("linux.resources.devices[{index}]"), problems);
        }
        let own = linux.and_then(|l| l.devices().as_ref());
        let redefined = |path: &str| own.is_some_and(|list| list.iter().any(|d| d.path().as_os_str() == path));
        for (path, devices, access) in ALWAYS {
            if !path.is_some_and(redefined) {
                rules.add(Rule { allow: true, devices, access });
            }
        }
        rules
    }

    /// Rules for `update`, where the whole list is given anew.
    pub fn compile_update(asked: &[LinuxDeviceCgroup], problems: &mut Problems) -> Rules {
        let mut rules = Rules::default();
        for (index, rule) in asked.iter().enumerate() {
            rules.add_asked(rule, &format!("devices[{index}]"), problems);
        }
        for (_, devices, access) in ALWAYS {
            rules.add(Rule { allow: true, devices, access });
        }
        rules
    }

    /// Whether nothing is denied.
    pub fn allow_everything(&self) -> bool {
        self.allow_others && self.rules.iter().all(|rule| rule.allow)
    }

    fn add_asked(&mut self, rule: &LinuxDeviceCgroup, field: &str, problems: &mut Problems) {
        let access = match rule.access().as_deref().unwrap_or("") {
            "" => {
                problems.add(format_args!("{field}.access"), "empty: say which of r (read), w (write), m (mknod)");
                return;
            }
            text => match Access::parse(text) {
                Some(access) => access,
                None => {
                    problems.add(format_args!("{field}.access"), format_args!("\"{text}\": only r, w and m are known"));
                    return;
                }
            },
        };
        let mut number = |value: Option<i64>, name: &str| match value {
            None | Some(-1) => Some(None),
            Some(n) => match u32::try_from(n) {
                Ok(n) => Some(Some(n)),
                Err(_) => {
                    problems.add(format_args!("{field}.{name}"), format_args!("{n}: not a device number (-1 is any)"));
                    None
                }
            },
        };
        let (Some(major), Some(minor)) = (number(rule.major(), "major"), number(rule.minor(), "minor")) else { return };
        let kinds: &[DeviceKind] = match rule.typ().unwrap_or(LinuxDeviceType::A) {
            LinuxDeviceType::A => &[DeviceKind::Char, DeviceKind::Block],
            LinuxDeviceType::C | LinuxDeviceType::U => &[DeviceKind::Char],
            LinuxDeviceType::B => &[DeviceKind::Block],
            LinuxDeviceType::P => {
                problems.add(format_args!("{field}.type"), "p: a fifo is no device; use a, b or c");
                return;
            }
        };
        if kinds.len() == 2 && major.is_none() && minor.is_none() && access == Access::ALL {
            *self = Rules { allow_others: rule.allow(), rules: Vec::new() };
            return;
        }
        for &kind in kinds {
            self.add(Rule { allow: rule.allow(), devices: Devices { kind, major, minor }, access });
        }
    }

    fn add(&mut self, rule: Rule) {
        // What no longer decides anything is dropped, so that engines' habit of listing the defaults costs nothing.
        self.rules.retain(|earlier| !rule.hides(earlier));
        if self.rules.is_empty() && rule.allow == self.allow_others {
            return;
        }
        self.rules.push(rule);
    }

    /// The same rules as version 1 can hold them: a default and exceptions from it.
    ///
    /// # Errors
    /// The two rules that it can not hold: an exception from an exception.
    pub fn exceptions(&self) -> Result<Exceptions, String> {
        let mut exceptions: Vec<(Devices, Access)> = Vec::new();
        for rule in &self.rules {
            if rule.allow != self.allow_others {
                match exceptions.iter_mut().find(|(devices, _)| *devices == rule.devices) {
                    Some((_, access)) => access.0 |= rule.access.0,
                    None => exceptions.push((rule.devices, rule.access)),
                }
                continue;
            }
            for (devices, access) in exceptions.iter_mut().filter(|(d, _)| d.overlaps(rule.devices)) {
                if access.0 & rule.access.0 == 0 {
                    continue;
                }
                if !rule.devices.covers(*devices) {
                    let (one, other) = if rule.allow { ("allows", "denies") } else { ("denies", "allows") };
                    return Err(format!(
                        "{} {} {one} a part of what an earlier rule {other} ({devices}): cgroup version 1 can not \
                         hold that; give one rule for each device instead, or use version 2",
                        rule.devices, rule.access
                    ));
                }
                access.0 &= !rule.access.0;
            }
            exceptions.retain(|(_, access)| access.0 != 0);
        }
        Ok(Exceptions { allow_others: self.allow_others, exceptions })
    }
}

/// Rules as the files `devices.allow` and `devices.deny` of version 1 hold them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exceptions {
    /// What holds for all other devices.
    pub allow_others: bool,
    /// Denied when others are allowed, and the other way round.
    pub exceptions: Vec<(Devices, Access)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(json: serde_json::Value) -> Linux {
        serde_json::from_value(json).unwrap()
    }

    fn rules(devices: serde_json::Value) -> Rules {
        let mut problems = Problems::default();
        let rules = Rules::compile(Some(&linux(serde_json::json!({"resources": {"devices": devices}}))), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        rules
    }

    #[test]
    fn denied_by_default_with_the_default_devices() {
        let rules = rules(serde_json::json!([]));
        assert!(!rules.allow_others);
        assert_eq!(rules.rules.len(), ALWAYS.len());
        assert_eq!(rules, self::rules(serde_json::json!([{"allow": false, "access": "rwm"}])));
        let lines: Vec<String> =
            rules.exceptions().unwrap().exceptions.iter().map(|(d, a)| format!("{d} {a}")).collect();
        assert_eq!(lines[..3], ["c *:* m", "b *:* m", "c 1:3 rwm"]);
        assert_eq!(lines[8..], ["c 136:* rwm", "c 5:2 rwm"]);
    }

    #[test]
    fn listing_the_defaults_changes_nothing() {
        let docker = include_str!("../../../tests/data/configs/containerd-default.json");
        let spec: oci_spec::runtime::Spec = serde_json::from_str(docker).unwrap();
        let compiled = Rules::compile(spec.linux().as_ref(), &mut Problems::default());
        // containerd adds /dev/console to them.
        assert_eq!(compiled.rules[0].devices, Devices::char(Some(5), Some(1)));
        assert_eq!(compiled.rules[1..], rules(serde_json::json!([])).rules);
    }

    #[test]
    fn everything_allowed_needs_no_rule() {
        let rules = rules(serde_json::json!([{"allow": true, "access": "rwm"}]));
        assert!(rules.allow_everything() && rules.rules.is_empty());
    }

    #[test]
    fn any_type_with_numbers_means_both_types() {
        let rules = rules(serde_json::json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "a", "major": 8, "minor": 1, "access": "r"},
        ]));
        assert_eq!(
            rules.rules[..2].iter().map(|r| format!("{} {}", r.devices, r.access)).collect::<Vec<_>>(),
            ["c 8:1 r", "b 8:1 r"]
        );
        assert!(!rules.allow_others);
    }

    #[test]
    fn a_redefined_default_device_is_left_to_the_rules() {
        let json = serde_json::json!({
            "devices": [{"path": "/dev/full", "type": "c", "major": 1, "minor": 7}],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        });
        let rules = Rules::compile(Some(&linux(json)), &mut Problems::default());
        assert!(!rules.rules.iter().any(|r| r.devices == Devices::char(Some(1), Some(7))));
    }

    #[test]
    fn version_1_has_no_exception_from_an_exception() {
        let hole = serde_json::json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "access": "rw"},
            {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
        ]);
        let error = rules(hole).exceptions().unwrap_err();
        assert!(error.contains("c 10:229 rwm") && error.contains("c 10:*"), "{error}");
        let taken_back = serde_json::json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
            {"allow": false, "type": "c", "major": 10, "access": "w"},
        ]);
        let exceptions = rules(taken_back).exceptions().unwrap().exceptions;
        assert!(exceptions.iter().any(|(d, a)| format!("{d} {a}") == "c 10:229 rm"), "{exceptions:?}");
    }

    #[test]
    fn what_is_wrong_with_a_rule() {
        let mut problems = Problems::default();
        let json = serde_json::json!({"resources": {"devices": [
            {"allow": true, "type": "c", "major": 1, "minor": 3},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rx"},
            {"allow": true, "type": "c", "major": -2, "minor": 3, "access": "r"},
            {"allow": true, "type": "p", "major": 1, "minor": 3, "access": "r"},
        ]}});
        Rules::compile(Some(&linux(json)), &mut problems);
        let fields: Vec<&str> = problems.iter().map(|p| p.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "linux.resources.devices[0].access",
                "linux.resources.devices[1].access",
                "linux.resources.devices[2].major",
                "linux.resources.devices[3].type",
            ]
        );
    }
}
