//! What the init says, on standard error, each persona in the manner of its original.

use crate::kernel::process::own_pid;
use crate::line::Line;
use crate::options::Verbosity;
use crate::options::persona::MessageStyle;

const STDERR: i32 = 2;

/// Says what is worth saying.
#[derive(Clone, Copy)]
pub struct Messages {
    style: MessageStyle,
    verbosity: Verbosity,
}

impl Messages {
    /// Messages of at most `verbosity` in this style.
    pub fn new(style: MessageStyle, verbosity: Verbosity) -> Self {
        Self { style, verbosity }
    }

    /// Says what `compose` adds to a line, if `level` is to be said at all.
    #[inline(never)]
    pub fn say(&self, level: Verbosity, compose: &mut dyn FnMut(&mut Line)) {
        if level <= self.verbosity {
            let mut line = Line::new();
            self.begin(level, &mut line);
            compose(&mut line);
            line.end(STDERR);
        }
    }

    /// Says `text`.
    #[inline(never)]
    pub fn say_text(&self, level: Verbosity, text: &str) {
        self.say(level, &mut |line| {
            line.text(text);
        });
    }

    fn begin(&self, level: Verbosity, line: &mut Line) {
        let level = |names: [&'static str; 4]| names[usize::from(level.0 & 3)];
        let pid = own_pid().0 as u64;
        match self.style {
            MessageStyle::Pipkin => line.text("pipkin-init: "),
            MessageStyle::DumbInit => line.text("[dumb-init] "),
            MessageStyle::Tini => {
                line.text("[").text(level(["FATAL", "WARN ", "INFO ", "DEBUG"])).text(" tini (").number(pid).text(")] ")
            }
            MessageStyle::Catatonit => {
                line.text(level(["ERROR", "WARN", "INFO", "DEBUG"])).text(" (catatonit:").number(pid).text("): ")
            }
        };
    }
}
