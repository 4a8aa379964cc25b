//! What a configuration may ask for and this version does not do: refused with its field, never ignored.

use oci_spec::runtime::Spec;

use crate::error::Problems;

/// Notes every field that asks for something that is not there.
pub(super) fn note(spec: &Spec, problems: &mut Problems) {
    let mut refuse = |asked: bool, field: &str| {
        if asked {
            problems.add(field, "is not supported by this version of pipkin-runtime; remove it");
        }
    };
    if let Some(linux) = spec.linux() {
        refuse(linux.intel_rdt().is_some(), "linux.intelRdt");
    }
    refuse(spec.vm().is_some(), "vm");
}
