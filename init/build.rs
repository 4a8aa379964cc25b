//! Links the two programs without a C library: they bring their own `_start`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=program.ld");
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = format!("-Wl,-T,{folder}/program.ld");
    let arguments =
        ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,norelro", &script];
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
