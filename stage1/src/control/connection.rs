//! One client of the control socket: its lines, and the descriptors beside them.
//!
//! A client that does not read is dropped when what it has not read is too much.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::channel::FailureKind;
use crate::protocol::{MAX_LINE, Refused, RefusedKind, Reply, Request, VERSION};

/// Descriptors that a client may have sent and not yet used.
pub(super) const MAX_FDS: usize = 250;

/// Bytes that a client may leave unread.
pub(super) const MAX_UNREAD: usize = 4 << 20;

/// Descriptors that a client may leave unread.
const MAX_UNREAD_FDS: usize = 64;

/// What is refused for want of descriptors.
const NO_DESCRIPTOR: &str = "the pod's supervisor has no file descriptor left (RLIMIT_NOFILE)";

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    line: Vec<u8>,
    fds: Vec<OwnedFd>,
    /// Whether descriptors of the request that has begun could not be taken.
    short: bool,
    unsent: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    unread: usize,
    broken: bool,
    /// Whether it has asked for something that takes as long as the client is there.
    pub(super) lasts: bool,
    /// When it came, or its last request did.
    pub(super) heard: Instant,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            line: Vec::new(),
            fds: Vec::new(),
            short: false,
            unsent: VecDeque::new(),
            unread: 0,
            broken: false,
            lasts: false,
            heard: Instant::now(),
        }
    }

    pub(super) fn to_poll(&self) -> PollFd<'_> {
        let out = if self.unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        PollFd::new(&self.socket, PollFlags::IN | out)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes of a request whose end has not come.
    pub(super) fn begun(&self) -> usize {
        self.line.len()
    }

    /// Descriptors of such a request.
    pub(super) fn held(&self) -> usize {
        self.fds.len()
    }

    /// Bytes that the client has not read.
    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    /// Ends the connection of a client that does not read.
    pub(super) fn drop_unread(&mut self) {
        self.unsent.clear();
        (self.unread, self.broken) = (0, true);
    }

    /// Ends the connection, and says why.
    pub(super) fn dismiss(&mut self, why: &str) {
        (self.line, self.fds) = (Vec::new(), Vec::new());
        self.refuse(RefusedKind::Request, why);
        self.broken = true;
    }

    pub(super) fn say(&mut self, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        let copies: Result<Vec<OwnedFd>, _> = fds.iter().map(BorrowedFd::try_clone_to_owned).collect();
        let Ok(copies) = copies else {
            return self.refuse(RefusedKind::Failed(FailureKind::Setup), NO_DESCRIPTOR);
        };
        let Ok(mut line) = serde_json::to_vec(reply) else { return };
        line.push(b'\n');
        self.unread += line.len();
        self.unsent.push_back((line, copies));
        self.flush();
        let waiting: usize = self.unsent.iter().map(|(_, fds)| fds.len()).sum();
        if self.unread > MAX_UNREAD || waiting > MAX_UNREAD_FDS {
            self.drop_unread();
        }
    }

    pub(super) fn flush(&mut self) {
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

    /// Reads what is there; returns the requests that have come to their end.
    pub(super) fn read(&mut self) -> Vec<(Request, Vec<OwnedFd>)> {
        let mut buffer = [0; 16 * 1024];
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        );
        let (len, flags) = match received {
            Ok(received) if received.bytes > 0 => (received.bytes, received.flags),
            Err(Errno::AGAIN | Errno::INTR) => return Vec::new(),
            Ok(_) | Err(_) => {
                self.broken = true;
                return Vec::new();
            }
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        self.short |= flags.contains(ReturnFlags::CTRUNC);
        if self.short {
            self.fds.clear();
        }
        // What was there before has no end of a line.
        let mut from = self.line.len();
        self.line.extend_from_slice(&buffer[..len]);
        if self.fds.len() > MAX_FDS || self.line.len() > MAX_LINE {
            self.dismiss("the request is too long");
            return Vec::new();
        }
        let mut requests = Vec::new();
        while let Some(end) = self.line[from..].iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=from + end).collect();
            from = 0;
            requests.extend(self.understand(&line));
        }
        requests
    }

    /// The request in a line, with its descriptors; the client is told why it is none.
    fn understand(&mut self, line: &[u8]) -> Option<(Request, Vec<OwnedFd>)> {
        self.heard = Instant::now();
        let fds = std::mem::take(&mut self.fds);
        if std::mem::take(&mut self.short) {
            self.refuse(RefusedKind::Failed(FailureKind::Setup), NO_DESCRIPTOR);
            return None;
        }
        match serde_json::from_slice::<Request>(line) {
            Ok(asked) if asked.version == VERSION => return Some((asked, fds)),
            Ok(asked) => self
                .refuse(RefusedKind::Version, &format!("version {} is not spoken here, but {VERSION}", asked.version)),
            Err(error) => self.refuse(RefusedKind::Request, &format!("not a request: {error}")),
        }
        None
    }

    pub(super) fn refuse(&mut self, kind: RefusedKind, message: &str) {
        self.say(&Reply::Error(Refused { kind, message: message.to_owned() }), &[]);
    }
}
