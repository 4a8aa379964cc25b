//! Node, for real: what signals, shells, npm and orphans do to a server in a container, with `pipkin-init` in front and without.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pipkin_harness::{Bundle, Lab, Program, Running, host, install_text};
use rustix::process::Signal;
use serde_json::json;

/// The root file system that the example's script makes from this machine's node, made once.
fn tree() -> Option<&'static Path> {
    static TREE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let tree = TREE.get_or_init(|| {
        if host::which("node").is_none() || host::which("npm").is_none() {
            return None;
        }
        let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-tree");
        let _ = std::fs::remove_dir_all(&tree);
        Program::new(example("build-image.sh")).arg("--tree").arg(&tree).run().ok();
        Some(tree)
    });
    if tree.is_none() {
        pipkin_harness::skipped("node and npm are not installed");
    }
    tree.as_deref()
}

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/node").join(file)
}

/// A bundle of the example; `init` puts pipkin-init, with these options, in front of the command.
fn bundle(lab: &Lab, tree: &Path, init: Option<&[&str]>, command: &[&str]) -> Bundle {
    let mut bundle = lab.bundle();
    std::fs::remove_dir_all(bundle.rootfs("")).unwrap();
    bundle.config["root"] = json!({"path": tree, "readonly": true});
    bundle.config["process"]["cwd"] = json!("/app");
    bundle.config["process"]["env"].as_array_mut().unwrap().extend([json!("PORT=0"), json!("HOME=/tmp")]);
    bundle.config["process"]["rlimits"] = json!([]);
    // The tests speak to the server over the host's loopback.
    bundle.share_namespace("network");
    bundle.add_mount("/tmp", "tmpfs", "tmpfs", &["mode=1777"]);
    let mut args = command.to_vec();
    if let Some(options) = init {
        bundle.add_mount("/dev/init", "bind", lab.product_path("pipkin-init"), &["bind", "ro"]);
        args.splice(0..0, ["/dev/init"].into_iter().chain(options.iter().copied()).chain(["--"]));
    }
    bundle.args(args);
    bundle.save();
    bundle
}

/// A server in a container that runs in the foreground.
struct Server<'lab> {
    lab: &'lab Lab,
    id: String,
    running: Running,
    address: SocketAddr,
}

impl<'lab> Server<'lab> {
    fn start(lab: &'lab Lab, bundle: &Bundle) -> Self {
        let id = lab.id();
        let mut running = lab.runtime(["run", "--bundle", bundle.path_text(), &id]).start();
        let said = running.hear("listening on ");
        let port = said.rsplit_once("listening on ").unwrap().1.to_owned();
        let port = if port.ends_with('\n') {
            port
        } else {
            running.hear("\n").rsplit_once("listening on ").unwrap().1.to_owned()
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap()));
        Self { lab, id, running, address }
    }

    fn kill(&self, signal: &str) {
        self.lab.runtime(["kill", &self.id, signal]).run().ok();
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        answer(stream)
    }

    /// Begins a request that is in flight until [`Upload::finish`].
    fn upload(&mut self) -> Upload {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head = "POST /count HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10\r\n\r\n";
        write!(stream, "{head}12345").unwrap();
        self.running.hear("upload begun");
        Upload(stream)
    }

    fn refuses_connections(&self) -> bool {
        TcpStream::connect(self.address).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    }
}

struct Upload(TcpStream);

impl Upload {
    fn finish(mut self) -> String {
        self.0.write_all(b"67890").unwrap();
        answer(self.0)
    }
}

fn answer(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(pipkin_harness::DEADLINE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A request is in flight when SIGTERM arrives: it gets its 200, new ones are refused, and the container ends with the code.
#[track_caller]
fn stops_gracefully(init: Option<&[&str]>, command: &[&str], code: i32) {
    let Some(lab) = Lab::root() else { return };
    let Some(tree) = tree() else { return };
    let mut server = Server::start(&lab, &bundle(&lab, tree, init, command));
    assert!(server.get("/").contains("hello from pid"));
    let upload = server.upload();
    server.kill("TERM");
    server.running.hear("stopping");
    assert!(server.refuses_connections());
    let answer = upload.finish();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("10\n"), "{answer}");
    server.running.hear("stopped");
    server.running.wait().exits(code);
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_server_under_init_finishes_the_request_in_flight() {
    stops_gracefully(Some(&[]), &["node", "server.js"], 0);
}

#[test]
fn a_server_that_handles_signals_can_be_pid_1_itself() {
    stops_gracefully(None, &["node", "server.js"], 0);
}

/// npm passes the signal on. Without `--once` node would have it twice, the second time perhaps when it is about to exit and has no
/// handler any more.
#[test]
fn npm_start_under_init_finishes_the_request_in_flight() {
    stops_gracefully(Some(&["--once"]), &["npm", "start", "--no-update-notifier"], 0);
}

#[test]
fn npm_start_as_pid_1_passes_the_signal_on_as_well() {
    stops_gracefully(None, &["npm", "start", "--no-update-notifier"], 0);
}

#[test]
fn a_shell_as_pid_1_passes_nothing_on() {
    let Some(lab) = Lab::root() else { return };
    let Some(tree) = tree() else { return };
    let server = Server::start(&lab, &bundle(&lab, tree, None, &["sh", "-c", "node server.js; true"]));
    server.kill("TERM");
    assert!(server.get("/").contains("hello from pid"));
    server.kill("KILL");
    server.running.wait().exits(137);
}

/// The shell has no handler and dies of the signal at once; init waits for node, which is still answering.
#[test]
fn a_shell_in_between_does_not_cut_the_request_short() {
    stops_gracefully(Some(&[]), &["sh", "-c", "node server.js; true"], 143);
}

/// The same stop through `SIGINT`, as Ctrl-C sends it, forwarded by the foreground command.
#[test]
fn ctrl_c_on_the_foreground_command_stops_it_too() {
    let Some(lab) = Lab::root() else { return };
    let Some(tree) = tree() else { return };
    let mut server = Server::start(&lab, &bundle(&lab, tree, Some(&[]), &["node", "server.js"]));
    server.running.signal(Signal::INT);
    server.running.hear("SIGINT: stopping");
    server.running.wait().exits(0);
}

const NO_HANDLER: &str = "require('http').createServer((q, r) => r.end('alive')).listen(0, function () { console.log(`listening on ${this.address().port}`) })";

#[test]
fn without_a_handler_and_without_init_the_signal_is_ignored() {
    let Some(lab) = Lab::root() else { return };
    let Some(tree) = tree() else { return };
    let server = Server::start(&lab, &bundle(&lab, tree, None, &["node", "-e", NO_HANDLER]));
    server.kill("TERM");
    assert!(server.get("/").ends_with("alive"));
    server.kill("KILL");
    server.running.wait().exits(137);
}

#[test]
fn without_a_handler_but_with_init_the_signal_ends_it() {
    let Some(lab) = Lab::root() else { return };
    let Some(tree) = tree() else { return };
    let server = Server::start(&lab, &bundle(&lab, tree, Some(&[]), &["node", "-e", NO_HANDLER]));
    server.kill("TERM");
    server.running.wait().exits(143);
}

/// Starts a hundred processes whose parents end before them, waits until all have ended (they hold a pipe), and tells how many
/// zombies of them PID 1 has left after a while.
const ORPHANS: &str = r"
const { spawn } = require('child_process');
const { readdirSync, readFileSync } = require('fs');
const zombies = () => readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter((pid) => {
  try { return / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')); } catch { return false; }
}).length;
let left = 100;
for (let n = 0; n < 100; n++) {
  const child = spawn('sh', ['-c', 'sleep 0.1 &'], { stdio: ['ignore', 'pipe', 'ignore'] });
  child.stdout.resume();
  child.on('close', () => { if (--left === 0) settle(0); });
}
function settle(round) {
  const count = zombies();
  if (count === 0 || round === 100) return console.log(`zombies: ${count}`);
  setTimeout(settle, 20, round + 1);
}";

#[test]
fn a_hundred_orphans_leave_no_zombie_under_init() {
    let Some(lab) = Lab::root() else { return };
    let Some(tree) = tree() else { return };
    let with_init = lab.run(&bundle(&lab, tree, Some(&[]), &["node", "-e", ORPHANS])).ok();
    assert_eq!(with_init.stdout(), "zombies: 0\n");
    // What init is for: node as PID 1 reaps only what it has started itself.
    let without = lab.run(&bundle(&lab, tree, None, &["node", "-e", ORPHANS])).ok();
    assert_eq!(without.stdout(), "zombies: 100\n");
}

/// The way of the guide: image, `pipkin run --init`, Ctrl-C.
#[test]
fn the_guides_commands_do_what_it_says() {
    let Some(lab) = Lab::root() else { return };
    if host::which("node").is_none() || host::which("npm").is_none() {
        return pipkin_harness::skipped("node and npm are not installed");
    }
    let store = lab.path("store");
    let wrapper = lab.path("pipkin-here");
    let (program, store) = (lab.product_path("pipkin"), store.display());
    install_text(&wrapper, format!("#!/bin/sh\nexec {} --root {store} \"$@\"\n", program.display()));
    lab.program(example("build-image.sh")).env("PIPKIN", &wrapper).run().ok();
    let mut running = lab.program(&wrapper).args(["run", "--rm", "--init", "-e", "PORT=0", "node-example"]).start();
    running.hear("listening on ");
    running.signal(Signal::TERM);
    running.hear("SIGTERM: stopping");
    running.hear("stopped");
    running.wait().exits(0);
}
