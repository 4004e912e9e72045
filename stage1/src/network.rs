//! What a pod's network is, as whoever starts the pod wants it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use appc::isolator::report::Outcome;
use metadata_api::ADDRESS;
use serde::{Deserialize, Serialize};

use crate::bandwidth::Bandwidth;

/// Addresses where clouds tell their machines secrets, other than the one that is the pod's own service. The pod has them
/// itself, so nothing that is sent there leaves it. (Azure's 168.63.129.16 resolves names as well and has to be reached.)
pub(crate) const CLOUD_ADDRESSES: [IpAddr; 4] = [
    // Amazon's tasks, Alibaba, Amazon and Oracle by IPv6.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
];

/// Whether a pod has this address on its loopback interface.
#[must_use]
pub fn is_own_loopback(ip: IpAddr) -> bool {
    ip.is_loopback() || ip == IpAddr::from(*ADDRESS.ip()) || CLOUD_ADDRESSES.contains(&ip)
}

/// What a pod has for a network.
#[derive(Debug, Default)]
pub enum Network {
    /// A namespace of its own with nothing in it but the loopback interface.
    #[default]
    Loopback,
    /// The host's.
    Host,
    /// A namespace of its own, connected by pasta.
    Uplink(Uplink),
}

impl Network {
    /// Its connection to the world, if it is to have one.
    pub(crate) const fn uplink(&self) -> Option<&Uplink> {
        match self {
            Self::Uplink(uplink) => Some(uplink),
            Self::Loopback | Self::Host => None,
        }
    }
}

/// A connection to the world.
#[derive(Debug)]
pub struct Uplink {
    /// The program; without it the pod has its loopback alone, and says why.
    pub pasta: Option<PathBuf>,
    /// Its options for the ports that it forwards.
    pub ports: Vec<String>,
    /// Ports that are forwarded from sockets which listen already.
    pub relays: Vec<Relay>,
    /// Whether the pod cannot do without it.
    pub required: bool,
    /// How much may pass in a second.
    pub bandwidth: Option<Bandwidth>,
}

impl Uplink {
    /// How many processes it takes that are the pod's root, and so count among those of the pod's user namespace: pasta,
    /// another one where a network is `between` the pod's and the world, and what carries ports.
    pub(crate) fn processes(&self, between: bool) -> u64 {
        if self.pasta.is_none() {
            return 0;
        }
        let carries = |datagrams: bool| u64::from(self.relays.iter().any(|relay| relay.datagrams == datagrams));
        1 + u64::from(between) + carries(false) + carries(true)
    }
}

/// A socket of the host at which connections or datagrams come in, and where they are carried in the pod.
#[derive(Debug)]
pub struct Relay {
    /// The socket: it listens, or it is one for datagrams.
    pub socket: OwnedFd,
    /// Where to in the pod.
    pub target: Target,
    /// Whether it carries datagrams.
    pub datagrams: bool,
}

/// Where connections or datagrams are carried in the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A port of its loopback interface: who comes is on this host, and looks like a program of the pod.
    Loopback(SocketAddr),
    /// A port of the address that the pod has in the client's family: who comes is from anywhere, and programs of a pod
    /// trust their loopback (CVE-2021-20199).
    Own(u16),
}

impl Target {
    /// Where what comes in at this address of the host is carried: to a port of the pod.
    #[must_use]
    pub fn of(host_ip: IpAddr, pod_port: u16) -> Self {
        match host_ip {
            IpAddr::V4(ip) if ip.is_loopback() => Self::Loopback((Ipv4Addr::LOCALHOST, pod_port).into()),
            IpAddr::V6(ip) if ip.is_loopback() => Self::Loopback((Ipv6Addr::LOCALHOST, pod_port).into()),
            _ => Self::Own(pod_port),
        }
    }
}

/// A port of the host, or a range of them, that was made to lead into a pod which runs, or does not any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedPort {
    /// What it is called.
    pub name: String,
    /// Whether it is for datagrams (UDP); else it is for connections (TCP).
    pub datagrams: bool,
    /// The address of the host.
    pub host_ip: IpAddr,
    /// The first port of the host.
    pub host_port: u16,
    /// The first port in the pod.
    pub pod_port: u16,
    /// How many ports there are.
    pub count: u16,
}

impl CarriedPort {
    /// The sockets' addresses on the host.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        (0..self.count).map_while(|offset| Some(SocketAddr::new(self.host_ip, self.host_port.checked_add(offset)?)))
    }

    /// Where each of them leads.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        (0..self.count).map_while(move |offset| Some(Target::of(self.host_ip, self.pod_port.checked_add(offset)?)))
    }
}

/// A listening socket that an app takes over (appc aci.md, "socketActivated").
#[derive(Debug)]
pub struct Passed {
    /// The port's name, which the app finds in `LISTEN_FDNAMES`.
    pub name: String,
    /// The socket.
    pub socket: Listener,
}

/// A socket that an app takes over.
#[derive(Debug)]
pub enum Listener {
    /// It is there already: one of the host.
    Open(OwnedFd),
    /// Pid 1 makes it in the pod's network, at this port of all addresses.
    InPod(u16),
}

/// How the pod's network is now, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// `none`, `host` or `default`.
    pub mode: String,
    /// Whether it is as it should be; else why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<String>,
    /// The networks of pods that it is on as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<NamedReport>,
    /// What became of the bound of what passes in a second, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Outcome>,
    /// Ports that lead into the pod since it runs, beside those of its manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<CarriedPort>,
    /// Ports of its manifest that do not any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<CarriedPort>,
}

/// A network of pods, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedReport {
    /// Its name.
    pub name: String,
    /// The pod's address there; none before it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address there; none before it has one, or where there is no IPv6.
    #[serde(default, rename = "address6", skip_serializing_if = "Option::is_none")]
    pub newer_address: Option<Ipv6Addr>,
}

/// The name of the file in /etc that says who the hosts are.
pub(crate) const HOSTS: &str = "hosts";

/// The names by which a pod with this host name finds itself: that one, and what of it precedes its domain.
#[must_use]
pub fn own_names(hostname: &str) -> String {
    match hostname.split_once('.') {
        Some((short, _)) if !short.is_empty() => format!("{hostname} {short}"),
        _ => hostname.to_owned(),
    }
}

/// A file of /etc that tells an app of its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcFile {
    /// Its name in /etc.
    pub name: String,
    /// What it says.
    pub content: String,
    /// Whether it takes the place of one that the image has. An empty one is always replaced: builders leave those
    /// behind where an engine had mounted its own.
    pub replaces: bool,
}
