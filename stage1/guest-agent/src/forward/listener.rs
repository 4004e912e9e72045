//! Listening where SETUP says, and taking in who connects.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, bind, socket_with};

use super::Fatal;
use super::dial::{tuned, unix_address};
use super::packet::{NewConnection, Setup};
use crate::errno;
use crate::resolver::{Found, Lookup, numeric, resolve};

/// The kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A listening socket and what is told of it. Dropping it removes a Unix socket's file.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    protocol: String,
    host: String,
    port: u32,
    /// Only one connection is wanted.
    pub(super) single: bool,
}

/// Listens at SETUP's address.
pub(super) fn listen(setup: &Setup) -> Result<Listener, Fatal> {
    let host = &setup.bind_host;
    let (socket, place) = match setup.protocol.as_str() {
        "tcp" => (tcp(host, setup.bind_port), format!("{host}:{}", setup.bind_port)),
        "unix" => (unix(host), host.clone()),
        other => (Err("unknown protocol".to_owned()), other.to_owned()),
    };
    Ok(Listener {
        socket: socket.map_err(|reason| Fatal::Listen(place, reason))?,
        protocol: setup.protocol.clone(),
        host: host.clone(),
        port: setup.bind_port,
        single: setup.single_connection,
    })
}

fn tcp(host: &str, port: u32) -> Result<OwnedFd, String> {
    let port = u16::try_from(port).map_err(|_| "a port must be less than 65536".to_owned())?;
    let failed = |error: Errno| errno::text(error);
    // SSH clients write `*` and nothing for every address of both families.
    if matches!(host, "" | "*") {
        let any: SocketAddr = (Ipv6Addr::UNSPECIFIED, port).into();
        let v4 = (std::net::Ipv4Addr::UNSPECIFIED, port).into();
        return bound(any).or_else(|_| bound(v4)).map_err(failed);
    }
    let address = match numeric(host, port) {
        Some(address) => address,
        None => {
            let found = found(host)?;
            // As the original's library: of several addresses an IPv4 one.
            let first = found.iter().find(|it| it.is_ipv4()).or(found.first()).ok_or("no such host")?;
            (*first, port).into()
        }
    };
    bound(address).map_err(failed)
}

fn bound(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = open(family)?;
    set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn unix(path: &str) -> Result<OwnedFd, String> {
    let listening = || {
        let socket = open(AddressFamily::UNIX)?;
        bind(&socket, &unix_address(path)?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    listening().map_err(errno::text)
}

fn open(family: AddressFamily) -> Result<OwnedFd, Errno> {
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Resolves a name while there is nothing else to do.
fn found(host: &str) -> Result<Vec<IpAddr>, String> {
    let mut lookup: Lookup = match resolve(host) {
        Found::Addresses(addresses) => return Ok(addresses),
        Found::Ask(lookup) => lookup,
    };
    loop {
        let now = Instant::now();
        if let Some(result) = lookup.advance(now) {
            return result.map_err(|it| it.to_string());
        }
        let wait = lookup.deadline().map_or_else(Default::default, |it| it.saturating_duration_since(now));
        let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
        let fds: Vec<_> = lookup.fds().collect();
        let mut fds: Vec<PollFd<'_>> = fds.iter().map(|(fd, flags)| PollFd::new(fd, *flags)).collect();
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(errno::text(error)),
        }
    }
}

impl Listener {
    /// The socket to poll.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next connection and its description, or `None` when there is none now.
    pub(super) fn accept(&self) -> Result<Option<(OwnedFd, NewConnection)>, Errno> {
        let (socket, peer) = loop {
            match acceptfrom_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(accepted) => break accepted,
                // The client left before we came to it.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        let mut description = NewConnection {
            protocol: self.protocol.clone(),
            connected_address: self.host.clone(),
            connected_port: if self.protocol == "unix" { 0 } else { self.port },
            ..NewConnection::default()
        };
        let socket = match peer.map(SocketAddr::try_from) {
            Some(Ok(peer)) => {
                description.originator_address = peer.ip().to_canonical().to_string();
                description.originator_port = peer.port().into();
                tuned(socket)
            }
            _ => socket,
        };
        Ok(Some((socket, description)))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.protocol == "unix" && !self.host.starts_with('@') {
            let _ = rustix::fs::unlink(self.host.as_str());
        }
    }
}
