//! A configuration that is read with a cache of filters is what it is without one.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

#[path = "seccomp/configurations.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod configurations;
#[path = "seccomp/generate.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod generate;

use std::path::{Path, PathBuf};

use generate::{OPERATORS, Random, Shape};
use oci_spec::runtime::{LinuxSeccomp, Spec};
use pipkin_runtime::config::{Config, Filter, of_text, of_text_to_run};
use pipkin_runtime::error::Problems;
use pipkin_runtime::seccomp::{Cache, compile};

/// A root for a cache, which goes away with it.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cache-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn cache(&self) -> Cache {
        Cache::below(&self.0)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn profile(spec: &Spec) -> Option<&LinuxSeccomp> {
    spec.linux().as_ref()?.seccomp().as_ref()
}

fn without_profile(mut spec: Box<Spec>) -> Box<Spec> {
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(None);
    }
    spec
}

/// Reads it with and without the cache, which learns it: whether the cache had it, and whether it has it now.
fn same(text: &str, cache: &Cache) -> (bool, bool) {
    let path = Path::new("config.json");
    let plain = of_text(path, text.into());
    let mut had = Vec::new();
    for _ in 0..2 {
        let read = of_text_to_run(path, text.into(), cache);
        let (plain, read) = match (&plain, read) {
            (Ok(plain), Ok(read)) => (plain, read),
            (Err(plain), Err(read)) => {
                assert_eq!(plain.to_string(), read.to_string(), "{text}");
                return (false, false);
            }
            (plain, read) => panic!("{:?} and {:?}: {text}", plain.as_ref().err(), read.err()),
        };
        let expected = profile(&plain.spec).and_then(|profile| compile(profile, &mut Problems::default()));
        if let Some(new) = read.new_profile(cache) {
            new.keep(&expected.as_ref().expect("valid").0);
        }
        let Config { spec, warnings, text: kept, filter } = read;
        assert_eq!((&warnings, kept.as_slice()), (&plain.warnings, text.as_bytes()));
        match &filter {
            Filter::Cached(compiled) => {
                assert_eq!(Some(compiled), expected.as_ref(), "{text}");
                // Nobody can take it for the container's profile and let something through.
                let (stand_in, _) = compile(profile(&spec).unwrap(), &mut Problems::default()).unwrap();
                assert!(stand_in.program.iter().all(|one| one.code != 6 || [0, 0x8000_0000].contains(&one.k)));
                assert_eq!(without_profile(spec), without_profile(plain.spec.clone()), "{text}");
            }
            Filter::InSpec | Filter::New(_) => assert_eq!(spec, plain.spec, "{text}"),
        }
        had.push(matches!(filter, Filter::Cached(_)));
    }
    (had[0], had[1])
}

#[test]
fn the_profiles_of_real_engines() {
    let root = Root::new("engines");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/configs");
    let mut kept = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let (before, after) = same(&text, &root.cache());
        let parsed = of_text(&entry.path(), text.into()).unwrap();
        assert_eq!(after, profile(&parsed.spec).is_some(), "{}", entry.path().display());
        kept += usize::from(after && !before);
    }
    assert!(kept >= 2, "{kept} different profiles");
}

#[test]
fn random_profiles() {
    let root = Root::new("random");
    let all = configurations::all().into_iter().flat_map(|(_, profile)| profile.syscalls().clone().unwrap_or_default());
    let names: Vec<String> = all.flat_map(|entry| entry.names().clone()).collect();
    let shape = Shape { operators: &OPERATORS, single: false, one_action: true };
    let mut kept = 0;
    for seed in 0..300 {
        let architectures =
            ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
        let profile = generate::profile(&mut Random(seed), &names, &architectures, shape);
        let compiles = compile(&profile, &mut Problems::default()).is_some();
        let profile = match seed % 2 {
            0 => serde_json::to_string(&profile),
            _ => serde_json::to_string_pretty(&profile),
        };
        let text = document(&format!("\"seccomp\": {}", profile.unwrap()));
        if compiles {
            assert_eq!(same(&text, &root.cache()), (false, true), "seed {seed}");
            kept += 1;
        }
    }
    assert!(kept > 250, "{kept}");
}

fn document(linux: &str) -> String {
    format!(
        r#"{{"ociVersion": "1.0.2", "process": {{"cwd": "/", "user": {{"uid": 0, "gid": 0}}}}, "linux": {{{linux}}}}}"#
    )
}

/// Whatever the text around a profile that the cache has: it means what it means without the cache.
#[test]
fn profiles_in_strange_places() {
    let root = Root::new("places");
    let cache = root.cache();
    let profile =
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}"#;
    let other = profile.replace("mkdir", "rmdir");
    let plain = document(&format!("\"seccomp\": {profile}"));
    assert_eq!(same(&plain, &cache), (false, true));
    let unknown_capability =
        |text: &str| text.replace("\"cwd\"", "\"capabilities\": {\"bounding\": [\"CAP_KILL\", \"CAP_MOON\"]}, \"cwd\"");
    let found = [
        plain.clone(),
        format!("\n {}\t", plain.replace("\"seccomp\":", "\"seccomp\"\n:\t ")),
        document(&format!(r#""resources": {{"seccomp": 7}}, "secc\u006fmp": {profile}, "x": "\"seccomp\"""#)),
        // What is left out, spelled otherwise or looked up a second time.
        unknown_capability(&plain),
        plain.replace("\"user\": {\"uid\": 0, \"gid\": 0}", "\"user\": {}"),
        document(&format!(r#""intelRdt": {{"closID": "x", "enableCMT": true}}, "seccomp": {profile}"#)),
        plain.replace(
            "{\"oci",
            &format!(r#"{{"annotations": {{"seccomp": "\"seccomp\": {}"}}, "oci"#, profile.replace('"', "\\\"")),
        ),
        plain.replace("{\"oci", &format!(r#"{{"unknown": {{"linux": {{"seccomp": {other}}}}}, "oci"#)),
    ];
    for text in &found {
        assert_eq!(same(text, &cache), (true, true), "{text}");
    }
    let twice = document(&format!("\"seccomp\": {profile}, \"seccomp\": {other}"));
    let two_linux = plain.replace("{\"oci", &format!("{{\"linux\": {{\"seccomp\": {other}}}, \"oci"));
    let not_found = [
        document("\"seccomp\": null"),
        document("\"seccomp\": []"),
        document("\"seccomp\": \"seccomp\""),
        document(&format!("\"seccomp\": [{profile}]")),
        document(&format!(r#""secc\u006fmp": {profile}"#)),
        document(&format!("\"resources\": {{}}, \"Seccomp\": {profile}")),
        document(&format!("\"x\": {{\"seccomp\": {profile}}}")),
        plain.replace("\"linux\": {", "\"linux\": [{").replace("]}}}", "]}}]}"),
        plain.replace("\"linux\": ", "\"linux\": [").replace("]}}}", "]}}]}"),
        // Two of a kind are refused, or the last one counts where the configuration is read a second time.
        twice.clone(),
        unknown_capability(&twice),
        two_linux.clone(),
        unknown_capability(&two_linux),
        // Not JSON at all, or another type.
        plain.replace("}}}", "}}"),
        format!("{plain} x"),
        format!("[{plain}]"),
        plain.replace("\"cwd\": \"/\"", "\"cwd\": 1"),
        // The place that the error names is behind the profile.
        document(&format!("\"seccomp\": {profile}, \"rootfsPropagation\": 7")),
        plain.replace("\"ociVersion\": \"1.0.2\"", "\"ociVersion\": 1"),
        plain.replace("SCMP_ACT_ERRNO", "SCMP_ACT_NONE"),
    ];
    for text in &not_found {
        assert_eq!(same(text, &cache), (false, false), "{text}");
    }
}

/// A profile with a key twice is refused, but not where the configuration is read a second time; keeping what that
/// gives would let it through everywhere.
#[test]
fn a_profile_that_is_not_strictly_right_is_not_kept() {
    let root = Root::new("strict");
    let twice = r#"{"defaultAction": "SCMP_ACT_KILL", "defaultAction": "SCMP_ACT_ALLOW"}"#;
    let plain = document(&format!("\"seccomp\": {twice}"));
    let lenient = plain.replace("\"user\": {\"uid\": 0, \"gid\": 0}", "\"user\": {}");
    assert!(of_text(Path::new("config.json"), plain.clone().into()).is_err());
    assert!(of_text(Path::new("config.json"), lenient.clone().into()).is_ok());
    assert_eq!(same(&lenient, &root.cache()), (false, false));
    assert_eq!(same(&plain, &root.cache()), (false, false));
}
