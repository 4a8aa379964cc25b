//! The program in the built-in `hello` image.
#![no_std]
#![no_main]

pipkin_init::entry!(pipkin_init::hello::run);
