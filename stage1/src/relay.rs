//! Carries connections from sockets that listen on the host into the pod.
//!
//! pasta of Debian 12 cannot forward one port of both 127.0.0.1 and ::1, and a port that is open on all addresses instead
//! is open to the neighbours. So the ports of the host's loopback are carried by a process of proa's own: it keeps the
//! listening sockets of the host and is itself in the pod's network namespace. Who connects is on the host, and the app
//! sees its own loopback, as with pasta. Ports that are added while a pod runs are carried in the same way, whatever
//! their address: pasta takes its ports when it starts.

pub(crate) mod confinement;
pub(crate) mod datagrams;
pub(crate) mod orders;
mod target;

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::network::{Relay, Target};
use orders::{Change, Orders};

/// Bytes under way in one direction of a connection.
const BUFFER: usize = 128 << 10;

/// So many buffers are carried of one direction before the others have their turn: peers that are fast enough would keep
/// the process for themselves else.
const AT_ONCE: usize = 8;

/// Connections at a time; further ones wait in the sockets' queues. Each needs two descriptors, of which a process
/// commonly has 1024.
const MOST: usize = 480;

/// One direction of a connection.
struct Half {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Nothing more comes.
    finished: bool,
    /// And that has been told.
    closed: bool,
}

impl Half {
    fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into(), start: 0, end: 0, finished: false, closed: false }
    }

    fn wants_to_read(&self) -> bool {
        !self.finished && self.start == self.end
    }

    fn wants_to_write(&self) -> bool {
        self.start < self.end
    }

    /// Moves what can be moved without waiting, and some of what there is at most.
    fn carry(&mut self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            if self.wants_to_read() {
                match from.read(&mut self.buffer) {
                    Ok(0) => self.finished = true,
                    Ok(length) => (self.start, self.end) = (0, length),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            while self.wants_to_write() {
                match to.write(&self.buffer[self.start..self.end]) {
                    Ok(length) => self.start += length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if self.finished {
                if !std::mem::replace(&mut self.closed, true) {
                    let _ = to.shutdown(Shutdown::Write);
                }
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A connection: the client's side, the app's side.
struct Pair {
    client: TcpStream,
    app: TcpStream,
    inward: Half,
    outward: Half,
}

impl Pair {
    fn is_over(&self) -> bool {
        self.inward.closed && self.outward.closed
    }

    fn carry(&mut self) -> io::Result<()> {
        self.inward.carry(&self.client, &self.app)?;
        self.outward.carry(&self.app, &self.client)
    }

    /// What to wait for on the client's side and on the app's.
    fn interests(&self) -> [PollFlags; 2] {
        let of = |read: &Half, write: &Half| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, read.wants_to_read());
            flags.set(PollFlags::OUT, write.wants_to_write());
            flags
        };
        [of(&self.inward, &self.outward), of(&self.outward, &self.inward)]
    }
}

/// How long nobody is let in where there was no descriptor left, or no memory.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Carries until it is killed, or nobody is left to order anything. The process is in the pod's network namespace.
pub(crate) fn run(relays: Vec<Relay>, orders: &Orders) -> io::Error {
    match serve(relays, orders) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn serve(relays: Vec<Relay>, orders: &Orders) -> io::Result<std::convert::Infallible> {
    let listening = |Relay { socket, target, .. }: Relay| -> io::Result<(TcpListener, Target)> {
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok((listener, target))
    };
    let mut listeners = relays.into_iter().map(listening).collect::<io::Result<Vec<_>>>()?;
    let mut pairs: Vec<Pair> = Vec::new();
    // Whether there was no descriptor or memory for a connection: none is taken until a while later.
    let mut full = false;
    loop {
        let taking = if pairs.len() < MOST && !full { listeners.as_slice() } else { &[] };
        let ready = wait(orders, taking, &pairs, full.then_some(&PAUSE))?;
        full = false;
        let mut is_ready = ready.pairs.into_iter();
        pairs.retain_mut(|pair| !is_ready.next().unwrap_or_default() || (pair.carry().is_ok() && !pair.is_over()));
        for ((listener, target), _) in listeners.iter().zip(ready.listeners).filter(|(_, ready)| *ready) {
            // One at a time: whoever else waits makes the next poll return at once.
            match listener.accept() {
                Ok((client, from)) => pairs.extend(target.of(from).and_then(|target| open(client, target))),
                Err(error) => full |= !is_passing(&error),
            }
        }
        match orders.next(ready.orders)? {
            Some(Change::Carry(relays)) => {
                // One that cannot be used is closed: who connects is refused.
                listeners.extend(relays.into_iter().filter_map(|relay| listening(relay).ok()));
            }
            // Who is connected stays so.
            Some(Change::Free(freed)) => {
                listeners.retain(|(listener, _)| !listener.local_addr().is_ok_and(|address| freed.has(address)));
                freed.done()?;
            }
            None => {}
        }
    }
}

/// Who has something to do: of listeners and of pairs each, in their order.
struct Ready {
    orders: bool,
    listeners: Vec<bool>,
    pairs: Vec<bool>,
}

fn wait(
    orders: &Orders,
    listeners: &[(TcpListener, Target)],
    pairs: &[Pair],
    pause: Option<&Timespec>,
) -> io::Result<Ready> {
    let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(1 + listeners.len() + 2 * pairs.len());
    polled.push(PollFd::new(orders, PollFlags::IN));
    polled.extend(listeners.iter().map(|(listener, _)| PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)));
    let mut whose = Vec::with_capacity(2 * pairs.len());
    for (index, pair) in pairs.iter().enumerate() {
        // Of a socket that nothing is wanted of, poll(2) would still tell that it was hung up, again and again.
        let sides = [pair.client.as_fd(), pair.app.as_fd()].into_iter().zip(pair.interests());
        for (side, interest) in sides.filter(|(_, interest)| !interest.is_empty()) {
            polled.push(PollFd::from_borrowed_fd(side, interest));
            whose.push(index);
        }
    }
    match poll(&mut polled, pause) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
    let of_orders = ready.next().unwrap_or_default();
    let of_listeners = ready.by_ref().take(listeners.len()).collect();
    let mut of_pairs = vec![false; pairs.len()];
    whose.into_iter().zip(ready).for_each(|(pair, ready)| of_pairs[pair] |= ready);
    Ok(Ready { orders: of_orders, listeners: of_listeners, pairs: of_pairs })
}

/// Whether the next connection may be taken all the same: this one has gone, or was none.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

/// Connects to the app. Within one machine that is done or refused at once; a queue that is full is a refusal too.
fn open(client: TcpStream, target: SocketAddr) -> io::Result<Pair> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket: OwnedFd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let app = TcpStream::from(socket);
    client.set_nonblocking(true)?;
    client.set_nodelay(true)?;
    app.set_nodelay(true)?;
    Ok(Pair { client, app, inward: Half::new(), outward: Half::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_and_ends() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (_monitor, orders) = orders::pair().unwrap();
        let relay =
            Relay { socket: listener.into(), target: Target::Loopback(target.local_addr().unwrap()), datagrams: false };
        std::thread::spawn(move || run(vec![relay], &orders));
        let data: Vec<u8> = (0..3_000_000_u32).map(|it| it as u8).collect();
        let sent = data.clone();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = target.accept().unwrap();
            let mut request = Vec::new();
            (&stream).read_to_end(&mut request).unwrap();
            stream.write_all(&sent).unwrap();
            request
        });
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"request").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(server.join().unwrap(), b"request");
        assert!(answer == data);
    }

    #[test]
    fn a_connection_to_nobody_is_closed() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (_monitor, orders) = orders::pair().unwrap();
        let relay = Relay { socket: listener.into(), target: Target::Loopback(target), datagrams: false };
        std::thread::spawn(move || run(vec![relay], &orders));
        let mut answer = Vec::new();
        // Closed or reset, and in either case not held.
        let _ = TcpStream::connect(address).unwrap().read_to_end(&mut answer);
        assert!(answer.is_empty());
    }

    #[test]
    fn ports_come_and_go_while_connections_stay() {
        let app = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = app.local_addr().unwrap();
        let (monitor, orders) = orders::pair().unwrap();
        let carrier = std::thread::spawn(move || run(Vec::new(), &orders));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        monitor.carry(&[Target::Loopback(target)], &[listener.into()]).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        let (mut other, _) = app.accept().unwrap();
        monitor.free(vec![address], 7).unwrap();
        assert_eq!(monitor.freed_after_a_while(), 7);
        assert!(TcpListener::bind(address).is_ok(), "the port is free");
        client.write_all(b"still").unwrap();
        let mut said = [0; 5];
        other.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"still");
        drop(monitor);
        assert_eq!(carrier.join().unwrap().kind(), io::ErrorKind::NotConnected);
    }
}
