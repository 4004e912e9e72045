//! Ports of the host that proa itself carries into a pod: their sockets, and where they lead.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, listen, socket_with, sockopt};
use stage1::bandwidth::Bandwidth;
use stage1::network::{Relay, Target};

use super::exposed::Forward;
use super::refused;
use crate::error::CommandError;

/// Whether proa carries it, and not pasta. Datagrams of elsewhere are pasta's: nothing tells what an app answers to a client
/// from what it sends of itself. So is what is bounded, which what proa carries is not.
pub(super) fn is_carried(forward: &Forward, bandwidth: Option<Bandwidth>) -> bool {
    forward.ip.is_some_and(|ip| ip.is_loopback()) || (!forward.udp && bandwidth.is_none())
}

/// The sockets of one of `all` forwards, and where they lead.
///
/// # Errors
///
/// It cannot be listened there.
pub(super) fn relays(forward: &Forward, all: &BTreeSet<Forward>) -> Result<Vec<Relay>, CommandError> {
    let ip = forward.ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let mut relays = Vec::new();
    for (host_port, pod_port) in
        (0..forward.count).map(|offset| (forward.host_port + offset, forward.pod_port + offset))
    {
        let address = SocketAddr::new(ip, host_port);
        let is_everywhere = forward.ip.is_none() || ip == Ipv6Addr::UNSPECIFIED;
        let socket = if is_everywhere && !forward.udp {
            everywhere(host_port, all.iter().any(|other| is_of_ipv4(other, host_port)))
        } else {
            bind(address, forward.udp)
        };
        match socket {
            Ok(socket) => relays.push(Relay { socket, target: Target::of(ip, pod_port), datagrams: forward.udp }),
            Err(error) if is_missing(ip, &error) => {}
            Err(error) => return Err(refused(address, &error)),
        }
    }
    Ok(relays)
}

/// Whether it has this port of all addresses of IPv4.
fn is_of_ipv4(forward: &Forward, port: u16) -> bool {
    let ports = forward.host_port..=forward.host_port + (forward.count - 1);
    forward.ip == Some(Ipv4Addr::UNSPECIFIED.into()) && !forward.udp && ports.contains(&port)
}

/// Whether there is no such socket because it is that of ::1, and this host has no IPv6.
pub(super) fn is_missing(ip: IpAddr, error: &io::Error) -> bool {
    ip == Ipv6Addr::LOCALHOST && error.kind() == io::ErrorKind::AddrNotAvailable
}

/// A socket at this address of the host, of all that it stands for and nobody else has.
pub(super) fn open(address: SocketAddr, udp: bool) -> io::Result<OwnedFd> {
    if udp || address.ip() != Ipv6Addr::UNSPECIFIED {
        return bind(address, udp);
    }
    match everywhere(address.port(), false) {
        // IPv4 may be had separately.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => everywhere(address.port(), true),
        socket => socket,
    }
}

/// A socket at this address of the host: one for datagrams, or one that listens.
pub(super) fn bind(address: SocketAddr, udp: bool) -> io::Result<OwnedFd> {
    if udp { UdpSocket::bind(address).map(OwnedFd::from) } else { TcpListener::bind(address).map(OwnedFd::from) }
}

/// A socket that listens at all addresses of the host; of those of IPv4 as well, unless another one does.
fn everywhere(port: u16, is_of_ipv6_alone: bool) -> io::Result<OwnedFd> {
    let of_ipv6 = || -> Result<OwnedFd, Errno> {
        let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_ipv6_v6only(&socket, is_of_ipv6_alone)?;
        rustix::net::bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
        // As many may wait as the system lets.
        listen(&socket, i32::MAX)?;
        Ok(socket)
    };
    match of_ipv6() {
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if !is_of_ipv6_alone => {
            bind((Ipv4Addr::UNSPECIFIED, port).into(), false)
        }
        socket => Ok(socket?),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn forward(ip: Option<IpAddr>, host_port: u16) -> Forward {
        Forward { ip, host_port, pod_port: 80, count: 1, udp: false, activates: None }
    }

    #[test]
    fn every_address_is_of_both_families_or_each_has_its_own() {
        let free = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let (all, older, newer) = (None, Some(Ipv4Addr::UNSPECIFIED.into()), Some(Ipv6Addr::UNSPECIFIED.into()));
        for ips in [vec![all], vec![newer], vec![older, newer]] {
            let forwards: BTreeSet<Forward> = ips.iter().map(|ip| forward(*ip, free)).collect();
            let open: Vec<Relay> = forwards.iter().flat_map(|it| relays(it, &forwards).unwrap()).collect();
            assert_eq!(open.len(), ips.len());
            assert!(open.iter().all(|relay| relay.target == Target::Own(80)));
            assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, free)).is_ok(), "{ips:?}");
            assert!(relays(&forward(older, free), &forwards).is_err());
        }
    }

    #[test]
    fn datagrams_of_elsewhere_and_what_is_bounded_are_pastas() {
        let (here, there) = (Some(Ipv4Addr::LOCALHOST.into()), Some(Ipv4Addr::new(192, 0, 2, 1).into()));
        let bound = Some(Bandwidth { bytes: 1 });
        for (ip, udp, bound, expected) in [
            (there, false, None, true),
            (None, false, None, true),
            (there, true, None, false),
            (there, false, bound, false),
            (here, true, bound, true),
        ] {
            assert_eq!(is_carried(&Forward { udp, ..forward(ip, 80) }, bound), expected, "{ip:?} {udp} {bound:?}");
        }
    }
}
