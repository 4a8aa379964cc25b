//! `pipkin-runtime`: the OCI runtime that engines call.
#![no_main]

use pipkin_runtime::sys::process::{exit_now, open_standard_descriptors, write_errors_not_signals};

#[cfg(own_start)]
#[path = "sys/start.rs"]
mod start;

#[cfg(own_start)]
#[global_allocator]
static MEMORY: pipkin_runtime::sys::arena::Arena = pipkin_runtime::sys::arena::Arena;

/// The C library's `main`. Rust's own would look through /proc/self/maps and make a signal stack first, twice at every boot.
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    pipkin_runtime::stage::enter_if_stage();
    open_standard_descriptors();
    write_errors_not_signals();
    exit_now(pipkin_runtime::cli::main().into())
}
