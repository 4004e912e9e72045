//! One connection that is carried: the client's side of it and the app's.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::sockopt;

/// Bytes that are read at once. What cannot be written on is kept, and nothing more is read before that has gone.
pub(super) const CHUNK: usize = 128 << 10;

/// So many chunks are carried of one direction before the others have their turn: peers that are fast enough would keep
/// the process for themselves else.
const AT_ONCE: usize = 8;

/// How long nothing is heard of a side before it is asked whether it is there, and how often: nine times (tcp(7)).
const IDLE: Duration = Duration::from_secs(60);
const BETWEEN_PROBES: Duration = Duration::from_secs(15);

/// One direction of a connection.
#[derive(Debug, Default)]
struct Half {
    /// What has been read and not been written yet, from `start` on.
    waiting: Vec<u8>,
    start: usize,
    /// Nothing more comes.
    finished: bool,
    /// And that has been told.
    closed: bool,
}

impl Half {
    const fn wants_to_read(&self) -> bool {
        !self.finished && self.waiting.is_empty()
    }

    const fn wants_to_write(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Moves what can be moved without waiting, and some of what there is at most.
    fn carry(&mut self, mut from: &TcpStream, to: &TcpStream, chunk: &mut [u8]) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            let Ok(written) = write(to, &self.waiting[self.start..]) else { return self.give_up() };
            self.start += written;
            if self.start < self.waiting.len() {
                return Ok(());
            }
            // Most connections are idle most of the time, and have no memory then.
            (self.waiting, self.start) = (Vec::new(), 0);
            if self.finished {
                if !std::mem::replace(&mut self.closed, true) {
                    let _ = to.shutdown(Shutdown::Write);
                }
                return Ok(());
            }
            match from.read(chunk) {
                Ok(0) => self.finished = true,
                Ok(length) => {
                    let Ok(written) = write(to, &chunk[..length]) else { return self.give_up() };
                    self.waiting = chunk[written..length].to_vec();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Nobody reads any more, which is no error: what was said before still comes the other way.
    fn give_up(&mut self) -> io::Result<()> {
        *self = Self { finished: true, closed: true, ..Self::default() };
        Ok(())
    }
}

/// Writes what can be written without waiting, and returns how much that was.
fn write(mut to: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// A side of a connection, and what is waited for there.
#[derive(Debug)]
struct Side {
    stream: TcpStream,
    awaited: EventFlags,
}

impl Side {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // Who has vanished, and an app that has forgotten a connection which it closed, are noticed.
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, IDLE)?;
        sockopt::set_tcp_keepintvl(&stream, BETWEEN_PROBES)?;
        Ok(Self { stream, awaited: EventFlags::empty() })
    }

    fn wait(&mut self, wanted: EventFlags, poll: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        if wanted == self.awaited {
            return Ok(());
        }
        let (fd, data) = (self.stream.as_fd(), EventData::new_u64(number));
        if self.awaited.is_empty() {
            epoll::add(poll, fd, data, wanted)?;
        } else {
            epoll::modify(poll, fd, data, wanted)?;
        }
        self.awaited = wanted;
        Ok(())
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Pair {
    client: Side,
    app: Side,
    /// Whether the app has not answered yet.
    connecting: bool,
    /// Where the app can be, if it is not where it was looked for first.
    other: Option<SocketAddr>,
    inward: Half,
    outward: Half,
}

impl Pair {
    /// From these two, of which neither waits, and the second is being connected.
    pub(super) fn new(client: TcpStream, app: OwnedFd, other: Option<SocketAddr>) -> io::Result<Self> {
        client.set_nonblocking(true)?;
        let (client, app) = (Side::new(client)?, Side::new(app.into())?);
        Ok(Self { client, app, connecting: true, other, inward: Half::default(), outward: Half::default() })
    }

    /// Where to look for the app that has refused, once.
    pub(super) fn other(&mut self) -> Option<SocketAddr> {
        self.other.take().filter(|_| self.connecting)
    }

    /// Goes on with the app at this socket, which is being connected.
    pub(super) fn look_there(&mut self, app: OwnedFd) -> io::Result<()> {
        self.app = Side::new(app.into())?;
        Ok(())
    }

    /// Moves what can be moved without waiting.
    ///
    /// # Errors
    /// One of the sides has failed; [`io::ErrorKind::ConnectionRefused`] where the app has refused the connection.
    pub(super) fn carry(&mut self, chunk: &mut [u8]) -> io::Result<()> {
        if let Some(error) = self.client.stream.take_error()? {
            return Err(error);
        }
        if let Some(error) = self.app.stream.take_error()? {
            if self.connecting {
                return Err(error);
            }
            self.inward.give_up()?;
        }
        if self.connecting {
            self.connecting = self.app.stream.peer_addr().is_err();
            if self.connecting {
                return Ok(());
            }
        }
        self.inward.carry(&self.client.stream, &self.app.stream, chunk)?;
        self.outward.carry(&self.app.stream, &self.client.stream, chunk)
    }

    /// Whether both directions are at their end.
    pub(super) const fn is_over(&self) -> bool {
        self.inward.closed && self.outward.closed
    }

    /// Has `poll` tell `number` when there is something to move.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(super) fn wait(&mut self, poll: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        let wanted = |read: &Half, write: &Half| {
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, read.wants_to_read());
            flags.set(EventFlags::OUT, write.wants_to_write());
            // That one which nothing is wanted of has failed is told all the same, and should not be again and again.
            if flags.is_empty() { EventFlags::ONESHOT } else { flags }
        };
        if self.connecting {
            self.client.wait(EventFlags::ONESHOT, poll, number)?;
            return self.app.wait(EventFlags::OUT, poll, number);
        }
        let of_client = wanted(&self.inward, &self.outward);
        let of_app = wanted(&self.outward, &self.inward);
        self.client.wait(of_client, poll, number)?;
        self.app.wait(of_app, poll, number)
    }
}
