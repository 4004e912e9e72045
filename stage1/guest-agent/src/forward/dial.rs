//! A connection being made: a name resolved, its addresses tried in turn with a head start for each.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::packet::NewConnection;
use crate::errno;
use crate::resolver::{Found, Lookup, LookupError, numeric, resolve};

/// How long an address may keep to itself before the next one is tried beside it: RFC 8305, section 5.
const HEAD_START: Duration = Duration::from_millis(250);
/// A bound for all addresses of a name together.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a Unix socket whose queue is full is tried again; poll(2) does not tell.
const RETRY: Duration = Duration::from_millis(20);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum DialError {
    #[error("unknown protocol")]
    Protocol,
    #[error("a port must be less than 65536")]
    Port,
    #[error("{0}")]
    Lookup(#[from] LookupError),
    #[error("{}", errno::text(*.0))]
    Connect(#[from] Errno),
    #[error("no connection within {} s", LIMIT.as_secs())]
    Time,
}

/// In progress: poll its descriptors until its deadline, then advance.
#[derive(Debug)]
pub(super) struct Dial {
    stage: Stage,
    limit: Instant,
}

#[derive(Debug)]
enum Stage {
    Lookup(Lookup, u16),
    Tcp { untried: VecDeque<SocketAddr>, tried: Vec<OwnedFd>, next: Instant, error: Errno },
    Unix { address: SocketAddrUnix, next: Instant },
}

impl Dial {
    /// Begins to connect.
    pub(super) fn begin(to: &NewConnection, now: Instant) -> Result<Self, DialError> {
        let stage = match to.protocol.as_str() {
            "tcp" => {
                let port = u16::try_from(to.connected_port).map_err(|_| DialError::Port)?;
                match to.connected_address.as_str() {
                    // As the original's library has it: no host is this one.
                    "" => Stage::tcp([(std::net::Ipv4Addr::LOCALHOST, port).into()], now),
                    host => match numeric(host, port) {
                        Some(address) => Stage::tcp([address], now),
                        None => match resolve(host) {
                            Found::Addresses(found) => Stage::tcp(found.into_iter().map(|it| (it, port).into()), now),
                            Found::Ask(lookup) => Stage::Lookup(lookup, port),
                        },
                    },
                }
            }
            "unix" => Stage::Unix { address: unix_address(&to.connected_address)?, next: now },
            _ => return Err(DialError::Protocol),
        };
        Ok(Self { stage, limit: now + LIMIT })
    }

    /// What to poll for.
    pub(super) fn fds(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        match &self.stage {
            Stage::Lookup(lookup, _) => lookup.fds().collect(),
            Stage::Tcp { tried, .. } => tried.iter().map(|it| (it.as_fd(), PollFlags::OUT)).collect(),
            Stage::Unix { .. } => Vec::new(),
        }
    }

    /// When to advance even if nothing came.
    pub(super) fn deadline(&self) -> Instant {
        let next = match &self.stage {
            Stage::Lookup(lookup, _) => lookup.deadline(),
            Stage::Tcp { untried, next, .. } => (!untried.is_empty()).then_some(*next),
            Stage::Unix { next, .. } => Some(*next),
        };
        next.map_or(self.limit, |it| it.min(self.limit))
    }

    /// Does what can be done without waiting; `Some` when it is over.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Result<OwnedFd, DialError>> {
        if now >= self.limit {
            return Some(Err(DialError::Time));
        }
        if let Stage::Lookup(lookup, port) = &mut self.stage {
            match lookup.advance(now)? {
                Ok(found) => {
                    let port = *port;
                    self.stage = Stage::tcp(found.into_iter().map(|it| (it, port).into()), now);
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
        self.stage.connect(now).transpose().map(|it| it.map_err(DialError::from))
    }
}

impl Stage {
    fn tcp(addresses: impl IntoIterator<Item = SocketAddr>, now: Instant) -> Self {
        Self::Tcp { untried: addresses.into_iter().collect(), tried: Vec::new(), next: now, error: Errno::CONNREFUSED }
    }

    fn connect(&mut self, now: Instant) -> Result<Option<OwnedFd>, Errno> {
        match self {
            Self::Lookup(..) => Ok(None),
            Self::Unix { address, next } => {
                let socket = stream(AddressFamily::UNIX)?;
                match connect(&socket, address) {
                    Ok(()) => Ok(Some(socket)),
                    Err(Errno::AGAIN) => {
                        *next = now + RETRY;
                        Ok(None)
                    }
                    Err(error) => Err(error),
                }
            }
            Self::Tcp { untried, tried, next, error } => loop {
                if let Some(position) = tried.iter().position(is_decided) {
                    let socket = tried.swap_remove(position);
                    match socket_error(&socket)? {
                        Ok(()) => return Ok(Some(tuned(socket))),
                        Err(reason) => *error = reason,
                    }
                    // What is left of its head start goes to the next one.
                    *next = now;
                } else if (now >= *next || tried.is_empty())
                    && let Some(address) = untried.pop_front()
                {
                    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                    *next = now + HEAD_START;
                    match stream(family).and_then(|it| match connect(&it, &address) {
                        Ok(()) | Err(Errno::INPROGRESS) => Ok(it),
                        Err(error) => Err(error),
                    }) {
                        Ok(socket) => tried.push(socket),
                        Err(reason) => *error = reason,
                    }
                } else if tried.is_empty() {
                    return Err(*error);
                } else {
                    return Ok(None);
                }
            },
        }
    }
}

fn is_decided(socket: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&now)), Ok(1..))
}

fn stream(family: AddressFamily) -> Result<OwnedFd, Errno> {
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// As the original's library makes TCP sockets: small packets go out at once, dead peers are noticed.
pub(super) fn tuned(socket: OwnedFd) -> OwnedFd {
    let _ = set_tcp_nodelay(&socket, true);
    let _ = set_socket_keepalive(&socket, true);
    socket
}

/// A path, or with `@` in front an abstract name.
pub(super) fn unix_address(path: &str) -> Result<SocketAddrUnix, Errno> {
    match path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None => SocketAddrUnix::new(path),
    }
}
