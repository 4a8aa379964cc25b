//! Paths as text, before any file is looked at.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The same path, absolute, without `.`, `..` and doubled slashes; `..` never leads above the root.
///
/// Symbolic links are not looked at: in a container's root every path is resolved again, inside it.
pub fn normalize(path: &Path) -> PathBuf {
    let mut clean = Vec::with_capacity(path.as_os_str().len() + 1);
    for name in path.as_os_str().as_bytes().split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => clean.truncate(clean.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            name => {
                clean.push(b'/');
                clean.extend_from_slice(name);
            }
        }
    }
    if clean.is_empty() {
        clean.push(b'/');
    }
    OsString::from_vec(clean).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_below_the_root() {
        for (path, clean) in [
            ("/a//b/./c", "/a/b/c"),
            ("a/../../../etc", "/etc"),
            ("/../..", "/"),
            ("", "/"),
            ("/", "/"),
            (".", "/"),
            ("/a/b/", "/a/b"),
            ("/a/b/../c/..", "/a"),
            ("/.../..a/b.", "/.../..a/b."),
        ] {
            assert_eq!(normalize(Path::new(path)).as_os_str(), clean, "{path}");
        }
    }
}
