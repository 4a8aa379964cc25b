//! `pipkin`: pull, build, run and inspect containers on one machine.
fn main() {}
