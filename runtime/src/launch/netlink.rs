//! The few messages of rtnetlink(7) that moving a network device takes.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

type Result<T> = std::result::Result<T, Errno>;

/// A connection to the kernel about one network namespace: the one that the process was in when it was opened.
pub(super) struct Routes {
    socket: OwnedFd,
    sequence: Cell<u32>,
}

/// A device, as one network namespace has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Link {
    /// Its number.
    pub index: u32,
    /// Whether it is up (`IFF_UP`).
    pub up: bool,
}

/// An address of a device, with what has to be said to give it to a device again.
pub(super) struct Address {
    family: u8,
    prefix: u8,
    attributes: Vec<u8>,
}

// include/uapi/linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE_NEW: u16 = 0x600;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const RT_SCOPE_UNIVERSE: u8 = 0;
const IFA_F_PERMANENT: u32 = 0x80;
/// What an address keeps: nodad, home address, managed temporary addresses, no prefix route, multicast autojoin.
const IFA_F_KEPT: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;

const HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

impl Routes {
    /// For the network namespace that this process is in.
    pub fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        // NETLINK_ROUTE is 0: none to name.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        Ok(Self { socket, sequence: Cell::new(0) })
    }

    /// A device; `None` when there is none of that name.
    pub fn find(&self, name: &str) -> Result<Option<Link>> {
        let mut body = link_message(0, 0);
        add_attribute(&mut body, IFLA_IFNAME, &terminated(name));
        let mut link = None;
        let answer = self.ask(RTM_GETLINK, NLM_F_ACK, &body, |kind, body| {
            // struct ifinfomsg: four bytes, the index, the flags.
            if let (RTM_NEWLINK, Some(fields)) = (kind, body.get(4..12)) {
                link = Some(Link { index: number(fields), up: number(&fields[4..]) & libc::IFF_UP as u32 != 0 });
            }
        });
        match answer {
            Err(Errno::NODEV) => Ok(None),
            answer => answer.map(|()| link),
        }
    }

    /// The addresses of a device that are there to stay and for everybody (`IFA_F_PERMANENT`, `RT_SCOPE_UNIVERSE`).
    pub fn lasting_addresses(&self, index: u32) -> Result<Vec<Address>> {
        let mut addresses = Vec::new();
        self.ask(RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS_HEADER], |kind, body| {
            if kind == RTM_NEWADDR {
                addresses.extend(Address::lasting(index, body));
            }
        })?;
        Ok(addresses)
    }

    /// Moves a device into another network namespace, where it gets that name.
    pub fn move_device(&self, index: u32, namespace: BorrowedFd<'_>, name: &str) -> Result<()> {
        let mut body = link_message(index, 0);
        add_attribute(&mut body, IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        add_attribute(&mut body, IFLA_IFNAME, &terminated(name));
        self.ask(RTM_NEWLINK, NLM_F_ACK, &body, |_, _| ())
    }

    /// Gives an address to a device.
    pub fn add_address(&self, index: u32, address: &Address) -> Result<()> {
        let mut body = vec![address.family, address.prefix, 0, RT_SCOPE_UNIVERSE];
        body.extend(index.to_ne_bytes());
        body.extend(&address.attributes);
        self.ask(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE_NEW, &body, |_, _| ())
    }

    /// Brings a device up.
    pub fn bring_up(&self, index: u32) -> Result<()> {
        self.ask(RTM_NEWLINK, NLM_F_ACK, &link_message(index, libc::IFF_UP as u32), |_, _| ())
    }

    /// One request, and its answers until the kernel says that it is done.
    fn ask(&self, kind: u16, flags: u16, body: &[u8], mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        let length = HEADER + body.len();
        let mut message = Vec::with_capacity(length);
        message.extend((length as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        rustix::net::send(&self.socket, &message, SendFlags::empty())?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let (_, length) = match rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            let mut rest = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
            while rest.len() >= HEADER {
                let length = number(&rest[..4]) as usize;
                let (header, body) =
                    rest.get(..length).and_then(|one| one.split_at_checked(HEADER)).ok_or(Errno::BADMSG)?;
                rest = rest.get(aligned(length)..).unwrap_or_default();
                if number(&header[8..12]) != sequence {
                    continue;
                }
                match u16::from_ne_bytes([header[4], header[5]]) {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let errno = body.get(..4).map_or(0, |code| number(code) as i32);
                        return if errno == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(-errno)) };
                    }
                    kind => each(kind, body),
                }
            }
        }
    }
}

impl AsFd for Routes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Address {
    /// From a `struct ifaddrmsg` and its attributes.
    fn lasting(index: u32, message: &[u8]) -> Option<Self> {
        let (header, mut rest) = message.split_at_checked(ADDRESS_HEADER)?;
        let [family, prefix, short_flags, scope] = *header.first_chunk::<4>()?;
        if number(&header[4..]) != index || scope != RT_SCOPE_UNIVERSE {
            return None;
        }
        let mut flags = u32::from(short_flags);
        let mut attributes = Vec::new();
        while rest.len() >= 4 {
            let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
            let kind = u16::from_ne_bytes([rest[2], rest[3]]);
            let value = rest.get(4..length)?;
            match kind {
                IFA_FLAGS => flags = number(value.get(..4)?),
                IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST | IFA_RT_PRIORITY => {
                    add_attribute(&mut attributes, kind, value);
                }
                // The label follows the device's name, and lifetimes are without end.
                _ => {}
            }
            rest = rest.get(aligned(length)..).unwrap_or_default();
        }
        add_attribute(&mut attributes, IFA_FLAGS, &(flags & IFA_F_KEPT).to_ne_bytes());
        (flags & IFA_F_PERMANENT != 0).then_some(Self { family, prefix, attributes })
    }
}

/// A `struct ifinfomsg` that sets those flags and no others.
fn link_message(index: u32, flags: u32) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend(index.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message
}

/// A `struct rtattr`, padded; names of devices and addresses are all far shorter than its 16 bits of length.
fn add_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = 4 + value.len();
    message.extend((length as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len() + aligned(length) - length, 0);
}

fn terminated(name: &str) -> Vec<u8> {
    name.bytes().chain([0]).collect()
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_ne_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_found_and_nothing_else_of_that_name() {
        let routes = Routes::open().unwrap();
        assert_eq!(routes.find("lo").unwrap().unwrap().index, 1);
        assert_eq!(routes.find("pkt-no-such").unwrap(), None);
        // 127.0.0.1 is of host scope.
        assert!(routes.lasting_addresses(1).unwrap().iter().all(|address| address.family != 2));
    }

    #[test]
    fn broken_messages_are_no_addresses() {
        let good = [2, 24, 0x80, 0, 7, 0, 0, 0, 8, 0, 2, 0, 10, 0, 0, 1];
        let address = Address::lasting(7, &good).unwrap();
        assert_eq!((address.family, address.prefix), (2, 24));
        assert_eq!(address.attributes[..8], good[8..]);
        assert!(Address::lasting(8, &good).is_none());
        for cut in 0..8 {
            assert!(Address::lasting(7, &good[..cut]).is_none(), "{cut}");
        }
        // A length beyond the end, and one that is shorter than the attribute's own header.
        assert!(Address::lasting(7, &[&good[..8], &[200, 0, 2, 0, 1, 2, 3, 4]].concat()).is_none());
        assert!(Address::lasting(7, &[&good[..8], &[1, 0, 2, 0, 1, 2, 3, 4]].concat()).is_none());
    }
}
