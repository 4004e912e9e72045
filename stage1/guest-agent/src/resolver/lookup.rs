//! One name's way through DNS: names × rounds × servers, both kinds of address at a time, TCP where UDP is too small.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};

use super::config::Config;
use super::message::{Answer, Kind, answer, query};

/// Why a name has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// Servers say that it does not exist.
    #[error("no such host")]
    NoSuchHost,
    /// No server gave a useful answer in time.
    #[error("no name server answered")]
    NoAnswer,
}

/// A lookup in progress. Poll [`Lookup::fds`] until [`Lookup::deadline`], then [`Lookup::advance`].
#[derive(Debug)]
pub struct Lookup {
    names: Vec<String>,
    config: Config,
    /// The name being asked for, and the how-many-eth question about it.
    name: usize,
    question: usize,
    exchange: Option<Exchange>,
    unanswered: bool,
}

#[derive(Debug)]
struct Exchange {
    udp: OwnedFd,
    server: SocketAddr,
    queries: Vec<Query>,
    deadline: Instant,
}

#[derive(Debug)]
struct Query {
    message: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    Asked,
    Tcp(Tcp),
    Known(Vec<IpAddr>),
    Failed,
}

#[derive(Debug)]
struct Tcp {
    socket: OwnedFd,
    unsent: Vec<u8>,
    received: Vec<u8>,
}

impl Lookup {
    /// Begins a lookup; nothing is sent before [`Lookup::advance`].
    #[must_use]
    pub fn new(name: &str, config: Config) -> Self {
        let names = config.names(name);
        Self { names, config, name: 0, question: 0, exchange: None, unanswered: false }
    }

    /// What to poll for.
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.exchange.iter().flat_map(|exchange| {
            let tcp = exchange.queries.iter().filter_map(|query| match &query.state {
                State::Tcp(tcp) if tcp.unsent.is_empty() => Some((tcp.socket.as_fd(), PollFlags::IN)),
                State::Tcp(tcp) => Some((tcp.socket.as_fd(), PollFlags::OUT)),
                _ => None,
            });
            std::iter::once((exchange.udp.as_fd(), PollFlags::IN)).chain(tcp)
        })
    }

    /// When to advance even if nothing came.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.exchange.as_ref().map(|it| it.deadline)
    }

    /// Does what can be done without waiting. `Some` when it is over; then there is at least one address.
    pub fn advance(&mut self, now: Instant) -> Option<Result<Vec<IpAddr>, LookupError>> {
        loop {
            let Some(name) = self.names.get(self.name) else {
                return Some(Err(if self.unanswered { LookupError::NoAnswer } else { LookupError::NoSuchHost }));
            };
            let Some(exchange) = &mut self.exchange else {
                let servers = self.config.servers.len();
                if self.question >= servers * self.config.attempts as usize {
                    self.unanswered = true;
                    self.next_name();
                } else if query(0, name, Kind::A).is_none() {
                    self.next_name();
                } else {
                    let server = self.config.servers[self.question % servers];
                    self.question += 1;
                    self.exchange = Exchange::begin(server, name, now + self.config.timeout).ok();
                }
                continue;
            };
            let usable = exchange.receive().is_ok();
            if exchange.queries.iter().any(|it| matches!(it.state, State::Asked | State::Tcp(_)))
                && usable
                && now < exchange.deadline
            {
                return None;
            }
            let known = |it: &Query| matches!(it.state, State::Known(_));
            let all = exchange.queries.iter().all(known);
            let addresses = exchange.addresses();
            self.exchange = None;
            if !addresses.is_empty() {
                return Some(Ok(addresses));
            }
            if all {
                self.next_name();
            }
        }
    }

    fn next_name(&mut self) {
        self.name += 1;
        self.question = 0;
    }
}

impl Exchange {
    fn begin(server: SocketAddr, name: &str, deadline: Instant) -> io::Result<Self> {
        let udp = open(server, SocketType::DGRAM)?;
        connect(&udp, &server)?;
        let mut queries = Vec::new();
        for kind in [Kind::Aaaa, Kind::A] {
            let mut id = [0; 2];
            rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
            let message = query(u16::from_ne_bytes(id), name, kind).ok_or(io::ErrorKind::InvalidInput)?;
            send(&udp, &message, SendFlags::NOSIGNAL)?;
            queries.push(Query { message, state: State::Asked });
        }
        Ok(Self { udp, server, queries, deadline })
    }

    /// Takes in what has come. An error of the socket says that this server is not there.
    fn receive(&mut self) -> Result<(), Errno> {
        // The largest datagram there is: a server may ignore that 512 bytes are agreed upon.
        let mut buffer = vec![0; 65_535];
        loop {
            let count = match recv(&self.udp, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((count, _)) => count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            for query in self.queries.iter_mut().filter(|it| matches!(it.state, State::Asked)) {
                if let Some(answer) = answer(&buffer[..count], &query.message) {
                    query.state = State::after(answer, || Tcp::begin(self.server, &query.message));
                }
            }
        }
        for query in &mut self.queries {
            if let State::Tcp(tcp) = &mut query.state
                && let Some(message) = tcp.advance().transpose()
            {
                let answer = message.ok().and_then(|it| answer(&it, &query.message));
                query.state = State::after(answer.unwrap_or(Answer::Failure), || Err(Errno::IO));
            }
        }
        Ok(())
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let known = self.queries.iter().filter_map(|it| match &it.state {
            State::Known(addresses) => Some(addresses),
            _ => None,
        });
        known.flatten().copied().collect()
    }
}

impl State {
    fn after(answer: Answer, over_tcp: impl FnOnce() -> Result<Tcp, Errno>) -> Self {
        match answer {
            Answer::Addresses(addresses) => Self::Known(addresses),
            Answer::Truncated => over_tcp().map_or(Self::Failed, Self::Tcp),
            Answer::Failure => Self::Failed,
        }
    }
}

impl Tcp {
    fn begin(server: SocketAddr, message: &[u8]) -> Result<Self, Errno> {
        let socket = open(server, SocketType::STREAM)?;
        match connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let mut unsent = (message.len() as u16).to_be_bytes().to_vec();
        unsent.extend(message);
        Ok(Self { socket, unsent, received: Vec::new() })
    }

    /// The whole answer once it is here.
    fn advance(&mut self) -> Result<Option<Vec<u8>>, Errno> {
        while !self.unsent.is_empty() {
            match send(&self.socket, &self.unsent, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => drop(self.unsent.drain(..count)),
                // Not yet connected.
                Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        let mut buffer = [0; 4096];
        loop {
            if let Some((length, rest)) = self.received.split_first_chunk::<2>()
                && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length)))
            {
                return Ok(Some(message.to_vec()));
            }
            match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Errno::CONNRESET),
                Ok((count, _)) => self.received.extend(&buffer[..count]),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn open(server: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}
