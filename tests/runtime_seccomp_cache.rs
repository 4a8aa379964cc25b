//! The cache of compiled seccomp filters, seen from inside containers: a filter in it is used, and nothing is that others may
//! have written.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use pipkin_harness::{Bundle, Finished, Lab};
use serde_json::{Value, json};

/// What the container's `mkdir` says under the filter with that error number.
const UNDER: [(u32, &str); 3] = [(38, "not implemented"), (95, "not supported"), (28, "No space left")];

/// ENOTSUP, which the profile asks for; and ENOSYS, which only a changed entry has.
const ASKED: u32 = 95;
const CHANGED: u32 = 38;

fn profile(errno: u32) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}]
    })
}

fn mkdir(lab: &Lab, profile: Value) -> Bundle {
    let mut bundle = lab.bundle();
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["linux"]["seccomp"] = profile;
    bundle.args(["/bin/busybox", "mkdir", "/made"]);
    bundle.save();
    bundle
}

/// Runs it: the error number that its filter gives.
#[track_caller]
fn errno(lab: &Lab, bundle: &Bundle) -> u32 {
    errno_in(&lab.run(bundle).exits(1))
}

#[track_caller]
fn errno_in(finished: &Finished) -> u32 {
    let text = finished.stderr();
    let found = UNDER.iter().find(|(_, says)| text.contains(says));
    found.unwrap_or_else(|| panic!("{}", finished.all())).0
}

fn cache(lab: &Lab) -> PathBuf {
    lab.state_root().join("@seccomp")
}

fn entries(lab: &Lab) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(cache(lab)).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

#[track_caller]
fn only_entry(lab: &Lab) -> PathBuf {
    let entries = entries(lab);
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

/// The sum in front of an entry, computed anew: as cache.rs has it.
fn seal(entry: &mut [u8]) {
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let body = &entry[8..];
    let words = body.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    let mut sum = words.fold(0, step);
    if body.len().is_multiple_of(8) {
        sum = step(sum, 0);
    }
    let sum = step(sum, body.len() as u64);
    entry[..8].copy_from_slice(&sum.to_le_bytes());
}

/// Replaces the first of some bytes by as many others.
#[track_caller]
fn replace(entry: &mut [u8], what: &[u8], by: &[u8]) {
    let at = entry.windows(what.len()).position(|window| window == what).expect("these bytes");
    entry[at..at + by.len()].copy_from_slice(by);
}

/// `BPF_RET | BPF_K` with `SECCOMP_RET_ERRNO`.
fn ret(errno: u32) -> [u8; 8] {
    let [a, b, c, d] = (0x5_0000 | errno).to_ne_bytes();
    let [low, high] = 6u16.to_ne_bytes();
    [low, high, 0, 0, a, b, c, d]
}

/// A good entry with another program, and the sum that belongs to it.
fn changed(good: &[u8]) -> Vec<u8> {
    let mut entry = good.to_vec();
    replace(&mut entry, &ret(ASKED), &ret(CHANGED));
    seal(&mut entry);
    entry
}

#[test]
fn a_filter_in_the_cache_is_what_is_loaded() {
    for lab in [Lab::root(), Lab::user()].into_iter().flatten() {
        if lab.is_peer() {
            return;
        }
        let bundle = mkdir(&lab, profile(ASKED));
        assert_eq!(errno(&lab, &bundle), ASKED);
        let entry = only_entry(&lab);
        let (uid, mode) = (lab.as_user().map_or(0, |user| user.uid), |path: &Path| {
            let metadata = fs::metadata(path).unwrap();
            (metadata.uid(), metadata.mode() & 0o7777)
        });
        assert_eq!((mode(&cache(&lab)), mode(&entry)), ((uid, 0o700), (uid, 0o600)));
        // Nothing but the return value is another one.
        let good = fs::read(&entry).unwrap();
        fs::write(&entry, changed(&good)).unwrap();
        assert_eq!(errno(&lab, &bundle), CHANGED);
        // It is no container.
        assert_eq!(lab.runtime(["list", "--quiet"]).run().ok().stdout(), "");
        lab.runtime(["state", "@seccomp"]).run().fails(1, &["invalid id"]);
        lab.runtime(["delete", "--force", "@seccomp"]).run().fails(1, &["invalid id"]);

        // So do `create` and `exec`.
        let mut waiting = lab.bundle();
        waiting.config["root"]["readonly"] = json!(false);
        waiting.config["linux"]["seccomp"] = profile(ASKED);
        waiting.args(["/bin/probe", "sleep"]);
        let container = lab.create(&waiting);
        container.start();
        let exec = || errno_in(&container.exec(&[], &["/bin/busybox", "mkdir", "/made"]).run().exits(1));
        assert_eq!(exec(), CHANGED);
        // What `exec` compiles is kept, too.
        fs::remove_file(&entry).unwrap();
        assert_eq!(exec(), ASKED);
        assert_eq!(fs::read(only_entry(&lab)).unwrap(), good);
        // `plan` does not look at it, and makes nothing.
        let plan = || lab.runtime(["plan", "--format", "json", "--bundle", bundle.path_text()]).run().ok().stdout();
        let without = plan();
        fs::write(&entry, changed(&good)).unwrap();
        assert_eq!(plan(), without);
        fs::remove_dir_all(cache(&lab)).unwrap();
        assert_eq!(plan(), without);
        assert!(!cache(&lab).exists());
        container.delete_force();
        assert_eq!(lab.leaks(), "");
    }
}

/// Each is done to an entry with a sealed other program: it is never loaded, and the good entry is there again.
#[test]
fn what_others_may_have_written_is_not_used() {
    type Damage = fn(entry: &Path, changed: &[u8]);
    let damages: [(&str, Damage); 20] = [
        ("a byte that was changed", |entry, changed| {
            let mut bytes = changed.to_vec();
            bytes[100] ^= 1;
            fs::write(entry, bytes).unwrap();
        }),
        ("a program that was changed, without its sum", |entry, changed| {
            let mut bytes = changed.to_vec();
            replace(&mut bytes, &ret(CHANGED), &ret(CHANGED + 1));
            fs::write(entry, bytes).unwrap();
        }),
        ("cut", |entry, changed| fs::write(entry, &changed[..changed.len() - 1]).unwrap()),
        ("empty", |entry, _| fs::write(entry, "").unwrap()),
        ("longer", |entry, changed| fs::write(entry, [changed, &[0]].concat()).unwrap()),
        ("huge", |entry, changed| {
            let mut bytes = [changed, &vec![0; 256 * 1024]].concat();
            seal(&mut bytes);
            fs::write(entry, bytes).unwrap();
        }),
        ("of another owner", |entry, _| chown(entry, Some(65534), None).unwrap()),
        ("writable by its group", |entry, _| fs::set_permissions(entry, fs::Permissions::from_mode(0o620)).unwrap()),
        ("writable by all", |entry, _| fs::set_permissions(entry, fs::Permissions::from_mode(0o602)).unwrap()),
        ("a symbolic link", |entry, changed| {
            let elsewhere = entry.ancestors().nth(3).unwrap().join("elsewhere");
            fs::write(&elsewhere, changed).unwrap();
            fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
            fs::remove_file(entry).unwrap();
            symlink(elsewhere, entry).unwrap();
        }),
        ("a hard link", |entry, _| {
            fs::hard_link(entry, entry.ancestors().nth(3).unwrap().join("second")).unwrap();
        }),
        ("a pipe", |entry, _| {
            fs::remove_file(entry).unwrap();
            nix::unistd::mkfifo(entry, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("of another format", |entry, changed| {
            let mut bytes = changed.to_vec();
            replace(&mut bytes, b"seccomp 1", b"seccomp 2");
            seal(&mut bytes);
            fs::write(entry, bytes).unwrap();
        }),
        ("of another build", |entry, changed| {
            let mut bytes = changed.to_vec();
            let at = bytes.windows(5).position(|window| window == b"linux").unwrap();
            let digit = at + bytes[at..].iter().position(|byte| *byte == b' ').unwrap() + 1;
            bytes[digit] = if bytes[digit] == b'0' { b'1' } else { b'0' };
            seal(&mut bytes);
            fs::write(entry, bytes).unwrap();
        }),
        ("about another text", |entry, changed| {
            let mut bytes = changed.to_vec();
            replace(&mut bytes, b"mkdirat", b"mkdirau");
            seal(&mut bytes);
            fs::write(entry, bytes).unwrap();
        }),
        ("with a jump out of the program", |entry, changed| {
            let mut bytes = changed.to_vec();
            let at = bytes.windows(8).position(|window| window == ret(CHANGED)).unwrap();
            // The program's first jump by a comparison is before its last returns.
            let jump = (0..at).rev().find(|at| matches!(bytes[*at], 0x15 | 0x35) && bytes[at + 1] == 0).unwrap();
            bytes[jump + 2] = 255;
            seal(&mut bytes);
            fs::write(entry, bytes).unwrap();
        }),
        ("with an action that nobody knows", |entry, changed| {
            let mut bytes = changed.to_vec();
            let mut other = ret(CHANGED);
            other[4..].copy_from_slice(&0x7fc0_0000u32.to_ne_bytes());
            replace(&mut bytes, &ret(CHANGED), &other);
            seal(&mut bytes);
            fs::write(entry, bytes).unwrap();
        }),
        ("behind a link to a directory", |entry, _| {
            let directory = entry.parent().unwrap();
            let elsewhere = entry.ancestors().nth(3).unwrap().join("directory");
            fs::rename(directory, &elsewhere).unwrap();
            symlink(elsewhere, directory).unwrap();
        }),
        ("in a directory that others can write", |entry, _| {
            fs::set_permissions(entry.parent().unwrap(), fs::Permissions::from_mode(0o770)).unwrap();
        }),
        ("in a directory that is a file", |entry, _| {
            fs::remove_dir_all(entry.parent().unwrap()).unwrap();
            fs::write(entry.parent().unwrap(), "").unwrap();
        }),
    ];
    for (what, damage) in damages {
        let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
        let bundle = mkdir(&lab, profile(ASKED));
        assert_eq!(errno(&lab, &bundle), ASKED);
        let entry = only_entry(&lab);
        let good = fs::read(&entry).unwrap();
        let changed = changed(&good);
        fs::write(&entry, &changed).unwrap();
        damage(&entry, &changed);
        assert_eq!(errno(&lab, &bundle), ASKED, "{what}");
        assert_eq!(only_entry(&lab), entry, "{what}");
        assert_eq!(fs::read(&entry).unwrap(), good, "{what}: not repaired");
        assert!(fs::symlink_metadata(cache(&lab)).unwrap().is_dir(), "{what}");
        // From then on it is used again: nobody replaces it.
        let before = fs::metadata(&entry).unwrap();
        assert_eq!((before.mode() & 0o7777, before.nlink(), before.uid()), (0o600, 1, 0), "{what}");
        assert_eq!(errno(&lab, &bundle), ASKED, "{what}");
        assert_eq!(fs::metadata(&entry).unwrap().ino(), before.ino(), "{what}: replaced again");
        assert_eq!(lab.leaks(), "", "{what}");
    }
}

/// Where nothing can be repaired, containers run all the same.
#[test]
fn a_cache_that_can_not_be_used_is_no_error() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let bundle = mkdir(&lab, profile(ASKED));
    assert_eq!(errno(&lab, &bundle), ASKED);
    let entry = only_entry(&lab);
    let good = fs::read(&entry).unwrap();

    fs::write(&entry, changed(&good)).unwrap();
    chown(cache(&lab), Some(65534), None).unwrap();
    assert_eq!(errno(&lab, &bundle), ASKED);
    assert_eq!(fs::read(&entry).unwrap(), changed(&good), "a stranger's directory is left alone");
    chown(cache(&lab), Some(0), None).unwrap();

    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    assert_eq!(errno(&lab, &bundle), ASKED);
    assert_eq!(only_entry(&lab), entry);
    fs::remove_dir(&entry).unwrap();

    // What a killed launcher leaves, longer than what will be there.
    fs::write(cache(&lab).join("new"), [0; 100_000]).unwrap();
    assert_eq!(errno(&lab, &bundle), ASKED);
    assert_eq!(only_entry(&lab), entry);
    assert_eq!(fs::read(&entry).unwrap(), good);

    // A full disk, and one that can only be read. The entry has more than one page.
    let mut large = profile(ASKED);
    let names = large["syscalls"][0]["names"].as_array_mut().unwrap();
    names.extend((0..500).map(|number| json!(format!("nobody_knows_{number}"))));
    let bundle = mkdir(&lab, large);
    for options in ["size=4k", "size=1m,nr_inodes=1", "ro"] {
        let script = format!(
            "mount -t tmpfs -o mode=700,{options} none {cache} || exit 99
             {runtime} --root {root} run --bundle {bundle} {id}
             code=$?
             [ -z \"$(ls -A {cache})\" ] || exit 98
             exit $code",
            cache = cache(&lab).display(),
            runtime = lab.runtime_path().display(),
            root = lab.state_root().display(),
            bundle = bundle.path_text(),
            id = lab.id(),
        );
        let finished = lab.program("unshare").args(["--mount", "/bin/sh", "-c", &script]).run().exits(1);
        assert_eq!(errno_in(&finished), ASKED, "{options}");
    }
    assert_eq!(lab.leaks(), "");
}

#[test]
fn another_profile_has_another_filter() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let mut bundle = mkdir(&lab, profile(ASKED));
    for errno_asked in [95, 38, 28, 95, 38] {
        bundle.config["linux"]["seccomp"] = profile(errno_asked);
        assert_eq!(errno(&lab, &bundle), errno_asked);
    }
    assert_eq!(entries(&lab).len(), 3);
    // None at all, although there is the word.
    bundle.config["linux"]["seccomp"] = json!(null);
    lab.run(&bundle).ok();
    assert_eq!(lab.leaks(), "");
}

#[test]
fn warnings_are_told_again() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let mut warned = profile(ASKED);
    warned["syscalls"][0]["names"].as_array_mut().unwrap().push(json!("mkdirs"));
    let bundle = mkdir(&lab, warned);
    let warnings = || {
        let finished = lab.run(&bundle).exits(1);
        let text = finished.stderr();
        let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
        assert_eq!(lines.len(), 1, "{text}");
        lines[0].to_owned()
    };
    let first = warnings();
    assert!(first.contains("linux.seccomp.syscalls[0].names[2]: unknown system call"), "{first}");
    let entry = only_entry(&lab);
    let made = fs::metadata(&entry).unwrap().ino();
    assert_eq!(warnings(), first);
    assert_eq!(fs::metadata(only_entry(&lab)).unwrap().ino(), made);
    assert_eq!(lab.leaks(), "");
}

#[test]
fn a_filter_with_a_listener_is_not_kept() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let mut notify = profile(ASKED);
    notify["syscalls"][0] = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"});
    notify["listenerPath"] = json!(lab.path("nobody.sock"));
    lab.run(&mkdir(&lab, notify)).fails(1, &["nobody.sock"]);
    // Nor is one that is not valid.
    let mut wrong = profile(ASKED);
    wrong["syscalls"][0]["errnoRet"] = json!(70_000);
    lab.run(&mkdir(&lab, wrong)).fails(1, &["linux.seccomp.syscalls[0].errnoRet"]);
    assert!(!cache(&lab).exists());
    assert_eq!(lab.leaks(), "");
}

/// Some of the same profile, some of others, all of them new; and more than are kept.
#[test]
fn many_at_once_and_one_after_the_other() {
    let Some(lab) = Lab::root().filter(|lab| !lab.is_peer()) else { return };
    let bundles: Vec<(u32, Bundle)> =
        (0..20).map(|index| UNDER[index % 3].0).map(|errno| (errno, mkdir(&lab, profile(errno)))).collect();
    let started: Vec<_> = bundles
        .iter()
        .map(|(errno, bundle)| (errno, lab.runtime(["run", "--bundle", bundle.path_text(), &lab.id()]).start()))
        .collect();
    for (errno, running) in started {
        assert_eq!(errno_in(&running.wait().exits(1)), *errno);
    }
    // Who comes while somebody else writes leaves it to the next one.
    assert!((1..=3).contains(&entries(&lab).len()), "{:?}", entries(&lab));
    for (errno_asked, bundle) in &bundles[..3] {
        assert_eq!(errno(&lab, bundle), *errno_asked);
    }
    assert_eq!(entries(&lab).len(), 3);
    let mut bundle = mkdir(&lab, profile(ASKED));
    for number in 0..35 {
        let mut profile = profile(ASKED);
        profile["syscalls"][0]["names"].as_array_mut().unwrap().push(json!(format!("nobody_knows_{number}")));
        bundle.config["linux"]["seccomp"] = profile;
        assert_eq!(errno(&lab, &bundle), ASKED);
    }
    assert_eq!(entries(&lab).len(), 32);
    assert_eq!(lab.leaks(), "");
}
