//! What the drivers are told to do, for real configurations and for every property.

use super::*;

macro_rules! config {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/data/configs/", $name, ".json"))
    };
}

const CONFIGS: [&str; 13] = [
    config!("containerd-default"),
    config!("containerd-seccomp-memory"),
    config!("docker-hardened"),
    config!("docker-init-bridge"),
    config!("kubernetes-cri-container"),
    config!("kubernetes-cri-sandbox"),
    config!("podman-default"),
    config!("podman-hardened"),
    config!("podman-privileged"),
    config!("podman-tty"),
    config!("podman-userns"),
    config!("runc-spec-default"),
    config!("runc-spec-rootless"),
];

fn hierarchy(version: Version, name: &str, options: &str, controllers: &[&str]) -> Hierarchy {
    Hierarchy {
        version,
        mount_point: PathBuf::from("/sys/fs/cgroup").join(name),
        options: options.into(),
        own: "/user/me".into(),
        root: "/".into(),
        controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
    }
}

fn unified() -> Layout {
    let all = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
    Layout { hierarchies: vec![hierarchy(Version::V2, "", "", &all)] }
}

fn hybrid() -> Layout {
    let v1 = |options: &str| hierarchy(Version::V1, options, options, &options.split(',').collect::<Vec<_>>());
    let mut hierarchies: Vec<_> =
        ["cpu,cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"].map(v1).into();
    hierarchies.push(hierarchy(Version::V1, "systemd", "name=systemd", &[]));
    hierarchies.push(hierarchy(Version::V1, "elogind", "name=elogind", &[]));
    hierarchies.push(hierarchy(Version::V2, "unified", "", &["hugetlb"]));
    Layout { hierarchies }
}

fn linux(config: &str) -> Option<Linux> {
    let spec: oci_spec::runtime::Spec = serde_json::from_str(config).unwrap();
    spec.linux().clone()
}

fn compile(linux: Option<&Linux>, layout: &Layout) -> Plan {
    let mut problems = Problems::default();
    let plan = Plan::compile("box", linux, layout, true, false, false, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    plan.unwrap()
}

fn problems(linux: serde_json::Value, layout: &Layout, privileged: bool) -> Vec<String> {
    let linux: Linux = serde_json::from_value(linux).unwrap();
    let mut problems = Problems::default();
    Plan::compile("box", Some(&linux), layout, privileged, false, !privileged, &mut problems);
    problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect()
}

fn settings(plan: &Plan) -> Vec<String> {
    plan.groups.iter().flat_map(|g| &g.settings).map(|s| format!("{}={}", s.file, s.value)).collect()
}

fn directories(plan: &Plan) -> Vec<&str> {
    plan.groups.iter().map(|g| g.seat.directory.to_str().unwrap()).collect()
}

#[test]
fn what_engines_write_compiles_everywhere() {
    for config in CONFIGS {
        for layout in [unified(), hybrid()] {
            let plan = compile(linux(config).as_ref(), &layout);
            let again: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
            assert_eq!(plan, again);
        }
    }
}

#[test]
fn limits_of_docker_and_podman() {
    let docker = linux(config!("docker-hardened"));
    assert_eq!(
        settings(&compile(docker.as_ref(), &unified())),
        ["memory.swap.max=67108864", "memory.max=67108864", "cpu.max=50000 100000", "pids.max=20"]
    );
    assert_eq!(
        settings(&compile(docker.as_ref(), &hybrid())),
        [
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "memory.limit_in_bytes=67108864",
            "memory.memsw.limit_in_bytes=134217728",
            "pids.max=20",
        ]
    );
    let kubernetes = compile(linux(config!("kubernetes-cri-container")).as_ref(), &unified());
    assert_eq!(
        settings(&kubernetes),
        ["memory.swap.max=0", "memory.max=67108864", "cpu.max=50000 100000"],
        "memory and swap alike means no swap"
    );
    let sandbox = compile(linux(config!("kubernetes-cri-sandbox")).as_ref(), &unified());
    assert_eq!(settings(&sandbox), ["cpu.weight=1"]);
    let containerd = compile(linux(config!("containerd-default")).as_ref(), &unified());
    assert_eq!(settings(&containerd), ["cpu.weight=100"]);
    assert_eq!(containerd.groups[0].enable, USUAL);
}

#[test]
fn hierarchies_and_their_paths() {
    let plan = compile(linux(config!("runc-spec-default")).as_ref(), &hybrid());
    assert_eq!(
        directories(&plan),
        [
            "/sys/fs/cgroup/cpu,cpuacct/user/me/box",
            "/sys/fs/cgroup/memory/user/me/box",
            "/sys/fs/cgroup/devices/user/me/box",
            "/sys/fs/cgroup/freezer/user/me/box",
            "/sys/fs/cgroup/blkio/user/me/box",
            "/sys/fs/cgroup/pids/user/me/box",
            "/sys/fs/cgroup/systemd/user/me/box",
            "/sys/fs/cgroup/unified/user/box",
        ]
    );
    let record = plan.record();
    assert_eq!(record.spare.as_ref().unwrap().directory, PathBuf::from("/sys/fs/cgroup/cpuset/user/me/box"));
    let shown: Vec<(String, bool)> =
        record.mounts_among(&hybrid().hierarchies).into_iter().map(|m| (m.name, m.shared)).collect();
    assert!(shown.contains(&("cpuset".into(), true)) && shown.contains(&("memory".into(), false)));
    assert!(plan.devices.is_some() && plan.owner.is_none());
}

#[test]
fn privileged_containers_need_no_device_rules() {
    let plan = compile(linux(config!("podman-privileged")).as_ref(), &unified());
    assert!(plan.devices.unwrap().allow_everything());
}

#[test]
fn without_rights_and_wishes_there_is_no_cgroup_or_only_if_it_is_delegated() {
    let rootless = linux(config!("runc-spec-rootless"));
    let compile =
        |layout: &Layout| Plan::compile("box", rootless.as_ref(), layout, false, false, true, &mut Problems::default());
    assert_eq!(compile(&hybrid()), None);
    assert_eq!(compile(&Layout::default()), None);
    let delegated = compile(&unified()).unwrap();
    assert!(delegated.optional && delegated.devices.is_none());
}

#[test]
fn nothing_is_limited_where_nothing_can_be() {
    let only_hugetlb = Layout { hierarchies: vec![hierarchy(Version::V2, "", "", &["hugetlb"])] };
    let wishes = serde_json::json!({"resources": {
        "memory": {"limit": 1_000_000}, "cpu": {"shares": 512, "cpus": "0"}, "pids": {"limit": 5},
        "blockIO": {"weight": 100}, "network": {"classID": 1}, "rdma": {"mlx5_1": {"hcaHandles": 1}},
    }});
    let found = problems(wishes, &only_hugetlb, true);
    let fields: Vec<&str> = found.iter().map(|p| p.split(':').next().unwrap()).collect();
    let expected = ["memory", "cpu.cpus", "cpu", "pids.limit", "blockIO", "network.classID", "rdma.mlx5_1"];
    assert_eq!(fields, expected.map(|f| format!("linux.resources.{f}")));
    assert!(found[0].contains("needs the cgroup controller \"memory\"") && found[0].contains("there are hugetlb"));
    // Saying that there is no limit, or what is so anyway, asks for nothing.
    for shares in [0, 1024] {
        let no_limits = serde_json::json!({"resources": {
            "memory": {"limit": -1, "swap": -1, "disableOOMKiller": false}, "cpu": {"shares": shares, "quota": 0},
            "pids": {"limit": -1}, "blockIO": {"weight": 0},
        }});
        assert_eq!(problems(no_limits, &only_hugetlb, true), Vec::<String>::new());
    }
}

#[test]
fn what_is_wrong_is_said_all_at_once() {
    let wrong = serde_json::json!({"cgroupsPath": "/a/../b", "resources": {
        "memory": {"limit": 100, "swap": 50, "swappiness": 101, "reservation": 200},
        "cpu": {"quota": -5, "period": 10, "shares": 1, "idle": 2, "cpus": "3-1"},
        "pids": {"limit": -7}, "blockIO": {"weight": 9},
        "hugepageLimits": [{"pageSize": "2 MB", "limit": 1}, {"pageSize": "2MB", "limit": -1}],
        "unified": {"memory.max/../x": "1", "..": "1", "nonsense.max": "1", "cgroup.procs": "1"},
        "devices": [{"allow": true, "access": "x"}],
    }});
    let found = problems(wrong, &unified(), true);
    let fields: Vec<&str> = found.iter().map(|p| p.split(": ").next().unwrap()).collect();
    let resources = [
        "memory.swap",
        "memory.reservation",
        "memory.swappiness",
        "cpu.cpus",
        "cpu.quota",
        "cpu.period",
        "cpu.idle",
        "cpu.shares",
        "pids.limit",
        "blockIO.weight",
        "hugepageLimits[0].pageSize",
        "hugepageLimits[1].limit",
        "unified...",
        "unified.cgroup.procs",
        "unified.memory.max/../x",
        "unified.nonsense.max",
        "devices[0].access",
    ];
    assert_eq!(fields[0], "linux.cgroupsPath");
    assert_eq!(fields[1..], resources.map(|f| format!("linux.resources.{f}")));
}

#[test]
fn every_resource_in_version_2() {
    let all = serde_json::json!({"resources": {
        "memory": {"limit": 1 << 30, "reservation": 1 << 20, "swap": -1},
        "cpu": {"shares": 2048, "quota": 20_000, "burst": 10_000, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 10},
        "blockIO": {
            "weight": 500,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 5}],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}],
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10_000}},
        "unified": {"memory.high": "900000000", "misc.max": "a 1\nb 2\n"},
    }});
    let linux: Linux = serde_json::from_value(all).unwrap();
    assert_eq!(
        settings(&compile(Some(&linux), &unified())),
        [
            "memory.max=1073741824",
            "memory.low=1048576",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "cpu.weight=174",
            "cpu.max=20000 100000",
            "cpu.max.burst=10000",
            "pids.max=10",
            "io.bfq.weight=500",
            "io.bfq.weight=8:0 10",
            "io.max=8:0 rbps=1000",
            "io.max=8:16 wiops=5",
            "hugetlb.2MB.max=4194304",
            "hugetlb.2MB.rsvd.max=4194304",
            "rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
            "memory.high=900000000",
            "misc.max=a 1",
            "misc.max=b 2",
        ]
    );
}

#[test]
fn version_2_refuses_what_only_version_1_has() {
    let old = serde_json::json!({"resources": {
        "memory": {"limit": 1 << 20, "disableOOMKiller": true, "swappiness": 10, "kernelTCP": 5},
        "cpu": {"realtimeRuntime": 1000, "realtimePeriod": 10_000},
        "blockIO": {"leafWeight": 100},
        "network": {"priorities": [{"name": "eth0", "priority": 1}]},
    }});
    assert_eq!(problems(old.clone(), &unified(), true).len(), 7);
    let kept = problems(old, &hybrid(), true);
    assert_eq!(kept.len(), 1, "only net_prio is missing: {kept:?}");
}

#[test]
fn systemd_scopes() {
    let linux: Linux = serde_json::from_value(serde_json::json!({
        "cgroupsPath": "machine.slice:libpod:1234", "resources": {"pids": {"limit": 5}},
    }))
    .unwrap();
    let mut problems = Problems::default();
    let plan = Plan::compile("box", Some(&linux), &unified(), true, true, false, &mut problems).unwrap();
    assert_eq!(directories(&plan), ["/sys/fs/cgroup/machine.slice/libpod-1234.scope"]);
    assert_eq!(plan.record().unit.unwrap().name, "libpod-1234.scope");
    let annotations = |key: &str, value: &str| HashMap::from([(key.to_owned(), value.to_owned())]);
    let wanted = annotations("org.systemd.property.TimeoutStopUSec", "uint64 5");
    assert_eq!(plan.clone().annotated(&wanted, &mut problems).properties.len(), 1);
    assert!(problems.is_empty());
    let injected = annotations("org.systemd.property.PIDs", "[1]");
    assert!(plan.annotated(&injected, &mut problems).properties.is_empty());
    assert_eq!(problems.iter().next().unwrap().field, "annotations.org.systemd.property.PIDs");

    let mut problems = Problems::default();
    Plan::compile("box", Some(&linux), &hybrid(), true, true, false, &mut problems);
    assert_eq!(problems.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(), ["--systemd-cgroup"]);
}
