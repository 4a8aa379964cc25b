//! Plans of small configurations, and what other modules need to make one in their tests.

use super::*;

/// Root on a machine with a unified hierarchy.
pub(crate) fn host() -> Host {
    let unified = cgroup::Hierarchy {
        version: cgroup::Version::V2,
        mount_point: "/sys/fs/cgroup".into(),
        options: String::new(),
        own: "/".into(),
        root: "/".into(),
        controllers: ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).to_vec(),
    };
    Host {
        cgroups: cgroup::Layout { hierarchies: vec![unified] },
        euid: 0,
        initial_user_namespace: true,
        capabilities: u64::MAX,
        modules: lsm::Modules::default(),
    }
}

pub(crate) fn problems_of(spec: &str) -> String {
    match compile_text(spec) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn compile_text(spec: &str) -> Result<Box<Plan>> {
    let spec: Spec = serde_json::from_str(spec).unwrap();
    let usual = Request::new("test", Path::new("/bundle"), cgroup::Driving::default());
    let request = Request { start: Start::AtOnce, ..usual };
    compile(&request, &spec, &host())
}

pub(crate) fn minimal(linux: &str) -> String {
    format!(
        r#"{{"ociVersion":"1.2.0","root":{{"path":"rootfs"}},"process":{{"cwd":"/","args":["true"],
            "user":{{"uid":0,"gid":0}}}},"linux":{linux}}}"#
    )
}

#[test]
fn all_problems_are_found_at_once() {
    let text = problems_of(
        r#"{"ociVersion":"2.0.0","hostname":"x","root":{"path":""},"process":{"cwd":"relative","args":[],
            "user":{"uid":0,"gid":0}},"linux":{"namespaces":[{"type":"mount"},{"type":"mount"}],
            "rootfsPropagation":"sideways","maskedPaths":["proc"]}}"#,
    );
    for field in [
        "ociVersion",
        "hostname",
        "root.path",
        "process.cwd",
        "process.args",
        "linux.namespaces[1]",
        "linux.maskedPaths[0]",
    ] {
        assert!(text.contains(field), "{field} in {text}");
    }
}

#[test]
fn the_root_file_system_is_found_in_the_bundle() {
    let plan = compile_text(&minimal(r#"{"namespaces":[{"type":"mount"}]}"#)).unwrap();
    assert_eq!(plan.inside.rootfs.path, Path::new("/bundle/rootfs"));
    assert_eq!(plan.inside.rootfs.propagation, Propagation::slave(true));
}
