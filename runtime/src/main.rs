//! `pipkin-runtime`: the OCI runtime that engines call.
fn main() {}
