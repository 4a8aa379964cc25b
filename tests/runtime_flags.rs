//! What the flags of `create`, `run` and `exec` change, and the global ones.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::path::Path;

use pipkin_harness::{Bundle, ConsoleSocket, Container, Lab, await_path, await_true, host};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A bundle whose container waits for a signal and then exits 0.
fn waiting(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "signal-wait"]);
    bundle.save();
    bundle
}

fn running(lab: &Lab) -> Container<'_> {
    let container = lab.create(&waiting(lab));
    container.start();
    await_true("the program's first word", || container.stdout().contains("ready"));
    container
}

#[test]
fn keep_leaves_the_container_of_a_run_there() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "exit", "3"]);
    bundle.save();
    let id = lab.id();
    lab.runtime(["run", "--keep", "--bundle", bundle.path_text(), &id]).run().exits(3);
    let state: Value = serde_json::from_str(&lab.runtime(["state", &id]).run().ok().stdout()).unwrap();
    assert_eq!(state["status"], "stopped");
    lab.runtime(["run", "--bundle", bundle.path_text(), &id]).run().exits(1);
    lab.runtime(["delete", &id]).run().ok();
    assert_eq!(lab.leaks(), "");
}

/// In the host's pid namespace orphans go to the nearest subreaper: the foreground `run`, unless it is told not to.
#[test]
fn run_waits_for_orphans_unless_told_not_to() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.share_namespace("pid");
    // The orphan says whose child it has become, and ends.
    bundle.args([
        "/bin/sh",
        "-c",
        "(sh -c 'until [ -e /tmp/gone ]; do sleep 0; done; grep PPid: /proc/$$/status; echo end > /tmp/fifo' &); \
         echo ready; : > /tmp/gone; cat /tmp/fifo",
    ]);
    bundle.config["root"]["readonly"] = json!(false);
    let fifo = bundle.rootfs("/tmp/fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
    bundle.save();
    for (options, reaped) in [(&["--no-subreaper"][..], false), (&[], true)] {
        let _ = fs::remove_file(bundle.rootfs("/tmp/gone"));
        let words = ["run", "--bundle", bundle.path_text()].into_iter().chain(options.iter().copied());
        let id = lab.id();
        let running = lab.runtime(words.chain([id.as_str()])).start();
        let pid = running.pid();
        let output = running.wait().ok().stdout();
        let parent: u32 = output.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
        assert_eq!(parent == pid, reaped, "{options:?}: {output}");
    }
}

#[test]
fn no_pivot_moves_the_root_file_system_over_the_hosts() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = waiting(&lab);
    let plain = lab.report(&mut bundle);
    bundle.args(["/bin/probe"]);
    bundle.save();
    let finished = lab.runtime(["run", "--no-pivot", "--bundle", bundle.path_text(), &lab.id()]).run().ok();
    assert!(lab.is_peer() || finished.stderr().contains("--no-pivot"), "a warning: {}", finished.all());
    let moved: Value = serde_json::from_str(&finished.stdout()).unwrap();
    assert_eq!(moved["root_entries"], plain["root_entries"]);
    assert_eq!(moved["mounts"].as_array().unwrap().len(), plain["mounts"].as_array().unwrap().len());

    bundle.args(["/bin/probe", "signal-wait"]);
    bundle.save();
    let id = lab.id();
    lab.runtime(["create", "--no-pivot", "--bundle", bundle.path_text(), &id]).run().ok();
    lab.runtime(["start", &id]).run().ok();
    let inside: Value = serde_json::from_str(&lab.runtime(["exec", &id, "/bin/probe"]).run().ok().stdout()).unwrap();
    assert_eq!(inside["root_entries"], plain["root_entries"], "exec lands in the same root");
    lab.runtime(["delete", "--force", &id]).run().ok();
    assert!(Path::new("/proc/self/status").exists() && Path::new("/sys/kernel").exists(), "the host keeps its own");
}

/// What the container's user sees of keys: whether one is its own session keyring.
fn keyring(lab: &Lab, options: &[&str]) -> bool {
    let mut bundle = waiting(lab);
    bundle.config["linux"]["maskedPaths"] = json!([]);
    bundle.save();
    let id = lab.id();
    let words = ["create", "--bundle", bundle.path_text()].into_iter().chain(options.iter().copied());
    lab.runtime(words.chain([id.as_str()])).run().ok();
    lab.runtime(["start", &id]).run().ok();
    let keys = lab.runtime(["exec", &id, "/bin/cat", "/proc/keys"]).run().ok().stdout();
    lab.runtime(["delete", "--force", &id]).run().ok();
    keys.contains(&format!("_ses.{id}"))
}

#[test]
fn no_new_keyring_leaves_the_callers() {
    let Some(lab) = Lab::root() else { return };
    assert!(keyring(&lab, &[]));
    assert!(!keyring(&lab, &["--no-new-keyring"]));
}

#[test]
fn pidfd_sockets_get_the_processes_descriptors() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return; // Debian's runc is older than the flag.
    }
    let bundle = waiting(&lab);
    let socket = ConsoleSocket::new(&lab);
    let id = lab.id();
    let pid_file = lab.path("pid");
    let (text, pid_text) = (socket.path_text().to_owned(), pid_file.to_str().unwrap().to_owned());
    let create = ["create", "--bundle", bundle.path_text(), "--pidfd-socket", &text, "--pid-file", &pid_text, &id];
    lab.runtime(create).run().ok();
    let (word, pidfd) = socket.receive_descriptor();
    assert_eq!(word, "standard");
    let of = |pidfd: &std::os::fd::OwnedFd| {
        use std::os::fd::AsRawFd;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
        info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap().trim().to_owned()
    };
    assert_eq!(of(&pidfd), fs::read_to_string(&pid_file).unwrap());
    lab.runtime(["start", &id]).run().ok();

    let exec_file = lab.path("exec-pid");
    let exec_text = exec_file.to_str().unwrap();
    let words = ["exec", "--pidfd-socket", &text, "--pid-file", exec_text, &id, "/bin/probe", "signal-wait", "second"];
    let mut second = lab.runtime(words).start();
    let (word, pidfd) = socket.receive_descriptor();
    assert_eq!(word, "setns");
    second.hear("second");
    assert_eq!(of(&pidfd), fs::read_to_string(&exec_file).unwrap());
    rustix::process::pidfd_send_signal(&pidfd, Signal::TERM).unwrap();
    second.wait().ok();
    lab.runtime(["delete", "--force", &id]).run().ok();

    let nobody = lab.path("nobody.sock");
    let words = ["run", "--bundle", bundle.path_text(), "--pidfd-socket", nobody.to_str().unwrap(), &id];
    lab.runtime(words).run().fails(1, &["pidfd socket", "no such file"]);
    assert_eq!(lab.leaks(), "");
}

#[test]
fn exec_goes_into_a_cgroup_below_the_containers() {
    let Some(lab) = Lab::root() else { return };
    let container = running(&lab);
    let controller = if host::view() == host::View::V2 { "" } else { "pids" };
    let own = host::cgroup_directory(container.pid(), controller).unwrap();
    let all: Vec<_> = host::cgroups_named(container.id());
    for directory in all.iter().filter(|directory| directory.ends_with(container.id())) {
        fs::create_dir_all(directory.join("below/deep")).unwrap();
    }
    let cgroups = |options: &[&str]| container.exec(options, &["/bin/cat", "/proc/self/cgroup"]).run().ok().stdout();
    let joined = cgroups(&["--cgroup", "below/deep"]);
    assert!(joined.lines().filter(|line| line.ends_with("/below/deep")).count() >= 1, "{joined}");
    assert!(!cgroups(&["--cgroup", "/"]).contains("below"));
    if controller.is_empty() {
        container.exec(&["--cgroup", "memory:below"], &["/bin/true"]).run().exits(255);
    } else {
        let joined = cgroups(&["--cgroup", "pids:below", "--cgroup", "memory:/below/deep"]);
        let of = |name: &str| joined.lines().find(|line| line.contains(&format!(":{name}:"))).unwrap().to_owned();
        assert!(of("pids").ends_with("/below") && of("memory").ends_with("/below/deep"), "{joined}");
        assert!(!of("devices").contains("below"), "{joined}");
        container.exec(&["--cgroup", "nosuch:below"], &["/bin/true"]).run().exits(255);
        container.exec(&["--cgroup", "pids:below", "--cgroup", "x"], &["/bin/true"]).run().exits(255);
    }
    for bad in ["../", "below/../../..", "missing"] {
        container.exec(&["--cgroup", bad], &["/bin/true"]).run().exits(255);
    }
    assert!(own.exists());
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

/// A shell that opens a file as descriptor 3 and says, as systemd does, that it is a socket for this very process.
fn with_socket(lab: &Lab, words: &[&str]) -> Value {
    let file = lab.file("as-3", "three");
    let script = "exec 3<\"$1\"; shift; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    let runtime = lab.runtime_path().to_str().unwrap();
    let root = lab.state_root();
    let words = ["-c", script, "sh", file.to_str().unwrap(), runtime, "--root", root.to_str().unwrap()]
        .into_iter()
        .chain(words.iter().copied());
    serde_json::from_str(&lab.program("/bin/sh").args(words).run().ok().stdout()).unwrap()
}

#[test]
fn sockets_of_socket_activation_reach_the_program() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe"]);
    bundle.save();
    let seen = with_socket(&lab, &["run", "--bundle", bundle.path_text(), &lab.id()]);
    assert_eq!((&seen["env"]["LISTEN_FDS"], &seen["env"]["LISTEN_PID"]), (&json!("1"), &json!("1")));
    assert!(seen["fds"]["3"].as_str().unwrap().contains("as-3"), "{}", seen["fds"]);

    let container = running(&lab);
    let seen = with_socket(&lab, &["exec", container.id(), "/bin/probe"]);
    assert_eq!(seen["env"]["LISTEN_FDS"], "1");
    assert!(seen["fds"]["3"].as_str().unwrap().contains("as-3"), "{}", seen["fds"]);
    container.delete_force();
}

/// Go's flag package is what engines write for: they put options of their own before configured ones.
#[test]
fn command_lines_as_for_a_program_in_go() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "exit", "3"]);
    bundle.save();
    let path = bundle.path_text();
    for words in [
        &["--debug=false", "run", "--bundle", path][..],
        &["--log-format", "text", "--log-format", "json", "run", "-bundle", path],
        &["--systemd-cgroup=false", "run", &format!("-bundle={path}")],
        &["run", "--bundle", "/nowhere", "--bundle", path],
        &["run", "--keep", "--detach=false", "--keep=false", "-b", path],
        &["run", "-keep=0", "-no-pivot=f", "-preserve-fds", "0", "-b", path],
        &["--rootless", "auto", "run", "--no-subreaper=true", "--bundle", path],
    ] {
        let id = lab.id();
        lab.runtime(words.iter().copied().chain([id.as_str()])).run().exits(3);
    }
    lab.runtime(["--debug", "--debug", "list"]).run().ok();
    lab.runtime(["--debug=perhaps", "list"]).run().exits(1);
    assert!(lab.program(lab.runtime_path()).args(["-v"]).run().ok().stdout().contains("spec: "));

    let container = running(&lab);
    let heard = container.exec(&["-tty=false", "-env", "A=1", "-env=B=2"], &["/bin/sh", "-c", "echo $A$B"]).run().ok();
    assert_eq!(heard.stdout(), "12\n", "both variables, though --env is there twice");
    let heard = container.exec(&[], &["/bin/busybox", "echo", "--tty=false", "-e", "--env=x"]).run().ok();
    assert_eq!(heard.stdout(), "--tty=false -e --env=x\n", "the program's own words stay");
    container.exec(&["-g", "-1"], &["/bin/true"]).run().exits(255);
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

/// The trace file is nobody's descriptor 3.
#[test]
fn descriptors_that_are_not_there_are_asked_for_by_name() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return; // runc names neither.
    }
    let mut bundle = lab.bundle();
    bundle.args(["/bin/true"]);
    bundle.save();
    let trace = lab.path("trace");
    let script = "exec 3>&-; \"$@\"";
    let sockets = "exec 3>&-; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    for (script, options, said) in
        [(script, &["--preserve-fds", "1"][..], "--preserve-fds: 1 asks"), (sockets, &[], "LISTEN_FDS: 1 asks")]
    {
        let runtime = [lab.runtime_path(), Path::new("--root"), &lab.state_root(), Path::new("--trace-boot"), &trace]
            .map(|word| word.to_str().unwrap().to_owned());
        let id = lab.id();
        lab.program("/bin/sh")
            .args(["-c", script, "sh"])
            .args(runtime)
            .args(["run", "--bundle", bundle.path_text()])
            .args(options)
            .arg(&id)
            .run()
            .fails(1, &[said, "3 is not open"]);
    }
    assert_eq!(lab.leaks(), "");
}

#[test]
fn exec_passes_preserved_descriptors() {
    let Some(lab) = Lab::root() else { return };
    let container = running(&lab);
    let file = lab.file("as-3", "three");
    let root = lab.state_root();
    let script = format!(
        "exec 3<{} ; exec {} --root {} exec --preserve-fds 1 {} /bin/probe",
        file.display(),
        lab.runtime_path().display(),
        root.display(),
        container.id()
    );
    let seen: Value = serde_json::from_str(&lab.program("/bin/sh").args(["-c", &script]).run().ok().stdout()).unwrap();
    assert!(seen["fds"]["3"].as_str().unwrap().contains("as-3"), "{}", seen["fds"]);
    let finished = container.exec(&["--preserve-fds", "500"], &["/bin/true"]).run().exits(255);
    assert!(lab.is_peer() || finished.stderr().contains("--preserve-fds"), "{}", finished.all());
    container.delete_force();
}

/// The bundle may be changed or gone: `exec` runs what fits the container, not what is in the bundle now.
#[test]
fn exec_does_not_need_the_bundle() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return; // runc reads the bundle again.
    }
    let bundle = waiting(&lab);
    let container = lab.create(&bundle);
    container.start();
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    let finished = container.exec(&[], &["/bin/probe"]).run().ok();
    let seen: Value = serde_json::from_str(&finished.stdout()).unwrap();
    assert_eq!(seen["env"]["TERM"], "xterm");
    container.delete_force();
}

/// What it has started stands still before it is anything: that must not keep the caller.
#[test]
fn an_exec_in_a_paused_container_can_be_interrupted() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return; // runc ends with other codes.
    }
    let container = running(&lab);
    container.command("pause", &[], &[]).run().ok();
    let waiting = container.exec(&["--ignore-paused"], &["/bin/true"]).start();
    let children = format!("/proc/{0}/task/{0}/children", waiting.pid());
    await_true("it has a child", || fs::read_to_string(&children).is_ok_and(|text| !text.is_empty()));
    waiting.signal(Signal::TERM);
    waiting.wait().fails(255, &["interrupted by SIGTERM"]);
    container.command("resume", &[], &[]).run().ok();
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_paused_container_takes_an_exec_only_when_told_to() {
    let Some(lab) = Lab::root() else { return };
    let container = running(&lab);
    container.command("pause", &[], &[]).run().ok();
    container.exec(&[], &["/bin/true"]).run().exits(255);
    let pid_file = lab.path("pid");
    let waiting = container
        .exec(&["--ignore-paused", "--pid-file", pid_file.to_str().unwrap()], &["/bin/probe", "exit", "4"])
        .start();
    if !lab.is_peer() {
        // It is frozen as soon as it is in the cgroup, so that what it does is done after the container goes on.
        container.command("resume", &[], &[]).run().ok();
        await_path(&pid_file);
        waiting.wait().exits(4);
    } else {
        container.command("resume", &[], &[]).run().ok();
        waiting.wait().exits(4);
    }
    container.delete_force();
}

#[test]
fn containers_without_cgroups() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return; // runc has no --cgroup-manager.
    }
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe"]);
    bundle.save();
    let id = lab.id();
    let path = bundle.path_text().to_owned();
    let run = |manager: &str| lab.runtime(["--cgroup-manager", manager, "run", "--bundle", &path, &id]).run();
    let seen: Value = serde_json::from_str(&run("disabled").ok().stdout()).unwrap();
    let paths = |seen: &Value| seen["cgroup"].to_string();
    assert!(!paths(&seen).contains(&id), "{seen}");
    run("cgroupfs").ok();
    run("nosuch").exits(1);
    lab.runtime(["--systemd-cgroup", "--cgroup-manager=disabled", "run", "--bundle", bundle.path_text(), &id])
        .run()
        .exits(1);

    bundle.config["linux"]["resources"]["pids"] = json!({"limit": 100});
    bundle.save();
    run("disabled").fails(1, &["linux.resources.pids.limit"]);
    assert_eq!(lab.leaks(), "");

    // Nobody keeps its root from a device that it makes: that does not go unsaid.
    bundle.config["linux"]["resources"].as_object_mut().unwrap().remove("pids");
    let bounding = bundle.config["process"]["capabilities"]["bounding"].clone();
    bundle.config["process"]["capabilities"]["bounding"] = json!(["CAP_MKNOD"]);
    bundle.save();
    let warned = run("disabled").ok();
    assert!(warned.stderr().contains("linux.resources.devices: not enforced"), "{}", warned.all());
    assert!(warned.stderr().contains("CAP_MKNOD"), "{}", warned.all());
    bundle.config["process"]["capabilities"]["bounding"] = bounding;
    bundle.config["linux"]["cgroupsPath"] = json!("/unused");
    bundle.save();
    let warned = run("disabled").ok();
    assert!(warned.stderr().contains("linux.resources.devices: not enforced"), "{}", warned.all());
    assert!(warned.stderr().contains("linux.cgroupsPath: not used"), "{}", warned.all());
    bundle.config["linux"].as_object_mut().unwrap().remove("cgroupsPath");

    bundle.args(["/bin/probe", "signal-wait"]);
    bundle.save();
    lab.runtime(["--cgroup-manager", "disabled", "create", "--bundle", bundle.path_text(), &id]).run().ok();
    lab.runtime(["start", &id]).run().ok();
    lab.runtime(["exec", &id, "/bin/true"]).run().ok();
    for verb in ["pause", "resume", "events"] {
        lab.runtime([verb, &id]).run().exits(1);
    }
    lab.runtime(["exec", "--cgroup", "x", &id, "/bin/true"]).run().fails(255, &["--cgroup", "no cgroup of its own"]);
    lab.runtime(["kill", "--all", &id, "KILL"]).run().ok();
    lab.runtime(["delete", "--force", &id]).run().ok();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn rootless_says_whether_a_container_goes_without_a_cgroup() {
    let Some(lab) = Lab::user() else { return };
    let mut bundle = lab.bundle();
    bundle.args(["/bin/probe", "exit", "0"]);
    bundle.save();
    let run =
        |rootless: &str| lab.runtime(["--rootless", rootless, "run", "--bundle", bundle.path_text(), &lab.id()]).run();
    for rootless in ["true", "auto", "1"] {
        run(rootless).ok();
    }
    run("false").exits(1);
    run("perhaps").exits(1);
    assert_eq!(lab.leaks(), "");
}
