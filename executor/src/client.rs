//! A client of a pod's supervisor: one connection to its control socket (docs/formats/control-socket.md).

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use appc::PodUuid;
use pod::{PodEntry, Pods, State};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::Pid;
use stage1::protocol::{Call, MAX_LINE, Refused, RefusedKind, Reply, Request};

use crate::error::{CommandError, Explain as _, Kind};
use crate::failure_hint;

/// A connection to a pod's supervisor.
#[derive(Debug)]
pub(crate) struct Client {
    uuid: PodUuid,
    socket: OwnedFd,
    line: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Client {
    /// Connects to the supervisor of a running pod.
    ///
    /// # Errors
    ///
    /// The pod is not running, or its supervisor cannot be reached.
    pub(crate) fn connect(pods: &Pods, entry: &PodEntry) -> Result<Self, CommandError> {
        let uuid = entry.uuid;
        if entry.state != State::Running {
            return Err(CommandError::failed(format!("pod \"{uuid}\" is not running")));
        }
        let socket = pods.open(entry)?.connect().during(|| format!("reach the supervisor of pod {uuid}"))?;
        Ok(Self { uuid, socket, line: Vec::new(), fds: VecDeque::new() })
    }

    /// Waits at most so long for anything that the supervisor says.
    ///
    /// # Errors
    ///
    /// The time cannot be set.
    pub(crate) fn impatient(self, time: Duration) -> Result<Self, CommandError> {
        set_socket_timeout(&self.socket, Timeout::Recv, Some(time)).during(|| "setsockopt(SO_RCVTIMEO)".into())?;
        Ok(self)
    }

    /// The supervisor's process.
    pub(crate) fn supervisor(&self) -> Option<Pid> {
        socket_peercred(&self.socket).ok().map(|peer| peer.pid)
    }

    /// Says what is wanted.
    ///
    /// # Errors
    ///
    /// The supervisor is gone.
    pub(crate) fn say(&self, call: Call, fds: &[BorrowedFd<'_>]) -> Result<(), CommandError> {
        let mut line = serde_json::to_vec(&Request::new(call))?;
        line.push(b'\n');
        let mut fds = fds;
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            let rights = SendAncillaryMessage::ScmRights(fds);
            let mut space = vec![MaybeUninit::uninit(); rights.size()];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() {
                ancillary.push(rights);
            }
            match sendmsg(&self.socket, &[IoSlice::new(rest)], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(sent) => (rest, fds) = (&rest[sent..], &[]),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).during(|| format!("talk to the supervisor of pod {}", self.uuid)),
            }
        }
        Ok(())
    }

    /// Whether a reply has been received that was not heard yet: then nothing more may come to wait for.
    pub(crate) fn has_more(&self) -> bool {
        self.line.contains(&b'\n')
    }

    /// Waits for the next reply and the descriptors with it; `None` when the supervisor has gone.
    ///
    /// # Errors
    ///
    /// What the supervisor refused; a reply that is none.
    pub(crate) fn hear(&mut self) -> Result<Option<(Reply, Vec<OwnedFd>)>, CommandError> {
        loop {
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                let reply = serde_json::from_slice(&line).during(|| "understand the supervisor".into())?;
                let fds = self.fds.drain(..).collect();
                return match reply {
                    Reply::Error(refused) => Err(refusal(refused)),
                    reply => Ok(Some((reply, fds))),
                };
            }
            if self.line.len() > MAX_LINE {
                return Err(CommandError::failed("the supervisor says too much at once"));
            }
            if !self.receive()? {
                return Ok(None);
            }
        }
    }

    /// As [`Client::hear`], for one to whom a refusal of something said before does not matter.
    ///
    /// # Errors
    ///
    /// A failed system call.
    pub(crate) fn hear_quietly(&mut self) -> Result<Option<(Reply, Vec<OwnedFd>)>, CommandError> {
        loop {
            match self.hear() {
                Err(error) if error.cause::<Errno>().is_none() => {}
                heard => return heard,
            }
        }
    }

    /// Reads once; false when the supervisor has gone.
    fn receive(&mut self) -> Result<bool, CommandError> {
        let mut buffer = [0; 16 * 1024];
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        loop {
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let len = match recvmsg(&self.socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => received.bytes,
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => 0,
                Err(errno) => return Err(errno).during(|| format!("hear the supervisor of pod {}", self.uuid)),
            };
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    self.fds.extend(fds);
                }
            }
            self.line.extend_from_slice(&buffer[..len]);
            return Ok(len > 0);
        }
    }

    /// Says what is wanted and waits for the answer.
    ///
    /// # Errors
    ///
    /// What the supervisor refused, or its end.
    pub(crate) fn ask(&mut self, call: Call, fds: &[BorrowedFd<'_>]) -> Result<(Reply, Vec<OwnedFd>), CommandError> {
        self.say(call, fds)?;
        self.hear()?.ok_or_else(|| self.gone())
    }

    /// The supervisor went without an answer.
    pub(crate) fn gone(&self) -> CommandError {
        CommandError::failed(format!("pod \"{}\" has ended", self.uuid))
    }

    /// Waits until the supervisor has gone, whatever it still says.
    ///
    /// # Errors
    ///
    /// A failed system call.
    pub(crate) fn wait_for_end(&mut self) -> Result<(), CommandError> {
        while self.receive()? {
            self.line.clear();
        }
        Ok(())
    }
}

fn refusal(Refused { kind, message }: Refused) -> CommandError {
    let (kind, hint) = match kind {
        RefusedKind::Failed(failure) => failure_hint::of(failure),
        RefusedKind::NoApp => (Kind::Failed, Some("`proa status` shows the pod's apps")),
        RefusedKind::Version => (Kind::Failed, Some("the pod was started by another version of proa")),
        _ => (Kind::Failed, None),
    };
    hint.into_iter().fold(CommandError::new(kind, message), CommandError::hint)
}
