//! How far inside a network an address is: what a server out there may not make us connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far inside an address is. A URL that came from a server (a redirect, a discovery template, a token service) is
/// followed at most as far inside as the address that the user's own URL led to. So a public registry cannot reach the
/// services of this machine or of a cloud's metadata address through us, and a registry on a local network works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Addresses of the public Internet. Also what is reached through a proxy, which decides for itself.
    #[default]
    Public,
    /// Addresses of local networks (RFC 1918, 4193, 6598).
    Private,
    /// Addresses of this machine.
    Loopback,
    /// Everything else: link-local (the metadata services of clouds), unspecified, multicast, reserved.
    Special,
}

impl Reach {
    pub(crate) const ALL: [Self; 4] = [Self::Public, Self::Private, Self::Loopback, Self::Special];

    /// Where `address` is.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

fn of_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    if address.is_loopback() {
        return Reach::Loopback;
    }
    // 100.64/10 is shared between a provider's customers (RFC 6598).
    if address.is_private() || (a == 100 && b & 0xc0 == 64) {
        return Reach::Private;
    }
    let protocol_assignments = (a, b, c) == (192, 0, 0);
    let benchmarks = a == 198 && b & 0xfe == 18;
    let special = a == 0 || a >= 224 || address.is_link_local() || address.is_documentation();
    if special || protocol_assignments || benchmarks { Reach::Special } else { Reach::Public }
}

fn of_v6(address: Ipv6Addr) -> Reach {
    if address.is_loopback() {
        return Reach::Loopback;
    }
    if let Some(inner) = embedded(address) {
        return of_v4(inner);
    }
    if address.is_unique_local() {
        return Reach::Private;
    }
    // Only 2000::/3 is given out to the public (RFC 4291, IANA's registry).
    let public = address.segments()[0] & 0xe000 == 0x2000 && address.segments()[..2] != [0x2001, 0xdb8];
    if public { Reach::Public } else { Reach::Special }
}

/// The IPv4 address that an IPv6 one stands for: mapped, NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, .., y, z] = address.segments();
    let pair = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b) {
        (0x2002, high) => Some(pair(high, address.segments()[2])),
        (0x64, 0xff9b) => Some(pair(y, z)),
        _ => address.to_ipv4_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_where_they_are() {
        use Reach::{Loopback, Private, Public, Special};
        for (address, reach) in [
            ("93.184.215.14", Public),
            ("2606:2800:21f::1", Public),
            ("10.1.2.3", Private),
            ("172.16.0.1", Private),
            ("172.32.0.1", Public),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("100.128.0.1", Public),
            ("fd00::1", Private),
            ("127.0.0.1", Loopback),
            ("127.8.8.8", Loopback),
            ("::1", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:10.0.0.1", Private),
            ("64:ff9b::a9fe:a9fe", Special),
            ("2002:7f00:1::", Loopback),
            ("169.254.169.254", Special),
            ("fe80::1", Special),
            ("0.0.0.0", Special),
            ("::", Special),
            ("224.0.0.1", Special),
            ("255.255.255.255", Special),
            ("192.0.0.170", Special),
            ("198.18.0.1", Special),
            ("2001:db8::1", Special),
        ] {
            assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
        }
    }

    #[test]
    fn further_inside_is_more() {
        assert!(Reach::ALL.is_sorted());
        assert!(Reach::ALL.iter().enumerate().all(|(index, reach)| reach.index() == index));
    }
}
