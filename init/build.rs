//! Links the two programs without a C library: they bring their own `_start`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=program.ld");
    println!("cargo::rerun-if-env-changed=OPT_LEVEL");
    let mut arguments = vec!["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"];
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = format!("-Wl,-z,norelro,-T,{folder}/program.ld");
    // Unoptimised programs keep what a debugger reads, and writable data that optimisation removes.
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level != "0") {
        arguments.push(&script);
    }
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
