//! `linux.memoryPolicy` and `linux.personality` (config-linux.md).

use std::fmt::{self, Display, Formatter};

use oci_spec::runtime::{
    LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, MemoryPolicyFlagType, MemoryPolicyModeType,
};
use serde::{Deserialize, Serialize};

use super::number_list::NumberList;
use crate::error::Problems;

/// What set_mempolicy(2) takes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MemoryPolicy {
    /// `MPOL_*`, with `MPOL_F_*`.
    pub mode: u32,
    /// For which memory nodes.
    pub nodes: NumberList,
}

/// By the kernel's numbers (include/uapi/linux/mempolicy.h); sorted by name for `features`.
pub(crate) const MODES: [(&str, u32); 7] = [
    ("MPOL_BIND", 2),
    ("MPOL_DEFAULT", 0),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED", 1),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// The same for the flags.
pub(crate) const FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", NUMA_BALANCING),
    ("MPOL_F_RELATIVE_NODES", RELATIVE_NODES),
    ("MPOL_F_STATIC_NODES", STATIC_NODES),
];
const NUMA_BALANCING: u32 = 1 << 13;
const RELATIVE_NODES: u32 = 1 << 14;
const STATIC_NODES: u32 = 1 << 15;

pub(super) fn compile(given: &LinuxMemoryPolicy, problems: &mut Problems) -> Option<MemoryPolicy> {
    let nodes = match NumberList::parse(given.nodes().as_deref().unwrap_or_default()) {
        Ok(nodes) => nodes,
        Err(message) => {
            problems.add("linux.memoryPolicy.nodes", message);
            return None;
        }
    };
    let name = given.mode().to_string();
    let mode = MODES.iter().find(|(known, _)| *known == name).map_or(0, |(_, number)| *number);
    match given.mode() {
        MemoryPolicyModeType::MpolDefault | MemoryPolicyModeType::MpolLocal if !nodes.is_empty() => {
            problems.add("linux.memoryPolicy.nodes", format!("{nodes}: {name} takes no nodes; leave them out"));
        }
        MemoryPolicyModeType::MpolDefault | MemoryPolicyModeType::MpolLocal | MemoryPolicyModeType::MpolPreferred => {}
        _ if nodes.is_empty() => {
            problems.add("linux.memoryPolicy.nodes", format!("is missing: {name} needs at least one memory node"));
        }
        _ => {}
    }
    let flags = given.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                MemoryPolicyFlagType::MpolFNumaBalancing => NUMA_BALANCING,
                MemoryPolicyFlagType::MpolFRelativeNodes => RELATIVE_NODES,
                MemoryPolicyFlagType::MpolFStaticNodes => STATIC_NODES,
            }
    });
    if flags & STATIC_NODES != 0 && flags & RELATIVE_NODES != 0 {
        problems.add("linux.memoryPolicy.flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other");
    }
    let balanced = matches!(given.mode(), MemoryPolicyModeType::MpolBind | MemoryPolicyModeType::MpolPreferredMany);
    if flags & NUMA_BALANCING != 0 && !balanced {
        problems.add("linux.memoryPolicy.flags", format!("MPOL_F_NUMA_BALANCING is not for {name}, but for MPOL_BIND"));
    }
    if flags != 0 && nodes.is_empty() {
        problems.add("linux.memoryPolicy.flags", format!("mean nothing to {name} without nodes"));
    }
    Some(MemoryPolicy { mode: mode | flags, nodes })
}

/// personality(2): the execution domain.
pub(super) fn compile_personality(given: &LinuxPersonality, problems: &mut Problems) -> u32 {
    const PER_LINUX: u32 = 0;
    const PER_LINUX32: u32 = 8;
    if let Some(flag) = given.flags().iter().flatten().next() {
        problems.add("linux.personality.flags", format!("{flag:?} is unknown: the spec has no flags yet; remove it"));
    }
    match given.domain() {
        LinuxPersonalityDomain::PerLinux => PER_LINUX,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    }
}

impl Display for MemoryPolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let flags = FLAGS.iter().filter(|(_, bit)| self.mode & bit != 0);
        let mode = self.mode & !FLAGS.iter().fold(0, |all, (_, bit)| all | bit);
        f.write_str(MODES.iter().find(|(_, number)| *number == mode).map_or("?", |(name, _)| name))?;
        for (name, _) in flags {
            write!(f, " {name}")?;
        }
        if self.nodes.is_empty() { Ok(()) } else { write!(f, " of nodes {}", self.nodes) }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::tests::{compile_text, minimal, problems_of};

    fn with(more: &str) -> String {
        minimal(&format!(r#"{{"namespaces":[{{"type":"mount"}}],{more}}}"#))
    }

    #[test]
    fn a_policy_is_one_number_and_a_mask() {
        let plan = compile_text(&with(
            r#""memoryPolicy":{"mode":"MPOL_BIND","nodes":"0,2-3","flags":["MPOL_F_STATIC_NODES"]}"#,
        ));
        let policy = plan.unwrap().inside.process.memory_policy.unwrap();
        assert_eq!((policy.mode, policy.nodes.words()), (2 | 1 << 15, &[0b1101][..]));
        assert_eq!(policy.to_string(), "MPOL_BIND MPOL_F_STATIC_NODES of nodes 0,2-3");
    }

    #[test]
    fn what_is_refused() {
        for (more, field) in [
            (r#""memoryPolicy":{"mode":"MPOL_DEFAULT","nodes":"0"}"#, "linux.memoryPolicy.nodes"),
            (r#""memoryPolicy":{"mode":"MPOL_BIND"}"#, "linux.memoryPolicy.nodes"),
            (r#""memoryPolicy":{"mode":"MPOL_BIND","nodes":"x"}"#, "linux.memoryPolicy.nodes"),
            (
                r#""memoryPolicy":{"mode":"MPOL_INTERLEAVE","nodes":"0","flags":["MPOL_F_NUMA_BALANCING"]}"#,
                "linux.memoryPolicy.flags",
            ),
            (
                r#""memoryPolicy":{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES","MPOL_F_RELATIVE_NODES"]}"#,
                "linux.memoryPolicy.flags",
            ),
            (r#""personality":{"domain":"LINUX","flags":["x"]}"#, "linux.personality.flags"),
        ] {
            let text = problems_of(&with(more));
            assert!(text.contains(field), "{more}: {text}");
        }
    }
}
