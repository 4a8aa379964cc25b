//! `linux.seccomp`: what a container sees of its filter, and the way of a listener to its agent.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::JoinHandle;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use pipkin_harness::{Bundle, DEADLINE, Lab};
use serde_json::{Value, json};

fn filter(bundle: &mut Bundle, names: &[&str], action: &str) {
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": names, "action": action, "errnoRet": 95}]
    });
    if action == "SCMP_ACT_NOTIFY" {
        bundle.config["linux"]["seccomp"]["syscalls"][0].as_object_mut().unwrap().remove("errnoRet");
    }
}

fn mkdir(lab: &Lab, action: &str) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = json!(false);
    filter(&mut bundle, &["mkdir", "mkdirat"], action);
    bundle.args(["/bin/busybox", "mkdir", "/made"]);
    bundle
}

#[test]
fn a_denied_call_fails_with_the_profiles_errno() {
    for nobody in [false, true] {
        for no_new_privileges in [true, false] {
            let Some(lab) = Lab::root() else { return };
            let mut bundle = mkdir(&lab, "SCMP_ACT_ERRNO");
            bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            if nobody {
                // Then loading the filter needs a capability that the program itself does not have.
                bundle.config["process"]["user"] = json!({"uid": 65534, "gid": 65534});
                bundle.config["process"]["capabilities"] = json!({});
            }
            bundle.save();
            let finished = lab.run(&bundle).exits(1);
            assert!(finished.stderr().contains("not supported"), "{}", finished.all());
            assert_eq!(lab.leaks(), "");
        }
    }
}

/// Takes one listener, and gives it up: calls that ask for it then fail with ENOSYS.
fn agent(socket: PathBuf) -> JoinHandle<(Value, bool)> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let patience = rustix::event::Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
        let mut waiting = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut waiting, Some(&patience)), Ok(1), "nobody came to the agent");
        let (stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 64 * 1024];
        let mut space = nix::cmsg_space!([i32; 2]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<UnixAddr>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
        let length = message.bytes;
        let mut descriptors = Vec::new();
        for control in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                // SAFETY: just received, nobody else has them.
                descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
            }
        }
        let one = descriptors.len() == 1;
        (serde_json::from_slice(&bytes[..length]).unwrap(), one)
    })
}

#[test]
fn a_listener_reaches_its_agent_from_run_and_from_start() {
    for detached in [false, true] {
        let Some(lab) = Lab::root() else { return };
        let mut bundle = mkdir(&lab, "SCMP_ACT_NOTIFY");
        let socket = lab.path("agent.sock");
        bundle.config["linux"]["seccomp"]["listenerPath"] = json!(socket);
        bundle.config["linux"]["seccomp"]["listenerMetadata"] = json!("for the agent");
        bundle.save();
        let agent = agent(socket);
        let stderr = if detached {
            let container = lab.create(&bundle);
            container.start();
            container.wait();
            let text = container.stderr();
            container.delete();
            text
        } else {
            lab.run(&bundle).exits(1).stderr()
        };
        let (state, one) = agent.join().unwrap();
        assert!(one, "one descriptor");
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["metadata"], "for the agent");
        assert_eq!(state["state"]["bundle"], json!(bundle.path()));
        assert!(state["pid"].as_i64().unwrap() > 1);
        assert!(stderr.contains("not implemented"), "{stderr}");
        assert_eq!(lab.leaks(), "");
    }
}

#[test]
fn an_exec_is_under_the_filter_and_has_its_agent() {
    for (action, text) in [("SCMP_ACT_ERRNO", "not supported"), ("SCMP_ACT_NOTIFY", "not implemented")] {
        let Some(lab) = Lab::root() else { return };
        let mut bundle = mkdir(&lab, action);
        let socket = lab.path("agent.sock");
        let notifies = action == "SCMP_ACT_NOTIFY";
        if notifies {
            bundle.config["linux"]["seccomp"]["listenerPath"] = json!(socket);
            bundle.config["linux"]["seccomp"]["listenerMetadata"] = json!("for the agent");
        }
        bundle.args(["/bin/probe", "signal-wait"]);
        bundle.save();
        let first = notifies.then(|| agent(socket.clone()));
        let container = lab.create(&bundle);
        container.start();
        first.map(|first| first.join().unwrap());
        for _ in 0..2 {
            let _ = std::fs::remove_file(&socket);
            let second = notifies.then(|| agent(socket.clone()));
            let finished = container.exec(&[], &["/bin/busybox", "mkdir", "/made"]).run().exits(1);
            assert!(finished.stderr().contains(text), "{action}: {}", finished.all());
            if let Some((state, one)) = second.map(|second| second.join().unwrap()) {
                assert!(one, "one descriptor");
                assert_eq!(state["metadata"], "for the agent");
                assert_eq!(state["state"]["id"], json!(container.id()));
            }
        }
        container.delete_force();
        assert_eq!(lab.leaks(), "");
    }
}

#[test]
fn an_agent_that_is_not_there_is_a_clear_error() {
    let Some(lab) = Lab::root() else { return };
    let mut bundle = mkdir(&lab, "SCMP_ACT_NOTIFY");
    bundle.save();
    if !lab.is_peer() {
        lab.run(&bundle).fails(1, &["linux.seccomp.listenerPath"]);
    }
    bundle.config["linux"]["seccomp"]["listenerPath"] = json!(lab.path("nobody.sock"));
    bundle.save();
    lab.run(&bundle).fails(1, &["nobody.sock"]);
    assert_eq!(lab.leaks(), "");
}
