//! Giving a pod a port of its network's bridge, and an address.
//!
//! That is done by a process of the monitor's which goes into the node, where it has all rights over the node and over
//! the pods that are nested in it, and ends when it is done.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use sys::fork::{Fork, Namespaces};
use sys::netlink::{Link, Peer, Socket};

use super::{BRIDGE, MOST_NAMES, Membership, Subnet, ula};
use crate::apply::is_unsupported;
use crate::channel::pair;

/// How long an address that a pod wants may still be that of one which has ended: the kernel takes a network namespace
/// apart when it finds the time.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a pod's port is named after this letter: the pod's address in hexadecimal.
const PORT: char = 'p';

/// What has come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Says {
    /// The pod has these addresses. Two sockets of the node come along: one for questions, and one that hears of changes.
    Joined { address: Ipv4Addr, newer: Option<Ipv6Addr> },
    /// Why not.
    Refused(String),
}

/// A pod's place in its network.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) address: Ipv4Addr,
    /// Where the pod has IPv6.
    pub(super) newer: Option<Ipv6Addr>,
    /// For questions to the node.
    pub(super) node: Socket,
    /// Hears of pods that come and go.
    pub(super) changes: Socket,
}

/// Connects the pod with this network namespace, by an interface of this name there.
///
/// # Errors
/// Why it could not be, in words.
pub(super) fn join(membership: &Membership, interface: &str, pod: &OwnedFd) -> Result<Place, String> {
    let in_words = |error: io::Error| error.to_string();
    let (ours, theirs) = pair::<(), Says>().map_err(|errno| in_words(errno.into()))?;
    match sys::fork::fork(Namespaces::NONE).map_err(in_words)? {
        Fork::Child => {
            drop(ours);
            let sent = match connect(membership, interface, pod) {
                Ok(Place { address, newer, node, changes }) => {
                    theirs.say_with(&Says::Joined { address, newer }, &[node.as_fd(), changes.as_fd()])
                }
                Err(why) => theirs.say(&Says::Refused(why)),
            };
            sys::fork::exit_now(u8::from(sent.is_err()))
        }
        Fork::Parent { pidfd, .. } => {
            drop(theirs);
            let heard = ours.hear_with();
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            match heard.map_err(|errno| in_words(errno.into()))? {
                Some((Says::Joined { address, newer }, fds)) => match <[OwnedFd; 2]>::try_from(fds) {
                    Ok([node, changes]) => Ok(Place { address, newer, node: node.into(), changes: changes.into() }),
                    Err(_) => Err("too few descriptors are left".to_owned()),
                },
                Some((Says::Refused(why), _)) => Err(why),
                None => Err("the process that connects the pod ended without a word".to_owned()),
            }
        }
    }
}

fn connect(membership: &Membership, interface: &str, pod: &OwnedFd) -> Result<Place, String> {
    let during = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let enter = |fd: &OwnedFd, kind| move_into_link_name_space(fd.as_fd(), Some(kind)).map_err(io::Error::from);
    if let Some(user) = membership.node.user() {
        enter(user, LinkNameSpaceType::User).map_err(during("enter its user namespace"))?;
    }
    enter(&membership.node.net, LinkNameSpaceType::Network).map_err(during("enter its network namespace"))?;
    let node = Socket::open().map_err(during("talk to the kernel"))?;
    // Before the pod is there: what happens from now on is heard of.
    let changes = Socket::watch_links().map_err(during("talk to the kernel"))?;
    let links = node.links().map_err(during("ask for its pods"))?;
    let bridge = links.iter().find(|link| link.name == BRIDGE).ok_or("it has no bridge")?;
    let subnet: Subnet = bridge.alias.parse().map_err(|_| "it has no range".to_owned())?;
    let address = take(&node, &links, subnet, membership.address, interface, pod)?;
    let names = shortened(&membership.names);
    node.set_up(&port(address), Some(&names), Some(bridge.index)).map_err(during("make the pod's port"))?;
    enter(pod, LinkNameSpaceType::Network).map_err(during("enter the pod's network namespace"))?;
    restrict(interface).map_err(during("restrict the pod's interface"))?;
    let inside = Socket::open().map_err(during("talk to the kernel"))?;
    let own = inside.links().map_err(during("ask for the pod's interfaces"))?;
    let own = own.iter().find(|link| link.name == interface).ok_or("the pod's interface is gone")?;
    inside.add_address(own.index, address.into(), subnet.length()).map_err(during("give the pod its address"))?;
    let newer = ula::address(&membership.network, address);
    let newer = match inside.add_address(own.index, newer.into(), ula::LENGTH) {
        Ok(()) => Some(newer),
        // The kernel has no IPv6, or it is switched off.
        Err(error) if is_unsupported(&error) || error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) => return Err(during("give the pod its IPv6 address")(error)),
    };
    inside.set_up(interface, None, None).map_err(during("set the pod's interface up"))?;
    Ok(Place { address, newer, node, changes })
}

/// Makes the pair of interfaces for the address that is wanted, or for the lowest that is free. Its name is the lease: the
/// kernel gives each only once, and again when the pod that had it is gone.
fn take(
    node: &Socket,
    links: &[Link],
    subnet: Subnet,
    wanted: Option<Ipv4Addr>,
    interface: &str,
    pod: &OwnedFd,
) -> Result<Ipv4Addr, String> {
    if let Some(address) = wanted.filter(|address| !subnet.has(*address)) {
        return Err(format!("{address} is no address that a pod can have in {subnet}"));
    }
    let is_free = |address: &Ipv4Addr| !links.iter().any(|link| link.name == port(*address));
    let candidates: Box<dyn Iterator<Item = Ipv4Addr>> = match wanted {
        Some(address) => Box::new(std::iter::once(address)),
        None => Box::new(subnet.addresses().filter(is_free)),
    };
    let deadline = Instant::now() + PATIENCE;
    for address in candidates {
        let [a, b, c, d] = address.octets();
        // Locally administered, and always the same for an address: a neighbour that remembers the pod that had the
        // address before would otherwise talk to nobody.
        let peer = Peer { name: interface, hardware: [2, 0, a, b, c, d], net: pod.as_fd() };
        loop {
            match node.add_veth(&port(address), &peer) {
                Ok(()) => return Ok(address),
                Err(error) if error.raw_os_error() != Some(Errno::EXIST.raw_os_error()) => {
                    return Err(format!("make the pod's interface: {error}"));
                }
                Err(_) if wanted.is_none() || Instant::now() > deadline => break,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
    Err(match wanted {
        Some(address) => format!("another pod has the address {address}"),
        None => format!("all addresses of {subnet} are taken"),
    })
}

/// The pod does not pass on what is not for it, whatever the host does; nobody gets in by the addresses that it has
/// elsewhere, and routers are not believed: there are none.
fn restrict(interface: &str) -> io::Result<()> {
    let four = "/proc/sys/net/ipv4";
    fs::write(format!("{four}/ip_forward"), "0")?;
    for (key, value) in [("arp_ignore", "1"), ("rp_filter", "1"), ("accept_redirects", "0")] {
        fs::write(format!("{four}/conf/{interface}/{key}"), value)?;
    }
    let own = |key: &str| format!("/proc/sys/net/ipv6/conf/{interface}/{key}");
    for path in ["/proc/sys/net/ipv6/conf/all/forwarding".to_owned(), own("accept_ra"), own("accept_redirects")] {
        match fs::write(path, "0") {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written?,
        }
    }
    Ok(())
}

/// The name of the port of the pod with this address.
fn port(address: Ipv4Addr) -> String {
    format!("{PORT}{:08x}", address.to_bits())
}

/// The address of the pod whose port has this name; `None` for what is no port.
pub(super) fn address(port: &str) -> Option<Ipv4Addr> {
    let digits = port.strip_prefix(PORT).filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok().map(Ipv4Addr::from_bits)
}

/// As many of the names as can be noted.
fn shortened(names: &[String]) -> String {
    let mut text = String::new();
    for name in names {
        if text.len() + 1 + name.len() > MOST_NAMES {
            break;
        }
        text.push_str(if text.is_empty() { "" } else { " " });
        text.push_str(name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_after_its_address() {
        let ip: Ipv4Addr = "10.1.2.3".parse().unwrap();
        assert_eq!(port(ip), "p0a010203");
        assert_eq!(address("p0a010203"), Some(ip));
        for other in ["lo", "pods", "p0a0102", "p0a01020g", "q0a010203"] {
            assert_eq!(address(other), None, "{other}");
        }
    }

    #[test]
    fn too_many_names_are_cut_off_between_two() {
        assert_eq!(shortened(&["a".into(), "b".into()]), "a b");
        assert_eq!(shortened(&["a".into(), "b".repeat(MOST_NAMES)]), "a");
    }
}
