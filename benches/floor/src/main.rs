//! The kernel's own price of a container.
fn main() {}
