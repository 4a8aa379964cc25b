//! Hostile and ordinary layers, unpacked as whoever runs the tests; no privilege is needed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use super::metadata::{Overlay, Owners};
use super::*;
use crate::archive::Stream;

const POLICY: Policy = Policy { overlay: Overlay::User, owners: Owners::OnlyUser, devices: false };

/// A directory that is gone after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pipkin-unpack-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn layer(&self, name: &str) -> PathBuf {
        fs::create_dir_all(self.0.join(name)).unwrap();
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An archive being written, with no check of what is put into it.
#[derive(Default)]
struct Layer(Vec<u8>);

impl Layer {
    fn add(mut self, kind: EntryType, path: &str, link: &str, mode: u32, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, data: &str) -> Self {
        self.add(EntryType::Regular, path, "", 0o644, data.as_bytes())
    }

    fn directory(self, path: &str, mode: u32) -> Self {
        self.add(EntryType::Directory, path, "", mode, b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, path, target, 0o777, b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.add(EntryType::Link, path, target, 0o644, b"")
    }

    fn xattr(mut self, name: &str, value: &str) -> Self {
        let rest = name.len() + value.len() + "SCHILY.xattr.".len() + 3;
        let length = (1..9).map(|digits| rest + digits).find(|n| n.to_string().len() + rest == *n).unwrap();
        self = self.add(EntryType::XHeader, "pax", "", 0, format!("{length} SCHILY.xattr.{name}={value}\n").as_bytes());
        self
    }

    fn unpack_over(&self, target: &Path, lowers: &[&Path]) -> Result<Unpacked> {
        let lowers: Vec<Lower> =
            lowers.iter().map(|path| Lower { tree: Tree::open(path).unwrap(), opaque_root: false }).collect();
        unpack(&mut Reader::new(Stream(self.0.as_slice())), &Tree::open(target).unwrap(), &lowers, POLICY)
    }

    fn unpack(&self, target: &Path) -> Result<Unpacked> {
        self.unpack_over(target, &[])
    }
}

fn is_opaque(path: &Path) -> bool {
    Overlay::User.is_opaque(Tree::open(path).unwrap().directory(b"").unwrap()).unwrap()
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.mode() & libc::S_IFMT == libc::S_IFCHR && m.rdev() == 0)
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn files_directories_and_links_have_what_the_archive_says() {
    let scratch = Scratch::new("plain");
    let root = scratch.layer("layer");
    let done = Layer::default()
        .directory("./", 0o711)
        .directory("dir/", 0o1777)
        .file("dir/file", "data")
        .add(EntryType::Regular, "/abs/suid", "", 0o4755, b"x")
        .link("again", "dir/file")
        .symlink("sym", "dir/../../x")
        .add(EntryType::Fifo, "pipe", "", 0o622, b"")
        .add(EntryType::Char, "null", "", 0o666, b"")
        .unpack(&root);
    // A character device 0:0 is overlay's whiteout.
    assert!(done.unwrap_err().to_string().contains("whiteout"));
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o711);
    assert_eq!(fs::metadata(root.join("dir")).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::metadata(root.join("abs/suid")).unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(fs::metadata(root.join("again")).unwrap().ino(), fs::metadata(root.join("dir/file")).unwrap().ino());
    assert_eq!(fs::metadata(root.join("dir/file")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::read_link(root.join("sym")).unwrap(), Path::new("dir/../../x"));
    assert_eq!(fs::symlink_metadata(root.join("pipe")).unwrap().mode(), libc::S_IFIFO | 0o622);
}

#[test]
fn directories_keep_their_times_and_devices_are_counted() {
    let scratch = Scratch::new("times");
    let root = scratch.layer("layer");
    let mut device = Layer::default().directory("dir", 0o755).file("dir/file", "x");
    device = device.add(EntryType::Block, "disk", "", 0o600, b"");
    let done = device.unpack(&root).unwrap();
    assert_eq!(fs::metadata(root.join("dir")).unwrap().mtime(), 1_000_000_000);
    assert_eq!((done.left_out.devices, root.join("disk").exists()), (1, false));
}

#[test]
fn a_link_out_of_the_layer_is_followed_inside_only() {
    let scratch = Scratch::new("escape");
    let (root, outside) = (scratch.layer("layer"), scratch.layer("outside"));
    let out = outside.to_str().unwrap();
    // An absolute link, a climbing one, and a chain of both (CVE-2014-9356, RUSTSEC-2018-0002).
    let layer = Layer::default()
        .symlink("a", out)
        .file("a/one", "1")
        .symlink("b", "../../../../../..")
        .symlink("c", "b/tmp")
        .file("c/two", "2");
    layer.unpack(&root).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(read(root.join(out.trim_start_matches('/')).join("one")), "1");
    assert_eq!(read(root.join("tmp/two")), "2");
    assert!(!Path::new("/tmp/two").exists());
}

#[test]
fn a_link_in_the_last_place_is_replaced_not_followed() {
    let scratch = Scratch::new("last");
    let (root, outside) = (scratch.layer("layer"), scratch.layer("outside"));
    fs::write(outside.join("file"), "mine").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o750)).unwrap();
    let out = outside.to_str().unwrap();
    // Writing and chmod through a link (CVE-2014-9357, CVE-2021-32760, RUSTSEC-2026-0067).
    let layer = Layer::default()
        .symlink("f", &format!("{out}/file"))
        .file("f", "theirs")
        .symlink("d", out)
        .directory("d", 0o777);
    layer.unpack(&root).unwrap();
    assert_eq!(read(outside.join("file")), "mine");
    assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(read(root.join("f")), "theirs");
    assert!(fs::symlink_metadata(root.join("d")).unwrap().is_dir());
}

#[test]
fn names_that_climb_are_refused() {
    for name in ["../evil", "a/../../evil", "..", "dir/.."] {
        let scratch = Scratch::new("climb");
        let root = scratch.layer("layer");
        assert!(
            Layer::default()
                .directory("dir", 0o755)
                .file(name, "x")
                .unpack(&root)
                .unwrap_err()
                .to_string()
                .contains(".."),
            "{name}"
        );
        assert!(!scratch.0.join("evil").exists());
    }
}

#[test]
fn the_root_stays_a_directory() {
    for name in ["/.", "./", "/", "."] {
        let scratch = Scratch::new("root");
        let (root, outside) = (scratch.layer("layer"), scratch.layer("outside"));
        // umoci's CVE-2021-29136.
        let layer = Layer::default().symlink(name, outside.to_str().unwrap()).file("x", "x");
        assert!(layer.unpack(&root).unwrap_err().to_string().contains("root"), "{name}");
        assert!(fs::symlink_metadata(&root).unwrap().is_dir() && !outside.join("x").exists());
    }
}

#[test]
fn hard_links_reach_nothing_outside() {
    let scratch = Scratch::new("hard");
    let (root, outside) = (scratch.layer("layer"), scratch.layer("outside"));
    fs::write(outside.join("secret"), "mine").unwrap();
    let out = outside.to_str().unwrap();
    // By climbing, by an absolute name, and through a link (CVE-2026-50162, CVE-2026-50163).
    for layer in [
        Layer::default().link("x", "../outside/secret"),
        Layer::default().link("x", &format!("{out}/secret")),
        Layer::default().symlink("s", out).link("x", "s/secret"),
        Layer::default().link("x", "/"),
    ] {
        assert!(layer.unpack(&root).is_err());
        assert!(!root.join("x").exists());
    }
    // A hard link to a link is the link itself; writing to it replaces it.
    let layer = Layer::default().symlink("l", &format!("{out}/secret")).link("h", "l").file("h", "theirs");
    layer.unpack(&root).unwrap();
    assert_eq!(read(outside.join("secret")), "mine");
    assert_eq!(fs::metadata(outside.join("secret")).unwrap().nlink(), 1);
}

#[test]
fn the_last_of_several_entries_counts() {
    let scratch = Scratch::new("twice");
    let root = scratch.layer("layer");
    let layer = Layer::default()
        .file("a", "first")
        .link("b", "a")
        .file("a", "second")
        .directory("d", 0o755)
        .file("d/inner/deep", "x")
        .file("d", "file")
        .file("f", "file")
        .directory("f", 0o700)
        .file("f/x", "x");
    layer.unpack(&root).unwrap();
    assert_eq!((read(root.join("a")), read(root.join("b"))), ("second".into(), "first".into()));
    assert_eq!((read(root.join("d")), read(root.join("f/x"))), ("file".into(), "x".into()));
}

#[test]
fn whiteouts_become_overlays_own() {
    let scratch = Scratch::new("whiteout");
    let (lower, root) = (scratch.layer("lower"), scratch.layer("layer"));
    Layer::default()
        .file("gone", "x")
        .file("dir/old", "x")
        .file("full/old", "x")
        .file("again/old", "x")
        .file("kept", "x")
        .unpack(&lower)
        .unwrap();
    let layer = Layer::default()
        .file(".wh.gone", "")
        .file(".wh.never", "")
        .file("dir/.wh..wh..opq", "")
        .file("dir/new", "x")
        .directory("full", 0o755)
        .file("full/new", "x")
        .file(".wh.full", "")
        .file(".wh.again", "")
        .directory("again", 0o755)
        .file("kept", "mine")
        .file(".wh.kept", "")
        .file(".wh..wh.plnk", "");
    layer.unpack_over(&root, &[&lower]).unwrap();
    assert!(is_whiteout(&root.join("gone")));
    assert!(!root.join("never").exists() && fs::symlink_metadata(root.join("never")).is_err());
    assert!(is_opaque(&root.join("dir")) && root.join("dir/new").exists());
    // The order of a whiteout and an entry of the same layer does not matter.
    assert!(is_opaque(&root.join("full")) && root.join("full/new").exists());
    assert!(is_opaque(&root.join("again")));
    assert_eq!(read(root.join("kept")), "mine");
    assert!(!fs::read_dir(&root).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(".wh")));
    for bad in [".wh.", ".wh..", ".wh..."] {
        assert!(Layer::default().file(bad, "").unpack_over(&root, &[&lower]).is_err(), "{bad}");
    }
    assert!(Layer::default().file(".wh..wh..opq", "").unpack_over(&root, &[&lower]).unwrap().opaque_root);
}

#[test]
fn a_whiteout_reaches_only_the_layers_below() {
    let scratch = Scratch::new("whiteout-escape");
    let (lower, root, outside) = (scratch.layer("lower"), scratch.layer("layer"), scratch.layer("outside"));
    fs::write(outside.join("file"), "mine").unwrap();
    symlink(&outside, lower.join("out")).unwrap();
    Layer::default()
        .file("out/.wh.file", "")
        .symlink("o", outside.to_str().unwrap())
        .file("o/.wh.file", "")
        .unpack_over(&root, &[&lower])
        .unwrap();
    assert_eq!(read(outside.join("file")), "mine");
}

#[test]
fn parents_that_the_archive_leaves_out_are_as_below() {
    let scratch = Scratch::new("parents");
    let (lower, root) = (scratch.layer("lower"), scratch.layer("layer"));
    Layer::default()
        .directory("tmp", 0o1777)
        .directory("usr", 0o755)
        .directory("usr/lib", 0o711)
        .symlink("lib", "usr/lib")
        .unpack(&lower)
        .unwrap();
    Layer::default().file("tmp/x/y", "1").file("lib/z", "2").unpack_over(&root, &[&lower]).unwrap();
    assert_eq!(fs::metadata(root.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::metadata(root.join("tmp/x")).unwrap().mode() & 0o7777, 0o755);
    // A link of a lower layer means the same place as it would in a real tree.
    assert_eq!(read(root.join("usr/lib/z")), "2");
    assert_eq!(fs::metadata(root.join("usr/lib")).unwrap().mode() & 0o7777, 0o711);
    assert!(fs::symlink_metadata(root.join("lib")).is_err());
}

#[test]
fn attributes_that_would_steer_overlay_are_left_out() {
    let scratch = Scratch::new("xattr");
    let root = scratch.layer("layer");
    let done = Layer::default()
        .xattr("user.overlay.redirect", "/etc")
        .directory("d", 0o755)
        .xattr("trusted.overlay.opaque", "y")
        .directory("e", 0o755)
        .xattr("user.mine", "yes")
        .file("f", "x")
        .unpack(&root)
        .unwrap();
    assert_eq!(done.left_out.xattrs, 2);
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(root.join("f"), "user.mine", &mut value[..]).unwrap(), 3);
    assert!(rustix::fs::getxattr(root.join("d"), "user.overlay.redirect", &mut value[..]).is_err());
    assert!(rustix::fs::getxattr(root.join("e"), "trusted.overlay.opaque", &mut value[..]).is_err());
}

#[test]
fn a_loop_of_links_is_an_error_and_deep_trees_can_be_removed() {
    let scratch = Scratch::new("deep");
    let root = scratch.layer("layer");
    assert!(Layer::default().symlink("a", "b").symlink("b", "a").file("a/x", "").unpack(&root).is_err());
    let mut here = Tree::open(&root).unwrap().directory(b"").unwrap();
    for _ in 0..5000 {
        rustix::fs::mkdirat(&here, "d", Mode::RWXU).unwrap();
        here = rustix::fs::openat(&here, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    fs::create_dir(root.join(".pipkin-removed-1")).unwrap();
    fs::write(root.join(".pipkin-removed-1/x"), "x").unwrap();
    tree::remove(Tree::open(&scratch.0).unwrap().root(), "layer".as_ref()).unwrap();
    assert!(!root.exists());
}
