//! `pipkin-hello`: the program in the built-in `hello` image. It looks around and says where it is: what a container
//! is made of, seen from inside. What it cannot see it says it cannot see.

mod fields;
mod limits;

use crate::kernel::file;
use crate::kernel::process::own_pid;
use crate::kernel::terminal::is_terminal;
use crate::line::Line;
use crate::start::{CommandLine, Text, Words};
use fields::{decimal, split_at};

const STDOUT: i32 = 1;
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1;32m";
const PLAIN: &str = "\x1b[0m";
const NAMESPACES: [Text<'static>; 8] = [
    Text::of(c"/proc/self/ns/cgroup"),
    Text::of(c"/proc/self/ns/ipc"),
    Text::of(c"/proc/self/ns/mnt"),
    Text::of(c"/proc/self/ns/net"),
    Text::of(c"/proc/self/ns/pid"),
    Text::of(c"/proc/self/ns/time"),
    Text::of(c"/proc/self/ns/user"),
    Text::of(c"/proc/self/ns/uts"),
];
/// Names of the capabilities in the order of their numbers, from 0, `capabilities(7)`.
const CAPABILITIES: &str = "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable \
                            net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio \
                            sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time \
                            sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog \
                            wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore";

/// Prints the report. `first` is the time at which the program began, in nanoseconds of the monotonic clock.
pub fn run(_: CommandLine<'static>, environment: Words<'static>) -> u8 {
    let first = crate::kernel::now();
    let mut report = Report { line: Line::new(), colours: is_terminal(STDOUT) };
    report.greet();
    report.boot_time(first, environment);
    report.processes();
    report.host_name();
    report.ids("user ids", Text::of(c"/proc/self/uid_map"));
    report.ids("group ids", Text::of(c"/proc/self/gid_map"));
    report.namespaces(environment.value(Text::of(c"PIPKIN_HOST_NAMESPACES=")).map(Text::bytes));
    limits::add_to(&mut report);
    report.privileges();
    0
}

/// A file of the kernel's, as far as it fits.
struct Content {
    bytes: [u8; 4096],
    length: usize,
}

impl Content {
    fn of(path: Text<'_>) -> Self {
        let mut bytes = [0; 4096];
        let length = file::read_head(path, &mut bytes);
        Self { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn first_line(&self) -> &[u8] {
        split_at(self.bytes(), b'\n').0
    }

    /// What follows `field` at the beginning of a line.
    fn field(&self, field: &str) -> Option<&[u8]> {
        self.bytes().split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(field.as_bytes()))
    }
}

struct Report {
    line: Line,
    colours: bool,
}

impl Report {
    fn paint(&mut self, colour: &str) -> &mut Line {
        self.line.text(if self.colours { colour } else { "" })
    }

    /// Begins a row.
    fn row(&mut self, label: &str) -> &mut Line {
        self.paint(DIM).text("  ").text(label);
        for _ in label.len()..14 {
            self.line.text(" ");
        }
        self.paint(PLAIN)
    }

    fn end(&mut self) {
        self.line.end(STDOUT);
    }

    fn greet(&mut self) {
        self.paint(BOLD).text("Hello from a container.");
        self.paint(PLAIN);
        self.end();
        self.end();
    }

    fn boot_time(&mut self, first: u64, environment: Words<'_>) {
        let started = environment.value(Text::of(c"PIPKIN_STARTED=")).and_then(|word| decimal(word.bytes(), first));
        if let Some(started) = started {
            self.row("started in").number((first - started) / 1000).text(" us, from pipkin's start to this program's");
            self.end();
        }
    }

    fn processes(&mut self) {
        let first = Content::of(Text::of(c"/proc/1/comm"));
        self.row("process").text("I am ").number(own_pid().0 as u64);
        match first.first_line() {
            [] => self.line.text("; there is no /proc to see others"),
            name => self.line.text("; PID 1 is ").foreign(name),
        };
        self.end();
    }

    fn host_name(&mut self) {
        let name = Content::of(Text::of(c"/proc/sys/kernel/hostname"));
        match name.first_line() {
            [] => self.row("host name").text("not visible"),
            name => self.row("host name").foreign(name),
        };
        self.end();
    }

    /// One row for each range of a map, `user_namespaces(7)`: inside, outside, length.
    fn ids(&mut self, label: &str, path: Text<'_>) {
        let map = Content::of(path);
        let mut label = label;
        if map.bytes().is_empty() {
            self.row(label).text("not visible");
            return self.end();
        }
        for range in map.bytes().split(|byte| *byte == b'\n').take(8) {
            let mut numbers = range.split(|byte| *byte == b' ').filter_map(|word| decimal(word, u64::MAX));
            if let (Some(inside), Some(outside), Some(length)) = (numbers.next(), numbers.next(), numbers.next()) {
                if length == u64::from(u32::MAX) {
                    self.row(label).text("the host's own, all of them");
                } else {
                    span(self.row(label), inside, length).text(" here, ");
                    span(&mut self.line, outside, length).text(" outside");
                }
                self.end();
                label = "";
            }
        }
    }

    /// Which namespaces are not those in `host`: `pid=4026531836,mnt=...`.
    fn namespaces(&mut self, host: Option<&[u8]>) {
        let mut room = [0; 64];
        let (mut own, mut shared) = (Line::new(), Line::new());
        for path in NAMESPACES {
            // The link says `pid:[4026531836]`.
            let link = file::read_link(path, &mut room);
            if link.is_empty() {
                continue;
            }
            let (name, inode) = split_at(link, b':');
            let inode = inode.unwrap_or_default().iter().filter(|byte| byte.is_ascii_digit());
            let on_host = host.and_then(|host| {
                host.split(|byte| *byte == b',').find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
            });
            let list = if on_host.is_some_and(|number| number.iter().eq(inode)) { &mut shared } else { &mut own };
            list.text(" ").foreign(name);
        }
        if own.as_bytes().is_empty() && shared.as_bytes().is_empty() {
            self.row("namespaces").text("not visible");
        } else if host.is_none() {
            self.row("namespaces").text("in").foreign(own.as_bytes());
        } else {
            for (list, none, some) in [(&own, "none of its own", "its own:"), (&shared, "", "; the host's:")] {
                if list.as_bytes() == own.as_bytes() {
                    self.row("namespaces");
                }
                match list.as_bytes() {
                    [] => self.line.text(none),
                    names => self.line.text(some).foreign(names),
                };
            }
        }
        self.end();
    }

    fn privileges(&mut self) {
        let status = Content::of(Text::of(c"/proc/self/status"));
        match status.field("CapEff:\t").and_then(hexadecimal) {
            None => {
                self.row("capabilities").text("not visible");
            }
            Some(mask) => self.capabilities(mask),
        }
        self.end();
        let mode = match status.field("Seccomp:\t") {
            Some([b'0']) => "off",
            Some([b'1']) => "strict",
            Some(_) => "filter",
            None => "not visible",
        };
        self.row("seccomp").text(mode);
        self.end();
        let gain = match status.field("NoNewPrivs:\t") {
            Some([b'1']) => "can not be gained by execve (no_new_privs)",
            Some(_) => "can be gained by execve",
            None => "not visible",
        };
        self.row("privileges").text(gain);
        self.end();
    }

    fn capabilities(&mut self, mask: u64) {
        let last = Content::of(Text::of(c"/proc/sys/kernel/cap_last_cap"));
        let all = decimal(last.first_line(), 63).map_or(u64::MAX, |last| u64::MAX >> (63 - last));
        if mask == 0 {
            self.row("capabilities").text("none");
            return;
        }
        let missing = all & !mask;
        let listed = if missing.count_ones() < mask.count_ones() { missing } else { mask };
        self.row("capabilities").text(match (missing, listed == missing) {
            (0, _) => "all",
            (_, true) => "all but ",
            (_, false) => "",
        });
        for (number, name) in CAPABILITIES.as_bytes().split(|byte| *byte == b' ').enumerate() {
            if listed >> number & 1 == 1 {
                self.line.foreign(name).text(" ");
            }
        }
    }
}

/// Adds `first-last`.
fn span(line: &mut Line, first: u64, length: u64) -> &mut Line {
    line.number(first);
    if length > 1 {
        line.text("-").number(first.saturating_add(length - 1));
    }
    line
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| Some(number << 4 | u64::from((*digit as char).to_digit(16)?)))
}

/// `parts` one after the other, as a path for the kernel.
fn path_in<'a>(room: &'a mut [u8; 1024], parts: &[&[u8]]) -> Option<Text<'a>> {
    let mut bytes = parts.iter().copied().flatten();
    let length = room.iter_mut().zip(&mut bytes).map(|(to, from)| *to = *from).count();
    *room.get_mut(length)? = 0;
    Some(Text::within(room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_together_and_never_cut_short_silently() {
        let mut room = [b'x'; 1024];
        assert_eq!(path_in(&mut room, &[b"/sys", b"/fs", b"", b"/x"]), Some(Text::of(c"/sys/fs/x")));
        assert_eq!(path_in(&mut room, &[&[b'a'; 1024]]), None);
    }

    #[test]
    fn capability_masks_are_hexadecimal() {
        assert_eq!(hexadecimal(b"00000000a80425fb"), Some(0xa804_25fb));
        assert_eq!(hexadecimal(b"xyz"), None);
    }
}
