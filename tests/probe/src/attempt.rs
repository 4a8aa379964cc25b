//! Single things a test asks the probe to try.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// Does what the words say: `None` when they say nothing known, otherwise the exit code or the error.
pub fn carry_out(words: &[&str]) -> Option<io::Result<ExitCode>> {
    Some(match *words {
        ["read", path] => done(File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::stdout()))),
        ["write", path, text] => {
            done(OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes())))
        }
        ["create", path] => done(File::create(path)),
        ["open", path, access] => done(open(path, access)),
        ["exec", path] => Err(Command::new(path).exec()),
        ["mknod", path, kind, major, minor] => done(make_node(path, kind, major, minor)),
        ["mkdir", path] => done(std::fs::create_dir(path)),
        ["chown", path, uid] => done(number(uid).and_then(|uid| std::os::unix::fs::chown(path, Some(uid), None))),
        ["mount-tmpfs", path] => done(
            rustix::mount::mount("tmpfs", path, "tmpfs", rustix::mount::MountFlags::empty(), None).map_err(Into::into),
        ),
        ["sethostname", name] => done(rustix::system::sethostname(name.as_bytes()).map_err(Into::into)),
        ["nice", value] => {
            done(signed(value).and_then(|value| rustix::process::setpriority_process(None, value).map_err(Into::into)))
        }
        ["alloc", mebibytes] => done(number(mebibytes).map(allocate)),
        ["children", count] => number(count).and_then(children),
        ["orphans", count] => number(count).and_then(orphans),
        // What `orphans` starts: leaves a child behind.
        ["orphan"] => done(again(&["sleep", "0"]).spawn()),
        ["spin", seconds] => done(number(seconds).map(spin)),
        ["exit", code] => number(code).map(|code| ExitCode::from(u8::try_from(code).unwrap_or(255))),
        ["die", signal] => number(signal).and_then(die),
        ["sleep"] => sleep(86_400),
        ["sleep", seconds] => number(seconds).and_then(sleep),
        ["ready-wait", file] => done(File::create(file)).and_then(|_| sleep(86_400)),
        ["signal-wait"] => signal_wait("ready"),
        ["signal-wait", text] => signal_wait(text),
        ["notify-when", file, ..] => notify_when(file, &words[2..]),
        ["tty"] => controlling_terminal(),
        _ => return None,
    })
}

/// The kernel's name for an error, such as `EROFS`.
pub fn errno_name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", nix::errno::Errno::from_raw(number)),
        None => error.to_string(),
    }
}

fn done<T>(result: io::Result<T>) -> io::Result<ExitCode> {
    result.map(|_| ExitCode::SUCCESS)
}

fn number(text: &str) -> io::Result<u32> {
    text.parse().map_err(|_| io::Error::other(format!("{text} is not a number")))
}

fn signed(text: &str) -> io::Result<i32> {
    text.parse().map_err(|_| io::Error::other(format!("{text} is not a number")))
}

fn open(path: &str, access: &str) -> io::Result<File> {
    OpenOptions::new().read(access != "wo").write(access != "ro").open(path)
}

fn make_node(path: &str, kind: &str, major: &str, minor: &str) -> io::Result<()> {
    let kind = match kind {
        "b" => FileType::BlockDevice,
        "c" => FileType::CharacterDevice,
        _ => FileType::Fifo,
    };
    Ok(mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), makedev(number(major)?, number(minor)?))?)
}

/// Touches every page, so that the memory is really used.
fn allocate(mebibytes: u32) {
    let memory = vec![1_u8; mebibytes as usize * 1024 * 1024];
    println!("allocated {} MiB", std::hint::black_box(&memory).len() / 1024 / 1024);
}

/// The probe itself, with other words.
fn again(words: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(words).stdin(Stdio::null());
    command
}

/// Starts that many at the same time and tells how many could be started.
fn children(count: u32) -> io::Result<ExitCode> {
    let mut running = Vec::new();
    let mut failure = None;
    for _ in 0..count {
        match again(&["sleep"]).spawn() {
            Ok(child) => running.push(child),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    println!("{}", running.len());
    for child in &mut running {
        let _ = child.kill();
        let _ = child.wait();
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Leaves that many processes to whoever is PID 1, and returns when all of them have ended.
fn orphans(count: u32) -> io::Result<ExitCode> {
    let (reader, writer) = io::pipe()?;
    for _ in 0..count {
        let held = Stdio::from(OwnedFd::from(writer.try_clone()?));
        again(&["orphan"]).stdout(held).status()?;
    }
    drop(writer);
    // The end of the pipe is reached when the last orphan has closed it, that is: has ended.
    io::copy(&mut { reader }, &mut io::sink())?;
    println!("orphans: {count}");
    Ok(ExitCode::SUCCESS)
}

fn spin(seconds: u32) {
    let end = Instant::now() + Duration::from_secs(seconds.into());
    let mut rounds = 0_u64;
    while Instant::now() < end {
        rounds = std::hint::black_box(rounds + 1);
    }
    println!("{rounds}");
}

fn die(number: u32) -> io::Result<ExitCode> {
    let signal = Signal::try_from(number as i32)?;
    nix::sys::signal::raise(signal)?;
    Err(io::Error::other("the signal did not end me"))
}

fn sleep(seconds: u32) -> io::Result<ExitCode> {
    std::thread::sleep(Duration::from_secs(seconds.into()));
    Ok(ExitCode::SUCCESS)
}

/// Says the text, waits for any signal that can be waited for, names it, and exits 0.
fn signal_wait(text: &str) -> io::Result<ExitCode> {
    let signals = SigSet::all();
    signals.thread_block()?;
    println!("{text}");
    io::stdout().flush()?;
    loop {
        let signal = signals.wait()?;
        // Children of others may end at any time; Go's runtime sends itself URG, which runc 1.1 passes on. Neither is waited for.
        if !matches!(signal, Signal::SIGCHLD | Signal::SIGURG) {
            println!("got {signal}");
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Speaks to the terminal itself, not to stdout.
fn controlling_terminal() -> io::Result<ExitCode> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(b"terminal> ")?;
    let mut heard = [0_u8; 256];
    let count = terminal.read(&mut heard)?;
    let heard = String::from_utf8_lossy(heard.get(..count).unwrap_or_default()).trim().to_owned();
    terminal.write_all(format!("heard {heard}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for the file, and tells the service manager (sd_notify(3)); then sleeps.
fn notify_when(file: &str, messages: &[&str]) -> io::Result<ExitCode> {
    while !std::path::Path::new(file).exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let address = std::env::var("NOTIFY_SOCKET").map_err(io::Error::other)?;
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    for message in messages {
        socket.send_to(message.as_bytes(), &address)?;
    }
    println!("told");
    sleep(86_400)
}
