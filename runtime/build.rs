//! Finds out whether the program can bring its own start (src/sys/start.rs), names the build for what is kept on disk
//! (src/seccomp/cache.rs), and has the functions of a boot put beside each other (text.ld).

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The C library whose start is known, as its banner says.
const KNOWN: &[u8] = b" stable release version 2.36.\n";

/// An archive is some 6 MB.
const LARGEST: u64 = 64 << 20;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=PIPKIN_BUILD={}", build());
    println!("cargo::rustc-check-cfg=cfg(own_start)");
    find_own_start();
    if variable("CARGO_PKG_NAME") == "pipkin-runtime" && variable("PROFILE") == "release" {
        order_text();
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Version, target, and a number for everything that decides how a profile is read and compiled: the crate's text, the
/// locked libraries, the compiler and its options. Equal builds have equal names, wherever they are made.
fn build() -> String {
    // The workspace's Cargo.toml has the libraries' features and the profile.
    let mut files: Vec<PathBuf> =
        ["build.rs", "Cargo.toml", "Cargo.lock", "../Cargo.toml", "../Cargo.lock"].map(PathBuf::from).into();
    find_files(Path::new("src"), &mut files);
    if Path::new("../vendor").exists() {
        find_files(Path::new("../vendor"), &mut files);
    }
    files.sort();
    let mut numbers = [DefaultHasher::new(), DefaultHasher::new()];
    numbers[1].write_u8(1);
    let mut add = |bytes: &[u8]| {
        for number in &mut numbers {
            number.write_usize(bytes.len());
            number.write(bytes);
        }
    };
    for file in files.iter().filter(|file| file.exists()) {
        println!("cargo::rerun-if-changed={}", file.display());
        add(file.to_string_lossy().as_bytes());
        add(&std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    }
    let compiler = Command::new(variable("RUSTC")).arg("-vV").output();
    add(&compiler.map(|output| output.stdout).unwrap_or_else(|error| panic!("rustc -vV: {error}")));
    for option in ["TARGET", "OPT_LEVEL", "CARGO_ENCODED_RUSTFLAGS"] {
        add(variable(option).as_bytes());
    }
    let [first, second] = numbers.map(|number| number.finish());
    format!("{} {} {first:016x}{second:016x}", variable("CARGO_PKG_VERSION"), variable("TARGET"))
}

fn find_files(directory: &Path, files: &mut Vec<PathBuf>) {
    // A new file shows in its directory.
    println!("cargo::rerun-if-changed={}", directory.display());
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() { find_files(&path, files) } else { files.push(path) }
    }
}

fn find_own_start() {
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
    if read.is_ok() && has(&bytes, KNOWN) && links("-Wl,--wrap=nobody_calls_this") {
        println!("cargo::rustc-cfg=own_start");
        // The benches' floor borrows the start, and never looks for a backtrace.
        if variable("CARGO_PKG_NAME") == "pipkin-runtime" {
            println!(
                "cargo::rustc-link-arg-bins=-Wl,--wrap=_dl_find_object,--wrap=dl_iterate_phdr,--wrap=__register_frame_info"
            );
        }
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

/// Has the linker follow text.ld, if it is one that can; a program in another order is only slower.
fn order_text() {
    let script = Path::new(&variable("CARGO_MANIFEST_DIR")).join("text.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    let argument = format!("-Wl,-T,{}", script.display());
    if links(&argument) {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}

/// Whether a small program links with this argument, by the linker that links the real one.
fn links(argument: &str) -> bool {
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let place = PathBuf::from(variable("OUT_DIR"));
    let source = place.join("linked.rs");
    if std::fs::write(&source, "fn main() {}").is_err() {
        return false;
    }
    let mut compiler = Command::new(variable("RUSTC"));
    compiler.args(["--edition=2024", "--target", &variable("TARGET"), "-C", &format!("link-arg={argument}"), "-o"]);
    compiler.arg(place.join("linked")).arg(&source);
    compiler.args(variable("CARGO_ENCODED_RUSTFLAGS").split('\x1f').filter(|flag| !flag.is_empty()));
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        compiler.arg("-C").arg(format!("linker={}", linker.display()));
    }
    compiler.output().is_ok_and(|output| output.status.success())
}
