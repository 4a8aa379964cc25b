//! The kernel's own price of a container, as a program: what `runc spec`'s default configuration asks of the kernel, as bare
//! system calls in the cheapest order that is known, without parsing, checking or reporting anything.
//!
//! `pipkin-floor [--with PIECE,…] [--state DIR] ROOTFS NAME PROGRAM [ARG…]` makes cgroup NAME, clones into the namespaces (and on v2
//! into the cgroup), mounts, makes devices, masks paths, pivots, drops capabilities, executes, waits, removes the cgroup, and exits as
//! the program did. `pipkin-floor … exec PID NAME PROGRAM [ARG…]` joins the namespaces of PID and cgroup NAME instead.
//!
//! It is a yardstick, never a runtime: every name is trusted, and an error only ends it with the number of its line. `--with` adds
//! what a runtime does besides ([`pieces`]).
#![no_main]

mod boot;
mod cgroups;
mod entry;
mod exec;
mod handles;
mod inside;
mod kernel;
mod pieces;

/// The program's entry: the C one, so that nothing of Rust's start-up is paid for.
#[unsafe(no_mangle)]
extern "C" fn main() -> libc::c_int {
    entry::run()
}
