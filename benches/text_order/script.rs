//! The linker script.

use std::collections::BTreeMap;

use crate::Use;
use crate::watch::{CONFINED, EXEC_LAUNCHER, EXEC_STAGE, RUN_LAUNCHER, RUN_STAGE};

const HEAD: &str =
    "/* Made by `make text-order` (benches/text_order): the functions that run and exec go through, beside each other.
   A name that is nowhere does nothing, and what is not named comes after these. */
SECTIONS {
  .text.boot : {
";
const FOOT: &str = "  }
}
INSERT BEFORE .text;
";

/// The patterns in their order: neighbours are used by the same processes, and within these one after the other.
pub fn lines<'a>(uses: &BTreeMap<&'a str, Use>) -> Vec<&'a str> {
    let mut order: Vec<_> = uses.iter().collect();
    order.sort_by_key(|(_, one)| (place(one), one.first));
    order.into_iter().map(|(pattern, _)| *pattern).collect()
}

/// What launchers alone need, then what they share with the stage, then the stage's: each of them maps a connected part. A name
/// that a generic function has in many forms would spread these, and comes after them.
fn place(one: &Use) -> u8 {
    let launcher = one.parts & (RUN_LAUNCHER | EXEC_LAUNCHER) != 0;
    let stage = one.parts & (RUN_STAGE | EXEC_STAGE) != 0;
    match (launcher, stage) {
        (true, _) | (_, true) if one.all > 2 * one.entered => 5,
        (true, false) if one.parts & RUN_LAUNCHER == 0 => 0,
        (true, false) => 1,
        (true, true) => 2,
        (false, true) if one.parts & RUN_STAGE != 0 => 3,
        (false, true) => 4,
        (false, false) if one.parts & CONFINED != 0 => 6,
        (false, false) => 7,
    }
}

/// The script's text.
pub fn text(lines: &[&str]) -> String {
    let body: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    format!("{HEAD}{body}{FOOT}")
}
