//! Bundles made offline: busybox, the probe, and a configuration that tests change field by field.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::host;
use crate::lab::{self, Lab};
use crate::program::{install, install_text};

/// A bundle directory and its configuration, which is written by [`Bundle::save`].
pub struct Bundle {
    path: PathBuf,
    /// `config.json`. Indexing with a missing name adds it: `bundle.config["process"]["cwd"] = json!("/tmp")`.
    pub config: Value,
}

/// The applets that the root file system links to busybox.
const APPLETS: &[&str] = &[
    "sh", "true", "false", "sleep", "cat", "ls", "echo", "env", "id", "kill", "mkdir", "rm", "touch", "mount",
    "umount", "stat", "test", "ps", "wc", "head", "grep", "chmod", "chown", "ln", "dd", "hostname", "httpd", "nc",
    "wget", "ip", "readlink", "tty", "stty", "mknod", "sync", "seq",
];

impl Bundle {
    pub(crate) fn new(lab: &Lab, name: &str) -> Self {
        let path = lab.path(name);
        make_rootfs(&path.join("rootfs"));
        let file = if lab.as_user().is_some() { "runc-spec-rootless.json" } else { "runc-spec-default.json" };
        let mut bundle = Self { path, config: configuration(file) };
        bundle.config["process"]["terminal"] = json!(false);
        bundle.args(["/bin/probe"]);
        if let Some(user) = lab.as_user() {
            bundle.config["linux"]["uidMappings"][0]["hostID"] = json!(user.uid);
            bundle.config["linux"]["gidMappings"][0]["hostID"] = json!(user.gid);
            lab::own(&bundle.path, user);
        }
        bundle
    }

    /// The bundle's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same as text, for command lines.
    pub fn path_text(&self) -> &str {
        self.path.to_str().expect("made of plain words")
    }

    /// A path in the root file system, as the host sees it.
    pub fn rootfs(&self, below: &str) -> PathBuf {
        self.path.join("rootfs").join(below.trim_start_matches('/'))
    }

    /// Sets what runs in the container.
    pub fn args<'a>(&mut self, args: impl IntoIterator<Item = &'a str>) {
        self.config["process"]["args"] = args.into_iter().collect();
    }

    /// Takes one of the configurations that real engines have written (`tests/data/configs`), and puts what it refers to (root
    /// file system, bind sources, namespaces to join) into this bundle's place. Hooks name processes of another machine: they go.
    ///
    /// The sources of file binds are made below the bundle; a namespace with a path becomes one of the container's own.
    pub fn engine_configuration(&mut self, file: &str) {
        let mut config = configuration(file);
        config["root"]["path"] = json!("rootfs");
        if let Some(object) = config.as_object_mut() {
            object.remove("hooks");
        }
        for namespace in config["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
            namespace.as_object_mut().expect("a namespace").remove("path");
        }
        let binds = self.path.join("binds");
        for (number, mount) in config["mounts"].as_array_mut().into_iter().flatten().enumerate() {
            let destination = mount["destination"].as_str().unwrap_or_default().to_owned();
            if mount["type"] == "bind" {
                let source = binds.join(number.to_string());
                make_bind_source(&source, &destination);
                mount["source"] = json!(source);
            }
        }
        self.config = config;
    }

    /// Drops limits for which this machine's layout has no controller, which the pure-v2 view of a hybrid machine hardly has.
    pub fn drop_limits_without_controller(&mut self) {
        for section in ["memory", "cpu", "pids"] {
            if !host::has_controller(section)
                && let Some(resources) = self.config["linux"]["resources"].as_object_mut()
            {
                resources.remove(section);
            }
        }
    }

    /// A mount of the configuration by its destination.
    ///
    /// # Panics
    /// When there is none.
    pub fn mount(&mut self, destination: &str) -> &mut Value {
        let mounts = self.config["mounts"].as_array_mut().expect("mounts");
        mounts.iter_mut().find(|mount| mount["destination"] == destination).expect("a mount of that destination")
    }

    /// Adds a mount at the end.
    pub fn add_mount(&mut self, destination: &str, kind: &str, source: impl AsRef<Path>, options: &[&str]) {
        let mount = json!({"destination": destination, "type": kind, "source": source.as_ref(), "options": options});
        self.config["mounts"].as_array_mut().expect("mounts").push(mount);
    }

    /// Removes the namespace of that type: the container shares the caller's.
    pub fn share_namespace(&mut self, kind: &str) {
        self.config["linux"]["namespaces"].as_array_mut().expect("namespaces").retain(|entry| entry["type"] != kind);
    }

    /// Adds a namespace, joined when there is a path.
    pub fn add_namespace(&mut self, kind: &str, path: Option<&str>) {
        self.share_namespace(kind);
        let entry = path.map_or_else(|| json!({"type": kind}), |path| json!({"type": kind, "path": path}));
        self.config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(entry);
    }

    /// Writes `config.json`.
    pub fn save(&self) {
        self.save_text(&serde_json::to_string_pretty(&self.config).expect("a value is JSON"));
    }

    /// Writes any text as `config.json`.
    pub fn save_text(&self, text: &str) {
        fs::write(self.path.join("config.json"), text).expect("write config.json");
    }
}

/// A file of `tests/data`.
pub fn data_file(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(below)
}

fn configuration(file: &str) -> Value {
    let path = data_file("configs").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Busybox with links for its applets, the probe as `/bin/probe`, and the directories that every image has.
pub(crate) fn make_rootfs(rootfs: &Path) {
    for directory in
        ["bin", "dev", "etc", "home", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr/bin", "var/tmp"]
    {
        fs::create_dir_all(rootfs.join(directory)).expect("make the root file system");
    }
    for directory in ["tmp", "var/tmp"] {
        fs::set_permissions(rootfs.join(directory), fs::Permissions::from_mode(0o1777)).expect("chmod");
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("busybox-static is installed");
    install(Path::new(busybox), &rootfs.join("bin/busybox"));
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("link an applet");
    }
    install(&lab::probe(), &rootfs.join("bin/probe"));
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home:/bin/sh\n")
        .expect("passwd");
    fs::write(rootfs.join("etc/group"), "root:x:0:\nnode:x:1000:\nextra:x:2000:node\n").expect("group");
}

fn make_bind_source(source: &Path, destination: &str) {
    let parent = source.parent().expect("below the bundle");
    fs::create_dir_all(parent).expect("make binds");
    match destination {
        "/dev/shm" | "/data" => fs::create_dir_all(source).expect("make a bind source"),
        // An engine's own init: something that can be executed and runs the rest of its command line.
        init if init.ends_with("-init") => {
            install_text(source, "#!/bin/sh\n[ \"$1\" = -- ] && shift\nexec \"$@\"\n");
        }
        "/etc/passwd" => fs::write(source, "root:x:0:0:root:/root:/bin/sh\n").expect("write a bind source"),
        _ => fs::write(source, format!("{destination}\n")).expect("write a bind source"),
    }
}
