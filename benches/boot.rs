//! Boot time side by side.
fn main() {}
