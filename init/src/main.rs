//! PID 1 for containers. Also `dumb-init`, `tini`, `docker-init` and `catatonit`, when called so.
#![no_std]
#![no_main]

pipkin_init::entry!(pipkin_init::run);
