//! The listening sockets that an app takes over (appc aci.md, "socketActivated"), when pid 1 creates it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use appc::RuntimeApp;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::BACKLOG;
use crate::apply::{Named as _, Refusal};
use crate::network::{Listener, Passed};

/// Most sockets of a port; whoever adds an app has refused more.
const MOST: u16 = 256;

/// What an app takes over that is added to a pod: no port of the host leads to it, so all of it is in the pod.
pub(super) fn of_added(app: &RuntimeApp) -> Vec<Passed> {
    let ports = app.app.iter().flat_map(|app| &app.ports);
    let activated = ports.filter(|port| port.socket_activated && !port.protocol.eq_ignore_ascii_case("udp"));
    let numbers = activated.flat_map(|port| {
        let offsets = 0..port.count.clamp(1, MOST);
        offsets.filter_map(|offset| Some((port.name.to_string(), port.port.checked_add(offset)?)))
    });
    numbers.map(|(name, number)| Passed { name, socket: Listener::InPod(number) }).collect()
}

/// The descriptor of a socket that is there already.
pub(super) fn number(socket: &Listener) -> Option<RawFd> {
    match socket {
        Listener::Open(socket) => Some(socket.as_raw_fd()),
        Listener::InPod(_) => None,
    }
}

/// The sockets of an app: those of the host, and new ones in the pod's network, where root of the pod may use any port.
pub(super) fn open(sockets: impl Iterator<Item = Passed>) -> Result<Vec<OwnedFd>, Refusal> {
    let open = |passed: Passed| match passed.socket {
        Listener::Open(socket) => Ok(socket),
        Listener::InPod(port) => {
            let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
            listen_at(address).named(|| format!("listen for the port {:?} at {address}", passed.name))
        }
    };
    sockets.map(open).collect()
}

fn listen_at(address: SocketAddrV4) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
