//! The program that tests run inside containers: it tells what it sees as JSON, and tries what it is told to.
//!
//! `probe` alone prints a report; `probe VERB ARGS…` does one thing. A verb that fails prints `VERB: errno's name` on stderr
//! and exits 1, so that a test can tell EPERM from EROFS.

mod attempt;
mod report;

use std::process::ExitCode;

const USAGE: &str = "usage: probe [report] | read PATH | write PATH TEXT | create PATH | open PATH ro|wo|rw | exec PATH
       mknod PATH b|c|p MAJOR MINOR | mkdir PATH | chown PATH UID | mount-tmpfs PATH | sethostname NAME | nice N
       alloc MIB | children N | orphans N | spin SECONDS
       exit CODE | die SIGNAL | sleep [SECONDS] | ready-wait FILE | signal-wait [TEXT] | tty
       notify-when FILE MESSAGE…";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    if let [] | ["report"] = words[..] {
        println!("{}", report::everything());
        return ExitCode::SUCCESS;
    }
    match attempt::carry_out(&words) {
        Some(Ok(code)) => code,
        Some(Err(error)) => {
            eprintln!("{}: {}", words[0], attempt::errno_name(&error));
            ExitCode::FAILURE
        }
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(64)
        }
    }
}
