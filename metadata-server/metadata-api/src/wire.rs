//! Messages on a stream: a length, JSON, and descriptors beside the first byte.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use appc::MAX_MANIFEST_BYTES;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message in bytes: a manifest of the largest size, in which JSON escapes every other character.
pub const MAX_MESSAGE: usize = 2 * MAX_MANIFEST_BYTES;

/// Descriptors that may have arrived and are not asked for yet. A message has one at most.
const MAX_WAITING_FDS: usize = 2;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// Bytes of the length in front of each message.
const PREFIX: usize = 4;

/// A stream that makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("message of {0} bytes is longer than {MAX_MESSAGE} bytes")]
    TooLong(usize),
    /// More descriptors than messages ask for.
    #[error("more descriptors than belong to the messages")]
    TooManyDescriptors,
    /// A message that says a descriptor comes with it, and none came.
    #[error("the message came without its descriptor")]
    NoDescriptor,
    /// Not the JSON that is expected.
    #[error("message is not understood")]
    Json(#[from] serde_json::Error),
    /// The other side ended in the middle of a message, or without the answer it owes.
    #[error("the other side closed the connection")]
    Closed,
    /// A system call failed.
    #[error("exchange messages")]
    System(#[source] std::io::Error),
}

impl From<Errno> for WireError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            errno => Self::System(errno.into()),
        }
    }
}

/// A message as it goes over the stream.
///
/// # Errors
/// [`WireError::TooLong`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![0; PREFIX];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - PREFIX;
    if length > MAX_MESSAGE {
        return Err(WireError::TooLong(length));
    }
    let length = u32::try_from(length).expect("the longest message is far below 4 GiB");
    bytes[..PREFIX].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// Sends part of `bytes`, and `fd` with the first of them; returns how many went.
///
/// # Errors
/// Those of sendmsg(2), `EAGAIN` among them.
pub fn send(socket: impl AsFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = fd.as_slice();
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOBIG);
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
}

/// Puts together what arrives in pieces.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Receives once; returns whether the other side is still there.
    ///
    /// # Errors
    /// `EAGAIN` and the like as [`WireError::System`]; more descriptors than anybody asked for.
    pub fn receive(&mut self, socket: impl AsFd) -> Result<bool, WireError> {
        let old = self.bytes.len();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_WAITING_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        self.bytes.resize(old + self.missing(), 0);
        let mut parts = [IoSliceMut::new(&mut self.bytes[old..])];
        let received = recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
        self.bytes.truncate(old + received.as_ref().map_or(0, |it| it.bytes));
        let received = received?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        // The kernel has closed those that found no room.
        if received.flags.contains(ReturnFlags::CTRUNC) || self.fds.len() > MAX_WAITING_FDS {
            return Err(WireError::TooManyDescriptors);
        }
        Ok(received.bytes > 0)
    }

    /// How many bytes to ask for: never far beyond the end of the message that has begun, so that what is kept does
    /// not outgrow it.
    fn missing(&self) -> usize {
        match self.length() {
            Some(length) => (PREFIX + length).saturating_sub(self.bytes.len()).clamp(PREFIX, CHUNK),
            None => PREFIX - self.bytes.len(),
        }
    }

    fn length(&self) -> Option<usize> {
        let prefix = self.bytes.first_chunk::<PREFIX>()?;
        Some(usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX))
    }

    /// Hands the next message to `read`, if it is whole.
    ///
    /// # Errors
    /// It is too long, or not what `read` expects.
    pub fn next<T>(&mut self, read: impl FnOnce(&[u8]) -> Result<T, WireError>) -> Result<Option<T>, WireError> {
        let Some(length) = self.length() else { return Ok(None) };
        if length > MAX_MESSAGE {
            return Err(WireError::TooLong(length));
        }
        let Some(message) = self.bytes.get(PREFIX..PREFIX + length) else { return Ok(None) };
        let result = read(message);
        self.bytes.drain(..PREFIX + length);
        if self.bytes.is_empty() {
            // What a large manifest needed is not kept for the hours until the next message.
            self.bytes = Vec::new();
        }
        result.map(Some)
    }

    /// The descriptor that came with a message.
    ///
    /// # Errors
    /// [`WireError::NoDescriptor`].
    pub fn take_fd(&mut self) -> Result<OwnedFd, WireError> {
        self.fds.pop_front().ok_or(WireError::NoDescriptor)
    }

    /// Whether a message has begun and is not whole.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.fds.is_empty()
    }
}

/// Waits for a message on a blocking socket.
///
/// # Errors
/// [`WireError::Closed`] at the end of the stream; `EAGAIN` where the socket has a time limit.
pub(crate) fn hear<T: DeserializeOwned>(socket: impl AsFd) -> Result<T, WireError> {
    let mut inbox = Inbox::default();
    loop {
        if let Some(message) = inbox.next(|json| Ok(serde_json::from_slice(json)?))? {
            return Ok(message);
        }
        match inbox.receive(&socket) {
            Ok(true) => {}
            Ok(false) => return Err(WireError::Closed),
            Err(WireError::System(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends a message and a descriptor with it, however long the blocking socket takes it in pieces.
///
/// # Errors
/// As [`hear`].
pub(crate) fn say(
    socket: impl AsFd,
    message: &impl Serialize,
    mut fd: Option<BorrowedFd<'_>>,
) -> Result<(), WireError> {
    let bytes = encode(message)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        match send(&socket, rest, fd) {
            Ok(sent) => (rest, fd) = (&rest[sent..], None),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn text(json: &[u8]) -> Result<String, WireError> {
        Ok(serde_json::from_slice(json)?)
    }

    #[test]
    fn messages_and_descriptors_arrive_in_order_however_they_are_cut() {
        let (one, other) = UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        say(&one, &"a", Some(null.as_fd())).unwrap();
        let long = "\"".repeat(200_000);
        let sender = std::thread::spawn(move || {
            for part in encode(&long).unwrap().chunks(7_001) {
                assert_eq!(send(&one, part, None).unwrap(), part.len());
            }
        });
        let mut inbox = Inbox::default();
        let mut seen = Vec::new();
        while inbox.receive(&other).unwrap() {
            while let Some(message) = inbox.next(text).unwrap() {
                seen.push(message.len());
            }
        }
        sender.join().unwrap();
        assert_eq!(seen, [1, 200_000]);
        assert!(inbox.take_fd().is_ok() && inbox.is_empty());
        assert!(matches!(inbox.take_fd(), Err(WireError::NoDescriptor)));
    }

    #[test]
    fn a_length_that_promises_too_much_is_refused_before_anything_is_kept() {
        let (one, other) = UnixStream::pair().unwrap();
        send(&one, &u32::MAX.to_le_bytes(), None).unwrap();
        let mut inbox = Inbox::default();
        assert!(inbox.receive(&other).unwrap());
        assert!(matches!(inbox.next(text), Err(WireError::TooLong(length)) if length == u32::MAX as usize));
        assert!(matches!(encode(&" ".repeat(MAX_MESSAGE)), Err(WireError::TooLong(_))));
    }

    #[test]
    fn descriptors_that_nobody_asked_for_are_refused() {
        let (one, other) = UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let mut inbox = Inbox::default();
        let mut send_and_receive = || {
            send(&one, b"\x01\0\0\0", Some(null.as_fd())).unwrap();
            inbox.receive(&other)
        };
        // They pile up in front of a message that does not come.
        let results: Vec<_> = (0..3).map(|_| send_and_receive().is_ok()).collect();
        assert_eq!(results, [true, true, false]);
    }

    #[test]
    fn the_end_of_the_stream_is_told_from_silence() {
        let (one, other) = UnixStream::pair().unwrap();
        drop(one);
        assert!(matches!(hear::<String>(&other), Err(WireError::Closed)));
        assert!(matches!(say(&other, &"x", None), Err(WireError::Closed)));
        let (one, other) = UnixStream::pair().unwrap();
        other.set_nonblocking(true).unwrap();
        assert!(matches!(hear::<String>(&other), Err(WireError::System(_))));
        drop(one);
    }
}
