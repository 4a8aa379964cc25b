//! What a boot costs more than the floor, piece by piece.

use pipkin_harness::Lab;
use pipkin_measure::Comparison;

use crate::runtimes::{Runtime, runtimes};
use crate::side_by_side::{Options, pieces};

/// The floor with ever more pieces, pipkin-runtime, and crun where it works.
pub fn compare(lab: &Lab, options: &Options) -> Vec<Comparison> {
    let bundle = super::default_bundle(lab);
    let rootfs = bundle.rootfs("").to_str().expect("plain words").trim_end_matches('/').to_owned();
    let state = pieces::state_directory(lab);
    let mut contenders = pieces::contenders(lab, &pieces::BOOT, &state, &[&rootfs, lab.name(), "/bin/true"]);
    let boot = |runtime: Runtime| runtime.run(&["--bundle", bundle.path_text()], lab.name());
    let slim = |runtime: &Runtime| matches!(runtime.name, "pipkin-runtime" | "crun");
    contenders.extend(runtimes(lab, options).into_iter().filter(slim).map(boot));
    contenders.extend(pieces::crun_start());
    // What is looked for is smaller than what a machine does besides.
    vec![options.compare(&format!("{}boot, default configuration", pieces::ABOVE), options.rounds * 2, contenders)]
}
