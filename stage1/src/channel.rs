//! The private conversation of one pod's processes: monitor with pid 1, pid 1 with each app's first process.
//!
//! One message is one datagram of a `SOCK_SEQPACKET` pair, JSON inside. Both ends are the same binary, forked, so there
//! are no versions here; the pod's public control socket is another matter (docs/formats/control-socket.md).

mod failure;
mod messages;
mod patient;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use failure::shortened;
pub use failure::{Failure, FailureKind};
pub(crate) use messages::{AddSpec, Entry, FromInit, FromStub, ToInit, ToStub};
pub use messages::{End, EnterSpec, TerminalSize};
pub(crate) use patient::Patient;

/// Longest message in bytes. Messages hold an app name, a number and at most one error text.
const MAX_MESSAGE: usize = 16 * 1024;

/// Descriptors in one message; the kernel takes at most 253 (unix(7)).
pub(crate) const MAX_FDS: usize = 128;

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
        self.send(message, SendFlags::empty())
    }

    fn send(&self, message: &Out, flags: SendFlags) -> rustix::io::Result<()> {
        let bytes = serde_json::to_vec(message).map_err(|_| Errno::INVAL)?;
        match send(&self.socket, &bytes[..bytes.len().min(MAX_MESSAGE)], flags | SendFlags::NOSIGNAL) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Says something and hands descriptors over with it, at most [`MAX_FDS`].
    pub(crate) fn say_with(&self, message: &Out, fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
        self.send_with(message, fds, SendFlags::empty())
    }

    /// As [`Channel::say_with`], and [`Errno::AGAIN`] when the other side has much to read still.
    pub(crate) fn say_with_now(&self, message: &Out, fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
        self.send_with(message, fds, SendFlags::DONTWAIT)
    }

    fn send_with(&self, message: &Out, fds: &[BorrowedFd<'_>], flags: SendFlags) -> rustix::io::Result<()> {
        if fds.is_empty() {
            return self.send(message, flags);
        }
        let bytes = serde_json::to_vec(message).map_err(|_| Errno::INVAL)?;
        let rights = SendAncillaryMessage::ScmRights(fds);
        let mut space = vec![MaybeUninit::uninit(); rights.size()];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(rights) {
            return Err(Errno::TOOBIG);
        }
        match sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut ancillary, flags | SendFlags::NOSIGNAL) {
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
