//! What a configuration may ask for and this version does not do: refused with its field, never ignored.

use oci_spec::runtime::{Process, Spec};

use super::namespaces::NamespaceKind;
use crate::error::Problems;

/// As [`note`], for a process alone.
pub(crate) fn note_unsupported_process(process: &Process, problems: &mut Problems) {
    let named = |label: &Option<String>| label.as_deref().is_some_and(|label| !label.is_empty());
    for (asked, field) in [
        (named(process.apparmor_profile()), "process.apparmorProfile"),
        (named(process.selinux_label()), "process.selinuxLabel"),
    ] {
        refuse(asked, field, problems);
    }
}

fn refuse(asked: bool, field: &str, problems: &mut Problems) {
    if asked {
        problems.add(field, "is not supported by this version of pipkin-runtime; remove it");
    }
}

/// Notes every field that asks for something that is not there.
pub(super) fn note(spec: &Spec, problems: &mut Problems) {
    if let Some(process) = spec.process() {
        note_unsupported_process(process, problems);
    }
    let mut refuse = |asked: bool, field: &str| refuse(asked, field, problems);
    if let Some(linux) = spec.linux() {
        refuse(linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()), "linux.netDevices");
        refuse(linux.intel_rdt().is_some(), "linux.intelRdt");
        refuse(linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty()), "linux.timeOffsets");
        refuse(linux.mount_label().as_deref().is_some_and(|label| !label.is_empty()), "linux.mountLabel");
        for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
            let time = NamespaceKind::from(namespace.typ()) == NamespaceKind::Time;
            refuse(time, &format!("linux.namespaces[{index}] (time)"));
        }
    }
    refuse(spec.vm().is_some(), "vm");
}
