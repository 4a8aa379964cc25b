//! The machine's log: the journal, or whoever listens as syslog.

use std::os::unix::net::UnixDatagram;

use super::Level;
use crate::error::{Context, Result};

/// A program's lines in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SystemLog {
    protocol: Protocol,
    /// What they are found by.
    identifier: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    Journal,
    Syslog,
}

impl SystemLog {
    /// systemd's journal. Without a name the lines are this program's.
    pub fn journal(identifier: &str) -> Self {
        Self::new(Protocol::Journal, identifier)
    }

    /// syslog(3). Without a name the lines are this program's.
    pub fn syslog(identifier: &str) -> Self {
        Self::new(Protocol::Syslog, identifier)
    }

    fn new(protocol: Protocol, identifier: &str) -> Self {
        let identifier = if identifier.is_empty() { "pipkin-runtime" } else { identifier };
        Self { protocol, identifier: identifier.to_owned() }
    }

    fn socket(&self) -> &'static str {
        match self.protocol {
            Protocol::Journal => "/run/systemd/journal/socket",
            Protocol::Syslog => "/dev/log",
        }
    }

    /// Whether somebody keeps it.
    pub fn check(&self) -> Result<()> {
        let socket = UnixDatagram::unbound().step(|| "open the machine's log")?;
        socket.connect(self.socket()).on("open the log", self.socket())
    }

    /// One message. It is not waited for room.
    pub fn write(&self, level: Level, text: &str) -> std::io::Result<()> {
        let message = match self.protocol {
            Protocol::Journal => self.for_the_journal(level, text),
            Protocol::Syslog => self.for_syslog(level, text),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to(&message, self.socket()).map(drop)
    }

    /// systemd's "Native Journal Protocol": a field a line; one with line breaks has its length, 64 bits little-endian, in
    /// front, so that no text becomes another field.
    fn for_the_journal(&self, level: Level, text: &str) -> Vec<u8> {
        let mut message = format!("PRIORITY={}\n", priority(level)).into_bytes();
        for (name, value) in [("SYSLOG_IDENTIFIER", self.identifier.as_str()), ("MESSAGE", text)] {
            message.extend_from_slice(name.as_bytes());
            message.push(b'\n');
            message.extend_from_slice(&(value.len() as u64).to_le_bytes());
            message.extend_from_slice(value.as_bytes());
            message.push(b'\n');
        }
        message
    }

    /// As syslog(3) writes it to a local socket, which knows the time itself; facility `LOG_DAEMON`.
    fn for_syslog(&self, level: Level, text: &str) -> Vec<u8> {
        const LOG_DAEMON: u8 = 3;
        let priority = LOG_DAEMON << 3 | priority(level);
        format!("<{priority}>{}[{}]: {text}", self.identifier, std::process::id()).into_bytes()
    }
}

/// syslog(3)
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warning => 4,
        Level::Debug => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_no_field() {
        let message = SystemLog::journal("x").for_the_journal(Level::Warning, "a\nPRIORITY=0");
        assert_eq!(
            message,
            b"PRIORITY=4\nSYSLOG_IDENTIFIER\n\x01\0\0\0\0\0\0\0x\nMESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n"
        );
    }
}
