//! Where in the pod a client is carried to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;

use crate::network::{Target, is_own_loopback};

/// Addresses that lead out of the pod, in each family: those of documentation (RFC 5737, RFC 3849). Nothing is sent there.
const ELSEWHERE: (IpAddr, IpAddr) =
    (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)));

impl Target {
    /// The address for who comes from there, and that in the other family, for apps which listen in one only.
    ///
    /// # Errors
    /// The pod has no address but its loopback's.
    pub(super) fn addresses_for(self, client: SocketAddr) -> io::Result<(SocketAddr, Option<SocketAddr>)> {
        let port = match self {
            Self::Loopback(address) => {
                let other: IpAddr =
                    if address.is_ipv4() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
                return Ok((address, Some(SocketAddr::new(other, address.port()))));
            }
            Self::Own(port) => port,
        };
        let (older, newer) = ELSEWHERE;
        // Of a client of IPv4 at a socket for both families, too, the address is one of IPv6.
        let (first, second) = if client.ip().to_canonical().is_ipv4() { (older, newer) } else { (newer, older) };
        let at = |address: IpAddr| SocketAddr::new(address, port);
        let (first, second) = (own_address(first).map(at), own_address(second).map(at));
        match first {
            Ok(first) => Ok((first, second.ok())),
            Err(_) => Ok((second?, None)),
        }
    }

    /// The first of them.
    ///
    /// # Errors
    /// As [`Target::addresses_for`].
    pub(super) fn address_for(self, client: SocketAddr) -> io::Result<SocketAddr> {
        self.addresses_for(client).map(|(address, _)| address)
    }
}

/// The address under which this network namespace would talk to that one.
fn own_address(other: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if other.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((other, 9))?;
    let address = socket.local_addr()?.ip();
    if is_own_loopback(address) { Err(Errno::NETUNREACH.into()) } else { Ok(address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_from_elsewhere_never_looks_like_the_loopback() {
        let client: SocketAddr = "198.51.100.7:5000".parse().unwrap();
        // On a machine without a network there is none.
        if let Ok(address) = Target::Own(80).address_for(client) {
            assert!(!address.ip().is_loopback() && address.port() == 80, "{address}");
        }
        let loopback = "127.0.0.1:80".parse().unwrap();
        assert_eq!(Target::Loopback(loopback).address_for(client).unwrap(), loopback);
    }
}
