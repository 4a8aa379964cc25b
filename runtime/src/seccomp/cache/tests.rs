//! Entries that only the compiler itself can write, and what is kept at all. What strangers can do to files is tested with
//! containers, in tests/runtime_seccomp_cache.rs.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fs;

use super::*;
use crate::seccomp::Instruction;

/// A cache of its own, which goes away with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> (Self, Cache) {
        let path = std::env::temp_dir().join(format!("pipkin-test-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let cache = Cache::below(&path);
        (Self(path), cache)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const PROFILE: &str =
    r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","new"],"action":"SCMP_ACT_ERRNO"}]}"#;

fn compiled(profile: &str) -> Compiled {
    compile(&serde_json::from_str(profile).unwrap(), &mut Problems::default()).unwrap()
}

#[test]
fn what_was_kept_is_found_with_its_warnings() {
    let (_scratch, cache) = Scratch::new("kept");
    assert_eq!(cache.find(PROFILE.as_bytes()), None);
    let compiled = compiled(PROFILE);
    assert_eq!(compiled.1.len(), 1);
    cache.keep(PROFILE.as_bytes(), &compiled.0);
    assert_eq!(cache.find(PROFILE.as_bytes()), Some(compiled));
    assert_eq!(cache.find(PROFILE.replace("mkdir", "mkdit").as_bytes()), None);
    // The same profile, but not the same text.
    assert_eq!(cache.find(format!(" {PROFILE}").as_bytes()), None);
}

#[test]
fn what_is_not_the_profiles_own_filter_is_not_kept() {
    let (scratch, cache) = Scratch::new("not-kept");
    let (filter, _) = compiled(PROFILE);
    let notify = PROFILE.replace("SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY");
    let notify = notify.replace("{\"default", "{\"listenerPath\":\"/agent\",\"default");
    assert!(compiled(&notify).0.notify);
    cache.keep(notify.as_bytes(), &compiled(&notify).0);
    let twice = PROFILE.replace("{\"default", "{\"defaultAction\":\"SCMP_ACT_KILL\",\"default");
    for wrong in ["", "{}", "null", &twice, &PROFILE.replace("mkdir", "rmdir")] {
        cache.keep(wrong.as_bytes(), &filter);
    }
    cache.keep(PROFILE.as_bytes(), &Filter { flags: 2, ..filter.clone() });
    let blanks = format!("{PROFILE}{}", " ".repeat(LARGEST));
    cache.keep(blanks.as_bytes(), &filter);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
}

/// Each with the right sum over it.
#[test]
fn entries_of_others_are_not_believed() {
    let (filter, warnings) = compiled(PROFILE);
    let profile = PROFILE.as_bytes();
    let entry = |compiler: &str, profile: &[u8], filter: &Filter, more: &[u8]| {
        let entry = Entry { compiler, profile, filter: Cow::Borrowed(filter), warnings: warnings.clone().into() };
        let body = [&postcard::to_allocvec(&entry).unwrap(), more].concat();
        [&digest(0, &body).to_le_bytes()[..], &body].concat()
    };
    let good = entry(COMPILER, profile, &filter, &[]);
    assert_eq!(good, encode(profile, &filter, &warnings).unwrap());
    assert_eq!(decode(&good, profile), Ok((filter.clone(), warnings.clone())));

    let mut other = filter.clone();
    other.program[0] = Instruction { code: 0x20, jt: 0, jf: 0, k: 64 };
    let never = Err("has a program that was never compiled");
    assert_eq!(decode(&entry(COMPILER, profile, &other, &[]), profile), never);
    let notify = Filter { notify: true, ..filter.clone() };
    assert_eq!(decode(&entry(COMPILER, profile, &notify, &[]), profile), never);
    let other = COMPILER.replace("0.", "1.");
    assert_eq!(decode(&entry(&other, profile, &filter, &[]), profile), Err("was compiled by another pipkin"));
    let other = PROFILE.replace("mkdir", "rmdir");
    assert_eq!(decode(&entry(COMPILER, other.as_bytes(), &filter, &[]), profile), Err("is about another profile"));
    assert_eq!(decode(&entry(COMPILER, profile, &filter, &[0]), profile), Err("has another format"));
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(decode(&changed, profile).is_err(), "byte {at} of {}", good.len());
        assert!(decode(&good[..at], profile).is_err(), "{at} bytes of {}", good.len());
    }
}

#[test]
fn the_oldest_go() {
    let (scratch, cache) = Scratch::new("bound");
    let profile =
        |errno: usize| PROFILE.replace("\"SCMP_ACT_ERRNO\"", &format!("\"SCMP_ACT_ERRNO\",\"errnoRet\":{errno}"));
    for errno in 1..=MOST_ENTRIES + 8 {
        let profile = profile(errno);
        cache.keep(profile.as_bytes(), &compiled(&profile).0);
        // The clock of a file system is coarse.
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(errno as u64);
        let file = fs::File::options().write(true).open(cache.path.join(name_of(profile.as_bytes()))).unwrap();
        file.set_modified(date).unwrap();
    }
    assert_eq!(fs::read_dir(scratch.0.join(DIRECTORY)).unwrap().count(), MOST_ENTRIES);
    for errno in 1..=MOST_ENTRIES + 8 {
        assert_eq!(cache.find(profile(errno).as_bytes()).is_some(), errno > 8, "{errno}");
    }
    // One that is there already pushes out nobody.
    let newest = profile(MOST_ENTRIES + 8);
    cache.keep(newest.as_bytes(), &compiled(&newest).0);
    assert_eq!(fs::read_dir(scratch.0.join(DIRECTORY)).unwrap().count(), MOST_ENTRIES);
}
