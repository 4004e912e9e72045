//! Carries connections from sockets that listen on the host into the pod.
//!
//! The listening sockets of the host are kept by a process of proa's own, which is itself in the pod's network namespace.
//! pasta could forward them too, but not one port of both 127.0.0.1 and ::1; and pasta of Debian 12 does not end the handshake
//! with a program that speaks first, loses what is said by one that closes at once, and is a hundred times slower than this on the
//! way out. Who connects to a loopback address is on the host, and the app sees its own loopback; of all others it sees
//! their own addresses.

pub(crate) mod confinement;
pub(crate) mod datagrams;
pub(crate) mod orders;
mod pair;
pub(crate) mod sources;
mod target;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::network::{Relay, Target};
use orders::{Change, Orders};
use pair::{CHUNK, Pair};
use sources::Sources;

/// Connections at a time; further ones wait in the sockets' queues.
const MOST: usize = 4096;

/// Descriptors of a process that are neither of connections nor of ports.
const OTHER_FILES: usize = 32;

/// How long nobody is let in where there was no descriptor left, or no memory.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The number of the orders; listeners and pairs have numbers from 1 on, each its own.
const ORDERS: u64 = 0;

/// What the process is given.
pub(crate) struct Given {
    /// What it carries from the beginning.
    pub(crate) relays: Vec<Relay>,
    /// How many descriptors it can have.
    pub(crate) files: usize,
    /// Whose addresses can be shown to apps.
    pub(crate) sources: Sources,
}

/// Carries until it is killed, or nobody is left to order anything. The process is in the pod's network namespace.
pub(crate) fn run(given: Given, orders: &Orders) -> io::Error {
    match Carrier::new(given, orders).and_then(|mut carrier| carrier.serve(orders)) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

struct Carrier {
    poll: OwnedFd,
    listeners: BTreeMap<u64, Listener>,
    /// The connections, and the number of the listener that each came in at.
    pairs: BTreeMap<u64, (Pair, u64)>,
    /// The last number that was given.
    last: u64,
    /// Whether there was no descriptor or memory for a connection: none is taken until a while later.
    full: bool,
    /// Descriptors there can be of connections and ports.
    files: usize,
    sources: Sources,
    chunk: Box<[u8]>,
}

/// A port of the host.
struct Listener {
    socket: TcpListener,
    target: Target,
    /// How many connections have come in at it and are there still.
    pairs: usize,
    /// Whether it is waited for.
    takes: bool,
}

impl Carrier {
    fn new(Given { relays, files, sources }: Given, orders: &Orders) -> io::Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&poll, orders, EventData::new_u64(ORDERS), EventFlags::IN)?;
        let mut carrier = Self {
            poll,
            listeners: BTreeMap::new(),
            pairs: BTreeMap::new(),
            last: ORDERS,
            full: false,
            files: files.saturating_sub(OTHER_FILES),
            sources,
            chunk: vec![0; CHUNK].into(),
        };
        relays.into_iter().try_for_each(|relay| carrier.listen(relay))?;
        Ok(carrier)
    }

    fn serve(&mut self, orders: &Orders) -> io::Result<Infallible> {
        let mut events = [MaybeUninit::<Event>::uninit(); 64];
        loop {
            let pause = self.full.then_some(&PAUSE);
            let ready: Vec<u64> = match epoll::wait(&self.poll, &mut events, pause) {
                Ok((ready, _)) => ready.iter().map(|event| event.data.u64()).collect(),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            self.full = false;
            for number in ready {
                if number == ORDERS {
                    self.obey(orders)?;
                } else if self.pairs.contains_key(&number) {
                    self.carry(number);
                } else {
                    self.take(number);
                }
            }
            self.take_or_not()?;
        }
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn listen(&mut self, Relay { socket, target, .. }: Relay) -> io::Result<()> {
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let number = self.number();
        epoll::add(&self.poll, &listener, EventData::new_u64(number), EventFlags::IN)?;
        self.listeners.insert(number, Listener { socket: listener, target, pairs: 0, takes: true });
        Ok(())
    }

    /// Waits for listeners where there is room, and not where there is none. Beside others no port has more than half of it:
    /// who floods one leaves the others usable.
    fn take_or_not(&mut self) -> io::Result<()> {
        let room = MOST.min(self.files.saturating_sub(self.listeners.len()) / 2);
        let share = if self.listeners.len() > 1 { room / 2 } else { room };
        let has_room = self.pairs.len() < room && !self.full;
        for (number, listener) in &mut self.listeners {
            let takes = has_room && listener.pairs < share;
            if takes != listener.takes {
                let wanted = if takes { EventFlags::IN } else { EventFlags::empty() };
                epoll::modify(&self.poll, &listener.socket, EventData::new_u64(*number), wanted)?;
                listener.takes = takes;
            }
        }
        Ok(())
    }

    /// Takes one connection of a listener, if it is there still: whoever else waits is told of again.
    fn take(&mut self, number: u64) {
        let Some(listener) = self.listeners.get(&number) else { return };
        match listener.socket.accept() {
            Ok((client, from)) => {
                // An app that is not there: the client is told by the end of its connection.
                let Ok(pair) = self.open(client, from, listener.target) else { return };
                let of_pair = self.number();
                self.pairs.insert(of_pair, (pair, number));
                self.listeners.entry(number).and_modify(|listener| listener.pairs += 1);
                self.carry(of_pair);
            }
            Err(error) => self.full |= !is_passing(&error),
        }
    }

    fn open(&self, client: TcpStream, from: SocketAddr, target: Target) -> io::Result<Pair> {
        let shown = matches!(target, Target::Own(_)).then_some(from);
        let (address, other) = target.addresses_for(from)?;
        Pair::new(client, self.sources.connect(shown, address)?, other)
    }

    fn carry(&mut self, number: u64) {
        let Some((pair, listener)) = self.pairs.get_mut(&number) else { return };
        let carried = match pair.carry(&mut self.chunk) {
            // An app may listen in one family only, and be asked for in the other.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => match pair.other() {
                Some(other) => self.sources.connect(None, other).and_then(|app| pair.look_there(app)),
                None => Err(error),
            },
            carried => carried,
        };
        let goes_on = carried.is_ok() && !pair.is_over();
        if !goes_on || pair.wait(self.poll.as_fd(), number).is_err() {
            // One that was let go of is not there any more.
            self.listeners.entry(*listener).and_modify(|listener| listener.pairs -= 1);
            self.pairs.remove(&number);
        }
    }

    fn obey(&mut self, orders: &Orders) -> io::Result<()> {
        match orders.next(true)? {
            Some(Change::Carry(relays)) => {
                // One that cannot be used is closed: who connects is refused.
                relays.into_iter().for_each(|relay| drop(self.listen(relay)));
            }
            // Who is connected stays so.
            Some(Change::Free(freed)) => {
                let is_freed = |listener: &Listener| listener.socket.local_addr().is_ok_and(|it| freed.has(it));
                self.listeners.retain(|_, listener| !is_freed(listener));
                freed.done()?;
            }
            None => {}
        }
        Ok(())
    }
}

/// Whether the next connection may be taken all the same: this one has gone, or was none.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::Shutdown;

    use super::*;

    fn given(relays: Vec<Relay>) -> Given {
        Given { relays, files: 1024, sources: Sources::default() }
    }

    /// A port whose connections are carried there, as long as what comes with it is kept.
    fn carried_to(target: SocketAddr) -> (SocketAddr, orders::Orderer) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (monitor, orders) = orders::pair().unwrap();
        let relay = Relay { socket: listener.into(), target: Target::Loopback(target), datagrams: false };
        std::thread::spawn(move || run(given(vec![relay]), &orders));
        (address, monitor)
    }

    #[test]
    fn what_is_sent_arrives_and_ends() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, _monitor) = carried_to(target.local_addr().unwrap());
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
    fn what_is_said_by_who_closes_at_once_arrives() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, _monitor) = carried_to(target.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            // It has not read what the client has sent: its side is reset.
            for _ in 0..20 {
                let (mut stream, _) = target.accept().unwrap();
                stream.peek(&mut [0]).unwrap();
                stream.write_all(b"busy").unwrap();
            }
        });
        for _ in 0..20 {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"request").unwrap();
            let mut answer = [0; 4];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"busy");
        }
        server.join().unwrap();
    }

    #[test]
    fn an_app_is_found_in_the_other_family() {
        for (listens, looked_for) in [("127.0.0.1:0", "[::1]:0"), ("[::1]:0", "127.0.0.1:0")] {
            let app = TcpListener::bind(listens).unwrap();
            let mut target: SocketAddr = looked_for.parse().unwrap();
            target.set_port(app.local_addr().unwrap().port());
            let (address, _monitor) = carried_to(target);
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"here").unwrap();
            let mut said = [0; 4];
            app.accept().unwrap().0.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"here");
        }
    }

    #[test]
    fn who_floods_one_port_leaves_the_others_usable() {
        let app = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Loopback(app.local_addr().unwrap());
        let (_monitor, orders) = orders::pair().unwrap();
        let ports = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [flooded, other] = [0, 1].map(|at| ports[at].local_addr().unwrap());
        let relays = ports.map(|port| Relay { socket: port.into(), target, datagrams: false });
        // Room for eight connections.
        let files = OTHER_FILES + 2 + 2 * 8;
        let given = Given { relays: relays.into(), files, sources: Sources::default() };
        std::thread::spawn(move || run(given, &orders));
        let flood: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(flooded).unwrap()).collect();
        let taken: Vec<TcpStream> = (0..4).map(|_| app.accept().unwrap().0).collect();
        let mut client = TcpStream::connect(other).unwrap();
        client.write_all(b"here").unwrap();
        let mut said = [0; 4];
        app.accept().unwrap().0.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"here");
        // With room again the next of the flood is taken.
        drop((flood, taken));
        assert!(app.accept().is_ok());
    }

    #[test]
    fn a_connection_to_nobody_is_closed() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, _monitor) = carried_to(target);
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
        let carrier = std::thread::spawn(move || run(given(Vec::new()), &orders));
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
