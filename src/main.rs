//! `pipkin`: load, import, run and inspect containers on one machine.

fn main() -> std::process::ExitCode {
    pipkin::main()
}
