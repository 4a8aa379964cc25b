//! `checkpoint` and `restore`, by CRIU, where there is one that works on the kernel.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pipkin_harness::{Bundle, COUNTING, ConsoleSocket, Lab, Program, adopt, await_true, host, install_text, skipped};
use serde_json::{Value, json};

/// A container that counts, and so shows that it goes on where it was. The figure is there at every moment, also for a dump.
fn counting(lab: &Lab) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = json!(false);
    bundle.args(["/bin/sh", "-c", COUNTING]);
    bundle.share_namespace("network");
    bundle.save();
    bundle
}

fn count(bundle: &Bundle) -> u64 {
    fs::read_to_string(bundle.rootfs("/tmp/count")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The lab, when there is a CRIU that works and can do that, as `criu check` calls it; otherwise a SKIPPED line.
fn lab_with_criu(feature: Option<&str>) -> Option<Lab> {
    let lab = Lab::root()?;
    let check = |words: &[&str]| {
        host::which("criu").is_some_and(|criu| Program::new(criu).arg("check").args(words).run().code() == 0)
    };
    // It takes a second in the emulated machine, and is the same for all tests.
    static WORKS: OnceLock<bool> = OnceLock::new();
    let fit = *WORKS.get_or_init(|| check(&[])) && feature.is_none_or(|feature| check(&["--feature", feature]));
    if !fit {
        let what = feature.map_or(String::new(), |feature| format!(" and has {feature}"));
        skipped(&format!("no criu that works on this kernel{what}"));
        return None;
    }
    Some(lab)
}

/// A container that is written to images and made from them again.
struct Traveller<'a> {
    lab: &'a Lab,
    bundle: &'a Bundle,
    id: String,
    images: PathBuf,
}

impl<'a> Traveller<'a> {
    /// Runs it, detached.
    fn run(lab: &'a Lab, bundle: &'a Bundle, options: &[&str]) -> Self {
        bundle.save();
        let traveller = Self { lab, bundle, id: lab.id(), images: lab.path("images") };
        let words = ["run", "--detach", "--bundle", bundle.path_text()].into_iter();
        lab.runtime(words.chain(options.iter().copied()).chain([traveller.id.as_str()])).run().ok();
        traveller
    }

    fn checkpoint(&self, images: &Path, options: &[&str]) -> Program {
        let words = ["checkpoint", "--image-path", images.to_str().unwrap()].into_iter();
        self.lab.runtime(words.chain(options.iter().copied()).chain([self.id.as_str()]))
    }

    fn restore(&self, options: &[&str]) -> Program {
        let images = self.images.to_str().unwrap();
        let words = ["restore", "--image-path", images, "--bundle", self.bundle.path_text()].into_iter();
        self.lab.runtime(words.chain(options.iter().copied()).chain([self.id.as_str()]))
    }

    /// Restores it, detached; its process's number.
    fn restore_detached(&self, options: &[&str]) -> i32 {
        let file = self.lab.path("restored.pid");
        let detach = ["--detach", "--pid-file", file.to_str().unwrap()];
        self.restore(&[&detach[..], options].concat()).run().ok();
        let pid = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        adopt(pid);
        pid
    }

    fn state(&self) -> Value {
        let text = self.lab.runtime(["state", &self.id]).run().ok().stdout();
        serde_json::from_str(&text).unwrap()
    }

    fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    fn exec(&self, args: &[&str]) -> String {
        self.lab.runtime(["exec", self.id.as_str()].into_iter().chain(args.iter().copied())).run().ok().stdout()
    }

    fn delete(self) {
        self.lab.runtime(["delete", "--force", &self.id]).run().ok();
        assert!(self.bundle.rootfs("/bin/busybox").exists(), "the root file system is not the runtime's to remove");
        assert_eq!(self.lab.leaks(), "");
    }
}

#[test]
fn without_criu_nothing_happens_and_the_error_says_so() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let bundle = counting(&lab);
    let container = lab.create(&bundle);
    let images = lab.path("images");
    let images = images.to_str().unwrap();
    let criu = lab.path("no-criu");
    let with =
        |words: &[&str]| lab.runtime(["--criu", criu.to_str().unwrap()].into_iter().chain(words.iter().copied())).run();
    with(&["checkpoint", "--image-path", images, container.id()])
        .fails(1, &["Container cannot be checkpointed in created state"]);
    container.start();
    with(&["checkpoint", "--image-path", images, container.id()]).fails(1, &["no-criu", "no such file", "--criu"]);
    assert_eq!(container.status(), "running");
    for bad in [
        &["checkpoint", "--manage-cgroups-mode", "hard", container.id()][..],
        &["checkpoint", "--page-server", "nowhere", container.id()],
        &["checkpoint", "--empty-ns", "user", container.id()],
        &["checkpoint", "--status-fd", "5", container.id()],
        &["checkpoint", "nobody"],
        &["restore", "--no-pivot", "nobody"],
        &["restore", "--image-path", "/no/such/images", "--bundle", bundle.path_text(), "nobody"],
    ] {
        with(bad).exits(1);
    }
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

/// What a CRIU does that is too old for the kernel: it ends before it listens, and its check says why.
#[test]
fn a_criu_that_does_not_fit_says_why() {
    let Some(lab) = Lab::root() else { return };
    if lab.is_peer() {
        return;
    }
    let criu = lab.path("criu");
    install_text(&criu, "#!/bin/sh\n[ $1 = check ] && echo 'Error (criu/vdso.c:1): vdso: unexpected' >&2\nexit 1\n");
    let criu = criu.to_str().unwrap();
    let bundle = counting(&lab);
    let container = lab.create(&bundle);
    container.start();
    let images = lab.directory("images");
    let words = ["--criu", criu, "checkpoint", "--image-path", images.to_str().unwrap(), container.id()];
    let texts = ["does not work on this kernel", "vdso: unexpected"];
    let finished = lab.runtime(words).run().fails(1, &texts);
    assert_eq!(finished.stderr().trim_end().lines().count(), 1, "{}", finished.all());
    assert_eq!(container.status(), "running");
    let id = lab.id();
    let words =
        ["--criu", criu, "restore", "--image-path", images.to_str().unwrap(), "--bundle", bundle.path_text(), &id];
    lab.runtime(words).run().fails(1, &texts);
    lab.runtime(["state", &id]).run().fails(1, &["does not exist"]);
    assert!(bundle.rootfs("/bin/busybox").exists());
    container.delete_force();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_container_goes_on_where_it_was() {
    let Some(lab) = lab_with_criu(None) else { return };
    let mut bundle = counting(&lab);
    bundle.args(["/bin/sh", "-c", &format!("echo >> /tmp/begun; {COUNTING}")]);
    let container = Traveller::run(&lab, &bundle, &[]);
    await_true("it counts", || count(&bundle) > 5);

    container.checkpoint(&lab.path("first"), &["--leave-running"]).run().ok();
    let before = count(&bundle);
    await_true("it goes on counting", || count(&bundle) > before);
    assert_eq!(container.status(), "running");

    let work = lab.path("work");
    container.checkpoint(&container.images, &["--work-path", work.to_str().unwrap()]).run().ok();
    assert!(work.join("dump.log").exists() && !container.images.join("dump.log").exists());
    lab.runtime(["state", &container.id]).run().fails(1, &["does not exist"]);
    let before = count(&bundle);
    assert!(before > 5);

    let pid = container.restore_detached(&[]);
    await_true("it goes on counting after the restore", || count(&bundle) > before);
    assert_eq!(container.status(), "running");
    assert_eq!(container.state()["pid"], pid);
    container.exec(&["/bin/true"]);
    container.restore(&["--detach"]).run().fails(1, &["exists"]);
    // It is a container like any other: written again, paused, and from the same images once more.
    container.checkpoint(&lab.path("again"), &["--leave-running"]).run().ok();
    lab.runtime(["pause", &container.id]).run().ok();
    assert_eq!(container.status(), "paused");
    container.checkpoint(&lab.path("paused"), &[]).run().fails(1, &["in paused state", "resume"]);
    assert_eq!(container.status(), "paused");
    lab.runtime(["resume", &container.id]).run().ok();
    let before = count(&bundle);
    await_true("it goes on counting", || count(&bundle) > before);
    lab.runtime(["delete", "--force", &container.id]).run().ok();
    fs::remove_file(bundle.rootfs("/tmp/count")).unwrap();
    container.restore_detached(&[]);
    await_true("it counts on from the images", || count(&bundle) > 5);
    let begun = fs::read_to_string(bundle.rootfs("/tmp/begun")).unwrap();
    assert_eq!(begun, "\n", "the program began once, and went on ever since");
    container.delete();
}

#[test]
fn a_restore_in_the_foreground_ends_with_the_programs_code() {
    let Some(lab) = lab_with_criu(None) else { return };
    let mut bundle = counting(&lab);
    bundle.args(["/bin/sh", "-c", "echo 1 > /tmp/count; until [ -e /tmp/go ]; do sleep 0.01; done; exit 7"]);
    let container = Traveller::run(&lab, &bundle, &[]);
    await_true("it runs", || count(&bundle) == 1);
    container.checkpoint(&container.images, &[]).run().ok();
    let restored = container.restore(&[]).start();
    let is_running = || lab.runtime(["state", &container.id]).run().stdout().contains("\"running\"");
    await_true("it runs", is_running);
    fs::write(bundle.rootfs("/tmp/go"), "").unwrap();
    restored.wait().exits(7);
    lab.runtime(["state", &container.id]).run().fails(1, &["does not exist"]);
    fs::remove_file(bundle.rootfs("/tmp/go")).unwrap();

    // A signal for the command is one for the program.
    let restored = container.restore(&[]).start();
    await_true("it runs", is_running);
    let pid = container.state()["pid"].as_i64().unwrap() as i32;
    restored.signal(rustix::process::Signal::KILL);
    restored.wait();
    adopt(pid);
    assert_eq!(container.status(), "running", "whoever waited for it is gone");
    container.delete();
}

/// Images that are not whole: nothing of the container is left, and nothing of its files is lost.
#[test]
fn a_failed_restore_leaves_the_files_alone() {
    let Some(lab) = lab_with_criu(None) else { return };
    let bundle = counting(&lab);
    let container = Traveller::run(&lab, &bundle, &[]);
    await_true("it counts", || count(&bundle) > 5);
    container.checkpoint(&container.images, &[]).run().ok();
    let (pages, elsewhere) = (container.images.join("pages-1.img"), lab.path("pages-1.img"));
    fs::rename(&pages, &elsewhere).unwrap();
    for options in [&["--detach"][..], &[]] {
        let log = container.images.join("restore.log");
        container.restore(options).run().fails(1, &["criu failed: type RESTORE", log.to_str().unwrap(), "Error ("]);
        lab.runtime(["state", &container.id]).run().fails(1, &["does not exist"]);
        assert!(bundle.rootfs("/bin/busybox").exists());
        assert_eq!(lab.leaks(), "");
    }
    fs::rename(&elsewhere, &pages).unwrap();
    container.restore_detached(&[]);
    container.delete();
}

/// A file of the host on a standard descriptor is none of the container's: CRIU refuses it, and the container goes on, as if
/// nobody had asked.
#[test]
fn a_failed_checkpoint_leaves_the_container_running() {
    let Some(lab) = lab_with_criu(None) else { return };
    let bundle = counting(&lab);
    bundle.save();
    let container = Traveller { lab: &lab, bundle: &bundle, id: lab.id(), images: lab.path("images") };
    let input = fs::File::open(lab.file("input", "")).unwrap();
    lab.runtime(["run", "--detach", "--bundle", bundle.path_text(), &container.id]).stdin(input).run().ok();
    await_true("it counts", || count(&bundle) > 5);
    let log = container.images.join("dump.log");
    let refused = container.checkpoint(&container.images, &[]).run();
    refused.fails(1, &["criu failed: type DUMP", log.to_str().unwrap(), "for fd=0"]);
    assert_eq!(container.status(), "running");
    let before = count(&bundle);
    await_true("it goes on counting", || count(&bundle) > before);
    container.delete();
}

#[test]
fn memory_is_written_ahead() {
    let Some(lab) = lab_with_criu(Some("mem_dirty_track")) else { return };
    let bundle = counting(&lab);
    let container = Traveller::run(&lab, &bundle, &[]);
    await_true("it counts", || count(&bundle) > 5);
    let directory = lab.directory("ahead");
    container.checkpoint(&directory.join("1"), &["--pre-dump"]).run().ok();
    assert_eq!(container.status(), "running");
    container.checkpoint(&directory.join("2"), &["--pre-dump", "--parent-path", "../1"]).run().ok();
    let before = count(&bundle);
    await_true("it goes on counting", || count(&bundle) > before);
    let container = Traveller { images: directory.join("3"), ..container };
    container.checkpoint(&container.images, &["--parent-path", "../2"]).run().ok();
    assert_eq!(fs::read_link(container.images.join("parent")).unwrap(), Path::new("../2"));
    let before = count(&bundle);
    container.restore_detached(&[]);
    await_true("it goes on counting", || count(&bundle) > before);
    container.delete();
}

#[test]
fn a_terminal_is_restored() {
    let Some(lab) = lab_with_criu(None) else { return };
    let mut bundle = counting(&lab);
    bundle.config["process"]["terminal"] = json!(true);
    bundle.args(["/bin/sh", "-c", "n=0; while read line; do n=$((n+1)); echo \"$n:$line\"; done"]);
    let socket = ConsoleSocket::new(&lab);
    let container = Traveller::run(&lab, &bundle, &["--console-socket", socket.path_text()]);
    let mut terminal = socket.receive();
    terminal.say("first\n");
    terminal.hear("1:first");
    container.checkpoint(&container.images, &[]).run().ok();
    drop(terminal);
    container.restore_detached(&["--console-socket", socket.path_text()]);
    let mut terminal = socket.receive();
    terminal.say("second\n");
    terminal.hear("2:second");
    container.delete();
}

/// Bind mounts come from the host again, a tmpfs from the images, masks and limits from the configuration; hooks hear of it.
#[test]
fn mounts_limits_and_hooks_of_a_restored_container() {
    let Some(lab) = lab_with_criu(None) else { return };
    let mut bundle = counting(&lab);
    let shared = lab.directory("shared");
    bundle.add_mount("/srv", "bind", &shared, &["bind", "rw"]);
    bundle.add_mount("/run", "tmpfs", "tmpfs", &["nosuid", "mode=755"]);
    let masked = bundle.rootfs("/etc/secret");
    fs::write(&masked, "secret").unwrap();
    bundle.config["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/etc/secret"));
    bundle.add_namespace("cgroup", None);
    let said = lab.path("hook");
    let script = format!("cat >> {0}; echo >> {0}", said.display());
    bundle.config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    let limited = host::has_controller("pids");
    if limited {
        bundle.config["linux"]["resources"]["pids"] = json!({"limit": 77});
    }
    let container = Traveller::run(&lab, &bundle, &[]);
    await_true("it counts", || count(&bundle) > 5);
    container.exec(&["/bin/sh", "-c", "echo kept > /run/kept; echo shared > /srv/shared"]);
    container.checkpoint(&container.images, &[]).run().ok();
    fs::write(shared.join("shared"), "changed").unwrap();
    fs::remove_file(&said).unwrap();

    let pid = container.restore_detached(&[]);
    let look = "cat /run/kept /srv/shared /etc/secret; [ -d /srv ] && : > /proc/sysrq-trigger";
    let seen = lab.runtime(["exec", &container.id, "/bin/sh", "-c", look]).run();
    assert!(seen.code() != 0 && seen.stdout() == "kept\nchanged", "{}", seen.all());
    assert!(fs::read_to_string(&said).unwrap().contains(&format!("\"pid\":{pid}")), "the hook was told");
    if limited {
        let directory = host::cgroup_directory(pid, "pids").unwrap();
        assert!(directory.to_string_lossy().contains(&container.id), "{}", directory.display());
        assert_eq!(fs::read_to_string(directory.join("pids.max")).unwrap().trim(), "77");
    }
    container.delete();
}

#[test]
fn a_container_with_its_own_users_is_restored() {
    let Some(lab) = lab_with_criu(None) else { return };
    let mut bundle = counting(&lab);
    bundle.add_namespace("user", None);
    // A sysfs is for who owns the network namespace.
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/sys"));
    // The test's own files are root's, who is nobody there.
    let script = bundle.config["process"]["args"][2].as_str().unwrap();
    bundle.config["process"]["args"][2] = json!(format!("exec > /dev/null 2>&1; {script}"));
    for kind in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][kind] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    }
    fs::write(bundle.rootfs("/tmp/count"), "0").unwrap();
    std::os::unix::fs::chown(bundle.rootfs("/tmp/count"), Some(100_000), Some(100_000)).unwrap();
    let container = Traveller::run(&lab, &bundle, &[]);
    await_true("it counts", || count(&bundle) > 5);
    container.checkpoint(&container.images, &[]).run().ok();
    // CRIU looks for files of images as the container's root: it must be able to see that they are not there.
    container.restore(&["--detach"]).run().fails(1, &["criu failed", "chmod o+x"]);
    assert_eq!(lab.leaks(), "");
    fs::set_permissions(&container.images, fs::Permissions::from_mode(0o711)).unwrap();
    let before = count(&bundle);
    let pid = container.restore_detached(&[]);
    await_true("it goes on counting", || count(&bundle) > before);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t100000\t"), "{status}");
    container.delete();
}

/// CRIU calls the programs of iproute2 and iptables for it.
#[test]
fn a_container_with_its_own_network_is_restored() {
    let Some(lab) = lab_with_criu(None) else { return };
    let mut bundle = counting(&lab);
    bundle.add_namespace("network", None);
    let container = Traveller::run(&lab, &bundle, &[]);
    await_true("it counts", || count(&bundle) > 5);
    let add = ["exec", "--cap", "CAP_NET_ADMIN", &container.id, "ip", "address", "add", "10.11.12.13/24", "dev", "lo"];
    lab.runtime(add).run().ok();
    container.checkpoint(&container.images, &[]).run().ok();
    container.restore_detached(&[]);
    let addresses = container.exec(&["/bin/ip", "address", "show", "dev", "lo"]);
    assert!(addresses.contains("10.11.12.13/24"), "{addresses}");
    container.delete();
}
