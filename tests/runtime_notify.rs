//! `NOTIFY_SOCKET`: what a container's program tells its service manager (sd_notify(3)).
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use pipkin_harness::{Bundle, DEADLINE, Lab, await_true};

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new(lab: &Lab) -> Self {
        let path = lab.path("manager.sock").to_str().unwrap().to_owned();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, path }
    }

    /// The next message. What comes with a barrier is closed at once: that is the answer to it.
    fn hears(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned()
    }

    /// Fills its socket's queue, as if it had heard nobody for long.
    fn has_no_room(&self) {
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.send_to(b"STATUS=of another program", &self.path).is_ok() {}
    }

    fn hears_nothing(&self) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let nothing = self.socket.recv(&mut [0; 4096]).is_err();
        self.socket.set_read_timeout(Some(DEADLINE)).unwrap();
        nothing
    }
}

/// Not for Debian's runc: it passes on only what begins with READY=, that message alone, and waits for zombies.
fn lab_with_manager() -> Option<(Lab, Manager)> {
    let lab = Lab::root().filter(|lab| !lab.is_peer())?;
    let manager = Manager::new(&lab);
    Some((lab, manager))
}

/// A bundle whose program waits for a file, tells the messages, and then waits to be killed.
fn telling(lab: &Lab, messages: &[&str]) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = serde_json::json!(false);
    let mut args = vec!["/bin/probe", "notify-when", "/tmp/go"];
    args.extend(messages);
    bundle.args(args);
    bundle.save();
    bundle
}

/// The container may count as running before its program does.
fn await_program(lab: &Lab, id: &str) {
    await_true("the program runs", || {
        let state = lab.runtime(["state", id]).run().stdout();
        let pid = serde_json::from_str::<serde_json::Value>(&state).map(|state| state["pid"].to_string());
        let name = pid.map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default());
        name.is_ok_and(|name| name == "probe\n")
    });
}

/// Writes that file when the program runs.
fn let_it_tell(lab: &Lab, bundle: &Bundle, id: &str) {
    await_program(lab, id);
    std::fs::write(bundle.rootfs("/tmp/go"), "").unwrap();
}

#[test]
fn start_returns_when_the_program_is_ready() {
    let Some((lab, manager)) = lab_with_manager() else { return };
    let bundle = telling(&lab, &["STATUS=warming up", "MAINPID=1\nREADY=1\nFDSTORE=1"]);
    let id = lab.id();
    let runtime = |words: &[&str]| lab.runtime(words.iter().copied()).env("NOTIFY_SOCKET", &manager.path);
    runtime(&["create", "--bundle", bundle.path_text(), &id]).run().ok();
    let starting = runtime(&["start", &id]).start();
    await_program(&lab, &id);
    assert!(manager.hears_nothing());
    std::fs::write(bundle.rootfs("/tmp/go"), "").unwrap();
    assert_eq!(manager.hears(), "STATUS=warming up", "also what is no READY");
    // A container must not name processes of the host, nor hand descriptors over.
    assert_eq!(manager.hears(), "READY=1");
    let state: serde_json::Value = serde_json::from_str(&lab.runtime(["state", &id]).run().ok().stdout()).unwrap();
    assert_eq!(manager.hears(), format!("MAINPID={}", state["pid"]));
    assert_eq!(manager.hears(), "BARRIER=1");
    drop(manager);
    starting.wait().ok();
    lab.runtime(["delete", "--force", &id]).run().ok();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn run_in_the_foreground_passes_everything_on_and_is_the_main_process() {
    let Some((lab, manager)) = lab_with_manager() else { return };
    let bundle = telling(&lab, &["READY=1", "WATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=5", "STOPPING=1"]);
    let id = lab.id();
    let running = lab.runtime(["run", "--bundle", bundle.path_text(), &id]).env("NOTIFY_SOCKET", &manager.path).start();
    let_it_tell(&lab, &bundle, &id);
    assert_eq!(manager.hears(), "READY=1");
    assert_eq!(manager.hears(), format!("MAINPID={}", running.pid()));
    assert_eq!(manager.hears(), "WATCHDOG=1");
    assert_eq!(manager.hears(), "RELOADING=1\nMONOTONIC_USEC=5");
    assert_eq!(manager.hears(), "STOPPING=1");
    lab.runtime(["kill", &id, "KILL"]).run().ok();
    running.wait().exits(137);
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_program_that_ends_before_it_is_ready_holds_nobody_up() {
    let Some((lab, manager)) = lab_with_manager() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "exit", "0"]);
    bundle.save();
    let id = lab.id();
    let runtime = |words: &[&str]| lab.runtime(words.iter().copied()).env("NOTIFY_SOCKET", &manager.path);
    runtime(&["run", "--detach", "--bundle", bundle.path_text(), &id]).run().ok();
    lab.runtime(["delete", "--force", &id]).run().ok();
    assert!(manager.hears_nothing());
    let nobody = lab.path("nobody.sock");
    lab.runtime(["run", "--bundle", bundle.path_text(), &id])
        .env("NOTIFY_SOCKET", &nobody)
        .run()
        .fails(1, &["NOTIFY_SOCKET", "no such file"]);
    assert_eq!(lab.leaks(), "");
}

/// More messages than all the sockets on their way have room for.
fn many() -> Vec<String> {
    let room: usize = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap().trim().parse().unwrap();
    (0..4 * room + 100).map(|number| format!("STATUS={number}")).collect()
}

/// What it does not take waits, and holds neither signals nor the container's end up.
#[test]
fn a_service_manager_that_does_not_read_holds_nobody_up() {
    let Some((lab, manager)) = lab_with_manager() else { return };
    let messages = many();
    let bundle = telling(&lab, &messages.iter().map(String::as_str).collect::<Vec<_>>());
    let run = |id: &str| {
        let running =
            lab.runtime(["run", "--bundle", bundle.path_text(), id]).env("NOTIFY_SOCKET", &manager.path).start();
        let_it_tell(&lab, &bundle, id);
        running
    };
    let id = lab.id();
    let mut running = run(&id);
    for message in &messages {
        assert_eq!(manager.hears(), *message, "late, but all and in their order");
    }
    running.hear("told");
    lab.runtime(["kill", &id, "KILL"]).run().ok();
    running.wait().exits(137);

    manager.has_no_room();
    let id = lab.id();
    let running = run(&id);
    let waits_for_room = |pid: &dyn std::fmt::Display| {
        std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default().contains("unix_wait_for_peer")
    };
    let state: serde_json::Value = serde_json::from_str(&lab.runtime(["state", &id]).run().ok().stdout()).unwrap();
    await_true("the program's messages are stuck", || waits_for_room(&state["pid"]));
    assert!(!waits_for_room(&running.pid()));
    lab.runtime(["kill", &id, "KILL"]).run().ok();
    let finished = running.wait().exits(137);
    assert_eq!(finished.stderr().matches("NOTIFY_SOCKET").count(), 1, "{}", finished.all());
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_service_manager_that_has_gone_is_worth_one_warning() {
    let Some((lab, manager)) = lab_with_manager() else { return };
    let messages = many();
    let bundle = telling(&lab, &messages.iter().map(String::as_str).collect::<Vec<_>>());
    let id = lab.id();
    let mut running =
        lab.runtime(["run", "--bundle", bundle.path_text(), &id]).env("NOTIFY_SOCKET", &manager.path).start();
    await_program(&lab, &id);
    drop(manager);
    std::fs::write(bundle.rootfs("/tmp/go"), "").unwrap();
    running.hear("told");
    lab.runtime(["kill", &id, "KILL"]).run().ok();
    let finished = running.wait().exits(137);
    assert_eq!(finished.stderr().matches("NOTIFY_SOCKET").count(), 1, "{}", finished.all());
    assert_eq!(lab.leaks(), "");
}

/// Whoever the program is, and whatever the caller's umask.
#[test]
fn every_user_of_the_container_may_tell() {
    let Some((lab, manager)) = lab_with_manager() else { return };
    let mut bundle = telling(&lab, &["STATUS=hello"]);
    bundle.config["process"]["user"] = serde_json::json!({"uid": 1000, "gid": 1000});
    bundle.save();
    std::fs::write(bundle.rootfs("/tmp/go"), "").unwrap();
    let id = lab.id();
    let mut running = lab
        .program("/bin/sh")
        .args(["-c", "umask 077; exec \"$@\"", "sh", lab.runtime_path().to_str().unwrap(), "--root"])
        .args([lab.state_root().to_str().unwrap(), "run", "--bundle", bundle.path_text(), &id])
        .env("NOTIFY_SOCKET", &manager.path)
        .start();
    assert_eq!(manager.hears(), "STATUS=hello");
    running.hear("told");
    lab.runtime(["kill", &id, "KILL"]).run().ok();
    running.wait().exits(137);
    assert_eq!(lab.leaks(), "");
}
