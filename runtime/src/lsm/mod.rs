//! Labels of Linux security modules: AppArmor's profile and SELinux's contexts (`process.apparmorProfile`,
//! `process.selinuxLabel`, `linux.mountLabel`).
//!
//! A label that can not be had is an error, before anything is made where that can be known: a program that runs without
//! the walls it was promised is worse than one that does not run (CVE-2025-65105).

mod attribute;

use oci_spec::runtime;
use rustix::fs::Access;
use serde::{Deserialize, Serialize};

use crate::error::Problems;

pub(crate) use self::attribute::{clear_key_label, set_exec_labels, set_key_label};

/// Which of them this kernel runs with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Modules {
    /// AppArmor (apparmor(7)).
    pub apparmor: bool,
    /// SELinux.
    pub selinux: bool,
}

impl Modules {
    /// Asks the kernel: two system calls.
    pub fn detect() -> Self {
        let apparmor =
            std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
        // The mount point is made by SELinux itself, and only when it is on.
        Self { apparmor, selinux: rustix::fs::access("/sys/fs/selinux", Access::EXISTS).is_ok() }
    }
}

/// What a program is to run under from its exec on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Labels {
    /// `process.apparmorProfile`
    pub apparmor: Option<String>,
    /// `process.selinuxLabel`
    pub selinux: Option<String>,
}

impl Labels {
    /// Those of a process document; what can not be is noted.
    pub fn compile(process: &runtime::Process, modules: Modules, problems: &mut Problems) -> Self {
        let apparmor = named(process.apparmor_profile().as_deref(), "process.apparmorProfile", problems);
        // Without AppArmor everything is unconfined.
        let apparmor = apparmor.filter(|profile| modules.apparmor || profile != UNCONFINED);
        if let Some(profile) = apparmor.as_ref().filter(|_| !modules.apparmor) {
            problems.add(
                "process.apparmorProfile",
                format!(
                    "{profile:?} can not be set: this kernel runs without AppArmor; remove it, or boot with apparmor=1"
                ),
            );
        }
        let selinux = named(process.selinux_label().as_deref(), "process.selinuxLabel", problems);
        check_selinux(selinux.as_deref(), "process.selinuxLabel", modules, problems);
        Self { apparmor, selinux }
    }

    /// Whether there is nothing to set.
    pub fn is_empty(&self) -> bool {
        self.apparmor.is_none() && self.selinux.is_none()
    }
}

/// The profile of everything that has none.
const UNCONFINED: &str = "unconfined";

/// `linux.mountLabel`; what can not be is noted.
pub(crate) fn compile_mount_label(
    linux: Option<&runtime::Linux>,
    modules: Modules,
    problems: &mut Problems,
) -> Option<String> {
    let label = linux.and_then(|linux| linux.mount_label().as_deref());
    let label = named(label, "linux.mountLabel", problems);
    check_selinux(label.as_deref(), "linux.mountLabel", modules, problems);
    label
}

fn check_selinux(label: Option<&str>, field: &str, modules: Modules, problems: &mut Problems) {
    if let Some(label) = label.filter(|_| !modules.selinux) {
        problems.add(
            field,
            format!(
                "{label:?} can not be set: this kernel runs without SELinux; remove it, or boot with security=selinux"
            ),
        );
    }
}

/// An empty label is none at all: that is how engines write "no label".
fn named(label: Option<&str>, field: &str, problems: &mut Problems) -> Option<String> {
    let label = label.filter(|label| !label.is_empty())?;
    // One write, one label: a line break would begin something else.
    if label.contains(char::is_control) {
        problems.add(field, format!("{label:?} has a control character in it"));
        return None;
    }
    Some(label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(process: &str, modules: Modules) -> (Labels, String) {
        let text = format!(r#"{{"cwd":"/","user":{{"uid":0,"gid":0}},{process}}}"#);
        let mut problems = Problems::default();
        let labels = Labels::compile(&serde_json::from_str(&text).unwrap(), modules, &mut problems);
        (labels, problems.into_result().map_or_else(|error| error.to_string(), |()| String::new()))
    }

    const BOTH: Modules = Modules { apparmor: true, selinux: true };

    #[test]
    fn a_label_without_its_module_is_refused_by_name() {
        for (process, text) in [
            (r#""apparmorProfile":"docker-default""#, "process.apparmorProfile: \"docker-default\" can not be set"),
            (r#""selinuxLabel":"a:b:c:s0""#, "process.selinuxLabel: \"a:b:c:s0\" can not be set"),
        ] {
            let (labels, problems) = compile(process, Modules::default());
            assert!(problems.contains(text), "{problems}");
            assert_eq!(compile(process, BOTH), (labels, String::new()));
        }
    }

    #[test]
    fn no_label_is_none() {
        for process in [r#""apparmorProfile":"","selinuxLabel":"""#, r#""apparmorProfile":"unconfined""#] {
            let (labels, problems) = compile(process, Modules::default());
            assert!(labels.is_empty() && problems.is_empty(), "{process}");
        }
        let (labels, _) = compile(r#""apparmorProfile":"unconfined""#, BOTH);
        assert_eq!(labels.apparmor.as_deref(), Some("unconfined"), "out of the profile of an engine that has one");
    }

    #[test]
    fn a_label_is_one_line() {
        for process in [r#""apparmorProfile":"a\nexec b""#, r#""selinuxLabel":"a\u0000b""#] {
            assert!(compile(process, BOTH).1.contains("control character"), "{process}");
        }
    }
}
