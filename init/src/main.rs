//! PID 1 for containers.
fn main() {}
