//! Requests to the kernel about the network (netlink(7), rtnetlink(7)), of the network namespace that the thread is in.
//!
//! A request is answered before the next one is made.

mod answer;
mod request;
mod routes;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};

pub use request::Request;

/// Lengths of the headers of a message and of an attribute.
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;

/// What is made must not be there yet.
const CREATE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

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
        let request = Request::new(libc::RTM_NEWLINK, CREATE, &interface(0, 0, 0));
        let request = request.with_text(libc::IFLA_IFNAME, name, LONGEST.0);
        self.ask(request.with_all(libc::IFLA_LINKINFO, |info| info.with(libc::IFLA_INFO_KIND, b"bridge")))
    }

    /// Makes a pair of interfaces, one end here and the other in another namespace.
    ///
    /// # Errors
    /// As [`Socket::add_bridge`]; `EEXIST` where either namespace has one of that name.
    pub fn add_veth(&self, name: &str, peer: &Peer<'_>) -> io::Result<()> {
        let other = |request: Request| {
            request
                .plain(&interface(0, 0, 0))
                .with_text(libc::IFLA_IFNAME, peer.name, LONGEST.0)
                .with(libc::IFLA_ADDRESS, &peer.hardware)
                .with(libc::IFLA_NET_NS_FD, &peer.net.as_raw_fd().to_ne_bytes())
        };
        let request = Request::new(libc::RTM_NEWLINK, CREATE, &interface(0, 0, 0));
        self.ask(request.with_text(libc::IFLA_IFNAME, name, LONGEST.0).with_all(libc::IFLA_LINKINFO, |info| {
            info.with(libc::IFLA_INFO_KIND, b"veth")
                .with_all(libc::IFLA_INFO_DATA, |data| data.with_all(VETH_INFO_PEER, other))
        }))
    }

    /// Brings an interface up, notes something about it, and makes it a port of a bridge, if one is given.
    ///
    /// # Errors
    /// `ENODEV`, `EPERM` without CAP_NET_ADMIN, `EINVAL` for a note that is too long.
    pub fn set_up(&self, name: &str, alias: Option<&str>, bridge: Option<u32>) -> io::Result<()> {
        const UP: u32 = libc::IFF_UP as u32;
        let mut request = Request::new(libc::RTM_SETLINK, 0, &interface(0, UP, UP));
        request = request.with_text(libc::IFLA_IFNAME, name, LONGEST.0);
        if let Some(alias) = alias {
            if alias.len() > LONGEST.1 {
                return Err(Errno::INVAL.into());
            }
            // An empty one takes away what was noted.
            request = request.with(libc::IFLA_IFALIAS, alias.as_bytes());
        }
        if let Some(bridge) = bridge {
            request = request.with(libc::IFLA_MASTER, &bridge.to_ne_bytes());
        }
        self.ask(request)
    }

    /// Gives an interface an address in a network whose prefix has this length. It can be used at once: nobody is asked
    /// whether he has it already (RFC 4862, 5.4).
    ///
    /// # Errors
    /// `EEXIST`, `ENODEV`, `EPERM` without CAP_NET_ADMIN; where there is no IPv6 `EAFNOSUPPORT`, `EOPNOTSUPP` or, if it is
    /// switched off, `EACCES`.
    pub fn add_address(&self, index: u32, address: IpAddr, length: u8) -> io::Result<()> {
        self.ask(new_address(index, (address, length), libc::RT_SCOPE_UNIVERSE))
    }

    /// The interfaces of the namespace.
    ///
    /// # Errors
    /// Those of the system calls; `EBADMSG` for an answer that is none.
    pub fn links(&self) -> io::Result<Vec<Link>> {
        let request = Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &interface(0, 0, 0));
        self.send(request.with(libc::IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes()))?;
        let mut links = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.receive(&mut buffer)?;
            if length > buffer.len() {
                return Err(Errno::MSGSIZE.into());
            }
            for part in answer::parts(&buffer[..length], HEADER) {
                let (kind, body) = part?;
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(links),
                    libc::NLMSG_ERROR => return Err(answer::error(body).unwrap_or_else(|| Errno::BADMSG.into())),
                    _ if kind == libc::RTM_NEWLINK => links.push(answer::link(body)?),
                    _ => {}
                }
            }
        }
    }

    /// Makes a request and waits for its acknowledgement.
    fn ask(&self, request: Request) -> io::Result<()> {
        self.send(request)?;
        // An error brings the request along, which is not looked at: the rest of a datagram goes when it is read.
        let mut answer = [0; 256];
        let length = self.receive(&mut answer)?;
        answer::acknowledged(&answer[..length.min(answer.len())])
    }

    fn send(&self, request: Request) -> io::Result<()> {
        sendto(&self.0, &request.message()?, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    /// Reads a datagram, and returns how long it is: longer than the buffer, if the rest of it is lost.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(&self.0, &mut *buffer, RecvFlags::TRUNC) {
                Ok((_, length)) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Family, type, index, flags and which of the flags count (ifinfomsg).
fn interface(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut message = [0; 16];
    for (place, number) in message[4..].chunks_exact_mut(4).zip([index, flags, change]) {
        place.copy_from_slice(&number.to_ne_bytes());
    }
    message
}

/// A request to give an interface an address, with the length of its prefix and its scope (`RT_SCOPE_…`): ifaddrmsg and
/// attributes.
pub(crate) fn new_address(index: u32, (address, length): (IpAddr, u8), scope: u8) -> Request {
    let (family, octets, flags) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec(), 0),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec(), libc::IFA_F_NODAD),
    };
    let mut fixed = [family as u8, length, flags as u8, scope, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    Request::new(libc::RTM_NEWADDR, CREATE, &fixed).with(libc::IFA_LOCAL, &octets).with(libc::IFA_ADDRESS, &octets)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn interfaces_are_found_and_errors_told() {
        let socket = Socket::open().unwrap();
        assert!(socket.links().unwrap().iter().any(|link| link.name == "lo"));
        // An answer to what was refused is longer than what is read of it, and leaves the socket good.
        let error = socket.set_up("no-such-device", Some(&"a".repeat(255)), None).unwrap_err();
        assert!([libc::ENODEV, libc::EPERM].map(Some).contains(&error.raw_os_error()), "{error}");
        assert!(!socket.links().unwrap().is_empty());
    }
}
