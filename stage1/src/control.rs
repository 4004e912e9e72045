//! The supervisor's side of the control socket: connections, lines, descriptors. What a request means is not known here.
//!
//! Nothing here waits: a client that does not read is dropped when what it has not read is too much.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, accept_with, recvmsg, sendmsg,
};

use crate::protocol::{MAX_LINE, Refused, RefusedKind, Reply, Request, VERSION};

/// Connections at once; the next client waits in the backlog.
const MAX_CONNECTIONS: usize = 64;

/// Descriptors that a client may have sent and not yet used.
const MAX_FDS: usize = 250;

/// Bytes that a client may leave unread.
const MAX_UNREAD: usize = 4 << 20;

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
    /// Whether the last client could not be let in: the next may come when one has gone.
    full: bool,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    line: Vec<u8>,
    fds: Vec<OwnedFd>,
    unsent: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    unread: usize,
    broken: bool,
}

impl Control {
    /// Takes over a listening, non-blocking socket.
    pub(crate) fn new(listener: OwnedFd) -> Self {
        Self { listener, connections: BTreeMap::new(), next: 0, full: false }
    }

    /// What to poll for; [`Control::polled`] wants the answers in this order.
    pub(crate) fn to_poll(&self) -> Vec<PollFd<'_>> {
        let full = self.full || self.connections.len() >= MAX_CONNECTIONS;
        let accept = if full { PollFlags::empty() } else { PollFlags::IN };
        let connections = self.connections.values().map(|connection| {
            let out = if connection.unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            PollFd::new(&connection.socket, PollFlags::IN | out)
        });
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
                connection.read(|request, fds| incoming.push(Incoming::Request(id, request, fds)));
            }
        }
        if ready.first().is_some_and(|flags| !flags.is_empty()) {
            self.accept();
        }
        let broken: Vec<_> = self.connections.iter().filter(|(_, c)| c.broken).map(|(id, _)| *id).collect();
        for id in broken {
            self.connections.remove(&id);
            self.full = false;
            incoming.push(Incoming::Gone(id));
        }
        incoming
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = accept_with(&self.listener, flags) else {
            // Out of descriptors: polling for it again at once would take all the time there is.
            self.full = !self.connections.is_empty();
            return;
        };
        // The socket lies in a directory that only its user can enter; this is the second lock.
        let own = rustix::process::geteuid();
        if !socket_peercred(&socket).is_ok_and(|peer| peer.uid == own || peer.uid.is_root()) {
            return;
        }
        let (line, fds, unsent) = (Vec::new(), Vec::new(), VecDeque::new());
        self.connections.insert(self.next, Connection { socket, line, fds, unsent, unread: 0, broken: false });
        self.next += 1;
    }

    /// Says something to a client, with descriptors; one that is gone needs nothing.
    pub(crate) fn reply(&mut self, id: ConnectionId, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.say(reply, fds);
        }
    }
}

impl Connection {
    fn say(&mut self, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        let Ok(mut line) = serde_json::to_vec(reply) else { return };
        line.push(b'\n');
        self.unread += line.len();
        let copies: Result<Vec<OwnedFd>, _> = fds.iter().map(BorrowedFd::try_clone_to_owned).collect();
        match copies {
            Ok(copies) if self.unread <= MAX_UNREAD => self.unsent.push_back((line, copies)),
            _ => self.broken = true,
        }
        self.flush();
    }

    fn flush(&mut self) {
        while let Some((line, fds)) = self.unsent.front_mut() {
            let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(OwnedFd::as_fd).collect();
            let rights = SendAncillaryMessage::ScmRights(&borrowed);
            let mut space = vec![MaybeUninit::uninit(); rights.size()];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !borrowed.is_empty() {
                ancillary.push(rights);
            }
            match sendmsg(&self.socket, &[IoSlice::new(line)], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    fds.clear();
                    line.drain(..sent);
                    self.unread -= sent;
                    if line.is_empty() {
                        self.unsent.pop_front();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// Reads what is there and hands each complete request on.
    fn read(&mut self, mut request: impl FnMut(Request, Vec<OwnedFd>)) {
        let mut buffer = [0; 16 * 1024];
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        );
        let len = match received {
            Ok(received) if received.bytes > 0 => received.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok(_) | Err(_) => {
                self.broken = true;
                return;
            }
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        self.line.extend_from_slice(&buffer[..len]);
        if self.fds.len() > MAX_FDS || self.line.len() > MAX_LINE {
            self.refuse(RefusedKind::Request, "the request is too long");
            self.broken = true;
            return;
        }
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            let fds = std::mem::take(&mut self.fds);
            match serde_json::from_slice::<Request>(&line) {
                Ok(asked) if asked.version == VERSION => request(asked, fds),
                Ok(asked) => self.refuse(
                    RefusedKind::Version,
                    &format!("version {} is not spoken here, but {VERSION}", asked.version),
                ),
                Err(error) => self.refuse(RefusedKind::Request, &format!("not a request: {error}")),
            }
        }
    }

    fn refuse(&mut self, kind: RefusedKind, message: &str) {
        self.say(&Reply::Error(Refused { kind, message: message.to_owned() }), &[]);
    }
}
