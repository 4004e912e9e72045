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

/// A socket of the host at which connections or datagrams come in, and where they are carried in the pod.
#[derive(Debug)]
pub struct Relay {
    /// The socket: it listens, or it is one for datagrams.
    pub socket: OwnedFd,
    /// Address and port in the pod.
    pub target: SocketAddr,
    /// Whether it carries datagrams.
    pub datagrams: bool,
}

/// A listening socket of the host that an app takes over (appc aci.md, "socketActivated").
#[derive(Debug)]
pub struct Passed {
    /// The port's name, which the app finds in `LISTEN_FDNAMES`.
    pub name: String,
    /// The socket.
    pub socket: OwnedFd,
}

/// How the pod's network is now, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// `none`, `host` or `default`.
    pub mode: String,
    /// Whether it is as it should be; else why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<String>,
    /// The network of pods that it is on as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<NamedReport>,
    /// What became of the bound of what passes in a second, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Outcome>,
}

/// A network of pods, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedReport {
    /// Its name.
    pub name: String,
    /// The pod's address there; none before it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
}

/// The name of the file in /etc that says who the hosts are.
pub(crate) const HOSTS: &str = "hosts";

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
