//! What one more program in a running container needs of its configuration. The rest, which is most of it, is skipped and not
//! parsed: it was checked when the container was made.

use std::fmt;

use oci_spec::runtime::{LinuxMemoryPolicy, LinuxPersonality, LinuxSeccomp, Process};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The parts of a configuration that `exec` looks at.
#[derive(Debug, Deserialize)]
pub struct Running {
    /// The container's own program.
    pub process: Option<Box<Process>>,
    /// Of `linux`.
    #[serde(default)]
    pub linux: Linux,
}

/// What of `linux` every program of the container is under.
#[derive(Debug, Default)]
pub struct Linux {
    seccomp: Option<Box<RawValue>>,
    /// `linux.memoryPolicy`
    pub memory_policy: Option<LinuxMemoryPolicy>,
    /// `linux.personality`
    pub personality: Option<LinuxPersonality>,
}

impl Linux {
    /// The text of `linux.seccomp`, without blanks around it: what a [`Cache`](crate::seccomp::Cache) knows a profile by.
    pub fn seccomp(&self) -> Option<&[u8]> {
        self.seccomp.as_deref().map(|profile| profile.get().as_bytes())
    }
}

/// Parses what [`Linux::seccomp`] gave.
pub fn profile_of_text(text: &[u8]) -> serde_json::Result<LinuxSeccomp> {
    super::from_json(text)
}

/// By hand because serde's own reads a list as an object whose fields have no names: the program would go without its filter
/// where the container, whose fields are counted in another order, has one.
impl<'de> Deserialize<'de> for Linux {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;

        impl<'de> Visitor<'de> for Named {
            type Value = Linux;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_unit<E>(self) -> Result<Linux, E> {
                Ok(Linux::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Linux, A::Error> {
                let (mut seccomp, mut memory_policy, mut personality) = (None, None, None);
                while let Some(field) = fields.next_key()? {
                    match field {
                        Field::Seccomp => once(&mut seccomp, "seccomp", &mut fields)?,
                        Field::MemoryPolicy => once(&mut memory_policy, "memoryPolicy", &mut fields)?,
                        Field::Personality => once(&mut personality, "personality", &mut fields)?,
                        Field::Other => drop(fields.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Linux {
                    seccomp: seccomp.flatten(),
                    memory_policy: memory_policy.flatten(),
                    personality: personality.flatten(),
                })
            }
        }

        // Any, not a map: `null` is as if it were not there.
        deserializer.deserialize_any(Named)
    }
}

/// A second field of one name is an error, as it is where the container is made.
fn once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    value: &mut Option<Option<T>>,
    name: &'static str,
    fields: &mut A,
) -> Result<(), A::Error> {
    match value.replace(fields.next_value()?) {
        Some(_) => Err(serde::de::Error::duplicate_field(name)),
        None => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    Seccomp,
    MemoryPolicy,
    Personality,
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(text: &str) -> serde_json::Result<Running> {
        serde_json::from_str(text)
    }

    #[test]
    fn the_rest_is_skipped() {
        let text = r#"{"ociVersion": 7, "mounts": "x", "process": {"cwd":"/a","user":{"uid":1,"gid":2}}, "linux" : {"resources": [],
            "secc\u006fmp" :  {"defaultAction": "SCMP_ACT_ALLOW"} , "personality": {"domain": "LINUX32"}, "memoryPolicy": null}}"#;
        let running = running(text).unwrap();
        assert_eq!(running.process.unwrap().user().uid(), 1);
        assert_eq!(running.linux.seccomp(), Some(&br#"{"defaultAction": "SCMP_ACT_ALLOW"}"#[..]));
        assert!(running.linux.personality.is_some() && running.linux.memory_policy.is_none());
        assert!(profile_of_text(running.linux.seccomp().unwrap()).is_ok());
    }

    #[test]
    fn nothing_is_fine_and_a_list_is_not() {
        for text in [r#"{}"#, r#"{"linux":null}"#, r#"{"linux":{"seccomp":null}}"#] {
            assert!(running(text).unwrap().linux.seccomp().is_none(), "{text}");
        }
        for text in [
            r#"{"linux":[null,null,null]}"#,
            r#"{"linux":[]}"#,
            r#"{"linux":7}"#,
            r#"{"linux":{"seccomp":{}}"#,
            r#"{"linux":{"seccomp":{},"seccomp":null}}"#,
            r#"{"linux":{"personality":null,"personality":null}}"#,
        ] {
            assert!(running(text).is_err(), "{text}");
        }
    }
}
