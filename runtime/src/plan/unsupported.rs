//! What a configuration may ask for and this version does not do: refused with its field, never ignored.

use oci_spec::runtime::Spec;

use super::namespaces::NamespaceKind;
use crate::error::Problems;

/// Notes every field that asks for something that is not there.
pub(super) fn note(spec: &Spec, problems: &mut Problems) {
    let mut refuse = |asked: bool, field: &str| {
        if asked {
            problems.add(field, "is not supported by this version of pipkin-runtime; remove it");
        }
    };
    if let Some(linux) = spec.linux() {
        refuse(linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()), "linux.netDevices");
        refuse(linux.intel_rdt().is_some(), "linux.intelRdt");
        refuse(linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty()), "linux.timeOffsets");
        for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
            let time = NamespaceKind::from(namespace.typ()) == NamespaceKind::Time;
            refuse(time, &format!("linux.namespaces[{index}] (time)"));
        }
    }
    refuse(spec.vm().is_some(), "vm");
}
