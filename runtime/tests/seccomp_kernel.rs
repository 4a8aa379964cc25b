//! Filters of `pipkin_runtime::seccomp` in the real kernel: each test loads one in a child process and makes calls.

#![allow(clippy::expect_used, reason = "a failed expectation is a failed test")]

#[path = "seccomp/configurations.rs"]
mod configurations;

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid};
use oci_spec::runtime::State;
use pipkin_runtime::error::Problems;
use pipkin_runtime::seccomp::{Filter, compile, features, load, notify};
use serde_json::{Value, json};

fn filter(profile: Value) -> Filter {
    let profile = serde_json::from_value(profile).expect("a profile");
    let mut problems = Problems::default();
    let compiled = compile(&profile, &mut problems);
    compiled.unwrap_or_else(|| panic!("{problems:?}")).0
}

/// Everything allowed but what `rules` say.
fn all_but(rules: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })
}

/// A system call by number, with whatever arguments.
fn call(number: u64, arguments: [u64; 3]) -> Result<i64, i32> {
    let [a, b, c] = arguments;
    // SAFETY: the tests use calls only that touch no memory, or fail.
    let result = unsafe { libc::syscall(number as libc::c_long, a, b, c) };
    if result == -1 { Err(Errno::last_raw()) } else { Ok(result) }
}

fn start(filter: &Filter, work: impl FnOnce() -> i32) -> Pid {
    // SAFETY: the child makes system calls only and leaves by _exit; it holds no lock of another thread that it needs.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let code = match load(filter) {
                Ok(_) => work(),
                Err(_) => 255,
            };
            // SAFETY: ends the child without running anything of the test's.
            unsafe { libc::_exit(code) }
        }
    }
}

/// How a child ends that makes one call under a filter: with the call's error number, 0 for none.
fn outcome(filter: &Filter, number: i64, arguments: [u64; 3]) -> WaitStatus {
    let child = start(filter, || call(number as u64, arguments).err().unwrap_or(0));
    waitpid(child, None).expect("wait")
}

#[track_caller]
fn assert_exit(status: WaitStatus, code: i32) {
    assert!(matches!(status, WaitStatus::Exited(_, exit) if exit == code), "{status:?} instead of {code}");
}

#[track_caller]
fn assert_killed(status: WaitStatus) {
    assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGSYS, _)), "{status:?}");
}

#[test]
fn actions() {
    let action = |name: &str| filter(all_but(json!([{ "names": ["getpriority"], "action": name }])));
    let ask = |filter: &Filter| outcome(filter, libc::SYS_getpriority, [0, 0, 0]);
    assert_exit(ask(&action("SCMP_ACT_ALLOW")), 0);
    assert_exit(ask(&action("SCMP_ACT_LOG")), 0);
    assert_exit(ask(&action("SCMP_ACT_ERRNO")), libc::EPERM);
    // Nobody traces the child.
    assert_exit(ask(&action("SCMP_ACT_TRACE")), libc::ENOSYS);
    for kill in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        assert_killed(ask(&action(kill)));
    }
    let errno = filter(all_but(json!([{ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42 }])));
    assert_exit(ask(&errno), 42);
    assert_exit(outcome(&errno, libc::SYS_getppid, [0, 0, 0]), 0);
}

#[test]
fn trap_is_a_signal_that_can_be_handled_and_kill_is_not() {
    extern "C" fn handle(_: libc::c_int) {
        // SAFETY: async-signal-safe.
        unsafe { libc::_exit(77) }
    }
    let work = || {
        let action = SigAction::new(SigHandler::Handler(handle), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler only leaves.
        if unsafe { sigaction(Signal::SIGSYS, &action) }.is_err() {
            return 1;
        }
        let _ = call(libc::SYS_getpriority as u64, [0, 0, 0]);
        2
    };
    let action = |name: &str| filter(all_but(json!([{ "names": ["getpriority"], "action": name }])));
    assert_exit(waitpid(start(&action("SCMP_ACT_TRAP"), work), None).expect("wait"), 77);
    assert_killed(waitpid(start(&action("SCMP_ACT_KILL_PROCESS"), work), None).expect("wait"));
}

#[test]
fn arguments_are_compared_in_all_64_bits() {
    const HIGH: u64 = 1 << 32;
    type Holds = fn(u64) -> bool;
    let cases: [(&str, u64, u64, Holds); 8] = [
        ("SCMP_CMP_NE", HIGH, 0, |a| a != HIGH),
        ("SCMP_CMP_LT", HIGH + 5, 0, |a| a < HIGH + 5),
        ("SCMP_CMP_LE", HIGH + 5, 0, |a| a <= HIGH + 5),
        ("SCMP_CMP_EQ", HIGH + 5, 0, |a| a == HIGH + 5),
        ("SCMP_CMP_GE", HIGH + 5, 0, |a| a >= HIGH + 5),
        ("SCMP_CMP_GT", HIGH + 5, 0, |a| a > HIGH + 5),
        ("SCMP_CMP_MASKED_EQ", HIGH + 4, HIGH, |a| a & (HIGH + 4) == HIGH),
        ("SCMP_CMP_MASKED_EQ", 4, 0, |a| a & 4 == 0),
    ];
    for (operator, value, two, holds) in cases {
        let args = json!([{ "index": 2, "op": operator, "value": value, "valueTwo": two }]);
        let filter = filter(all_but(json!([{ "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "args": args }])));
        let values = [0, 4, 5, 6, HIGH - 1, HIGH, HIGH + 4, HIGH + 5, HIGH + 6, 2 * HIGH, 2 * HIGH + 5, u64::MAX];
        let wrong = || {
            let refused = |value: u64| call(libc::SYS_getppid as u64, [0, 0, value]) == Err(libc::EPERM);
            values.iter().position(|value| refused(*value) != holds(*value)).map_or(0, |index| index as i32 + 1)
        };
        let status = waitpid(start(&filter, wrong), None).expect("wait");
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{operator} {value:#x}: {status:?} is the value's place");
    }
}

#[test]
fn calls_newer_than_the_profile_are_not_implemented() {
    let names = ["exit_group", "exit", "rt_sigreturn", "close_range"];
    let profile = |default: &str| {
        filter(json!({ "defaultAction": default, "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }] }))
    };
    let errno = profile("SCMP_ACT_ERRNO");
    assert_exit(outcome(&errno, libc::SYS_getppid, [0, 0, 0]), libc::EPERM);
    assert_exit(outcome(&errno, libc::SYS_close_range + 1, [0, 0, 0]), libc::ENOSYS);
    assert_exit(outcome(&errno, 100_000, [0, 0, 0]), libc::ENOSYS);
    let kill = profile("SCMP_ACT_KILL_PROCESS");
    assert_killed(outcome(&kill, libc::SYS_getppid, [0, 0, 0]));
    assert_exit(outcome(&kill, 100_000, [0, 0, 0]), libc::ENOSYS);
    // Nobody said that the newer ones should be refused.
    assert_exit(outcome(&profile("SCMP_ACT_LOG"), libc::SYS_getppid, [0, 0, 0]), 0);
}

#[cfg(target_arch = "x86_64")]
mod compatible {
    use super::*;

    /// getppid the way 32-bit programs do it.
    fn getppid_of_x86() -> i64 {
        let mut result: i64 = 64;
        // SAFETY: the call takes no argument and touches no memory.
        unsafe {
            core::arch::asm!("int 0x80", inout("rax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        result
    }

    fn deny(architectures: Value) -> Filter {
        let mut profile = all_but(json!([{ "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42 }]));
        profile["architectures"] = architectures;
        filter(profile)
    }

    #[test]
    fn calls_of_x86_follow_the_profile_that_names_it_and_are_killed_elsewhere() {
        let no_filter = filter(all_but(json!([])));
        let supported = waitpid(
            start(&filter(json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"] })), || {
                i32::from(getppid_of_x86() <= 0)
            }),
            None,
        );
        if !matches!(supported, Ok(WaitStatus::Exited(_, 0))) {
            println!("this kernel runs no 32-bit programs");
            return;
        }
        assert_killed(waitpid(start(&no_filter, || i32::from(getppid_of_x86() <= 0)), None).expect("wait"));
        let named = deny(json!(["SCMP_ARCH_X86"]));
        assert_exit(waitpid(start(&named, || -getppid_of_x86() as i32), None).expect("wait"), 42);
    }

    #[test]
    fn calls_of_x32_follow_the_profile_that_names_it_and_are_killed_elsewhere() {
        let getppid = libc::SYS_getppid | 0x4000_0000;
        assert_killed(outcome(&deny(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])), getppid, [0, 0, 0]));
        assert_exit(outcome(&deny(json!(["SCMP_ARCH_X32"])), getppid, [0, 0, 0]), 42);
    }
}

#[test]
fn real_profiles_are_taken_and_let_programs_run() {
    for name in
        ["docker-init-bridge.json", "docker-hardened.json", "containerd-seccomp-memory.json", "podman-hardened.json"]
    {
        let (filter, warnings) = compile(&configurations::of(name), &mut Problems::default()).expect("a filter");
        assert_eq!(warnings, [""; 0], "{name}");
        let program = [c"/bin/sh", c"-c", c"x=$(echo 7); exit $x"];
        let child = start(&filter, || {
            let _ = nix::unistd::execve(program[0], &program, &[c"PATH=/bin"]);
            1
        });
        assert_exit(waitpid(child, None).expect("wait"), 7);
        // umount2 with these arguments would be EINVAL, not EPERM.
        assert_exit(outcome(&filter, libc::SYS_kexec_load, [0, 0, 0]), libc::EPERM);
    }
}

#[test]
fn all_flags_that_are_announced_are_taken() {
    let features = features();
    assert!(features.supported_flags.contains(&"SECCOMP_FILTER_FLAG_LOG".to_owned()), "{features:?}");
    let mut profile = all_but(json!([{ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO" }]));
    profile["flags"] = features.supported_flags.clone().into();
    assert_exit(outcome(&filter(profile.clone()), libc::SYS_getpriority, [0, 0, 0]), libc::EPERM);
    profile["listenerPath"] = "/nowhere".into();
    profile["syscalls"] = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]);
    assert_exit(outcome(&filter(profile), libc::SYS_getppid, [0, 0, 0]), 0);
}

#[test]
fn what_the_kernel_refuses_is_explained() {
    let plain = filter(all_but(json!([])));
    let mut listening = all_but(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]));
    listening["listenerPath"] = "/nowhere".into();
    let listening = filter(listening);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let report = |text: String| nix::unistd::write(&writer, format!("{text}\n").as_bytes()).map_or(1, |_| 0);
    let second = start(&listening, || report(load(&listening).err().map(|e| e.to_string()).unwrap_or_default()));
    assert_exit(waitpid(second, None).expect("wait"), 0);
    // SAFETY: as in `start`.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => assert_exit(waitpid(child, None).expect("wait"), 0),
        ForkResult::Child => {
            let _ = nix::unistd::setresuid(65534.into(), 65534.into(), 65534.into());
            let code = report(load(&plain).err().map(|error| error.to_string()).unwrap_or_default());
            // SAFETY: ends the child.
            unsafe { libc::_exit(code) }
        }
    }
    drop(writer);
    let lines: Vec<String> = BufReader::new(reader).lines().map(|line| line.expect("a line")).collect();
    let expected = [
        "load the seccomp filter: device or resource busy: the runtime itself runs under a filter with a listener \
         (SCMP_ACT_NOTIFY)",
        "load the seccomp filter: permission denied: neither process.noNewPrivileges is set nor is CAP_SYS_ADMIN left",
    ];
    assert_eq!(lines, expected);
}

/// `SECCOMP_IOCTL_NOTIF_RECV` and `SECCOMP_IOCTL_NOTIF_SEND` of linux/seccomp.h.
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;

/// An agent for one container: takes the listener, answers one call with an error; gives the message and the call.
fn agent(socket: UnixListener, errno: i32) -> (Vec<u8>, i32) {
    let (mut connection, _) = socket.accept().expect("accept");
    let mut message = vec![0; 4096];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let (length, listeners) = {
        let mut buffers = [std::io::IoSliceMut::new(&mut message)];
        let received =
            recvmsg::<()>(connection.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC);
        let received = received.expect("recvmsg");
        let rights = received.cmsgs().expect("control messages").filter_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        });
        (received.bytes, rights.flatten().collect::<Vec<RawFd>>())
    };
    message.truncate(length);
    connection.read_to_end(&mut message).expect("the rest, to the end of the connection");
    assert_eq!(listeners.len(), 1);
    // SAFETY: recvmsg(2) has just made it.
    let listener = unsafe { OwnedFd::from_raw_fd(listeners[0]) };
    // SAFETY: all zeroes is a valid value, and what the kernel asks for.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is the one of this request.
    Errno::result(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut notification) }).expect("receive");
    let mut answer = libc::seccomp_notif_resp { id: notification.id, val: 0, error: -errno, flags: 0 };
    // SAFETY: the structure is the one of this request.
    Errno::result(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, &raw mut answer) }).expect("answer");
    (message, notification.data.nr)
}

#[test]
fn an_agent_gets_the_listener_and_the_state_and_decides() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("agent-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = UnixListener::bind(&path).expect("bind");
    let mut profile = all_but(json!([{ "names": ["getpriority"], "action": "SCMP_ACT_NOTIFY" }]));
    profile["listenerPath"] = path.to_string_lossy().into_owned().into();
    let filter = filter(profile);
    let (mut numbers, writer) = std::io::pipe().expect("a pipe");

    // The stage: writes the listener's number, and may only go on when the launcher has it.
    // SAFETY: as in `start`.
    let child = match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let code = match load(&filter) {
                Ok(Some(listener)) => {
                    let number = listener.as_raw_fd().to_ne_bytes();
                    let _ = nix::unistd::write(&writer, &number);
                    call(libc::SYS_getpriority as u64, [0, 0, 0]).err().unwrap_or(0)
                }
                _ => 255,
            };
            // SAFETY: ends the child.
            unsafe { libc::_exit(code) }
        }
    };
    drop(writer);

    // The launcher.
    let mut number = [0; 4];
    numbers.read_exact(&mut number).expect("the listener's number");
    let process = rustix::process::Pid::from_raw(child.as_raw()).expect("a pid");
    let process = rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).expect("pidfd_open");
    let process = std::os::fd::AsFd::as_fd(&process);
    let listener = notify::fetch_listener(process, i32::from_ne_bytes(number)).expect("pidfd_getfd");
    let agent = std::thread::spawn(move || agent(socket, libc::EXDEV));
    // More than a socket holds at once.
    let metadata = "about c1 ".repeat(100_000);
    let mut state = State::default();
    state.set_id("c1".to_owned()).set_version("1.3.0".to_owned()).set_pid(Some(child.as_raw()));
    let message = notify::process_state(child.as_raw(), Some(&metadata), &state).expect("JSON");
    notify::send_listener(&path, std::os::fd::AsFd::as_fd(&listener), &message).expect("send");
    drop(listener);

    let (received, number) = agent.join().expect("the agent");
    assert_exit(waitpid(child, None).expect("wait"), libc::EXDEV);
    assert_eq!(i64::from(number), libc::SYS_getpriority);
    let received: Value = serde_json::from_slice(&received).expect("JSON");
    assert_eq!(received["fds"], json!(["seccompFd"]));
    assert_eq!(received["pid"], child.as_raw());
    assert_eq!(received["metadata"], metadata);
    assert_eq!(received["ociVersion"], "1.3.0");
    assert_eq!(received["state"]["id"], "c1");
    std::fs::remove_file(&path).expect("remove the socket");
}

#[test]
fn an_agent_that_is_not_there_is_an_error_with_a_remedy() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("no-agent-{}.sock", getpid()));
    let file = std::fs::File::open("/dev/null").expect("open");
    let error = notify::send_listener(&path, std::os::fd::AsFd::as_fd(&file), b"{}").expect_err("nobody listens");
    let text = error.to_string();
    assert!(text.starts_with("send the seccomp listener to linux.seccomp.listenerPath /"), "{text}");
    assert!(
        text.ends_with(
            "no such file or directory: the agent of SCMP_ACT_NOTIFY must listen there before the container starts"
        ),
        "{text}"
    );
}
