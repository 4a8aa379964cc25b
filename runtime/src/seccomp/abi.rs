//! The machines, their system call ABIs, and the numbers that names have on them.

use oci_spec::runtime::Arch;

use super::table::TABLE;

/// In a [`Row`]: the ABI has no such system call.
pub(super) const NONE: u16 = u16::MAX;
/// In a [`Row`]: one of the few private calls of 32-bit ARM, `0xf0000 | low bits`.
const ARM_PRIVATE: u16 = 0x8000;
const ARM_PRIVATE_BASE: u32 = 0xf0000;
const ARM_PRIVATE_CALLS: usize = 16;
/// The bit that tells an x32 call from an x86_64 call.
const X32_BIT: u32 = 0x4000_0000;

/// One system call: its name and its number on each ABI, in the order of [`Abi`].
pub(super) struct Row {
    pub name: &'static str,
    pub slots: [u16; 5],
    pub via: Via,
}

/// On x86, socket and System V IPC calls have a second way in: one call for all, whose first argument says which.
#[derive(Clone, Copy)]
pub(super) enum Via {
    /// No other way.
    No,
    /// socketcall(2) with this number, `SYS_*` of linux/net.h.
    Socketcall(u8),
    /// ipc(2) with this number, of linux/ipc.h.
    Ipc(u8),
}

/// One way to enter the kernel, with its own numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

/// How many slots an ABI's decisions take: all usual numbers, then ARM's private calls.
pub(super) const SLOTS: usize = USUAL_CALLS + ARM_PRIVATE_CALLS;

/// One more than the largest usual number on any ABI.
pub(super) const USUAL_CALLS: usize = {
    let mut largest = 0;
    let mut row = 0;
    while row < TABLE.len() {
        let mut column = 0;
        while column < 5 {
            let slot = TABLE[row].slots[column];
            if slot < ARM_PRIVATE && slot > largest {
                largest = slot;
            }
            column += 1;
        }
        row += 1;
    }
    largest as usize + 1
};

impl Abi {
    /// The index among an ABI's decisions of what a table row says about this ABI.
    pub fn slot(self, row: &Row) -> Option<usize> {
        match row.slots[self as usize] {
            NONE => None,
            private if private >= ARM_PRIVATE => Some(USUAL_CALLS + usize::from(private - ARM_PRIVATE)),
            usual => Some(usize::from(usual)),
        }
    }

    /// The number that the kernel gives to a filter (`seccomp_data.nr`).
    pub fn number(self, slot: usize) -> u32 {
        let private = slot.checked_sub(USUAL_CALLS);
        let number = private.map_or(slot as u32, |private| ARM_PRIVATE_BASE + private as u32);
        if self == Self::X32 { number | X32_BIT } else { number }
    }

    /// The numbers that belong to this ABI, first and last, within its architecture.
    pub fn numbers(self) -> (u32, u32) {
        match self {
            Self::X86_64 => (0, X32_BIT - 1),
            Self::X32 => (X32_BIT, u32::MAX),
            Self::X86 | Self::Aarch64 | Self::Arm => (0, u32::MAX),
        }
    }

    /// Whether arguments are compared in all 64 bits. libseccomp compares the lower half only on x32, too.
    pub fn is_64_bit(self) -> bool {
        matches!(self, Self::X86_64 | Self::Aarch64)
    }

    /// `seccomp_data.arch`: `AUDIT_ARCH_*` of linux/audit.h.
    pub fn audit_architecture(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Where this ABI has a second way to a call: the slot of the call that is made instead, and its first argument.
    pub fn multiplexed(self, row: &Row) -> Option<(usize, u32)> {
        match row.via {
            Via::Socketcall(number) if self == Self::X86 => Some((102, number.into())),
            Via::Ipc(number) if self == Self::X86 => Some((117, number.into())),
            _ => None,
        }
    }
}

/// What a kernel runs: its own ABI and those of older programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Machine {
    /// x86_64, with x86 and x32.
    X86_64,
    /// aarch64, with 32-bit ARM.
    Aarch64,
}

impl Machine {
    /// The machine this program was built for; `None` where there is no table of its system calls.
    pub fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The ABIs to make a filter for: always the machine's own, and the compatible ones that the profile names.
    /// A kernel never reports the architectures of other machines, so they need no code.
    pub(super) fn abis(self, architectures: &[Arch]) -> Vec<Abi> {
        let compatible: &[(Abi, Arch)] = match self {
            Self::X86_64 => &[(Abi::X32, Arch::ScmpArchX32), (Abi::X86, Arch::ScmpArchX86)],
            Self::Aarch64 => &[(Abi::Arm, Arch::ScmpArchArm)],
        };
        let native = match self {
            Self::X86_64 => Abi::X86_64,
            Self::Aarch64 => Abi::Aarch64,
        };
        let named = compatible.iter().filter(|(_, arch)| architectures.contains(arch)).map(|(abi, _)| *abi);
        std::iter::once(native).chain(named).collect()
    }
}

/// Finds a system call of any machine by its name.
pub(super) fn find(name: &str) -> Option<&'static Row> {
    let mut place = hash(name.as_bytes());
    loop {
        match INDEX[place % INDEX.len()] {
            NONE => return None,
            row if TABLE[usize::from(row)].name == name => return Some(&TABLE[usize::from(row)]),
            _ => place += 1,
        }
    }
}

/// Where in [`TABLE`] the names are, by their hash; a name whose place is taken is in the next free one. Profiles
/// name hundreds of calls: binary search took half of the time that a compilation takes.
static INDEX: [u16; 2048] = {
    assert!(TABLE.len() < 1024, "at most half of the places may be taken");
    let mut index = [NONE; 2048];
    let mut row = 0;
    while row < TABLE.len() {
        let mut place = hash(TABLE[row].name.as_bytes());
        while index[place % index.len()] != NONE {
            place += 1;
        }
        index[place % index.len()] = row as u16;
        row += 1;
    }
    index
};

/// FNV-1a.
const fn hash(bytes: &[u8]) -> usize {
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ (hash >> 15)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_name_once_and_the_newest_calls() {
        assert!(TABLE.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(TABLE.iter().all(|row| find(row.name).is_some_and(|found| std::ptr::eq(found, row))));
        for (name, number) in [("read", 0), ("futex_wake", 454), ("mseal", 462), ("file_setattr", 469)] {
            assert_eq!(find(name).and_then(|row| Abi::X86_64.slot(row)), Some(number), "{name}");
        }
        assert!(find("no_such_call").is_none());
        assert!(find("").is_none());
    }

    #[test]
    fn private_calls_of_arm_get_their_real_numbers() {
        let slot = find("set_tls").and_then(|row| Abi::Arm.slot(row));
        assert_eq!(slot.map(|slot| Abi::Arm.number(slot)), Some(0xf0005));
        assert!(slot.is_some_and(|slot| slot < SLOTS));
        assert_eq!(find("set_tls").and_then(|row| Abi::X86_64.slot(row)), None);
    }

    #[test]
    fn numbers_of_x32_carry_its_bit() {
        let slot = find("execve").and_then(|row| Abi::X32.slot(row));
        assert_eq!(slot.map(|slot| Abi::X32.number(slot)), Some(0x4000_0000 + 520));
    }
}
