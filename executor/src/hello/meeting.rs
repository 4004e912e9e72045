//! How the two apps find each other: a TCP connection over the pod's loopback, a file each on the shared volume, and
//! one descriptor passed through a Unix socket there.
//!
//! ```text
//! greeter                              responder
//!    facts (a line of JSON)  ─TCP─►
//!    proof of identity       ─TCP─►
//!                            ◄─TCP─    facts
//!                            ◄─TCP─    proof of identity
//!                            ◄─TCP─    findings: what it could do to greeter
//!                            ◄─Unix─   a descriptor of its root directory
//!    end of file             ─TCP─►    ends
//! ```

use std::fs;
use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The TCP port on the pod's loopback. It is private to the pod, so any number will do.
pub(super) const PORT: u16 = 7007;

/// The most bytes of one message.
const MAX_MESSAGE: u64 = 64 << 10;

/// The moment at which every wait ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// `limit` from now.
    pub(super) fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// The time left; an error once there is none.
    fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    /// Waits until `fd` can be read or accepted from.
    fn wait_readable(self, fd: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            let left = Timespec::try_from(self.left()?).map_err(io::Error::other)?;
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A connection that carries one JSON value a line.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    deadline: Deadline,
}

impl Connection {
    /// Connects to the responder, trying again until it listens.
    pub(super) fn connect(port: u16, deadline: Deadline) -> io::Result<Self> {
        let mut pause = Duration::from_millis(1);
        loop {
            match TcpStream::connect_timeout(&address(port), deadline.left()?) {
                Ok(stream) => return Self::new(stream, deadline),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
            std::thread::sleep(pause.min(deadline.left()?));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Waits for the greeter.
    pub(super) fn accept(listener: &TcpListener, deadline: Deadline) -> io::Result<Self> {
        deadline.wait_readable(listener.as_fd())?;
        Self::new(listener.accept()?.0, deadline)
    }

    fn new(stream: TcpStream, deadline: Deadline) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), deadline })
    }

    /// Sends one value.
    pub(super) fn send<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.stream.get_ref().set_write_timeout(Some(self.deadline.left()?))?;
        self.stream.get_mut().write_all(&line)
    }

    /// Receives one value.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        self.stream.get_ref().set_read_timeout(Some(self.deadline.left()?))?;
        let mut line = Vec::new();
        self.stream.by_ref().take(MAX_MESSAGE).read_until(b'\n', &mut line).map_err(timed_out)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }

    /// Waits until the other side closes.
    pub(super) fn wait_closed(mut self) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(self.deadline.left()?))?;
        let count = self.stream.read(&mut [0]).map_err(timed_out)?;
        if count == 0 { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

/// A read that reached its timeout says EAGAIN, which helps nobody.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// Listens for the greeter on the pod's loopback.
pub(super) fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(address(port))
}

/// Writes `token` into this app's file on the volume. The file must not be there yet: the volume is the pod's own.
pub(super) fn leave_note(volume: &Path, app: &str, token: &str) -> io::Result<()> {
    fs::File::create_new(volume.join(app))?.write_all(token.as_bytes())
}

/// Reads what the other app wrote.
pub(super) fn read_note(volume: &Path, app: &str) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(volume.join(app))?.take(MAX_MESSAGE).read_to_string(&mut text)?;
    Ok(text)
}

/// The socket on the volume through which the descriptor goes.
const SOCKET: &str = "root.sock";

/// Makes the socket, for every user of the pod: connecting needs the right to write to it.
pub(super) fn offer(volume: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(volume.join(SOCKET))?;
    fs::set_permissions(volume.join(SOCKET), fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Hands `fd` to whoever connects first.
pub(super) fn hand_over(listener: &UnixListener, fd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<()> {
    deadline.wait_readable(listener.as_fd())?;
    let (stream, _) = listener.accept()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(&stream, &[IoSlice::new(b"r")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives the descriptor that the responder hands over.
pub(super) fn take_over(volume: &Path, deadline: Deadline) -> io::Result<OwnedFd> {
    let stream = UnixStream::connect(volume.join(SOCKET))?;
    deadline.wait_readable(stream.as_fd())?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(&stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let passed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    passed.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
