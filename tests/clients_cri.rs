//! containerd as the kubelet uses it, by the Container Runtime Interface, with `pipkin-runtime` as a RuntimeClass's handler.
//!
//! There is no crictl in Debian: `tests/data/cri.mjs` makes the calls. Field numbers are those of `runtime.v1` (cri-api, api.proto).
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use pipkin_harness::image::Image;
use pipkin_harness::{Enclosure, Finished, Running, await_true, data_file, host, skipped};
use rustix::process::Signal;
use serde_json::{Value, json};

const CONFIGURATION: &str = r#"
version = 2
root = "DIR/root"
state = "DIR/state"
[grpc]
address = "DIR/socket"
[ttrpc]
address = "DIR/ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:latest"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "DIR/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "pipkin"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.pipkin]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.pipkin.options]
BinaryName = "RUNTIME"
"#;

/// `NamespaceOption`: the host's network, since there is no CNI plugin here; pid and ipc are the pod's and the container's.
const NAMESPACES: [(u32, u32); 2] = [(1, 2), (2, 1)];

struct Kubelet {
    daemon: Option<Running>,
    enclosure: Enclosure,
}

impl Kubelet {
    fn new() -> Option<Self> {
        let enclosure = Enclosure::new(&["containerd", "ctr", "node"])?;
        let lab = enclosure.lab();
        let directory = lab.directory("containerd");
        let text = CONFIGURATION.replace("DIR", directory.to_str().unwrap());
        let config = lab.file("containerd.toml", text.replace("RUNTIME", lab.runtime_path().to_str().unwrap()));
        let daemon = enclosure.program("containerd").arg("--config").arg(config).start();
        let kubelet = Self { daemon: Some(daemon), enclosure };
        // Of the whole daemon: its socket is there before anybody listens on it.
        await_true("the interface", || kubelet.try_call("Version", &json!([]), &json!([])).code() == 0);
        let lab = kubelet.enclosure.lab();
        for name in ["pause", "t"] {
            let mut image = Image::busybox();
            image.config["config"]["Cmd"] = json!(["/bin/probe", "sleep"]);
            let file = lab.file(&format!("{name}.tar"), image.docker_archive(&format!("localhost/{name}:latest")));
            let import = kubelet.enclosure.program("ctr").arg("--address").arg(directory.join("socket"));
            import.args(["--namespace", "k8s.io", "image", "import"]).arg(file).run().ok();
        }
        Some(kubelet)
    }

    fn try_call(&self, method: &str, request: &Value, nested: &Value) -> Finished {
        let socket = self.enclosure.lab().path("containerd/socket");
        let script = self.enclosure.program("node").arg(data_file("cri.mjs")).arg(socket);
        script.args([method, &request.to_string(), &nested.to_string()]).run()
    }

    /// The response: lists of values by field number.
    #[track_caller]
    fn call(&self, method: &str, request: Value) -> Value {
        serde_json::from_str(&self.try_call(method, &request, &json!([])).ok().stdout()).unwrap()
    }

    /// `PodSandboxConfig`.
    fn pod(&self) -> Value {
        let lab = self.enclosure.lab();
        let metadata = json!([[1, "pod"], [2, lab.id()], [3, "default"]]);
        let linux = json!([[1, format!("/{}", lab.name())], [2, [[1, NAMESPACES]]]]);
        json!([[1, metadata], [3, lab.directory("logs")], [8, linux]])
    }

    /// `CreateContainer` and `StartContainer`: its id. `linux` is a `LinuxContainerConfig`.
    #[track_caller]
    fn start(&self, pod: &str, config: &Value, name: &str, command: &[&str], linux: Value) -> String {
        let mut container = vec![json!([1, [[1, name]]]), json!([2, [[1, "localhost/t:latest"]]])];
        container.extend(command.iter().map(|word| json!([3, word])));
        container.extend([json!([6, [[1, "A"], [2, "b c"]]]), json!([11, format!("{name}.log")]), json!([15, linux])]);
        let created = self.call("CreateContainer", json!([[1, pod], [2, container], [3, config]]));
        let id = created["1"][0].as_str().unwrap().to_owned();
        self.call("StartContainer", json!([[1, id]]));
        id
    }

    /// What the container has said, in the kubelet's log format.
    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.enclosure.lab().path(format!("logs/{name}.log"))).unwrap_or_default()
    }

    /// `ContainerStatus`: state (1 runs, 2 has ended) and exit code.
    #[track_caller]
    fn status(&self, id: &str) -> (u64, u64) {
        let said = self.try_call("ContainerStatus", &json!([[1, id]]), &json!([1])).ok().stdout();
        let said: Value = serde_json::from_str(&said).unwrap();
        let number = |field: &str| said["1"][0][field][0].as_u64().unwrap_or(0);
        (number("3"), number("7"))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(Signal::TERM);
            daemon.wait();
        }
        self.enclosure.remove_cgroups(&[self.enclosure.lab().name()]);
        if !std::thread::panicking() {
            assert_eq!(self.enclosure.states_left(), "");
        }
    }
}

#[test]
fn a_pod_as_the_kubelet_runs_it() {
    if !host::has_controller("cpu") {
        return skipped("the interface always asks for cpu shares, and the cgroup layout has no cpu controller");
    }
    let Some(kubelet) = Kubelet::new() else { return };
    let config = kubelet.pod();
    let made = kubelet.call("RunPodSandbox", json!([[1, config], [2, "pipkin"]]));
    let pod = made["1"][0].as_str().unwrap().to_owned();

    // LinuxContainerResources: quota, shares, memory, OOM score; LinuxContainerSecurityContext: namespaces, user,
    // read-only root, no new privileges.
    let resources = json!([[1, 100_000], [2, 50_000], [3, 512], [4, 67_108_864], [5, 1000]]);
    let security = json!([[3, NAMESPACES], [5, [[1, 1000]]], [7, true], [11, true]]);
    let id = kubelet.start(&pod, &config, "report", &["/bin/probe"], json!([[1, resources], [2, security]]));
    await_true("its end", || kubelet.status(&id) == (2, 0));
    // Whoever writes the log need not be done with it.
    await_true("its report", || kubelet.log("report").contains(" F ") && kubelet.log("report").ends_with('\n'));
    let log = kubelet.log("report");
    let report: Value = serde_json::from_str(log.split_once(" F ").expect("a full line").1).unwrap();
    assert_eq!((&report["uid"][0], &report["no_new_privs"]), (&json!(1000), &json!(true)));
    assert_eq!((&report["oom_score_adj"], &report["env"]["A"]), (&json!(1000), &json!("b c")));
    assert_eq!(report["pid"], 1);
    kubelet.call("RemoveContainer", json!([[1, id]]));

    let program = "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done";
    let id = kubelet.start(&pod, &config, "server", &["sh", "-c", program], json!([[2, [[3, NAMESPACES]]]]));
    await_true("the server hears signals", || kubelet.log("server").contains("up"));
    // What a probe does.
    let exec = |words: &[&str]| {
        let mut request = vec![json!([1, id]), json!([3, 20])];
        request.extend(words.iter().map(|word| json!([2, word])));
        kubelet.call("ExecSync", json!(request))
    };
    assert_eq!(exec(&["echo", "in"])["1"], json!(["in\n"]));
    assert_eq!(exec(&["sh", "-c", "echo err >&2; exit 7"]), json!({"2": ["err\n"], "3": [7]}));
    let resources = json!([[1, 100_000], [2, 70_000], [4, 134_217_728]]);
    kubelet.call("UpdateContainerResources", json!([[1, id], [2, resources]]));
    let limits = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; true";
    assert!(exec(&["sh", "-c", limits])["1"].to_string().contains("70000"));
    assert_eq!(kubelet.status(&id), (1, 0));
    kubelet.call("ContainerStats", json!([[1, id]]));
    kubelet.call("StopContainer", json!([[1, id], [2, 20]]));
    assert_eq!(kubelet.status(&id), (2, 9));

    let id = kubelet.start(&pod, &config, "deaf", &["sleep", "1000"], json!([[2, [[3, NAMESPACES]]]]));
    kubelet.call("StopContainer", json!([[1, id], [2, 1]]));
    assert_eq!(kubelet.status(&id), (2, 137));
    let missing = json!([[1, [[1, "missing"]]], [2, [[1, "localhost/t:latest"]]], [3, "no-such-program"]]);
    let id = kubelet.call("CreateContainer", json!([[1, pod], [2, missing], [3, config]]))["1"][0].clone();
    let refused = kubelet.try_call("StartContainer", &json!([[1, id]]), &json!([]));
    assert!(refused.code() == 1 && refused.stderr().contains("no-such-program"), "{}", refused.all());

    // Ends what still runs in it.
    let left = kubelet.start(&pod, &config, "left", &["sleep", "1000"], json!([[2, [[3, NAMESPACES]]]]));
    kubelet.call("StopPodSandbox", json!([[1, pod]]));
    assert_eq!(kubelet.status(&left), (2, 137));
    kubelet.call("RemovePodSandbox", json!([[1, pod]]));
}
