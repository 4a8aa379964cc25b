//! What is asked for.

use std::ffi::CString;
use std::path::Path;

use crate::kernel::text;
use crate::pieces::Pieces;
use crate::{boot, exec};

/// How the second program is called.
pub const STAGE: &str = "floor-stage";

/// Does it, and says how it ended.
pub fn run() -> libc::c_int {
    let mut words: Vec<CString> = std::env::args_os().map(|argument| text(Path::new(&argument))).collect();
    if words[0].to_bytes() == STAGE.as_bytes() {
        let numbers: Vec<usize> = words[2..6].iter().filter_map(|word| word.to_str().ok()?.parse().ok()).collect();
        let [bits, channel, plan, last] = numbers.as_slice() else { return 64 };
        let pieces = Pieces::from_bits(*bits);
        return match words[1].to_bytes() {
            b"boot" => boot::stage(pieces, *channel, *plan, *last, &words[6..]),
            _ => exec::stage(pieces, *channel, *plan, *last, &words[6..]),
        };
    }
    words.remove(0);
    let mut pieces = Pieces::from_bits(0);
    let mut state = text(Path::new("/dev/shm"));
    while words.len() > 2 && words[0].to_bytes().starts_with(b"--") {
        let value = words.remove(1);
        match words.remove(0).to_bytes() {
            b"--with" => pieces = Pieces::named(&value.to_string_lossy()),
            b"--state" => state = value,
            _ => return 64,
        }
    }
    match words.as_slice() {
        [verb, pid, name, program @ ..] if verb.to_bytes() == b"exec" && !program.is_empty() => {
            exec::run(pieces, &state, pid, name, program)
        }
        [rootfs, name, program @ ..] if !program.is_empty() => boot::run(pieces, &state, rootfs, name, program),
        _ => 64,
    }
}
