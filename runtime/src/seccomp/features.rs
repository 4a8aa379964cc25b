//! What the runtime's seccomp can do, for `features` (features-linux.md, "Seccomp").

use oci_spec::runtime::LinuxSeccompFilterFlag as Flag;

use crate::sys::seccomp::{flag, flags_are_supported};

/// The names that a profile may use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Features {
    /// `SCMP_ACT_*`.
    pub actions: &'static [&'static str],
    /// `SCMP_CMP_*`.
    pub operators: &'static [&'static str],
    /// `SCMP_ARCH_*`.
    pub architectures: &'static [&'static str],
    /// `SECCOMP_FILTER_FLAG_*` that the runtime understands.
    pub known_flags: Vec<String>,
    /// Those of them that this kernel understands, too.
    pub supported_flags: Vec<String>,
}

/// Names of everything that a profile may use; asks the kernel for the flags only.
pub fn features() -> Features {
    let flags = [
        (Flag::SeccompFilterFlagTsync, flag::TSYNC),
        (Flag::SeccompFilterFlagLog, flag::LOG),
        (Flag::SeccompFilterFlagSpecAllow, flag::SPEC_ALLOW),
        // Valid together with a listener only.
        (Flag::SeccompFilterFlagWaitKillableRecv, flag::WAIT_KILLABLE_RECV | flag::NEW_LISTENER),
    ];
    let supported = flags.iter().filter(|(_, bits)| flags_are_supported(*bits));
    Features {
        actions: &ACTIONS,
        operators: &OPERATORS,
        architectures: &ARCHITECTURES,
        known_flags: flags.iter().map(|(name, _)| name.to_string()).collect(),
        supported_flags: supported.map(|(name, _)| name.to_string()).collect(),
    }
}

const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

const ARCHITECTURES: [&str; 24] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_NATIVE",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{Arch, LinuxSeccompAction, LinuxSeccompOperator};

    use super::*;

    fn all_are_read<T: std::str::FromStr + serde::de::DeserializeOwned>(names: &[&str]) {
        for name in names {
            assert!(serde_json::from_value::<T>((*name).into()).is_ok(), "{name}");
        }
        assert!(names.is_sorted());
    }

    #[test]
    fn what_is_announced_is_understood() {
        let features = features();
        all_are_read::<LinuxSeccompAction>(features.actions);
        all_are_read::<LinuxSeccompOperator>(features.operators);
        all_are_read::<Arch>(features.architectures);
        assert_eq!(features.known_flags.len(), 4);
        for name in &features.supported_flags {
            assert!(features.known_flags.contains(name));
        }
    }
}
