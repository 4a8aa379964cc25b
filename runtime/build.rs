//! Finds out whether the program can bring its own start: see src/sys/start.rs.

use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

/// The C library whose start is known, as its banner says.
const KNOWN: &[u8] = b" stable release version 2.36.\n";

/// An archive is some 6 MB.
const LARGEST: u64 = 64 << 20;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(own_start)");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let static_program = variable("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    // A program that can be anywhere must relocate itself first, which this start does not do.
    let at_its_place =
        variable("CARGO_ENCODED_RUSTFLAGS").split('\x1f').any(|flag| flag.ends_with("relocation-model=static"));
    let same_machine = variable("TARGET") == variable("HOST");
    if !static_program || !at_its_place || !same_machine || variable("TARGET") != "x86_64-unknown-linux-gnu" {
        return;
    }
    let Some(archive) = c_library() else { return };
    // After an upgrade of the distribution it is another one.
    println!("cargo::rerun-if-changed={}", archive.display());
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&archive).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    if read.is_ok() && has(&bytes, KNOWN) {
        println!("cargo::rustc-cfg=own_start");
    }
}

/// The very archive that is linked; the compiler repeats the name where it has none.
fn c_library() -> Option<PathBuf> {
    let output = Command::new("gcc").arg("-print-file-name=libc.a").output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
