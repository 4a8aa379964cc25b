//! Safe wrappers over the system calls that nix and rustix lack; the only `unsafe` of the runtime.

// As its start, for a C library that is known.
#[cfg(own_start)]
pub mod arena;
pub mod bpf;
pub mod mount;
pub mod network;
pub mod process;
pub mod scheduling;
pub mod seccomp;
