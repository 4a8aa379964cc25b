//! Container engines that run their containers with the lab's runtime.

use std::path::Path;

use rustix::process::Signal;

use crate::image::Image;
use crate::lab::Lab;
use crate::program::{Program, Running, await_true};
use crate::{Enclosure, host};

/// podman or Docker behind an [`Enclosure`]'s walls, with a storage of its own that holds the busybox image as `t`.
///
/// When it goes away, so do its containers; when the test passed, the runtime must have left no state.
pub struct Engine {
    client: &'static str,
    /// What leads the client to this engine.
    words: Vec<String>,
    daemon: Option<Running>,
    enclosure: Enclosure,
}

impl Engine {
    /// podman, root's or the user's of the enclosure. `more` goes into its containers.conf(5), after what it needs here:
    /// limits below the machine's.
    pub fn podman(enclosure: Enclosure, more: &str) -> Self {
        let lab = enclosure.lab();
        let pids = if host::has_controller("pids") { "" } else { "pids_limit = 0" };
        let ulimits = r#"default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]"#;
        lab.file("containers.conf", format!("[containers]\n{ulimits}\n{pids}\n{more}\n"));
        lab.directory("podman");
        let path = |name: &str| lab.path(format!("podman/{name}")).display().to_string();
        let (root, runroot, tmp) = (path("root"), path("runroot"), path("tmp"));
        let runtime = lab.runtime_path().display().to_string();
        let words = ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--root", &root];
        let words = words.into_iter().chain(["--runroot", &runroot, "--tmpdir", &tmp, "--runtime", &runtime]);
        let words = words.map(str::to_owned).collect();
        Self { client: "podman", words, daemon: None, enclosure }.with_image("localhost/t:latest")
    }

    /// A Docker daemon, whose containers' inits are this program.
    pub fn docker(enclosure: Enclosure, init: &Path) -> Self {
        let lab = enclosure.lab();
        lab.directory("docker");
        let path = |name: &str| lab.path(format!("docker/{name}")).display().to_string();
        let host = format!("unix://{}", path("socket"));
        let daemon = enclosure
            .program("dockerd")
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--host", &host, "--add-runtime", &format!("tested={}", lab.runtime_path().display())])
            .args(["--default-runtime", "tested", "--exec-opt", "native.cgroupdriver=cgroupfs"])
            .args(["--cgroup-parent", &format!("/{}", lab.name()), "--userland-proxy=false", "--init-path"])
            .arg(init)
            .start();
        // The client that belongs to the daemon, not another that may come first on PATH.
        let client = if Path::new("/usr/bin/docker").is_file() { "/usr/bin/docker" } else { "docker" };
        let docker = Self { client, words: vec!["--host".into(), host], daemon: Some(daemon), enclosure };
        await_true("the daemon", || docker.command(&["version"]).run().code() == 0);
        docker.with_image("t:latest")
    }

    fn with_image(self, name: &str) -> Self {
        let archive = self.lab().file("image.tar", Image::busybox().docker_archive(name));
        self.run(&["load", "--quiet", "--input", &archive.display().to_string()]);
        self
    }

    /// The lab that it belongs to.
    pub fn lab(&self) -> &Lab {
        self.enclosure.lab()
    }

    /// The walls around it.
    pub fn enclosure(&self) -> &Enclosure {
        &self.enclosure
    }

    /// A command of its client.
    pub fn command(&self, args: &[&str]) -> Program {
        let configuration = self.lab().path("containers.conf");
        self.enclosure.program(self.client).env("CONTAINERS_CONF", configuration).args(&self.words).args(args)
    }

    /// A command that must work; its stdout without the last line break.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> String {
        self.command(args).run().ok().stdout().trim_end().to_owned()
    }

    /// A container's status and exit code, such as `exited 7`.
    #[track_caller]
    pub fn status(&self, name: &str) -> String {
        self.run(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name])
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            for id in self.command(&["ps", "--all", "--quiet"]).run().stdout().lines() {
                self.command(&["rm", "--force", id]).run();
            }
            daemon.signal(Signal::TERM);
            daemon.wait();
        } else {
            self.command(&["pod", "rm", "--all", "--force", "--time", "0"]).run();
            self.command(&["rm", "--all", "--force", "--time", "0"]).run();
        }
        if self.client == "podman" && self.lab().as_user().is_some() {
            // Ends the process that holds podman's user namespace.
            self.command(&["system", "migrate"]).run();
        }
        self.enclosure.remove_cgroups(&["conmon", self.lab().name()]);
        if !std::thread::panicking() {
            assert_eq!(self.enclosure.states_left(), "");
        }
    }
}
