//! What the init says, on standard error, each persona in the manner of its original.

use crate::kernel::process::own_pid;
use crate::line::Line;
use crate::options::{Persona, Settings};
use crate::start::Text;
use crate::text;
use crate::texts::Packed;

const STDERR: i32 = 2;

/// Says `text`, if so much is to be said: [`Settings::verbosity`]. For the marks in it see [`Line::add`].
///
/// In line: of most orphans nothing is said, and to find that out is what can be saved on one.
#[inline(always)]
pub fn say_of(settings: &Settings, level: u8, text: Packed, number: u64, word: Text<'_>) {
    if level <= settings.verbosity {
        tell(settings.persona, level, text, number, word);
    }
}

#[inline(never)]
fn tell(persona: Persona, level: u8, text: Packed, number: u64, word: Text<'_>) {
    let mut line = Line::new();
    begin(&mut line, persona, level);
    line.add(text, number, word).end(STDERR);
}

/// Says `text`, which has no `@`.
#[inline(always)]
pub fn say(settings: &Settings, level: u8, text: Packed, number: u64) {
    say_of(settings, level, text, number, Text::of(c""));
}

/// Begins a message of this level.
#[inline(never)]
pub fn begin(line: &mut Line, persona: Persona, level: u8) {
    let text = match persona {
        Persona::Pipkin => text!("pipkin-init: "),
        Persona::DumbInit => text!("[dumb-init] "),
        Persona::Tini => text!("[@ tini (#)] "),
        Persona::Catatonit => text!("@ (catatonit:#): "),
    };
    let level = match level {
        0 => c"ERROR",
        1 => c"WARN ",
        2 => c"INFO ",
        _ => c"DEBUG",
    };
    line.add(text, own_pid().0 as u64, Text::of(level));
}
