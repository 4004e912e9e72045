//! The private conversation of one pod's processes: monitor with pid 1, pid 1 with each app's first process.
//!
//! One message is one datagram of a `SOCK_SEQPACKET` pair, JSON inside. Both ends are the same binary, forked, so there
//! are no versions here; the pod's public control socket is another matter (design.md section 5).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::network::EtcFile;
use crate::plan::SourceKind;

/// Longest message in bytes. Messages hold an app name, a number and at most one error text.
const MAX_MESSAGE: usize = 16 * 1024;

/// Descriptors in one message; the kernel takes at most 253 (unix(7)).
pub(crate) const MAX_FDS: usize = 128;

/// What the monitor tells pid 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToInit {
    /// The id maps of the pod's user namespace are written.
    Mapped,
    /// Descriptors of the pod's directory, as many as come with the message; the last of them when told.
    Files {
        /// Whether these are the last.
        last: bool,
    },
    /// Execute the program of an app. For the first time that is the process which waits for it; later ones come with
    /// their standard streams, unless the app has the pod's.
    Start {
        /// Index of the app.
        app: usize,
        /// The number under which the monitor knows the process.
        process: u64,
    },
    /// Execute something else in an app: an [`EnterSpec`] as JSON in a memory file, then standard streams or none.
    Enter {
        /// Index of the app.
        app: usize,
        /// The number under which the monitor knows the process.
        process: u64,
    },
    /// Hand out the namespaces of an app.
    Room {
        /// Index of the app.
        app: usize,
        /// The number under which the monitor knows the question.
        process: u64,
    },
    /// Create another app: an [`AddSpec`] as JSON in a memory file, then its mounts, root first, then streams or none.
    Add {
        /// Index of the app.
        app: usize,
    },
    /// Let go of an app none of whose processes run any more.
    Remove {
        /// Index of the app.
        app: usize,
    },
    /// Send a signal to a process.
    Signal {
        /// Its number.
        process: u64,
        /// The signal.
        signal: i32,
    },
    /// Change every app's /etc/hosts: edits ([`crate::node::Edits`]) as JSON in a memory file.
    Hosts,
    /// The pod is over.
    Shutdown,
}

/// What pid 1 tells the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromInit {
    /// Something failed before the first apps were created; pid 1 ends.
    Failed(Failure),
    /// Something the user should know of.
    Remark {
        /// Index of the app.
        app: usize,
        /// What.
        text: String,
    },
    /// The pod's network namespace and user namespace come along, for who connects it.
    Namespaces,
    /// The user namespace and the mount namespace of an app come along.
    Room {
        /// The number of the question.
        process: u64,
    },
    /// Listening sockets of the metadata service come along: the pod's, if told, then those of apps.
    Listeners {
        /// Whether the pod's is among them.
        pod: bool,
        /// Indices of the apps whose own they are.
        apps: Vec<usize>,
    },
    /// The apps that the pod begins with are created. With this come the terminals of those that have one.
    Created {
        /// Indices of the apps whose terminals come along.
        terminals: Vec<usize>,
    },
    /// An app that was added is created; its terminal comes along if it has one.
    Added {
        /// Index of the app.
        app: usize,
    },
    /// An app could not be added.
    AddFailed {
        /// Index of the app.
        app: usize,
        /// Why.
        failure: Failure,
    },
    /// The terminal of a process comes along.
    Terminal {
        /// Number of the process.
        process: u64,
    },
    /// A program could not be executed.
    ExecFailed {
        /// Number of the process.
        process: u64,
        /// Why.
        failure: Failure,
    },
    /// A process ended.
    Exited {
        /// Its number.
        process: u64,
        /// How.
        end: End,
    },
}

/// What pid 1 tells the process that becomes an app's program, or another one in the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToStub {
    /// The id maps of the app's user namespace are written.
    Mapped,
    /// Execute the program.
    Start,
}

/// What such a process tells pid 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromStub {
    /// Something the user should know of.
    Remark(String),
    /// It sits in its own user namespace, whose maps are to be written.
    WantsMap {
        /// The app's user.
        uid: u32,
        /// The app's group.
        gid: u32,
    },
    /// The terminal that it has made comes along.
    Terminal,
    /// Everything that can fail on input has succeeded.
    Ready,
    /// It failed, and ends.
    Failed(Failure),
}

/// What is executed in an app beside or instead of its program. Absent members are as the app has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnterSpec {
    /// Program and arguments.
    pub exec: Vec<String>,
    /// Variables that replace those of the app.
    pub environment: Vec<(String, String)>,
    /// Absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// User name, number or path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Group name, number or path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// A terminal of this size instead of streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
}

/// An app that is added to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddSpec {
    /// A pod manifest that holds this app alone, and the pod's volumes.
    pub(crate) manifest: String,
    /// The pod's host name.
    pub(crate) hostname: String,
    /// For each volume, what its source on the host is.
    pub(crate) sources: Vec<Option<SourceKind>>,
    /// Which of the app's mounts come along, behind its root.
    pub(crate) mounts: Vec<usize>,
    /// A terminal of this size instead of streams.
    pub(crate) terminal: Option<TerminalSize>,
    /// Where it finds the metadata service.
    pub(crate) metadata_url: Option<String>,
    /// The files of /etc that it is given.
    pub(crate) etc: Vec<EtcFile>,
    /// Whether the way into its control group comes along, behind its mounts.
    pub(crate) cgroup: bool,
}

/// The size of a terminal (ioctl_tty(2), `TIOCSWINSZ`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// A failure that crosses a fork.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which kind.
    pub kind: FailureKind,
    /// What failed, with its arguments.
    pub message: String,
}

/// Most characters of a failure's text. Escaped as JSON, six bytes each at the worst, it still fits a message.
const MAX_FAILURE: usize = 2000;

impl Failure {
    /// A failure of this kind; a text that is too long for people is cut.
    pub(crate) fn new(kind: FailureKind, what: &dyn std::fmt::Display) -> Self {
        Self { kind, message: shortened(what.to_string()) }
    }
}

/// A text for people that fits a message.
pub(crate) fn shortened(text: String) -> String {
    match text.char_indices().nth(MAX_FAILURE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Kinds of failure, as far as the exit status or a hint depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FailureKind {
    /// An operation of the runner failed.
    Setup,
    /// The kernel refused a namespace.
    Namespace,
    /// The overlay could not be mounted.
    Overlay,
    /// A volume could not be mounted where it was asked for.
    Volume,
    /// The user or group does not exist in the image, or its id cannot be mapped.
    User,
    /// The working directory does not exist or cannot be entered.
    WorkingDirectory,
    /// The program does not exist in the image: status 127, as shells say.
    NotFound,
    /// The program exists and cannot be executed: status 126.
    NotExecutable,
}

/// How a process ended (wait(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl End {
    /// The status as shells count it: the code, or 128 plus the signal's number.
    #[must_use]
    pub fn status(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// One end of a conversation in which this side says `Out` and hears `In`.
#[derive(Debug)]
pub(crate) struct Channel<Out, In> {
    socket: OwnedFd,
    says: std::marker::PhantomData<(Out, In)>,
}

impl<Out, In> Channel<Out, In> {
    /// This end with a number from `least` on.
    pub(crate) fn above(self, least: std::os::fd::RawFd) -> rustix::io::Result<Self> {
        Ok(Self { socket: rustix::io::fcntl_dupfd_cloexec(&self.socket, least)?, says: std::marker::PhantomData })
    }
}

impl<Out: Serialize, In: DeserializeOwned> Channel<Out, In> {
    /// Says something. The other side being gone is not an error here: it shows when listening.
    pub(crate) fn say(&self, message: &Out) -> rustix::io::Result<()> {
        let bytes = serde_json::to_vec(message).map_err(|_| Errno::INVAL)?;
        match send(&self.socket, &bytes[..bytes.len().min(MAX_MESSAGE)], SendFlags::NOSIGNAL) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Says something and hands descriptors over with it, at most [`MAX_FDS`].
    pub(crate) fn say_with(&self, message: &Out, fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
        if fds.is_empty() {
            return self.say(message);
        }
        let bytes = serde_json::to_vec(message).map_err(|_| Errno::INVAL)?;
        let rights = SendAncillaryMessage::ScmRights(fds);
        let mut space = vec![MaybeUninit::uninit(); rights.size()];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(rights) {
            return Err(Errno::TOOBIG);
        }
        match sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Waits for the next message and the descriptors with it; `None` when the other side is gone.
    pub(crate) fn hear_with(&self) -> rustix::io::Result<Option<(In, Vec<OwnedFd>)>> {
        self.receive_with(RecvFlags::empty())
    }

    /// As [`Channel::hear_with`], and [`Errno::AGAIN`] when there is no message now.
    pub(crate) fn hear_with_now(&self) -> rustix::io::Result<Option<(In, Vec<OwnedFd>)>> {
        self.receive_with(RecvFlags::DONTWAIT)
    }

    fn receive_with(&self, flags: RecvFlags) -> rustix::io::Result<Option<(In, Vec<OwnedFd>)>> {
        let mut buffer = [0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        loop {
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let len = match recvmsg(&self.socket, &mut parts, &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR | Errno::CONNRESET) => continue,
                received => received?.bytes,
            };
            let fds = ancillary.drain().flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
                _ => vec![],
            });
            let fds = fds.collect();
            if len == 0 {
                return Ok(None);
            }
            let message = serde_json::from_slice(&buffer[..len]).map_err(|_| Errno::BADMSG)?;
            return Ok(Some((message, fds)));
        }
    }

    /// Waits for the next message; `None` when the other side is gone.
    pub(crate) fn hear(&self) -> rustix::io::Result<Option<In>> {
        self.receive(RecvFlags::empty())
    }

    /// Takes a message that is there already. `Err(AGAIN)` when there is none.
    pub(crate) fn hear_now(&self) -> rustix::io::Result<Option<In>> {
        self.receive(RecvFlags::DONTWAIT)
    }

    fn receive(&self, flags: RecvFlags) -> rustix::io::Result<Option<In>> {
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            match recv(&self.socket, &mut buffer[..], flags) {
                Ok((0, _)) => return Ok(None),
                Ok((len, _)) => return serde_json::from_slice(&buffer[..len]).map(Some).map_err(|_| Errno::BADMSG),
                // The other side went without reading all it was told. That is said once, and before what it said
                // itself, which is still there to be read.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl<Out, In> AsFd for Channel<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Makes a conversation: the first end says `A` and hears `B`, the second the other way round.
pub(crate) fn pair<A, B>() -> rustix::io::Result<(Channel<A, B>, Channel<B, A>)> {
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let says = std::marker::PhantomData;
    Ok((Channel { socket: one, says }, Channel { socket: other, says: std::marker::PhantomData }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_in_order_and_the_end_is_seen() {
        let (monitor, init) = pair::<ToInit, FromInit>().unwrap();
        monitor.say(&ToInit::Mapped).unwrap();
        monitor.say(&ToInit::Signal { process: 1, signal: 15 }).unwrap();
        assert_eq!(init.hear().unwrap(), Some(ToInit::Mapped));
        assert_eq!(init.hear().unwrap(), Some(ToInit::Signal { process: 1, signal: 15 }));
        assert_eq!(init.hear_now().unwrap_err(), Errno::AGAIN);
        drop(monitor);
        assert_eq!(init.hear().unwrap(), None);
        init.say(&FromInit::Exited { process: 0, end: End::Code(1) }).unwrap();
    }

    #[test]
    fn the_longest_failure_fits_a_message() {
        let (init, monitor) = pair::<FromInit, ToInit>().unwrap();
        let failure = Failure::new(FailureKind::Setup, &"\u{1}".repeat(100_000));
        init.say(&FromInit::Failed(failure.clone())).unwrap();
        assert_eq!(monitor.hear().unwrap(), Some(FromInit::Failed(failure)));
    }

    #[test]
    fn statuses_count_as_in_shells() {
        assert_eq!(End::Code(7).status(), 7);
        assert_eq!(End::Signal(9).status(), 137);
    }
}
