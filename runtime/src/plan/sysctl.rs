//! `linux.sysctl`: only what belongs to the container's own namespaces (CVE-2022-0811, runc's rules).

use oci_spec::runtime::Linux;
use serde::{Deserialize, Serialize};

use super::namespaces::{NamespaceKind, Namespaces};
use crate::error::Problems;

const IPC: [&str; 9] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.msg_next_id",
];

/// One value for one file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sysctl {
    /// Below /proc/sys, with slashes.
    pub path: String,
    /// What is written.
    pub value: String,
    /// Which namespace it belongs to; that must be the container's own.
    pub namespace: NamespaceKind,
}

/// All of them, sorted, so that a plan is the same every time.
pub(super) fn compile(linux: Option<&Linux>, namespaces: &Namespaces, problems: &mut Problems) -> Vec<Sysctl> {
    let mut compiled = Vec::new();
    for (name, value) in linux.and_then(|linux| linux.sysctl().as_ref()).into_iter().flatten() {
        let field = format!("linux.sysctl[{name:?}]");
        // Both a.b/c and a/b.c are written in the field; the first separator decides (sysctl.d(5)).
        let path = match name.find(['.', '/']) {
            Some(first) if name.as_bytes()[first] == b'.' => name
                .chars()
                .map(|c| match c {
                    '.' => '/',
                    '/' => '.',
                    other => other,
                })
                .collect(),
            _ => name.clone(),
        };
        if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") || path.contains('\0') {
            problems.add(field, "is not the name of a sysctl");
            continue;
        }
        match required_namespace(&path) {
            Err(message) => problems.add(&field, message),
            Ok(kind) if !namespaces.has_own(kind) => {
                problems.add(&field, format!("needs a {} namespace of the container's own", kind.name()));
            }
            Ok(_) if value.contains(['\n', '\0']) => problems.add(&field, "has a line break or NUL in its value"),
            Ok(namespace) => compiled.push(Sysctl { path, value: value.clone(), namespace }),
        }
    }
    compiled.sort_by(|one, other| one.path.cmp(&other.path));
    compiled
}

fn required_namespace(path: &str) -> Result<NamespaceKind, &'static str> {
    let dotted = path.replace('/', ".");
    if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        return Ok(NamespaceKind::Ipc);
    }
    match path.split('/').next() {
        Some("net") => Ok(NamespaceKind::Network),
        Some("user") => Ok(NamespaceKind::User),
        _ if dotted == "kernel.domainname" => Ok(NamespaceKind::Uts),
        _ if dotted == "kernel.hostname" => Err("conflicts with hostname: use that field"),
        _ => Err("is not one of a namespace: it would change the whole machine"),
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::tests::{compile_text, minimal, problems_of};

    fn with(namespaces: &str, sysctl: &str) -> String {
        minimal(&format!(r#"{{"namespaces":[{{"type":"mount"}}{namespaces}],"sysctl":{sysctl}}}"#))
    }

    #[test]
    fn good_ones() {
        let plan = compile_text(&with(
            r#",{"type":"network"},{"type":"ipc"}"#,
            r#"{"net.ipv4.ip_forward":"1","kernel/shmmax":"4096","net.ipv4.conf.eth0/1.forwarding":"1"}"#,
        ))
        .unwrap();
        let paths: Vec<_> = plan.inside.sysctls.iter().map(|sysctl| sysctl.path.as_str()).collect();
        assert_eq!(paths, ["kernel/shmmax", "net/ipv4/conf/eth0.1/forwarding", "net/ipv4/ip_forward"]);
    }

    #[test]
    fn refused_ones() {
        for (namespaces, sysctl, message) in [
            ("", r#"{"net.ipv4.ip_forward":"1"}"#, "needs a network namespace"),
            ("", r#"{"kernel.core_pattern":"|/x"}"#, "whole machine"),
            (r#",{"type":"network"}"#, r#"{"net/../kernel/core_pattern":"|/x"}"#, "not the name"),
            (r#",{"type":"network"}"#, r#"{"net.ipv4.ip_forward":"1\nx"}"#, "line break"),
            (r#",{"type":"uts"}"#, r#"{"kernel.hostname":"x"}"#, "hostname"),
        ] {
            let text = problems_of(&with(namespaces, sysctl));
            assert!(text.contains(message), "{sysctl}: {text}");
        }
    }
}
