//! Cgroups of ordinary users, of containers that divide theirs, and of systemd.

use super::*;

#[test]
fn hands_the_cgroup_to_its_owner() {
    if !is_root() {
        return;
    }
    let plan = plan("owner", json!({})).unwrap().owned_by(12345);
    let cgroup = Cgroup::create(&plan).unwrap();
    let test = TestCgroup::of(&plan, cgroup);
    if test.cgroup.clone_into().is_none() {
        return;
    }
    let own = test.directory(Version::V2);
    let uid = |path: &Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    assert_eq!([uid(&own), uid(&own.join("cgroup.procs")), uid(&own.join("cgroup.subtree_control"))], [12345; 3]);
    assert_eq!(uid(&own.join("cgroup.freeze")), 0, "limits stay out of the owner's reach");
}

/// Needs a running systemd on version 2 alone, such as in a container of its own; as an ordinary user, that user's.
#[test]
fn systemd_makes_the_scope_and_forgets_it() {
    let layout = Layout::detect().unwrap();
    let privileged = rustix::process::geteuid().is_root();
    let user_bus = std::env::var_os("XDG_RUNTIME_DIR").is_some();
    if !layout.is_unified() || !Path::new("/run/systemd/system").exists() || !(privileged || user_bus) {
        return skipped("needs systemd and cgroup version 2 alone");
    }
    let manager = if privileged { "--system" } else { "--user" };
    let reload = || assert!(Command::new("systemctl").args([manager, "daemon-reload"]).status().unwrap().success());
    let show = |unit: &str, property: &str| {
        let output =
            Command::new("systemctl").args([manager, "show", "--value", "-p", property, unit]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let unit = format!("pipkin-test-{}.scope", std::process::id());
    let resources = if has("pids") { json!({"pids": {"limit": 50}}) } else { json!({}) };
    let path = format!(":pipkin-test:{}", std::process::id());
    let linux: Linux = serde_json::from_value(json!({"cgroupsPath": path, "resources": resources})).unwrap();
    let mut problems = Problems::default();
    let annotations = [("org.systemd.property.TimeoutStopSec".to_owned(), "uint64 7".to_owned())].into();
    let plan = Plan::compile("box", Some(&linux), &layout, privileged, true, !privileged, &mut problems).unwrap();
    let plan = plan.annotated(&annotations, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");

    // Twice, at once: the name is free when `remove` returns.
    for _ in 0..2 {
        let test = TestCgroup { cgroup: Cgroup::create(&plan).unwrap(), parents: Vec::new() };
        assert_eq!(test.cgroup.record(), plan.record(), "it is where it was planned");
        assert_eq!(Cgroup::create(&plan).unwrap_err().kind(), Kind::Exists);
        let child = test.spawn("read forever");
        assert_eq!(test.cgroup.processes().unwrap().len(), 2, "the child and systemd's stand-in");
        test.restrict();
        assert_eq!(test.cgroup.processes().unwrap(), [child.pid()]);
        if privileged {
            assert_eq!(access(Some(&test), &[NULL, FUSE]), "1:3 m 1:3 r 1:3 w 10:229 m ");
        }

        reload();
        assert_eq!([show(&unit, "ActiveState"), show(&unit, "Delegate")], ["active", "yes"]);
        assert_eq!(show(&unit, "TimeoutStopUSec"), "7s");
        if has("pids") {
            assert_eq!(show(&unit, "TasksMax"), "50");
            update(&test, json!({"pids": {"limit": 60}})).unwrap();
            reload();
            assert_eq!(show(&unit, "TasksMax"), "60");
            assert_eq!(test.cgroup.stats().unwrap().pids.limit, 60);
        }
        let again = test.cgroup.record().open();
        again.kill().unwrap();
        again.remove().unwrap();
        assert_eq!(show(&unit, "LoadState"), "not-found");
        again.remove().unwrap();
    }
}

const NOBODY: u32 = 65534;

#[test]
fn an_ordinary_user_has_what_is_delegated() {
    if !is_root() {
        return;
    }
    let plan = plan("rootless", json!({})).unwrap().owned_by(NOBODY);
    let test = TestCgroup::of(&plan, Cgroup::create(&plan).unwrap());
    // The program itself, by a path that needs no permission on the way to it.
    let mut user = Command::new("/proc/self/exe");
    user.args(["--exact", "delegation::role_of_the_ordinary_user", "--ignored", "--nocapture"]).uid(NOBODY).gid(NOBODY);
    let user = user.env("PIPKIN_TEST_USER", std::process::id().to_string()).stdin(Stdio::piped());
    let user = Running(Some(user.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()));
    if test.cgroup.clone_into().is_some() {
        // As a session does it: the user's processes are in a cgroup beside those that they make.
        let session = test.directory(Version::V2).join("session");
        std::fs::create_dir(&session).unwrap();
        std::os::unix::fs::chown(session.join("cgroup.procs"), Some(NOBODY), None).unwrap();
        std::fs::write(session.join("cgroup.procs"), user.pid().as_raw_nonzero().to_string()).unwrap();
    }
    user.0.as_ref().unwrap().stdin.as_ref().unwrap().write_all(b"\n").unwrap();
    let output = user.wait_with_output();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// The other side of `an_ordinary_user_has_what_is_delegated`.
#[test]
#[ignore = "started by another test, as an ordinary user"]
fn role_of_the_ordinary_user() {
    let Ok(parent) = std::env::var("PIPKIN_TEST_USER") else { return };
    std::io::stdin().read_line(&mut String::new()).unwrap();
    assert_eq!(rustix::process::geteuid().as_raw(), NOBODY);
    let layout = Layout::detect().unwrap();
    let compile = |linux: &Linux, layout: &Layout| {
        let mut problems = Problems::default();
        let plan = Plan::compile("box", Some(linux), layout, false, false, true, &mut problems);
        problems.into_result().map(|()| plan)
    };
    let linux = |json: Value| -> Linux { serde_json::from_value(json).unwrap() };

    // What was not delegated: an error with a remedy when it is asked for.
    let elsewhere = linux(json!({"cgroupsPath": format!("/pipkin-test-{parent}-elsewhere")}));
    let error = Cgroup::create(&compile(&elsewhere, &layout).unwrap().unwrap()).unwrap_err().to_string();
    assert!(error.contains("no cgroup is delegated to this user"), "{error}");

    let Some(mut plan) = compile(&linux(json!({})), &layout).unwrap() else {
        return assert!(!layout.is_unified());
    };
    // Nothing asked for and nothing delegated: without a cgroup of its own.
    let mut outside = layout.clone();
    outside.hierarchies[0].own = PathBuf::from("/session.scope");
    let none = Cgroup::create(&compile(&linux(json!({})), &outside).unwrap().unwrap()).unwrap();
    assert!(none.clone_into().is_none() && none.record() == Default::default());
    assert_eq!(none.freeze().unwrap_err().kind(), Kind::State);
    none.kill().and_then(|()| none.remove()).unwrap();

    if has("pids") {
        plan = compile(&linux(json!({"resources": {"pids": {"limit": 5}}})), &layout).unwrap().unwrap();
    }
    let test = TestCgroup::of(&plan, Cgroup::create(&plan).unwrap());
    let child = test.spawn("sleep 1000 & read forever");
    test.restrict();
    assert!(test.cgroup.processes().unwrap().contains(&child.pid()));
    if has("pids") {
        assert_eq!(test.cgroup.stats().unwrap().pids.limit, 5);
    }
    test.cgroup.freeze().unwrap();
    test.cgroup.kill().unwrap();
    assert_eq!(child.wait_with_output().status.signal(), Some(9));
    test.cgroup.remove().unwrap();
    assert!(!test.cgroup.exists());
}
