//! The few requests to the kernel's network configuration that a network of pods takes (rtnetlink(7)).
//!
//! A request is answered before the next one is made. Everything is in the machine's byte order, and every part begins at
//! a multiple of four (netlink(7)).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};

/// The kernel sends at most so much of a dump at once (its `NLMSG_GOODSIZE` and what a reader offers).
const BUFFER: usize = 32 << 10;

/// `VETH_INFO_PEER` (linux/veth.h).
const VETH_INFO_PEER: u16 = 1;

/// `RTEXT_FILTER_SKIP_STATS` (linux/rtnetlink.h).
const SKIP_STATISTICS: u32 = 1 << 3;

/// The longest name of an interface, and the longest alias (`IFNAMSIZ`, `IFALIASZ`, each less the final zero).
const LONGEST: (usize, usize) = (15, 255);

/// A socket of one network namespace: the one that the process which opened it was in.
#[derive(Debug)]
pub struct Socket(OwnedFd);

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What somebody has noted about it.
    pub alias: String,
}

/// The other end of a pair of interfaces.
#[derive(Debug)]
pub struct Peer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address.
    pub hardware: [u8; 6],
    /// The network namespace that it is in.
    pub net: BorrowedFd<'a>,
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.0
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket {
    /// A socket for requests in the current network namespace.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open() -> io::Result<Self> {
        // Protocol 0 is NETLINK_ROUTE.
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?))
    }

    /// A socket that hears of every change of an interface in the current network namespace, and never waits.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn watch_links() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, libc::RTMGRP_LINK as u32))?;
        Ok(Self(socket))
    }

    /// Takes in what there is to hear of changes; what they are has to be asked. False if there was nothing.
    ///
    /// # Errors
    /// A failed recv(2); that some changes were lost is none.
    pub fn drain(&self) -> io::Result<bool> {
        let mut heard = false;
        let mut buffer = [0; 4096];
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::NOBUFS) => heard = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(heard),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Makes a bridge.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the kernel has none, `EEXIST`, `EPERM` without CAP_NET_ADMIN.
    pub fn add_bridge(&self, name: &str) -> io::Result<()> {
        let mut message = Message::new_link(libc::RTM_NEWLINK, CREATE);
        message.text(libc::IFLA_IFNAME, name, LONGEST.0)?;
        message.nest(libc::IFLA_LINKINFO, |info| info.bytes(libc::IFLA_INFO_KIND, b"bridge"));
        self.ask(message)
    }

    /// Makes a pair of interfaces, one end here and the other in another namespace.
    ///
    /// # Errors
    /// As [`Socket::add_bridge`]; `EEXIST` where either namespace has one of that name.
    pub fn add_veth(&self, name: &str, peer: &Peer<'_>) -> io::Result<()> {
        let mut other = Message::default();
        other.0.extend(interface(0, 0, 0));
        other.text(libc::IFLA_IFNAME, peer.name, LONGEST.0)?;
        other.bytes(libc::IFLA_ADDRESS, &peer.hardware);
        other.bytes(libc::IFLA_NET_NS_FD, &peer.net.as_raw_fd().to_ne_bytes());
        let mut message = Message::new_link(libc::RTM_NEWLINK, CREATE);
        message.text(libc::IFLA_IFNAME, name, LONGEST.0)?;
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.bytes(libc::IFLA_INFO_KIND, b"veth");
            info.nest(libc::IFLA_INFO_DATA, |data| data.bytes(VETH_INFO_PEER, &other.0));
        });
        self.ask(message)
    }

    /// Brings an interface up, notes something about it, and makes it a port of a bridge, if one is given.
    ///
    /// # Errors
    /// `ENODEV`, `EPERM` without CAP_NET_ADMIN, `EINVAL` for a note that is too long.
    pub fn set_up(&self, name: &str, alias: Option<&str>, bridge: Option<u32>) -> io::Result<()> {
        const UP: u32 = libc::IFF_UP as u32;
        let mut message = Message::request(libc::RTM_SETLINK, 0);
        message.0.extend(interface(0, UP, UP));
        message.text(libc::IFLA_IFNAME, name, LONGEST.0)?;
        if let Some(alias) = alias {
            if alias.len() > LONGEST.1 {
                return Err(Errno::INVAL.into());
            }
            message.bytes(libc::IFLA_IFALIAS, alias.as_bytes());
        }
        if let Some(bridge) = bridge {
            message.bytes(libc::IFLA_MASTER, &bridge.to_ne_bytes());
        }
        self.ask(message)
    }

    /// Gives an interface an address in a network whose prefix has this length.
    ///
    /// # Errors
    /// `EEXIST`, `ENODEV`, `EPERM` without CAP_NET_ADMIN.
    pub fn add_address(&self, index: u32, address: Ipv4Addr, length: u8) -> io::Result<()> {
        let mut message = Message::request(libc::RTM_NEWADDR, CREATE);
        // Family, prefix length, flags, scope (ifaddrmsg).
        message.0.extend([libc::AF_INET as u8, length, 0, libc::RT_SCOPE_UNIVERSE]);
        message.0.extend(index.to_ne_bytes());
        message.bytes(libc::IFA_LOCAL, &address.octets());
        message.bytes(libc::IFA_ADDRESS, &address.octets());
        self.ask(message)
    }

    /// The interfaces of the namespace.
    ///
    /// # Errors
    /// Those of the system calls; `EBADMSG` for an answer that is none.
    pub fn links(&self) -> io::Result<Vec<Link>> {
        let mut message = Message::request(libc::RTM_GETLINK, libc::NLM_F_DUMP as u16);
        message.0.extend(interface(0, 0, 0));
        message.bytes(libc::IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
        self.send(message)?;
        let mut links = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.receive(&mut buffer)?;
            for part in parts(&buffer[..length], HEADER) {
                let (kind, body) = part?;
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(links),
                    libc::NLMSG_ERROR => return Err(error(body).unwrap_or_else(|| Errno::BADMSG.into())),
                    _ if kind == libc::RTM_NEWLINK => links.push(link(body)?),
                    _ => {}
                }
            }
        }
    }

    /// Makes a request and waits for its acknowledgement.
    fn ask(&self, message: Message) -> io::Result<()> {
        self.send(message)?;
        let mut buffer = vec![0; BUFFER];
        let length = self.receive(&mut buffer)?;
        match parts(&buffer[..length], HEADER).next() {
            Some(Ok((kind, body))) if i32::from(kind) == libc::NLMSG_ERROR => error(body).map_or(Ok(()), Err),
            _ => Err(Errno::BADMSG.into()),
        }
    }

    fn send(&self, Message(mut bytes): Message) -> io::Result<()> {
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        sendto(&self.0, &bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(&self.0, &mut *buffer, RecvFlags::empty()) {
                Ok((_, length)) if length <= buffer.len() => return Ok(length),
                Ok(_) => return Err(Errno::MSGSIZE.into()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Lengths of the headers of a message and of an attribute.
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;

/// What is made must not be there yet.
const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

/// Family, type, index, flags and which of the flags count (ifinfomsg).
fn interface(index: u32, flags: u32, change: u32) -> impl Iterator<Item = u8> {
    let numbers = [index, flags, change].into_iter().flat_map(u32::to_ne_bytes);
    [0; 4].into_iter().chain(numbers)
}

/// A message, or the inside of an attribute.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// Length (put in when it is sent), type, flags, sequence number, port of the sender: the kernel knows these from
    /// the socket.
    fn request(kind: u16, flags: u16) -> Self {
        let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes().into_iter().chain(flags.to_ne_bytes()).chain([0; 8]));
        Self(bytes)
    }

    fn new_link(kind: u16, flags: u16) -> Self {
        let mut message = Self::request(kind, flags);
        message.0.extend(interface(0, 0, 0));
        message
    }

    /// An attribute. What it holds is far shorter than the 64 KiB that its length can say (runc's CVE-2021-43784).
    fn bytes(&mut self, kind: u16, bytes: &[u8]) {
        let length = u16::try_from(ATTRIBUTE + bytes.len()).expect("names, addresses and numbers");
        self.0.extend(length.to_ne_bytes().into_iter().chain(kind.to_ne_bytes()));
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// A text with a zero at its end.
    fn text(&mut self, kind: u16, text: &str, longest: usize) -> io::Result<()> {
        if text.is_empty() || text.len() > longest || text.contains('\0') {
            return Err(Errno::INVAL.into());
        }
        let bytes: Vec<u8> = text.bytes().chain([0]).collect();
        self.bytes(kind, &bytes);
        Ok(())
    }

    /// An attribute that holds others.
    fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        inside(&mut inner);
        self.bytes(kind, &inner.0);
    }
}

/// The messages of an answer, whose header is 16 bytes long, or the attributes of one, whose header is 4: type and body.
fn parts(mut bytes: &[u8], header: usize) -> impl Iterator<Item = io::Result<(u16, &[u8])>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let number = |at: usize| bytes.get(at..at + 2).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
        let length = match header {
            HEADER => bytes.get(..4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]) as usize),
            _ => number(0).map(usize::from),
        };
        let kind = number(if header == HEADER { 4 } else { 2 });
        let (Some(length), Some(kind)) = (length, kind) else { return broken(&mut bytes) };
        let Some(body) = bytes.get(header..length) else { return broken(&mut bytes) };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((kind, body)))
    })
}

/// The end of what is no answer.
fn broken<'a>(bytes: &mut &'a [u8]) -> Option<io::Result<(u16, &'a [u8])>> {
    *bytes = &[];
    Some(Err(Errno::BADMSG.into()))
}

/// What an NLMSG_ERROR says: a negative errno, or zero for none.
fn error(body: &[u8]) -> Option<io::Error> {
    match body.get(..4).map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]])) {
        Some(0) => None,
        Some(code) => Some(io::Error::from_raw_os_error(code.wrapping_neg())),
        None => Some(Errno::BADMSG.into()),
    }
}

fn link(body: &[u8]) -> io::Result<Link> {
    let (Some(index), Some(attributes)) = (body.get(4..8), body.get(16..)) else { return Err(Errno::BADMSG.into()) };
    let index = u32::from_ne_bytes([index[0], index[1], index[2], index[3]]);
    let mut link = Link { index, name: String::new(), alias: String::new() };
    for part in parts(attributes, ATTRIBUTE) {
        let (kind, value) = part?;
        let text = || String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
        match kind {
            libc::IFLA_IFNAME => link.name = text(),
            libc::IFLA_IFALIAS => link.alias = text(),
            _ => {}
        }
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_has_its_lengths() {
        let mut message = Message::new_link(libc::RTM_NEWLINK, CREATE);
        message.text(libc::IFLA_IFNAME, "v7", LONGEST.0).unwrap();
        message.nest(libc::IFLA_LINKINFO, |info| info.bytes(libc::IFLA_INFO_KIND, b"veth"));
        assert_eq!(message.0.len(), 16 + 16 + 8 + 4 + 8);
        let attributes: Vec<_> = parts(&message.0[32..], ATTRIBUTE).map(Result::unwrap).collect();
        assert_eq!(attributes[0], (libc::IFLA_IFNAME, &b"v7\0"[..]));
        assert_eq!(parts(attributes[1].1, ATTRIBUTE).next().unwrap().unwrap(), (libc::IFLA_INFO_KIND, &b"veth"[..]));
        assert!(message.text(libc::IFLA_IFNAME, "sixteen-bytes-ab", LONGEST.0).is_err());
    }

    /// NET-07: a length of 16 bits does not overflow (CVE-2021-43784): what is too long is refused, and nothing is sent.
    #[test]
    fn net_07_what_is_too_long_is_refused() {
        let socket = Socket::open().unwrap();
        let invalid = |result: io::Result<()>| {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(Errno::INVAL.raw_os_error()));
        };
        for length in [256, 70 << 10] {
            invalid(socket.set_up("lo", Some(&"a".repeat(length)), None));
            invalid(socket.set_up(&"a".repeat(length), None, None));
            invalid(socket.add_bridge(&"a".repeat(length)));
        }
    }

    #[test]
    fn an_answer_that_is_none_is_refused() {
        let mut body: Vec<u8> = interface(5, 0, 0).collect();
        let mut attributes = Message::default();
        attributes.text(libc::IFLA_IFNAME, "v7", LONGEST.0).unwrap();
        attributes.bytes(libc::IFLA_IFALIAS, b"db");
        body.extend(attributes.0);
        assert_eq!(link(&body).unwrap(), Link { index: 5, name: "v7".into(), alias: "db".into() });
        for length in [0, 3, 17, 19, 22] {
            assert!(link(&body[..length]).is_err(), "{length}");
        }
        assert_eq!(error(&(-17_i32).to_ne_bytes()).unwrap().raw_os_error(), Some(17));
        assert!(error(&0_i32.to_ne_bytes()).is_none() && error(&[]).is_some());
        assert!(parts(&[16, 0, 0, 0], HEADER).next().unwrap().is_err());
        assert!(parts(&[3, 0, 0, 0, 0, 0], ATTRIBUTE).next().unwrap().is_err(), "shorter than its header");
    }
}
