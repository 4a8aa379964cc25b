//! Paths as text, before any file is looked at.

use std::path::{Component, Path, PathBuf};

/// The same path, absolute, without `.`, `..` and doubled slashes; `..` never leads above the root.
///
/// Symbolic links are not looked at: in a container's root every path is resolved again, inside it.
pub fn normalize(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_below_the_root() {
        for (path, clean) in [("/a//b/./c", "/a/b/c"), ("a/../../../etc", "/etc"), ("/../..", "/"), ("", "/")] {
            assert_eq!(normalize(Path::new(path)), Path::new(clean));
        }
    }
}
