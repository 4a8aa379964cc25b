//! `pipkin-hello`: it says where it is, and does not fall over where little is to be seen.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod init_support;

use std::path::PathBuf;

use init_support::{Init, Original, Terminal, inits, is_root};

/// The program, as if it were an init under test: only how it is started and watched is shared.
fn hello() -> Init {
    Init { name: "pipkin-hello", kind: inits::Kind::Ours, original: Original::Pipkin, path: path() }
}

fn path() -> PathBuf {
    inits::program().with_file_name("pipkin-hello")
}

/// The row with this label.
fn row<'a>(output: &'a str, label: &str) -> &'a str {
    let row = output.lines().find_map(|line| line.trim_start().strip_prefix(label));
    row.unwrap_or_else(|| panic!("no row {label:?} in {output}")).trim()
}

#[test]
fn it_says_where_it_is() {
    let started = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = started.split(' ').next().unwrap().parse().unwrap();
    let started = ((seconds - 0.02) * 1e9) as u64;
    let (code, output, errors) = hello().launch(&[], &[]).env("PIPKIN_STARTED", &started.to_string()).finish();
    assert_eq!((code, errors.as_str()), (0, ""));
    let micros: u64 = row(&output, "started in").split(' ').next().unwrap().parse().unwrap();
    assert!((1..60_000_000).contains(&micros), "{output}");
    assert!(row(&output, "process").contains("PID 1 is "), "{output}");
    assert_eq!(row(&output, "host name"), std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    assert_eq!(row(&output, "seccomp"), "off");
    assert!(!output.contains('\x1b'), "no colours in a pipe");
    for label in ["user ids", "group ids", "namespaces", "cgroup", "capabilities", "privileges"] {
        assert!(!row(&output, label).is_empty());
    }
}

#[test]
fn namespaces_are_compared_with_the_hosts() {
    if !is_root() {
        return;
    }
    let names = ["pid", "mnt", "net", "uts", "ipc", "user", "cgroup", "time"];
    let host: Vec<_> = names
        .iter()
        .map(|name| {
            let link = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            let inode: String = link.to_str().unwrap().chars().filter(char::is_ascii_digit).collect();
            format!("{name}={inode}")
        })
        .collect();
    let wrapper = Init { path: "/usr/bin/unshare".into(), ..hello() };
    let launch = wrapper
        .launch(&["--uts", "--ipc", "--net"], &[path().to_str().unwrap()])
        .env("PIPKIN_HOST_NAMESPACES", &host.join(","));
    let (_, output, _) = launch.finish();
    assert_eq!(row(&output, "namespaces"), "its own: ipc net uts; the host's: cgroup mnt pid time user");
    let (_, output, _) = hello().launch(&[], &[]).env("PIPKIN_HOST_NAMESPACES", &host.join(",")).finish();
    assert!(row(&output, "namespaces").starts_with("none of its own"), "{output}");
}

#[test]
fn ids_and_privileges() {
    if !is_root() {
        return;
    }
    let run = |wrapper: &str, options: &[&str]| {
        Init { path: wrapper.into(), ..hello() }.launch(options, &[path().to_str().unwrap()]).finish().1
    };
    let output = run("/usr/bin/unshare", &["--user", "--map-root-user"]);
    assert_eq!(row(&output, "user ids"), "0 here, 0 outside");
    assert_eq!(row(&output, "capabilities"), "all");
    let output = run("/usr/bin/setpriv", &["--bounding-set", "-all,+chown,+kill", "--no-new-privs", "--"]);
    assert_eq!(row(&output, "capabilities"), "chown kill");
    assert!(row(&output, "privileges").contains("can not be gained"));
    let output = run("/usr/bin/setpriv", &["--bounding-set=-all", "--"]);
    assert_eq!(row(&output, "capabilities"), "none");
}

#[test]
fn with_nothing_to_see() {
    if !is_root() {
        return;
    }
    let folder = PathBuf::from(format!("/tmp/init-hello-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    pipkin_harness::install(&path(), &folder.join("hello"));
    let wrapper = Init { path: "/usr/sbin/chroot".into(), ..hello() };
    let (code, output, _) = wrapper.launch(&[folder.to_str().unwrap()], &["/hello"]).finish();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(code, 0);
    for label in ["host name", "user ids", "namespaces", "cgroup", "capabilities", "seccomp"] {
        assert_eq!(row(&output, label), "not visible");
    }
    assert_eq!(row(&output, "limits"), "none is visible from here");
    assert!(!output.contains("started in"));
}

#[test]
fn colours_on_a_terminal() {
    let (mut terminal, peer) = Terminal::new();
    let mut running = hello().launch(&[], &[]).env("PIPKIN_STARTED", "x").on_terminal(peer).start();
    terminal.await_text("\x1b[1;32mHello from a container.\x1b[0m");
    assert_eq!(running.wait(), 0);
}

#[test]
fn it_is_small() {
    if path().components().any(|part| part.as_os_str() == "release") {
        assert!(std::fs::metadata(path()).unwrap().len() < 24 * 1024);
    }
}
