//! Node under `pipkin-init` as PID 1, the ways people start it: alone, behind a shell, behind npm.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod init_support;

use std::path::PathBuf;

use init_support::{Init, Launch, await_true, is_root};

/// Handles the first TERM, which takes a while; a second one would end it, as it ends most servers.
const SERVER: &str = "
process.once('SIGTERM', () => {
  console.log('handling');
  setTimeout(() => { console.log('handled'); process.exit(0); }, 400);
});
setInterval(() => {}, 1000);
console.log('ready');
";
const WITHOUT_HANDLER: &str = "setInterval(() => {}, 1000); console.log('ready');";
const CLUSTER: &str = "
const cluster = require('node:cluster');
if (cluster.isPrimary) {
  let left = 2;
  cluster.on('message', () => { if (--left === 0) console.log('ready'); });
  process.once('SIGTERM', () => {});
  cluster.on('exit', () => { if (Object.keys(cluster.workers).length === 0) { console.log('all handled'); process.exit(0); } });
  cluster.fork(); cluster.fork();
} else {
  process.once('SIGTERM', () => setTimeout(() => process.exit(0), 300));
  setInterval(() => {}, 1000);
  process.send('up');
}
";
/// Starts what starts a daemon and ends.
const DAEMONS: &str = "
const { spawn } = require('node:child_process');
let left = 20;
for (let i = 0; i < 20; i++) {
  spawn('sh', ['-c', '(sleep 0.1 &)']).on('exit', () => { if (--left === 0) console.log('ready'); });
}
setInterval(() => {}, 1000);
";

/// A package in a folder, which is gone afterwards.
struct Package(PathBuf);

impl Package {
    /// `None`, and said so, where node or npm is missing, or this is not root.
    fn new(name: &str, start: &str, program: &str) -> Option<Self> {
        let there =
            |tool: &str| std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|it| it.join(tool).exists());
        if !there("node") || !there("npm") || !there("busybox") {
            pipkin_harness::skipped("node, npm or busybox is not installed");
            return None;
        }
        if !is_root() {
            return None;
        }
        let folder = PathBuf::from(format!("/tmp/init-node-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("app.js"), program).unwrap();
        let package = format!(r#"{{"name": "app", "version": "1.0.0", "scripts": {{"start": "{start}"}}}}"#);
        std::fs::write(folder.join("package.json"), package).unwrap();
        // busybox as a shell, which executes the last command in its own place.
        std::os::unix::fs::symlink("/bin/busybox", folder.join("busybox-sh")).ok();
        pipkin_harness::install_text(&folder.join("shell"), "#!/bin/busybox sh\nexec /bin/busybox sh \"$@\"\n");
        Some(Self(folder))
    }

    /// `pipkin-init OPTIONS -- COMMAND` as PID 1, in this folder.
    fn launch(&self, options: &[&str], command: &[&str]) -> Launch {
        let mut options = options.to_vec();
        options.push("--");
        Init::pipkin()
            .launch(&options, command)
            .env("HOME", self.0.to_str().unwrap())
            .env("npm_config_update_notifier", "false")
            .in_the_place_of_pid1()
            .directory(&self.0)
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts `command`, sends TERM when the server is ready, and wants its handler to finish, each of `times` times.
fn handler_finishes(package: &Package, options: &[&str], command: &[&str], times: usize, code: Option<i32>) {
    for _ in 0..times {
        let mut running = package.launch(options, command).start();
        running.await_line("ready");
        running.signal(libc::SIGTERM);
        running.await_line("handling");
        running.await_line("handled");
        let actual = running.wait();
        assert!(code.is_none_or(|code| code == actual), "{command:?}: {actual}");
    }
}

#[test]
fn node_alone() {
    let Some(package) = Package::new("alone", "", SERVER) else { return };
    handler_finishes(&package, &[], &["node", "app.js"], 1, Some(0));
}

#[test]
fn node_without_a_handler_ends_with_143() {
    let Some(package) = Package::new("plain", "", WITHOUT_HANDLER) else { return };
    let mut running = package.launch(&[], &["node", "app.js"]).start();
    running.await_line("ready");
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), 143);
}

#[test]
fn node_behind_a_shell() {
    let Some(package) = Package::new("shell", "", SERVER) else { return };
    for shell in ["dash", "bash", "./shell"] {
        handler_finishes(&package, &[], &[shell, "-c", "node app.js; true"], 5, Some(143));
    }
    handler_finishes(&package, &[], &["./shell", "-c", "node app.js"], 1, Some(0));
    handler_finishes(&package, &["--once"], &["dash", "-c", "node app.js; true"], 2, Some(143));
}

#[test]
fn npm_start() {
    let Some(package) = Package::new("npm", "node app.js", SERVER) else { return };
    handler_finishes(&package, &["--once"], &["npm", "start", "--silent"], 2, None);
    handler_finishes(&package, &[], &["npm", "start", "--silent"], 2, None);
    // Here npm's own child is node, which npm tells again.
    handler_finishes(&package, &["--once"], &["npm", "start", "--silent", "--script-shell", "./shell"], 2, None);
}

/// yarn and pnpm, put by npm into a folder of the build; `None`, and said so, where it can not get them.
fn other_package_managers() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("package-managers");
    let bin = folder.join("node_modules/.bin");
    let are_there = || ["yarn", "pnpm"].iter().all(|name| bin.join(name).exists());
    if !are_there() {
        let mut npm = std::process::Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=30000", "--prefix"]);
        npm.arg(&folder).args(["yarn@1.22.22", "pnpm@9.15.9"]);
        let output = npm.output();
        if !are_there() {
            pipkin_harness::skipped(&format!("npm can not install yarn and pnpm: {output:?}"));
            return None;
        }
    }
    Some(bin)
}

#[test]
fn yarn_and_pnpm_start() {
    let Some(package) = Package::new("managers", "node app.js", SERVER) else { return };
    let Some(bin) = other_package_managers() else { return };
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for (options, command) in [
        (&[][..], &["yarn", "--silent", "start"][..]),
        (&["--once"], &["yarn", "--silent", "start"]),
        (&[], &["pnpm", "--silent", "start"]),
        (&["--once"], &["pnpm", "--silent", "start"]),
        (&[], &["dash", "-c", "yarn --silent start; true"]),
        (&["--once"], &["dash", "-c", "pnpm --silent start; true"]),
    ] {
        let mut running = package.launch(options, command).env("PATH", &path).start();
        running.await_line("ready");
        running.signal(libc::SIGTERM);
        running.await_line("handling");
        running.await_line("handled");
        running.wait();
    }
}

#[test]
fn a_cluster() {
    let Some(package) = Package::new("cluster", "", CLUSTER) else { return };
    let mut running = package.launch(&[], &["node", "app.js"]).start();
    running.await_line("ready");
    running.signal(libc::SIGTERM);
    running.await_line("all handled");
    assert_eq!(running.wait(), 0);
}

#[test]
fn daemons_leave_no_zombies() {
    let Some(package) = Package::new("daemons", "", DAEMONS) else { return };
    let mut running = package.launch(&[], &["node", "app.js"]).start();
    running.await_line("ready");
    await_true("the daemons have come and gone", || running.processes().len() == 2 + 1 && running.zombies() == 0);
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait(), 143);
}
