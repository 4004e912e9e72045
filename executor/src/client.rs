//! A client of a pod's supervisor: one connection to its control socket (docs/formats/control-socket.md).

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use appc::PodUuid;
use pod::{FindError, PodEntry, PodError, PodRef, Pods, State};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::Pid;
use stage1::protocol::{Call, MAX_LINE, PodReport, Refused, RefusedKind, Reply, Request};

use crate::error::{CommandError, Explain as _, Hint, Kind};
use crate::{app_argument, failure_hint};

/// How long a supervisor may take to say how its pod is, where many are asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a pod may count as running without a supervisor that listens.
pub(crate) const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// Between two looks at such a pod.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);

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
        let ended = || CommandError::failed(format!("pod \"{}\" is not running", entry.uuid));
        Self::reach(pods, entry)?.ok_or_else(ended)
    }

    /// As [`Client::connect`]; `None` if the pod does not run, or not any more.
    ///
    /// # Errors
    ///
    /// The supervisor cannot be reached, though the pod goes on running.
    pub(crate) fn reach(pods: &Pods, entry: &PodEntry) -> Result<Option<Self>, CommandError> {
        let deadline = Instant::now() + LAST_MOMENTS;
        let mut now = entry.clone();
        // The lock outlives the supervisor for as long as pid 1 takes to go, and comes before its socket.
        while now.state == State::Running {
            match Self::dial(pods, &now) {
                Err(error) if is_absence(&error) && Instant::now() < deadline => sleep(PAUSE),
                reached => return reached.map(Some),
            }
            match pods.find(&now.uuid.to_string()) {
                Ok(entry) => now = entry,
                Err(FindError::NoMatch { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Connects to the supervisor if it is there at this moment.
    fn dial(pods: &Pods, entry: &PodEntry) -> Result<Self, CommandError> {
        Self::of(&pods.open(entry)?)
    }

    /// The same, of a pod that is open.
    ///
    /// # Errors
    ///
    /// Nobody listens.
    pub(crate) fn of(pod: &PodRef) -> Result<Self, CommandError> {
        let uuid = pod.uuid();
        let socket = pod.connect().during(|| format!("reach the supervisor of pod {uuid}"))?;
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
        match self.say(call, fds) {
            // It has closed its end, as it does when the pod is over.
            Err(error) if matches!(error.cause(), Some(&(Errno::PIPE | Errno::CONNRESET))) => return Err(self.gone()),
            said => said?,
        }
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

/// What the supervisor of a pod says of it, if it has one. One that is stuck is not waited for.
pub(crate) fn report(pods: &Pods, entry: &PodEntry) -> Option<PodReport> {
    let client = Client::dial(pods, entry).ok()?;
    match client.impatient(PATIENCE).ok()?.ask(Call::Status, &[]).ok()? {
        (Reply::Status(report), _) => Some(report),
        _ => None,
    }
}

/// Whether nobody listens.
fn is_absence(error: &CommandError) -> bool {
    matches!(error.cause(), Some(&(Errno::NOENT | Errno::CONNREFUSED)))
        || matches!(error.cause(), Some(PodError::NotFound { .. }))
}

fn refusal(Refused { kind, message }: Refused) -> CommandError {
    let (kind, hint) = match kind {
        RefusedKind::Failed(failure) => failure_hint::of(failure),
        RefusedKind::NoApp => (Kind::Failed, Some(app_argument::HINT)),
        RefusedKind::Version => (Kind::Failed, Some("the pod was started by another version of proa")),
        _ => (Kind::Failed, None),
    };
    hint.into_iter().fold(CommandError::new(kind, message), |error, hint| error.with(Hint::Step(hint.to_owned())))
}
