#!/usr/bin/env python3
"""Writes table.rs: the numbers of all system calls on the ABIs that seccomp filters are made for.

    runtime/src/seccomp/generate_table.py && cargo fmt -p pipkin-runtime

Source: the crate linux-raw-sys in the version of Cargo.lock (rustix brings it in). It is generated from the kernel's own
headers, holds x32 too, and follows each kernel release; `cargo update -p linux-raw-sys` and a run of this script is all
that a new kernel takes. Names of other machines' system calls are listed without a number: a profile may name them.
"""

import json
import pathlib
import re
import subprocess

COLUMNS = ["x86_64", "x86", "x32", "aarch64", "arm"]
X32_BIT = 0x40000000
ARM_PRIVATE = 0xF0000  # __ARM_NR_BASE; at most 15 calls
ARM_PRIVATE_SLOT = 0x8000
NONE = 0xFFFF
# Constants that are limits, bases or gaps, not system calls.
NOT_CALLS = {"syscalls", "SYSCALL_BASE", "OABI_SYSCALL_BASE", "BASE", "arch_specific_syscall", "x32_bit", "SYSCALL_MASK"}

# linux/net.h and linux/ipc.h: what socketcall and ipc, the old way in on x86, are told as their first argument.
SOCKETCALL = """socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown
    setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg""".split()
IPC = {"semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12, "msgget": 13, "msgctl": 14,
       "shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24}
GAP = re.compile(r"Linux$|unused\d+$|reserved\d+$")

here = pathlib.Path(__file__).resolve().parent


def source():
    metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1"], cwd=here))
    package = next(p for p in metadata["packages"] if p["name"] == "linux-raw-sys")
    return package["version"], pathlib.Path(package["manifest_path"]).parent / "src"


def numbers(path):
    pattern = re.compile(r"^pub const __(?:ARM_)?NR_(\w+): u32 = (\d+);", re.M)
    return {name: int(n) for name, n in pattern.findall(path.read_text()) if name not in NOT_CALLS and not GAP.match(name)}


def slot(column, number):
    if number is None:
        return "NONE"
    if column == "x32":
        assert number & X32_BIT
        number &= ~X32_BIT
    if column == "arm" and number > ARM_PRIVATE:
        number = ARM_PRIVATE_SLOT | (number - ARM_PRIVATE)
        assert number & 0x7FFF < 16, hex(number)
    else:
        assert number < 1000, (column, number)
    return str(number)


def row(name):
    slots = ", ".join(slot(c, tables[c].get(name)) for c in COLUMNS)
    via = "No"
    if name in SOCKETCALL:
        via = f"Socketcall({SOCKETCALL.index(name) + 1})"
    elif name in IPC:
        via = f"Ipc({IPC[name]})"
    return f'    row("{name}", [{slots}], {via}),'


version, src = source()
tables = {d.name: numbers(d / "general.rs") for d in src.iterdir() if (d / "general.rs").exists()}
names = sorted({name for table in tables.values() for name in table}, key=str.encode)
rows = [row(name) for name in sorted(set(names).union(SOCKETCALL, IPC), key=str.encode)]
text = f"""//! The numbers of all system calls. Written by generate_table.py from linux-raw-sys {version}; do not edit.

use super::abi::Via::{{Ipc, No, Socketcall}};
use super::abi::{{NONE, Row, Via}};

const fn row(name: &'static str, slots: [u16; 5], via: Via) -> Row {{
    Row {{ name, slots, via }}
}}

/// Sorted by the bytes of the name. Columns: {", ".join(COLUMNS)}.
#[rustfmt::skip]
pub(super) static TABLE: [Row; {len(rows)}] = [
{chr(10).join(rows)}
];
"""
(here / "table.rs").write_text(text)
