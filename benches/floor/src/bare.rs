//! `pipkin-floor` with pipkin-runtime's start instead of the C library's, which asks the processor some seventy times who it is:
//! what that costs in a virtual machine is the difference between the two. Where that start is not known, they are the same.
#![no_main]

mod boot;
mod cgroups;
mod entry;
mod exec;
mod handles;
mod inside;
mod kernel;
mod pieces;
#[cfg(own_start)]
#[path = "../../../runtime/src/sys/start.rs"]
mod start;

/// The program's entry.
#[unsafe(no_mangle)]
extern "C" fn main() -> libc::c_int {
    entry::run()
}
