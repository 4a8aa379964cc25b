//! A private corner of the machine for one test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::bundle::Bundle;
use crate::container::Container;
use crate::leaks::{Leaks, MARK};
use crate::program::{Finished, Program, install};
use crate::{host, skipped};

/// The programs of the product, as they lie in the target directory.
const PROGRAMS: [&str; 4] = ["pipkin", "pipkin-runtime", "pipkin-init", "pipkin-hello"];

/// A directory, a state root and names that no other test uses; cleaned and checked when dropped.
pub struct Lab {
    name: String,
    directory: PathBuf,
    user: Option<User>,
    programs: PathBuf,
    runtime: PathBuf,
    systemd: bool,
    patience: Duration,
    serial: AtomicU32,
}

/// An ordinary user of the machine.
#[derive(Clone, Debug)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// First subordinate user id and how many, from `/etc/subuid`; `None` when the user has none.
    pub subuids: Option<(u32, u32)>,
    /// First subordinate group id and how many, from `/etc/subgid`.
    pub subgids: Option<(u32, u32)>,
}

impl Lab {
    /// A lab where programs run as root. `None`, and a SKIPPED line, when the tests do not run as root.
    pub fn root() -> Option<Self> {
        if !host::is_root() {
            skipped("needs root");
            return None;
        }
        Some(Self::new(None))
    }

    /// A lab where programs run as an ordinary user with subordinate ids (created once as `pipkin-test`), or as the caller when
    /// that is not root.
    pub fn user() -> Option<Self> {
        Self::of_user("pipkin-test", true)
    }

    /// A lab where programs run as an ordinary user to whom no subordinate ids are given (created once as `pipkin-bare`).
    pub fn user_without_subids() -> Option<Self> {
        Self::of_user("pipkin-bare", false)
    }

    fn of_user(name: &str, subids: bool) -> Option<Self> {
        let user = if host::is_root() { User::made(name, subids) } else { User::caller() };
        if user.subuids.is_some() != subids {
            skipped(&format!("user {} has {}subordinate ids", user.name, if subids { "no " } else { "" }));
            return None;
        }
        Some(Self::new(Some(user)))
    }

    fn new(user: Option<User>) -> Self {
        static SUBREAPER: Once = Once::new();
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        // Like a container engine's monitor: containers whose launcher has ended become children of the test, which can so
        // wait for them and see their exit code.
        SUBREAPER.call_once(|| {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("PR_SET_CHILD_SUBREAPER");
        });
        host::view();
        let run = std::env::var("PIPKIN_TEST_RUN").unwrap_or_else(|_| "dev".to_owned());
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        // Fixed width: no name is the beginning of another.
        let name = format!("pkt-{run}-{}-{serial:04}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(directory.join("run")).expect("make the lab's directory");
        let mut lab = Self {
            name,
            programs: programs(),
            runtime: PathBuf::new(),
            directory,
            user,
            systemd: false,
            // Reached only by processes that do not end.
            patience: Duration::from_secs(20),
            serial: AtomicU32::new(0),
        };
        if let Some(user) = &lab.user {
            lab.programs = copy_programs(&lab.programs, &lab.directory);
            fs::set_permissions(lab.directory.join("run"), fs::Permissions::from_mode(0o700)).expect("chmod");
            own(&lab.directory, user);
        }
        lab.runtime = other_runtime().unwrap_or_else(|| lab.programs.join("pipkin-runtime"));
        lab
    }

    /// The directory that holds the programs under test.
    pub fn programs() -> PathBuf {
        programs()
    }

    /// The same lab, but systemd makes the cgroups of its containers: the machine's, or the one of the lab's user.
    #[must_use]
    pub fn with_systemd(mut self) -> Self {
        self.systemd = true;
        self
    }

    /// The same lab; but a process that does not end counts as left behind after that time already.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The word that all names of this lab contain.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path below the lab's own directory, which goes away with it.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.directory.join(below)
    }

    /// The directory where the runtime keeps its state in this lab.
    pub fn state_root(&self) -> PathBuf {
        self.path("state")
    }

    /// The user that programs run as; `None`: root.
    pub fn as_user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Whether another runtime than pipkin's is under test: its behaviour is comparable, its error texts are not.
    pub fn is_peer(&self) -> bool {
        other_runtime().is_some()
    }

    /// A container id that nobody else uses.
    pub fn id(&self) -> String {
        format!("{}-{:02}", self.name, self.next())
    }

    /// Makes a file below the lab's directory, owned by the lab's user.
    pub fn file(&self, below: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("below the lab")).expect("make directories");
        fs::write(&path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        self.give(&path);
        path
    }

    /// Makes a directory below the lab's, owned by the lab's user.
    pub fn directory(&self, below: &str) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(&path).expect("make directories");
        self.give(&path);
        path
    }

    /// Gives a path to the lab's user; nothing to do for root.
    pub fn give(&self, path: &Path) {
        if let Some(user) = self.user.as_ref().filter(|_| host::is_root()) {
            std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)).expect("lchown");
        }
    }

    /// Any program, run as the lab's user in the lab's directory.
    pub fn program(&self, program: impl AsRef<Path>) -> Program {
        let program = self.program_of_caller(program);
        match &self.user {
            Some(user) if host::is_root() => program.ids(user.uid, user.gid),
            _ => program,
        }
    }

    /// The same with the lab user's environment, but run as the caller of the tests.
    pub(crate) fn program_of_caller(&self, program: impl AsRef<Path>) -> Program {
        let program = Program::new(program.as_ref()).env(MARK, &self.name).dir(&self.directory);
        let Some(user) = &self.user else { return program };
        let run = if self.systemd { format!("/run/user/{}", user.uid).into() } else { self.path("run") };
        program.env("HOME", self.path("")).env("XDG_RUNTIME_DIR", run).env("USER", &user.name)
    }

    /// One of the product's programs: `pipkin`, `pipkin-init`, `pipkin-hello`.
    pub fn product(&self, name: &str) -> Program {
        self.program(self.programs.join(name))
    }

    /// Where one of the product's programs, or `pipkin-probe`, is.
    pub fn product_path(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Where the runtime under test is.
    pub fn runtime_path(&self) -> &Path {
        &self.runtime
    }

    /// The runtime under test, with this lab's state root.
    pub fn runtime<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Program {
        let systemd = self.systemd.then_some("--systemd-cgroup");
        self.program(&self.runtime).arg("--root").arg(self.state_root()).args(systemd).args(args)
    }

    /// A bundle with the default configuration for the lab's user and a root file system that has busybox and the probe.
    pub fn bundle(&self) -> Bundle {
        Bundle::new(self, &format!("bundle-{:02}", self.next()))
    }

    fn next(&self) -> u32 {
        self.serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// `run`s a container of the bundle in the foreground until it ends.
    pub fn run(&self, bundle: &Bundle) -> Finished {
        bundle.save();
        self.runtime(["run", "--bundle", bundle.path_text(), &self.id()]).run()
    }

    /// Runs the probe in a container of the bundle and gives its report.
    ///
    /// # Panics
    /// When the container fails.
    #[track_caller]
    pub fn report(&self, bundle: &mut Bundle) -> serde_json::Value {
        bundle.args(["/bin/probe"]);
        let finished = self.run(bundle).ok();
        let text = finished.stdout();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("the probe's report: {error}\n{}", finished.all()))
    }

    /// `create`s a container of the bundle; it is deleted when dropped.
    ///
    /// # Panics
    /// When `create` fails.
    #[track_caller]
    pub fn create(&self, bundle: &Bundle) -> Container<'_> {
        bundle.save();
        Container::create(self, bundle)
    }

    /// What is left of containers in this lab now. Empty text: nothing.
    pub fn leaks(&self) -> String {
        self.find_leaks().to_string()
    }

    fn find_leaks(&self) -> Leaks {
        Leaks::find(&self.name, &self.directory, &[self.state_root()], self.patience)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let leaks = self.find_leaks();
        let report = leaks.to_string();
        leaks.remove();
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("remove {}: {error}", self.directory.display());
        }
        if !leaks.is_empty() && !std::thread::panicking() {
            panic!("left behind (and removed now):\n{report}");
        }
    }
}

impl User {
    /// The caller of the tests.
    fn caller() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self::find(|fields| fields[2] == uid.to_string()).expect("the caller is in /etc/passwd")
    }

    /// The user of that name, created when there is none.
    fn made(name: &str, subids: bool) -> Self {
        static ONCE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _one_at_a_time = ONCE.lock();
        let existing = || Self::find(|fields| fields[0] == name);
        existing().unwrap_or_else(|| {
            // A system account gets no subordinate ids, an ordinary one does.
            let kind: &[&str] = if subids { &["--no-create-home"] } else { &["--system", "--no-create-home"] };
            // Another test program may be creating it at this moment: then this one fails, and the user is there.
            let made = Program::new("/usr/sbin/useradd").args(kind).arg(name).run();
            existing().unwrap_or_else(|| panic!("no user {name}: {}", made.all()))
        })
    }

    fn find(matches: impl Fn(&[&str]) -> bool) -> Option<Self> {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| matches(fields))?;
        Some(Self {
            name: fields[0].to_owned(),
            uid: fields[2].parse().ok()?,
            gid: fields[3].parse().ok()?,
            subuids: subordinate_ids("/etc/subuid", fields[0]),
            subgids: subordinate_ids("/etc/subgid", fields[0]),
        })
    }
}

fn subordinate_ids(file: &str, user: &str) -> Option<(u32, u32)> {
    let text = fs::read_to_string(file).ok()?;
    let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == user)?;
    Some((fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?))
}

fn other_runtime() -> Option<PathBuf> {
    std::env::var_os("PIPKIN_TEST_RUNTIME").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The directory that holds the programs under test.
pub(crate) fn programs() -> PathBuf {
    if let Some(directory) = std::env::var_os("PIPKIN_BIN_DIR") {
        return fs::canonicalize(&directory).unwrap_or_else(|error| panic!("PIPKIN_BIN_DIR={directory:?}: {error}"));
    }
    beside_tests()
}

/// Two levels above the test executable, where the same build has put its programs.
fn beside_tests() -> PathBuf {
    let executable = std::env::current_exe().expect("the test's own path");
    executable.ancestors().nth(2).expect("target/…/deps/test").to_owned()
}

/// The probe, which need not be built as the product is: the newest of the one beside the programs and the one beside the tests.
pub(crate) fn probe() -> PathBuf {
    let built = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let places = [programs(), beside_tests()].map(|directory| directory.join("pipkin-probe"));
    places.into_iter().max_by_key(built).expect("two of them")
}

/// The target directory may be where another user must not look, so the programs come to the lab.
fn copy_programs(from: &Path, directory: &Path) -> PathBuf {
    let to = directory.join("bin");
    fs::create_dir_all(&to).expect("make bin");
    for program in PROGRAMS {
        let source = from.join(program);
        if source.exists() {
            install(&source, &to.join(program));
        }
    }
    to
}

/// Gives a whole tree to the user.
pub(crate) fn own(path: &Path, user: &User) {
    if !host::is_root() {
        return;
    }
    std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)).expect("lchown");
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        for entry in fs::read_dir(path).expect("list").flatten() {
            own(&entry.path(), user);
        }
    }
}
