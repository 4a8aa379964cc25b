//! What a profile is refused for, and what programs look like. What they decide is compared with libseccomp's in
//! tests/seccomp_libseccomp.rs.

#![allow(clippy::expect_used, reason = "a failed expectation is a failed test")]

use serde_json::{Value, json};

use super::*;

fn compiled(profile: &Value) -> (Option<(Filter, Vec<String>)>, Vec<String>) {
    let profile = serde_json::from_value(profile.clone()).expect("a profile");
    let mut problems = Problems::default();
    let result = compile_for(Machine::X86_64, &profile, &mut problems);
    (result, problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect())
}

fn problems(profile: &Value) -> Vec<String> {
    let (result, problems) = compiled(profile);
    assert_eq!(result.is_none(), !problems.is_empty());
    problems
}

fn filter(profile: &Value) -> (Filter, Vec<String>) {
    let (result, problems) = compiled(profile);
    assert_eq!(problems, [""; 0]);
    result.expect("a filter")
}

fn deny(rule: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] })
}

#[test]
fn everything_that_is_wrong_is_found_at_once() {
    let found = problems(&json!({
        "defaultAction": "SCMP_ACT_KILL",
        "defaultErrnoRet": 1,
        "listenerMetadata": "x",
        "syscalls": [
            { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 },
            { "names": [], "action": "SCMP_ACT_ALLOW" },
            { "names": ["mkdir", ""], "action": "SCMP_ACT_TRACE", "errnoRet": 65536 },
            { "names": ["kill"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1,
              "args": [{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }] },
        ],
    }));
    let expected = [
        "linux.seccomp.listenerMetadata: there is no linux.seccomp.listenerPath to send it to",
        "linux.seccomp.defaultErrnoRet: SCMP_ACT_KILL takes no error number; only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do",
        "linux.seccomp.syscalls[0].errnoRet: 4096 is too large for SCMP_ACT_ERRNO; at most 4095",
        "linux.seccomp.syscalls[1].names: names no system call",
        "linux.seccomp.syscalls[2].errnoRet: 65536 is too large for SCMP_ACT_TRACE; at most 65535",
        "linux.seccomp.syscalls[2].names[1]: empty name",
        "linux.seccomp.syscalls[3].errnoRet: SCMP_ACT_ALLOW takes no error number; only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do",
        "linux.seccomp.syscalls[3].args[0].index: 6: a system call has the arguments 0 to 5",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_listener_needs_an_agent_and_the_runtime_needs_write() {
    let notify = |name: &str| json!({ "names": [name], "action": "SCMP_ACT_NOTIFY" });
    assert_eq!(
        problems(&deny(notify("mkdir"))),
        ["linux.seccomp.listenerPath: SCMP_ACT_NOTIFY is used, but the path of the agent's socket is missing"]
    );
    let mut profile = deny(notify("write"));
    profile["listenerPath"] = "/run/agent".into();
    assert_eq!(
        problems(&profile),
        [
            "linux.seccomp.syscalls[0].names[0]: SCMP_ACT_NOTIFY can not be used for write: the runtime needs it to hand over \
          the listener"
        ]
    );
    assert_eq!(
        problems(&json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/agent" })),
        ["linux.seccomp.defaultAction: SCMP_ACT_NOTIFY can not be the default action"]
    );
    let mut profile = deny(notify("mkdir"));
    profile["listenerPath"] = "/run/agent".into();
    let (filter, _) = filter(&profile);
    assert!(filter.notify && filter.flags == 8);
}

#[test]
fn flags_are_passed_on() {
    let mut profile = deny(json!({ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }));
    profile["listenerPath"] = "/run/agent".into();
    profile["flags"] = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    ]);
    assert_eq!(filter(&profile).0.flags, 0b11_1111);
    profile["syscalls"] = json!([]);
    let (filter, warnings) = filter(&profile);
    assert_eq!(filter.flags, 0b111);
    assert_eq!(
        warnings,
        [
            "linux.seccomp.flags[3]: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV means nothing without SCMP_ACT_NOTIFY; skipped"
        ]
    );
}

#[test]
fn unknown_names_are_warned_of() {
    let (_, warnings) = filter(&deny(json!({ "names": ["mkdir", "mkdirs", "rtas"], "action": "SCMP_ACT_TRAP" })));
    assert_eq!(warnings, ["linux.seccomp.syscalls[0].names[1]: unknown system call \"mkdirs\"; skipped"]);
}

#[test]
fn the_same_conditions_with_two_actions_are_refused_once() {
    let rule = |action: &str| json!({ "names": ["kill"], "action": action, "args": [{ "index": 1, "value": 9, "op": "SCMP_CMP_EQ" }] });
    let rules = json!([rule("SCMP_ACT_TRAP"), rule("SCMP_ACT_TRAP"), rule("SCMP_ACT_LOG")]);
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules,
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_PPC64LE"],
    });
    assert_eq!(
        problems(&profile),
        ["linux.seccomp.syscalls[2].args: the same conditions as in syscalls[0], but another action"]
    );
}

#[test]
fn a_program_that_is_too_long_is_refused() {
    let rules = |count: u64| -> Value {
        let rule = |value: u64| json!({ "names": ["kill"], "action": "SCMP_ACT_TRAP", "args": [{ "index": 1, "value": value, "op": "SCMP_CMP_EQ" }] });
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": (0..count).map(rule).collect::<Vec<_>>() })
    };
    let (filter, _) = filter(&rules(3900));
    assert!((3900..=4096).contains(&filter.program.len()), "{}", filter.program.len());
    let found = problems(&rules(5_000));
    assert!(found[0].starts_with("linux.seccomp.syscalls: the filter would have 50"), "{}", found[0]);
    assert!(
        found[0].ends_with("instructions, and the kernel takes 4096; use fewer rules with arguments"),
        "{}",
        found[0]
    );
    let found = problems(&rules(20_000));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("many thousand instructions"), "{}", found[0]);
}

#[test]
fn nothing_but_the_default_is_a_short_program() {
    let (filter, _) = filter(&json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
    assert!(filter.program.len() < 10, "{:?}", filter.program);
}

#[test]
fn equal_rules_of_several_calls_share_their_code() {
    let rule = |names: Value| {
        let args: Vec<Value> =
            (0..6).map(|i| json!({ "index": i, "value": 1u64 << 40, "op": "SCMP_CMP_GT" })).collect();
        deny(json!({ "names": names, "action": "SCMP_ACT_TRAP", "args": args }))
    };
    let one = filter(&rule(json!(["kill"]))).0.program.len();
    let three = filter(&rule(json!(["kill", "mmap", "mount"]))).0.program.len();
    assert!(three <= one + 6, "{one} and {three}");
}
