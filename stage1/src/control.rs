//! The supervisor's side of the control socket: who is connected, and how many at once. What a request means is not known
//! here.
//!
//! Nothing here waits, and no client is to be in the way of others: one that says nothing gives its place up when it is
//! needed, and requests that have not ended, as answers that are not read, are bounded for all clients together. The process
//! keeps its last descriptor for a client; where even that is gone, nobody is let in for a moment.

mod connection;

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{SocketFlags, accept_with};

use crate::protocol::{Call, MAX_LINE, RefusedKind, Reply, Request};
use connection::{Connection, MAX_FDS, MAX_UNREAD};

/// Connections at once that last: that listen, are attached, or have entered.
const MAX_LASTING: usize = 64;

/// Connections at once: beyond those that last there is place for what is answered at once, as `stop` is. The next client
/// waits in the backlog.
const MAX_CONNECTIONS: usize = MAX_LASTING + 8;

/// A client that has asked for nothing that lasts, and nothing at all for so long, gives its place to others.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long nobody is let in where there was no descriptor left, or no place.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// Bytes of requests that have not ended, of all clients.
const MAX_BEGUN: usize = 2 * MAX_LINE;

/// Bytes that all clients together may leave unread.
const MAX_ALL_UNREAD: usize = 2 * MAX_UNREAD;

/// Numbers of descriptors below this are standard streams'.
const FIRST: i32 = 3;

/// Names a connection; never used twice.
pub(crate) type ConnectionId = u64;

/// What came in.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A request, with the descriptors that came before its end.
    Request(ConnectionId, Request, Vec<OwnedFd>),
    /// The client is gone.
    Gone(ConnectionId),
}

/// The socket and its connections.
#[derive(Debug)]
pub(crate) struct Control {
    listener: OwnedFd,
    connections: BTreeMap<ConnectionId, Connection>,
    next: ConnectionId,
    /// What is closed for the client that comes when no other descriptor is left.
    spare: Option<OwnedFd>,
    /// Until when nobody is let in: polling for it at once would take all the time there is.
    pause: Option<Instant>,
}

impl Control {
    /// Takes over a listening, non-blocking socket.
    pub(crate) fn new(listener: OwnedFd) -> Self {
        Self { listener, connections: BTreeMap::new(), next: 0, spare: None, pause: None }
    }

    /// Nothing happens at the moment: what was not worth its time at the launch is done.
    pub(crate) fn rest(&mut self) {
        if self.spare.is_none() {
            self.spare = rustix::io::fcntl_dupfd_cloexec(&self.listener, FIRST).ok();
        }
    }

    /// Until when nobody is let in.
    pub(crate) fn respite(&self) -> Option<Instant> {
        self.pause
    }

    /// The time is up, perhaps.
    pub(crate) fn look_at_the_clock(&mut self) {
        self.pause = self.pause.filter(|until| Instant::now() < *until);
    }

    /// What to poll for; [`Control::polled`] wants the answers in this order.
    pub(crate) fn to_poll(&self) -> Vec<PollFd<'_>> {
        let accept = if self.pause.is_some() { PollFlags::empty() } else { PollFlags::IN };
        let connections = self.connections.values().map(Connection::to_poll);
        std::iter::once(PollFd::new(&self.listener, accept)).chain(connections).collect()
    }

    /// Accepts, reads and writes as far as that goes now.
    pub(crate) fn polled(&mut self, ready: &[PollFlags]) -> Vec<Incoming> {
        let mut incoming = Vec::new();
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for (id, flags) in ids.into_iter().zip(ready.iter().skip(1)) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if flags.contains(PollFlags::OUT) {
                connection.flush();
            }
            if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                let requests = connection.read();
                let requests = requests.into_iter().filter(|(request, _)| self.may_last(id, &request.call));
                incoming.extend(requests.map(|(request, fds)| Incoming::Request(id, request, fds)).collect::<Vec<_>>());
            }
        }
        self.bound_what_is_begun();
        if ready.first().is_some_and(|flags| !flags.is_empty()) {
            self.accept(&mut incoming);
        }
        let broken: Vec<_> = self.connections.iter().filter(|(_, c)| c.is_broken()).map(|(id, _)| *id).collect();
        for id in broken {
            self.let_go(id, &mut incoming);
        }
        incoming
    }

    fn let_go(&mut self, id: ConnectionId, incoming: &mut Vec<Incoming>) {
        self.connections.remove(&id);
        self.pause = None;
        self.rest();
        incoming.push(Incoming::Gone(id));
    }

    /// Whether there is place for what is asked, if it lasts; who asks is told else.
    fn may_last(&mut self, id: ConnectionId, call: &Call) -> bool {
        let lasting = self.connections.values().filter(|connection| connection.lasts).count();
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        if connection.lasts || !call.lasts() {
            return true;
        }
        // The end of the pod frees all places.
        connection.lasts = lasting < MAX_LASTING || matches!(call, Call::Stop { .. });
        if !connection.lasts {
            connection.refuse(RefusedKind::State, &format!("{lasting} clients listen, are attached or have entered"));
        }
        connection.lasts
    }

    /// What clients have begun to say is bounded for all of them: who has been there for longest gives way.
    fn bound_what_is_begun(&mut self) {
        self.bound(MAX_BEGUN, Connection::begun);
        self.bound(MAX_FDS, Connection::held);
    }

    fn bound(&mut self, limit: usize, of: fn(&Connection) -> usize) {
        while self.connections.values().map(of).sum::<usize>() > limit {
            let Some(first) = self.connections.values_mut().find(|connection| of(connection) > 0) else { break };
            first.dismiss("the request is too long: its end has not come, and others have more to say");
        }
    }

    fn accept(&mut self, incoming: &mut Vec<Incoming>) {
        let socket = if self.connections.len() < MAX_CONNECTIONS || self.make_place(incoming) {
            self.next_client(incoming)
        } else {
            Err(Errno::MFILE)
        };
        let socket = match socket {
            Ok(socket) => socket,
            // This one has gone, or was none.
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return,
            Err(_) => {
                self.pause = Some(Instant::now() + PAUSE);
                return;
            }
        };
        // The socket lies in a directory that only its user can enter; this is the second lock.
        let own = rustix::process::geteuid();
        if !socket_peercred(&socket).is_ok_and(|peer| peer.uid == own || peer.uid.is_root()) {
            return;
        }
        self.connections.insert(self.next, Connection::new(socket));
        self.next += 1;
    }

    /// Takes the next client, if need be in place of one that says nothing, or with the last descriptor.
    fn next_client(&mut self, incoming: &mut Vec<Incoming>) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match accept_with(&self.listener, flags) {
            Err(Errno::MFILE | Errno::NFILE) if self.make_place(incoming) || self.spare.is_some() => {
                self.spare = None;
                accept_with(&self.listener, flags)
            }
            accepted => accepted,
        }
    }

    /// Lets go of the client that has been there for longest of those that want nothing now.
    fn make_place(&mut self, incoming: &mut Vec<Incoming>) -> bool {
        let now = Instant::now();
        let idle =
            |connection: &Connection| !connection.lasts && now.saturating_duration_since(connection.heard) >= PATIENCE;
        let Some((&id, connection)) = self.connections.iter_mut().find(|(_, connection)| idle(connection)) else {
            return false;
        };
        connection.dismiss("nothing was asked for a while, and others wait");
        self.let_go(id, incoming);
        true
    }

    /// Says something to a client, with descriptors; one that is gone needs nothing.
    pub(crate) fn reply(&mut self, id: ConnectionId, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.say(reply, fds);
        }
        // Who has read least goes first.
        while self.connections.values().map(Connection::unread).sum::<usize>() > MAX_ALL_UNREAD {
            let Some(last) = self.connections.values_mut().max_by_key(|connection| connection.unread()) else { break };
            last.drop_unread();
        }
    }
}
