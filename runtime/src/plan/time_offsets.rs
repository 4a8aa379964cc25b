//! `linux.timeOffsets` (time_namespaces(7)).

use std::fmt::{self, Display, Formatter};

use oci_spec::runtime::Linux;
use serde::{Deserialize, Serialize};

use super::namespaces::{NamespaceKind, Namespaces};
use crate::error::Problems;

/// How far a clock of the container is ahead of the host's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TimeOffset {
    /// Which one.
    pub clock: Clock,
    /// Whole seconds; negative: behind.
    pub seconds: i64,
    /// Added to them, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// The clocks of a time namespace.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// `CLOCK_MONOTONIC`
    Monotonic,
    /// `CLOCK_BOOTTIME`
    Boottime,
}

impl Clock {
    /// As `/proc/PID/timens_offsets` has it in every kernel.
    pub fn number(self) -> u32 {
        match self {
            Self::Monotonic => 1,
            Self::Boottime => 7,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Monotonic => "monotonic",
            Self::Boottime => "boottime",
        }
    }
}

pub(super) fn compile(linux: Option<&Linux>, namespaces: &Namespaces, problems: &mut Problems) -> Vec<TimeOffset> {
    let given = linux.and_then(|linux| linux.time_offsets().as_ref()).filter(|offsets| !offsets.is_empty());
    let Some(given) = given else { return Vec::new() };
    if !namespaces.makes(NamespaceKind::Time) {
        let message = match namespaces.joins(NamespaceKind::Time) {
            true => "the offsets of a time namespace that is joined are fixed; remove them",
            false => "needs a time namespace; add {\"type\": \"time\"} to linux.namespaces",
        };
        problems.add("linux.timeOffsets", message);
    }
    let mut offsets = Vec::new();
    for (name, offset) in given {
        let Some(clock) = [Clock::Monotonic, Clock::Boottime].into_iter().find(|clock| clock.name() == name) else {
            problems
                .add(format!("linux.timeOffsets[{name:?}]"), "is not a clock of time namespaces: monotonic, boottime");
            continue;
        };
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds > 999_999_999 {
            problems.add(format!("linux.timeOffsets.{name}.nanosecs"), format!("{nanoseconds} is above 999999999"));
        }
        offsets.push(TimeOffset { clock, seconds: offset.secs().unwrap_or(0), nanoseconds });
    }
    // A plan is the same every time.
    offsets.sort_by_key(|offset| offset.clock.number());
    offsets
}

impl Display for TimeOffset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{:09} s", self.clock.name(), self.seconds, self.nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::tests::{compile_text, minimal, problems_of};

    fn with(namespaces: &str, offsets: &str) -> String {
        minimal(&format!(r#"{{"namespaces":[{{"type":"mount"}}{namespaces}],"timeOffsets":{offsets}}}"#))
    }

    #[test]
    fn offsets_of_a_new_namespace() {
        let text = with(r#",{"type":"time"}"#, r#"{"boottime":{"secs":-5,"nanosecs":7},"monotonic":{"secs":86400}}"#);
        let plan = compile_text(&text).unwrap();
        let offsets: Vec<String> = plan.inside.time_offsets.iter().map(ToString::to_string).collect();
        assert_eq!(offsets, ["monotonic 86400.000000000 s", "boottime -5.000000007 s"]);
        assert!(plan.namespaces.join_before_clone());
    }

    #[test]
    fn what_is_refused() {
        for (namespaces, offsets, message) in [
            ("", r#"{"monotonic":{"secs":1}}"#, "needs a time namespace"),
            (r#",{"type":"time","path":"/t"}"#, r#"{"monotonic":{"secs":1}}"#, "are fixed"),
            (r#",{"type":"time"}"#, r#"{"realtime":{"secs":1}}"#, "not a clock of time namespaces"),
            (r#",{"type":"time"}"#, r#"{"monotonic":{"nanosecs":1000000000}}"#, "above 999999999"),
        ] {
            let text = problems_of(&with(namespaces, offsets));
            assert!(text.contains("linux.timeOffsets") && text.contains(message), "{offsets}: {text}");
        }
    }
}
