//! `pipkin-runtime`: the OCI runtime that engines call.

use std::process::ExitCode;

fn main() -> ExitCode {
    pipkin_runtime::stage::enter_if_stage();
    pipkin_runtime::cli::main()
}
