//! Entering, freezing, killing, removing.

use super::*;

#[test]
fn enters_every_hierarchy_and_is_found_again() {
    if !is_root() {
        return;
    }
    let test = TestCgroup::new("enter", json!({}));
    let child = test.spawn("read forever");
    let own = memberships(child.pid());
    for mount in test.cgroup.record().mounts() {
        let line = format!(":{}:/pipkin-test-{}-enter/box", mount.options, std::process::id());
        assert!(own.lines().any(|l| l.ends_with(&line)), "{line} not in\n{own}");
    }
    let text = serde_json::to_string(&test.cgroup.record()).unwrap();
    let again: pipkin_runtime::cgroup::Record = serde_json::from_str(&text).unwrap();
    assert_eq!(again.open().processes().unwrap(), [child.pid()]);
    assert_eq!(again.open().clone_into().is_some(), test.cgroup.clone_into().is_some());
}

#[test]
fn the_frozen_stand_still() {
    if !is_root() {
        return;
    }
    let test = TestCgroup::new("freeze", json!({}));
    let mut child = test.spawn("while :; do echo tick; done");
    let mut lines = child.lines();
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "tick\n");
    assert!(!test.cgroup.is_frozen().unwrap());

    test.cgroup.freeze().unwrap();
    assert!(test.cgroup.is_frozen().unwrap());
    let mut pipe = lines.into_inner();
    rustix::fs::fcntl_setfl(&pipe, rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut rest = [0; 1 << 16];
    while pipe.read(&mut rest).is_ok() {}
    // The pipe is empty and its writer stands: nothing may come within a time in which thousands of lines would.
    let quiet = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let mut wait = [rustix::event::PollFd::new(&pipe, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut wait, Some(&quiet)).unwrap(), 0);

    test.cgroup.thaw().unwrap();
    assert!(!test.cgroup.is_frozen().unwrap());
    let patience = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut wait, Some(&patience)).unwrap(), 1);
}

#[test]
fn kill_ends_all_even_the_frozen_and_the_stubborn() {
    if !is_root() {
        return;
    }
    let test = TestCgroup::new("kill", json!({}));
    let script = "trap '' TERM HUP INT; for i in 1 2 3 4; do sh -c 'trap \"\" TERM; echo up; while :; do sleep 1000; done' & done; wait";
    let mut child = test.spawn(script);
    let mut lines = child.lines();
    for _ in 0..4 {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
    }
    test.cgroup.signal_all(Signal::TERM).unwrap();
    assert!(test.cgroup.processes().unwrap().len() >= 5);
    test.cgroup.freeze().unwrap();
    test.cgroup.kill().unwrap();
    assert_eq!(child.wait_with_output().status.signal(), Some(9));
    test.cgroup.remove().unwrap();
    assert!(!test.cgroup.exists() && test.cgroup.processes().unwrap().is_empty());
    // Everything is safe to repeat.
    test.cgroup.kill().unwrap();
    test.cgroup.remove().unwrap();
    assert!(!test.cgroup.is_frozen().unwrap());
    assert_eq!(test.cgroup.freeze().unwrap_err().kind(), Kind::State);
}

#[test]
fn a_cgroup_in_use_is_refused_and_an_empty_one_taken() {
    if !is_root() {
        return;
    }
    let test = TestCgroup::new("used", json!({}));
    let again = TestCgroup::new("used", json!({}));
    std::mem::forget(again); // The first one removes it.
    let child = test.spawn("read forever");
    let error = Cgroup::create(&plan("used", json!({})).unwrap()).unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
    assert!(error.to_string().contains("has processes in it (1)"), "{error}");
    assert_eq!(test.cgroup.processes().unwrap(), [child.pid()]);
}

#[test]
fn a_refused_limit_leaves_nothing() {
    if !is_root() {
        return;
    }
    // No machine has pages of 3 KB.
    let plan = plan("refused", json!({"hugepageLimits": [{"pageSize": "3KB", "limit": 0}]})).unwrap();
    let error = Cgroup::create(&plan).unwrap_err().to_string();
    assert!(error.starts_with("linux.resources.hugepageLimits[0]: ") && error.contains("hugetlb.3KB."), "{error}");
    for mount in plan.record().mounts() {
        assert!(!mount.directory.exists(), "{mount:?}");
        let _ = std::fs::remove_dir(mount.directory.parent().unwrap());
    }
}

#[test]
fn remove_takes_what_the_container_made_below_and_waits_for_the_dying() {
    if !is_root() {
        return;
    }
    let test = TestCgroup::new("below", json!({}));
    for mount in test.cgroup.record().mounts() {
        std::fs::create_dir_all(mount.directory.join("a/b/c")).unwrap();
        std::fs::create_dir(mount.directory.join("a/d")).unwrap();
    }
    let child = test.spawn("sleep 1000 & sleep 1000 & wait");
    test.cgroup.kill().unwrap();
    // Not reaped by us, still dying perhaps.
    test.cgroup.remove().unwrap();
    assert!(!test.cgroup.exists());
    drop(child);
}

#[test]
fn joins_where_init_has_moved_to() {
    if !is_root() {
        return;
    }
    // A limit on version 2's side makes sure that the cgroup has a controller to hand on.
    let on_v2 = |controller| Layout::detect().unwrap().of(controller).is_some_and(|h| h.version == Version::V2);
    let limit = match (on_v2("pids"), on_v2("hugetlb")) {
        (true, _) => json!({"pids": {"limit": 100}}),
        (_, true) => json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}),
        _ => json!({}),
    };
    let test = match TestCgroup::try_new("beside", limit) {
        // In a container with processes in the topmost cgroup that it sees nothing can be handed down from there.
        Err(error) if error.to_string().contains("can not hand controllers down") => {
            return skipped(&error.to_string());
        }
        other => other.unwrap(),
    };
    let child = test.spawn("read forever");
    let Some(_) = test.cgroup.clone_into() else {
        return test.cgroup.enter_beside(child.pid(), child.pid()).unwrap();
    };
    // As systemd does it: init moves down, and the cgroup hands a controller to its children.
    let own = test.directory(Version::V2);
    std::fs::create_dir(own.join("init")).unwrap();
    std::fs::write(own.join("init/cgroup.procs"), child.pid().as_raw_nonzero().to_string()).unwrap();
    let controllers = std::fs::read_to_string(own.join("cgroup.controllers")).unwrap();
    let Some(controller) = controllers.split_whitespace().next() else {
        return skipped("version 2 has no controller here to divide the cgroup with");
    };
    std::fs::write(own.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();

    let visitor = Running(Some(Command::new("sleep").arg("1000").spawn().unwrap()));
    let refused = test.cgroup.enter_unified(visitor.pid()).unwrap_err();
    assert_eq!(refused.errno(), Some(libc_ebusy()), "{refused}");
    test.cgroup.enter_beside(visitor.pid(), child.pid()).unwrap();
    assert!(memberships(visitor.pid()).lines().any(|l| l.starts_with("0::") && l.ends_with("/box/init")));
    assert!(test.cgroup.clone_beside(child.pid()).unwrap().is_some());
    let all = test.cgroup.processes().unwrap();
    assert!(all.contains(&visitor.pid()) && all.contains(&child.pid()));
    // Emptied before the guard takes it away.
    test.cgroup.kill().unwrap();
}
