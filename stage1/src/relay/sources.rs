//! Has an app see the address of the client whose connection is carried to it.
//!
//! The connection in the pod is made from the client's address, which is none of the pod's. What the app answers would leave
//! the pod for there; so these connections bear a mark, which the app's side of them takes over, and whatever bears
//! it stays in the pod (docs/decisions/0018).

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustix::thread::CapabilitySet;
use sys::netlink::Socket;

use crate::network::is_own_loopback;

/// What the connections bear; any number that nobody else is likely to use in a pod's network.
const MARK: u32 = 0x7072_6f61;

/// The routing table for it, of the 252 that have no use of their own.
const TABLE: u8 = 112;

/// The first of the ports that the kernel gives to clients by itself (ip(7), `ip_local_port_range`).
const FIRST_OF_CLIENTS: u16 = 32_768;

/// How often an app is asked once more for a connection; one whose queue is full does not answer.
const RETRIES: u8 = 3;

/// An app's side of a connection takes the mark over, and so does a refusal.
const SETTINGS: [&str; 2] = ["/proc/sys/net/ipv4/tcp_fwmark_accept", "/proc/sys/net/ipv4/fwmark_reflect"];
const SETTING_OF_IPV6: &str = "/proc/sys/net/ipv6/fwmark_reflect";

/// In which families the pod's network has been prepared for it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sources {
    older: bool,
    newer: bool,
}

impl Sources {
    /// The right to speak from addresses that are not one's own, over the pod's network.
    pub(crate) const NEEDS: CapabilitySet = CapabilitySet::NET_ADMIN;

    /// Prepares the network namespace that the process is in. Where the kernel has no rules for marks, or /proc cannot be
    /// written, apps see the pod's own address.
    pub(crate) fn prepare() -> Self {
        let of_ipv4 = || -> io::Result<()> {
            SETTINGS.iter().try_for_each(|setting| std::fs::write(setting, "1"))?;
            Socket::open()?.keep_marked(AddressFamily::INET, MARK, TABLE)
        };
        let of_ipv6 = || -> io::Result<()> {
            std::fs::write(SETTING_OF_IPV6, "1")?;
            Socket::open()?.keep_marked(AddressFamily::INET6, MARK, TABLE)
        };
        let older = of_ipv4().is_ok();
        Self { older, newer: older && of_ipv6().is_ok() }
    }

    /// Begins to connect to `target`, from the client's address if that can be, and from its port if that is free.
    pub(super) fn connect(self, client: Option<SocketAddr>, target: SocketAddr) -> io::Result<OwnedFd> {
        if let Some(client) = client.and_then(|client| self.shown(client, target)) {
            // A port that a server may want is not taken.
            let own = (client.port() >= FIRST_OF_CLIENTS).then_some(client.port());
            for port in own.into_iter().chain([0]) {
                match from(SocketAddr::new(client.ip(), port), target) {
                    // It has a connection there already, or its port is a privileged one.
                    Err(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL | Errno::ACCESS) => {}
                    done => return Ok(done?),
                }
            }
        }
        let socket = stream(target)?;
        begin(&socket, target)?;
        Ok(socket)
    }

    /// The client as the app is to see it. Not one of a loopback, which programs of a pod trust (CVE-2021-20199), nor of a
    /// link of the host's, which the pod does not have.
    fn shown(self, client: SocketAddr, target: SocketAddr) -> Option<SocketAddr> {
        let ip = client.ip().to_canonical();
        let (is_prepared, is_of_link) = match ip {
            IpAddr::V4(ip) => (self.older, ip.is_link_local()),
            IpAddr::V6(ip) => (self.newer, ip.is_unicast_link_local()),
        };
        let is_shown = is_prepared && ip.is_ipv4() == target.is_ipv4() && !is_of_link && !is_own_loopback(ip);
        (is_shown && ip != IpAddr::from(Ipv6Addr::UNSPECIFIED)).then(|| SocketAddr::new(ip, client.port()))
    }
}

/// A connection from an address that need not be the pod's.
fn from(source: SocketAddr, target: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = stream(target)?;
    sys::socket::speak_for_others(socket.as_fd(), family(target), MARK)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))?;
    // Else an app could not listen on this port at all of the pod's addresses.
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &source)?;
    begin(&socket, target)?;
    Ok(socket)
}

fn family(of: SocketAddr) -> AddressFamily {
    if of.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn stream(target: SocketAddr) -> Result<OwnedFd, Errno> {
    socket_with(family(target), SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

fn begin(socket: &OwnedFd, target: SocketAddr) -> Result<(), Errno> {
    // An app that does not accept is no reason to keep its clients for two minutes.
    sys::socket::give_up_after(socket.as_fd(), RETRIES)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))?;
    match connect(socket, &target) {
        Err(Errno::INPROGRESS) => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_elsewhere_are_shown() {
        let all = Sources { older: true, newer: true };
        let (older, newer): (SocketAddr, SocketAddr) =
            ("192.0.2.2:80".parse().unwrap(), "[2001:db8::2]:80".parse().unwrap());
        let shown = |it: Sources, client: &str, target| {
            it.shown(client.parse().unwrap(), target).map(|client: SocketAddr| client.to_string())
        };
        assert_eq!(shown(all, "198.51.100.7:5000", older).unwrap(), "198.51.100.7:5000");
        assert_eq!(shown(all, "[::ffff:198.51.100.7]:5000", older).unwrap(), "198.51.100.7:5000");
        assert_eq!(shown(all, "[2001:db8::7]:5000", newer).unwrap(), "[2001:db8::7]:5000");
        for (client, target) in [
            ("127.0.0.1:5000", older),
            ("127.8.0.1:5000", older),
            ("[::ffff:127.0.0.1]:5000", older),
            ("[::1]:5000", newer),
            ("169.254.169.254:5000", older),
            ("[fe80::1]:5000", newer),
            ("198.51.100.7:5000", newer),
            ("[2001:db8::7]:5000", older),
        ] {
            assert_eq!(shown(all, client, target), None, "{client}");
        }
        assert_eq!(shown(Sources { older: true, newer: false }, "[2001:db8::7]:5000", newer), None);
        assert_eq!(shown(Sources::default(), "198.51.100.7:5000", older), None);
    }
}
