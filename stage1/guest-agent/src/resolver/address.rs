//! Addresses written as numbers.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The address, if the host is a number: IPv4, IPv6 with or without brackets, with or without `%ZONE`.
#[must_use]
pub fn numeric(host: &str, port: u16) -> Option<SocketAddr> {
    let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    if let Some((address, zone)) = host.split_once('%') {
        let address: Ipv6Addr = address.parse().ok()?;
        return Some(SocketAddrV6::new(address, port, 0, scope(zone)?).into());
    }
    host.parse::<IpAddr>().ok().map(|it| SocketAddr::new(it, port))
}

/// A zone is an interface's number or name.
fn scope(zone: &str) -> Option<u32> {
    if let Ok(number) = zone.parse() {
        return Some(number);
    }
    let any = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    );
    rustix::net::netdevice::name_to_index(any.ok()?, zone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_addresses_and_names_are_not() {
        let shown = |host| numeric(host, 80).map(|it| it.to_string());
        assert_eq!(shown("127.0.0.1").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(shown("::1").as_deref(), Some("[::1]:80"));
        assert_eq!(shown("[::1]").as_deref(), Some("[::1]:80"));
        assert_eq!(shown("fe80::1%7").as_deref(), Some("[fe80::1%7]:80"));
        assert_eq!(shown("fe80::1%lo").as_deref(), Some("[fe80::1%1]:80"));
        for name in ["localhost", "1.2.3", "fe80::1%", "fe80::1%none-such", "127.0.0.1%1", "", "::1]"] {
            assert_eq!(shown(name), None, "{name}");
        }
    }
}
