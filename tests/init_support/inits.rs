//! The programs under test: the originals from Debian, and `pipkin-init` under each of their names and its own.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Whose program it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The original.
    Theirs,
    /// `pipkin-init` under the original's name, or its own.
    Ours,
}

/// Whose behaviour is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Original {
    DumbInit,
    Tini,
    Catatonit,
    Pipkin,
}

/// A program under test.
#[derive(Clone, Debug)]
pub struct Init {
    pub name: &'static str,
    pub kind: Kind,
    pub original: Original,
    pub path: PathBuf,
}

impl Init {
    /// `pipkin-init` as itself.
    pub fn pipkin() -> Self {
        Self::ours("pipkin-init", Original::Pipkin)
    }

    /// Every program there is, the originals as far as they are installed.
    pub fn all() -> Vec<Self> {
        let originals = [
            ("dumb-init", Original::DumbInit),
            ("tini", Original::Tini),
            ("tini-static", Original::Tini),
            ("catatonit", Original::Catatonit),
        ];
        let mut all: Vec<_> = originals.iter().filter_map(|(name, original)| Self::theirs(name, *original)).collect();
        all.extend(originals.map(|(name, original)| Self::ours(name, original)));
        all.push(Self::ours("docker-init", Original::Tini));
        all.push(Self::pipkin());
        all
    }

    /// Those whose behaviour is expected to be this.
    pub fn all_of(original: Original) -> Vec<Self> {
        Self::all().into_iter().filter(|init| init.original == original).collect()
    }

    fn theirs(name: &'static str, original: Original) -> Option<Self> {
        let path = Path::new("/usr/bin").join(name);
        if !path.exists() {
            eprintln!("{name} is not installed: pipkin-init is not compared with it");
            return None;
        }
        Some(Self { name, kind: Kind::Theirs, original, path })
    }

    fn ours(name: &'static str, original: Original) -> Self {
        Self { name, kind: Kind::Ours, original, path: names().join(name) }
    }

    /// For messages.
    pub fn label(&self) -> String {
        match self.kind {
            Kind::Theirs => format!("the real {}", self.name),
            Kind::Ours => format!("pipkin-init as {}", self.name),
        }
    }

    pub fn is_ours(&self) -> bool {
        self.kind == Kind::Ours
    }

    /// Status for wrong options and the like.
    pub fn own_failure(&self) -> i32 {
        if self.original == Original::Pipkin { 125 } else { 1 }
    }
}

/// The program under test, as `PIPKIN_BIN_DIR` or the target directory has it.
pub fn program() -> PathBuf {
    let folder = std::env::var_os("PIPKIN_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        // target/TRIPLE/PROFILE/deps/TEST
        std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_path_buf()
    });
    let program = folder.join("pipkin-init");
    assert!(
        program.exists(),
        "{} does not exist: cargo build -p pipkin-init, or set PIPKIN_BIN_DIR",
        program.display()
    );
    program
}

/// A folder with `pipkin-init` under all names. The same in every run, so that nothing piles up.
fn names() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("init-names-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["pipkin-init", "dumb-init", "tini", "tini-static", "docker-init", "catatonit"] {
            std::os::unix::fs::symlink(program(), folder.join(name)).unwrap();
        }
        // SAFETY: registers a function without arguments.
        unsafe { libc::atexit(remove_names) };
        folder
    })
}

extern "C" fn remove_names() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("init-names-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(folder);
}
