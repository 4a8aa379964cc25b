//! PID 1 for containers.
#![no_std]
#![no_main]
pipkin_init::entry!(pipkin_init::run);
