use clap::Args;
use serde_json::{Value, json};

use super::print;
use crate::error::{Context, Result};
use crate::plan::{MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES, MOUNT_OPTIONS, NamespaceKind};
use crate::seccomp;

/// Print what this runtime can do, as JSON (features.md of the runtime spec).
#[derive(Args, Debug)]
pub(super) struct Features {}

impl Features {
    #[inline(never)]
    pub fn run(self) -> Result<()> {
        let text =
            serde_json::to_string_pretty(&features()).map_err(std::io::Error::from).step(|| "encode the features")?;
        print(&format!("{text}\n"));
        Ok(())
    }
}

fn features() -> Value {
    let seccomp = seccomp::features();
    // The machine's own is understood, but no name of the spec's (schema/defs-linux.json, "SeccompArch").
    let architectures: Vec<_> = seccomp.architectures.iter().filter(|name| **name != "SCMP_ARCH_NATIVE").collect();
    let mut capabilities: Vec<String> = caps::all().into_iter().map(|capability| capability.to_string()).collect();
    capabilities.sort();
    let mut namespaces: Vec<_> = NamespaceKind::ALL.into_iter().map(NamespaceKind::name).collect();
    namespaces.sort_unstable();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": MOUNT_OPTIONS,
        "linux": {
            "namespaces": namespaces,
            "capabilities": capabilities,
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": seccomp.actions,
                "operators": seccomp.operators,
                "archs": architectures,
                "knownFlags": seccomp.known_flags,
                "supportedFlags": seccomp.supported_flags
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true},
            "memoryPolicy": {
                "modes": MEMORY_POLICY_MODES.map(|(name, _)| name),
                "flags": MEMORY_POLICY_FLAGS.map(|(name, _)| name)
            }
        },
        // What it says becomes a property of a systemd unit, which may be a command to run.
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
        "annotations": {
            "org.opencontainers.pipkin-runtime.version": env!("CARGO_PKG_VERSION")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_advertised_mount_option_is_understood() {
        for option in MOUNT_OPTIONS {
            let kind = match *option {
                "copy-symlink" | "src-nofollow" | "dest-nofollow" => r#""type":"bind","source":"/x""#,
                bind if bind.ends_with("bind") => r#""source":"/x""#,
                _ => r#""type":"tmpfs""#,
            };
            let map = r#"[{"containerID":0,"hostID":1,"size":1}]"#;
            let maps = match option.ends_with("idmap") {
                true => format!(r#","uidMappings":{map},"gidMappings":{map}"#),
                false => String::new(),
            };
            let text = format!(
                r#"{{"ociVersion":"1.2.0","root":{{"path":"r"}},"process":{{"cwd":"/","args":["a"],"user":{{"uid":0,"gid":0}}}},
                    "linux":{{"namespaces":[{{"type":"mount"}}]}},"mounts":[{{"destination":"/a","type":"tmpfs"}},
                    {{"destination":"/a",{kind},"options":["{option}"]{maps}}}]}}"#
            );
            assert_eq!(crate::plan::tests::problems_of(&text), "", "{option}");
        }
        assert!(MOUNT_OPTIONS.is_sorted());
    }
}
