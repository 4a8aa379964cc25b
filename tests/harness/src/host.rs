//! What the machine under the tests is like.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// How cgroups look from here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum View {
    /// v1 controllers, with or without a v2 hierarchy beside them.
    Hybrid,
    /// One v2 hierarchy, nothing else.
    V2,
}

/// The cgroup layout that the test runs on, read from the kernel.
///
/// # Panics
/// When `PIPKIN_TEST_VIEW` says something else: then the suite would test the wrong thing.
pub fn view() -> View {
    static VIEW: OnceLock<View> = OnceLock::new();
    *VIEW.get_or_init(|| {
        let found = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { View::V2 } else { View::Hybrid };
        match std::env::var("PIPKIN_TEST_VIEW").as_deref() {
            Ok("v2") => assert_eq!(found, View::V2, "PIPKIN_TEST_VIEW"),
            Ok("hybrid") => assert_eq!(found, View::Hybrid, "PIPKIN_TEST_VIEW"),
            Ok(other) => panic!("PIPKIN_TEST_VIEW={other}: neither hybrid nor v2"),
            Err(_) => {}
        }
        found
    })
}

/// Whether that controller can limit something in this view.
pub fn has_controller(name: &str) -> bool {
    match view() {
        View::Hybrid => Path::new("/sys/fs/cgroup").join(name).join("cgroup.procs").exists(),
        View::V2 => fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
            .is_ok_and(|text| text.split_whitespace().any(|controller| controller == name)),
    }
}

/// Whether the test runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Every cgroup directory in every hierarchy whose name contains the word, the deepest first.
pub fn cgroups_named(word: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    visit(Path::new("/sys/fs/cgroup"), word, false, &mut found);
    found
}

fn visit(directory: &Path, word: &str, below: bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let hit = below || entry.file_name().to_string_lossy().contains(word);
            visit(&entry.path(), word, hit, found);
            if hit {
                found.push(entry.path());
            }
        }
    }
}

/// The cgroup of a process in one hierarchy: `controller` is a v1 controller's name, or empty for v2.
pub fn cgroup_of(pid: i32, controller: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        controllers.split(',').any(|name| name == controller).then(|| path.to_owned())
    })
}

/// The directory of that process's cgroup in the hierarchy that has the controller.
pub fn cgroup_directory(pid: i32, controller: &str) -> Option<PathBuf> {
    let (mount, path) = match view() {
        View::V2 => (PathBuf::from("/sys/fs/cgroup"), cgroup_of(pid, "")?),
        View::Hybrid if controller.is_empty() => (PathBuf::from("/sys/fs/cgroup/unified"), cgroup_of(pid, "")?),
        View::Hybrid => (Path::new("/sys/fs/cgroup").join(controller), cgroup_of(pid, controller)?),
    };
    Some(mount.join(path.trim_start_matches('/')))
}

/// The inode that names a namespace of a process, such as `pid:[4026531836]`.
pub fn namespace(pid: &str, kind: &str) -> String {
    let link = format!("/proc/{pid}/ns/{kind}");
    fs::read_link(&link).unwrap_or_else(|error| panic!("{link}: {error}")).to_string_lossy().into_owned()
}

/// Whether the process exists and has not ended (a zombie has).
pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").map(|(_, rest)| !rest.starts_with(['Z', 'X'])))
        .unwrap_or(false)
}

/// The first directory of `PATH` that has the program.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"]);
    places.map(|dir| Path::new(dir).join(program)).find(|file| file.is_file())
}
