//! A connection to the message bus on which systemd's manager is.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::message::{Body, Incoming, Message, call, length, parse};
use crate::cgroup::events::wait_for;
use crate::error::{Context, Error, Kind, Result};

const MANAGER: (&str, &str, &str) =
    ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager");
const BUS: (&str, &str, &str) = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus");

/// How long systemd may take for a job; a busy machine's bus can stall for many seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bus's own limit is 128 MiB; nothing asked for here is anywhere near this.
const MAX_MESSAGE: usize = 1 << 20;

/// A connection, ready for calls.
pub struct Bus {
    socket: UnixStream,
    serial: u32,
    deadline: Instant,
    received: Vec<u8>,
}

/// Why a call failed: the error's name (`org.freedesktop.systemd1.UnitExists`), and its text.
pub struct Refusal {
    /// The D-Bus name of the error.
    pub name: String,
    /// For a person.
    pub text: String,
}

impl Bus {
    /// Connects to the system's bus, or to the user's.
    ///
    /// Everything up to the first call is written at once and answered later: one round trip less.
    pub fn connect(user: bool) -> Result<Bus> {
        let address = if user { user_address()? } else { system_address() };
        let socket = open(&address).map_err(|error| {
            let error = Error::system(format!("connect to the message bus {address}"), error);
            match user {
                true => error.remedy("a user's cgroups need a running user session (loginctl enable-linger)"),
                false => error.remedy("is systemd running here? without it, leave --systemd-cgroup out"),
            }
        })?;
        let mut bus = Bus { socket, serial: 0, deadline: Instant::now() + PATIENCE, received: Vec::new() };
        // EXTERNAL without a name: the bus takes the identity from the socket, right in every user namespace.
        bus.write(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        bus.send(BUS, "Hello", Body::default())?;
        bus.authenticate()?;
        Ok(bus)
    }

    /// Calls systemd's manager and waits for the answer's arguments.
    pub fn manage(&mut self, method: &str, body: Body) -> Result<std::result::Result<Vec<String>, Refusal>> {
        self.deadline = Instant::now() + PATIENCE;
        let serial = self.send(MANAGER, method, body)?;
        loop {
            let message = self.receive()?;
            match message.kind {
                Incoming::Return(to) if to == serial => return Ok(Ok(message.arguments)),
                Incoming::Error(to) if to == serial => {
                    let text = message.arguments.into_iter().next().unwrap_or_default();
                    return Ok(Err(Refusal { name: message.name, text }));
                }
                _ => {}
            }
        }
    }

    /// Calls a method that starts a job, and waits for its end: `done`, or why not.
    pub fn run_job(&mut self, method: &str, body: Body) -> Result<std::result::Result<String, Refusal>> {
        self.deadline = Instant::now() + PATIENCE;
        // The manager tells those who have subscribed; older ones nobody else.
        let rule = format!("type='signal',sender='{}',member='JobRemoved'", MANAGER.0);
        self.send(BUS, "AddMatch", Body::default().text(&rule))?;
        self.send(MANAGER, "Subscribe", Body::default())?;
        let serial = self.send(MANAGER, method, body)?;
        let mut ended: Vec<(String, String)> = Vec::new();
        let mut job = None;
        loop {
            let message = self.receive()?;
            match message.kind {
                Incoming::Return(to) if to == serial => job = message.arguments.into_iter().next(),
                Incoming::Error(to) if to == serial => {
                    let text = message.arguments.into_iter().next().unwrap_or_default();
                    return Ok(Err(Refusal { name: message.name, text }));
                }
                // id, job, unit, result; it can come before the answer to the call.
                Incoming::Signal if message.name == "JobRemoved" => {
                    if let [_, path, _, result] = message.arguments.as_slice() {
                        ended.push((path.clone(), result.clone()));
                    }
                }
                _ => {}
            }
            if let Some((_, result)) = ended.iter().find(|(path, _)| Some(path) == job.as_ref()) {
                return Ok(Ok(result.clone()));
            }
        }
    }

    fn send(&mut self, (destination, path, interface): (&str, &str, &str), member: &str, body: Body) -> Result<u32> {
        self.serial += 1;
        let message = call(self.serial, destination, path, interface, member, body);
        self.write(&message)?;
        Ok(self.serial)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).step(|| "write to the message bus")
    }

    /// The answers of the SASL dialogue: lines, of which `OK` is the one that counts.
    fn authenticate(&mut self) -> Result<()> {
        loop {
            while let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).collect();
                if line.starts_with(b"OK") {
                    return Ok(());
                }
                if !line.starts_with(b"DATA") {
                    let line = String::from_utf8_lossy(&line).trim().to_owned();
                    return Err(Error::new(Kind::System, format!("the message bus refuses this user: {line}")));
                }
            }
            self.read_more()?;
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let malformed = || Error::new(Kind::System, "the message bus sent something malformed");
        loop {
            if self.received.len() >= 16 {
                let length = length(&self.received[..16]).filter(|&n| n <= MAX_MESSAGE).ok_or_else(malformed)?;
                if self.received.len() >= length {
                    let message: Vec<u8> = self.received.drain(..length).collect();
                    return parse(&message).ok_or_else(malformed);
                }
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> Result<()> {
        if !wait_for(&self.socket, PollFlags::IN, self.deadline)? {
            let text = format!("systemd has not answered for {} s", PATIENCE.as_secs());
            return Err(Error::new(Kind::System, text).remedy("see systemctl status and systemctl list-jobs"));
        }
        let mut chunk = [0; 4096];
        let count = self.socket.read(&mut chunk).step(|| "read from the message bus")?;
        if count == 0 {
            return Err(Error::new(Kind::System, "the message bus closed the connection"));
        }
        self.received.extend(&chunk[..count]);
        Ok(())
    }
}

fn system_address() -> String {
    std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|_| "unix:path=/run/dbus/system_bus_socket".to_owned())
}

fn user_address() -> Result<String> {
    let session = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok();
    let runtime = || std::env::var("XDG_RUNTIME_DIR").ok().map(|directory| format!("unix:path={directory}/bus"));
    session.or_else(runtime).ok_or_else(|| {
        Error::new(Kind::System, "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
            .remedy("a user's cgroups need the user's own message bus")
    })
}

/// Connects to the first of the addresses that names a Unix socket (D-Bus Specification, "Server Addresses").
fn open(addresses: &str) -> std::io::Result<UnixStream> {
    let mut last = std::io::Error::from_raw_os_error(libc::EINVAL);
    for address in addresses.split(';') {
        let Some(keys) = address.strip_prefix("unix:") else { continue };
        for (key, value) in keys.split(',').filter_map(|pair| pair.split_once('=')) {
            let connected = match key {
                "path" => UnixStream::connect(unescape(value)),
                "abstract" => {
                    SocketAddr::from_abstract_name(unescape(value)).and_then(|a| UnixStream::connect_addr(&a))
                }
                _ => continue,
            };
            match connected {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

/// Undoes `%2d` and its like.
fn unescape(value: &str) -> String {
    let mut parts = value.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                text.push(byte.into());
                text.push_str(&part[2..]);
            }
            None => {
                text.push('%');
                text.push_str(part);
            }
        }
    }
    text
}
