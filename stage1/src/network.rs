//! What a pod's network is, as whoever starts the pod wants it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    /// The program.
    pub pasta: PathBuf,
    /// Its options for the ports that it forwards.
    pub ports: Vec<String>,
    /// Ports that are forwarded from sockets which listen already.
    pub relays: Vec<Relay>,
    /// Whether the pod cannot do without it.
    pub required: bool,
}

/// A listening socket of the host, and what is connected to in the pod for each connection to it.
#[derive(Debug)]
pub struct Relay {
    /// The socket.
    pub listener: OwnedFd,
    /// Address and port in the pod.
    pub target: SocketAddr,
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
