//! The processes that carry ports of the host into the pod: one for connections, one for datagrams, each if it is needed.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use rustix::net::{SocketType, getsockname};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;

use super::inside::{Inside, child, ended};
use crate::network::{CarriedPort, Relay};
use crate::relay::orders::{self, Orderer, Orders};
use crate::relay::sources::Sources;
use crate::relay::{self, Given};

/// Most ports of one pod that are carried: each takes a descriptor of the processes, which need more for who connects.
const MOST: usize = 600;

/// A process that carries.
#[derive(Debug)]
struct Carrier {
    process: OwnedFd,
    orders: Orderer,
}

/// Both of them, and what they carry.
#[derive(Debug, Default)]
pub(super) struct Carriers {
    streams: Option<Carrier>,
    datagrams: Option<Carrier>,
    /// The sockets of the host, and whether they are for datagrams.
    sockets: Vec<(bool, SocketAddr)>,
}

impl Carriers {
    /// Starts what carries these.
    ///
    /// # Errors
    /// Those of the system calls. What was started ends with this.
    pub(super) fn start(&mut self, relays: Vec<Relay>, inside: &Inside) -> io::Result<()> {
        for relay in &relays {
            self.sockets.push((relay.datagrams, address(&relay.socket)?));
        }
        let (datagrams, streams): (Vec<Relay>, Vec<Relay>) = relays.into_iter().partition(|relay| relay.datagrams);
        for (datagrams, relays) in [(false, streams), (true, datagrams)] {
            if !relays.is_empty() {
                *self.of(datagrams) = Some(Carrier::start(relays, datagrams, inside)?);
            }
        }
        Ok(())
    }

    /// Carries a further port, whose sockets these are.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) fn add(&mut self, port: &CarriedPort, sockets: Vec<OwnedFd>, inside: &Inside) -> Result<(), String> {
        let addresses: Vec<(bool, SocketAddr)> = port.addresses().map(|address| (port.datagrams, address)).collect();
        let targets: Vec<_> = port.targets().collect();
        let bound = || sockets.iter().map(|socket| Some((is_for_datagrams(socket)?, address(socket).ok()?)));
        if targets.len() != addresses.len() || !bound().eq(addresses.iter().copied().map(Some)) {
            return Err("the sockets are not those of the port".to_owned());
        }
        if self.sockets.len() + addresses.len() > MOST {
            return Err(format!("a pod can have {MOST} ports, and it has {} already", self.sockets.len()));
        }
        if self.of(port.datagrams).is_none() {
            let started = Carrier::start(Vec::new(), port.datagrams, inside);
            *self.of(port.datagrams) = Some(started.map_err(|error| format!("start what carries ports: {error}"))?);
        }
        let Some(carrier) = self.of(port.datagrams) else { return Ok(()) };
        carrier.orders.carry(&targets, &sockets).map_err(|error| format!("hand the sockets over: {error}"))?;
        self.sockets.extend(addresses);
        Ok(())
    }

    /// Whether all of a port is carried.
    pub(super) fn has(&self, port: &CarriedPort) -> bool {
        port.addresses().all(|address| self.socket_of(port, address).is_some())
    }

    /// The address of the socket that belongs to an address of a port: a port of every address may have one for both families.
    fn socket_of(&self, port: &CarriedPort, address: SocketAddr) -> Option<SocketAddr> {
        let both = (address.ip() == Ipv4Addr::UNSPECIFIED).then(|| (Ipv6Addr::UNSPECIFIED, address.port()).into());
        [Some(address), both].into_iter().flatten().find(|it| self.sockets.contains(&(port.datagrams, *it)))
    }

    /// Lets go of a port; [`Carriers::freed`] has the number when that is done.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) fn free(&mut self, port: &CarriedPort, number: u64) -> Result<(), String> {
        let addresses: Vec<SocketAddr> = port.addresses().filter_map(|address| self.socket_of(port, address)).collect();
        let Some(carrier) = self.of(port.datagrams) else { return Err("nothing carries it".to_owned()) };
        carrier.orders.free(addresses.clone(), number).map_err(|error| format!("let go of the sockets: {error}"))?;
        self.sockets.retain(|(datagrams, address)| *datagrams != port.datagrams || !addresses.contains(address));
        Ok(())
    }

    /// The numbers of what has been let go of by now.
    pub(super) fn freed(&self) -> Vec<u64> {
        self.all().flat_map(|carrier| std::iter::from_fn(|| carrier.orders.freed())).collect()
    }

    /// How one of them ended, if one did: it is forgotten.
    pub(super) fn ended(&mut self) -> Option<String> {
        for carrier in [&mut self.streams, &mut self.datagrams] {
            if let Some(how) = carrier.as_ref().and_then(|carrier| ended(&carrier.process)) {
                *carrier = None;
                return Some(how);
            }
        }
        None
    }

    /// What there is of processes.
    pub(super) fn processes(&self) -> impl Iterator<Item = &OwnedFd> {
        self.all().map(|carrier| &carrier.process)
    }

    /// What the monitor waits for.
    pub(super) fn to_poll(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.all().flat_map(|carrier| {
            [PollFd::new(&carrier.process, PollFlags::IN), PollFd::new(&carrier.orders, PollFlags::IN)]
        })
    }

    fn all(&self) -> impl Iterator<Item = &Carrier> {
        self.streams.iter().chain(&self.datagrams)
    }

    fn of(&mut self, datagrams: bool) -> &mut Option<Carrier> {
        if datagrams { &mut self.datagrams } else { &mut self.streams }
    }
}

impl Carrier {
    fn start(relays: Vec<Relay>, datagrams: bool, inside: &Inside) -> io::Result<Self> {
        let (ours, theirs) = orders::pair()?;
        let (_, nobody) = pipe_with(PipeFlags::CLOEXEC)?;
        let sockets = relays.iter().map(|relay| relay.socket.as_raw_fd());
        let keep: Vec<RawFd> = sockets.chain([theirs.as_fd().as_raw_fd()]).collect();
        let mut relays = Some(relays);
        let process = child(inside, true, &nobody, &keep, || {
            sys::title::set("proa-ports");
            let relays = relays.take().unwrap_or_default();
            Err(if datagrams { carry_datagrams(relays, &theirs)? } else { carry_connections(relays, &theirs)? })
        })?;
        Ok(Self { process, orders: ours })
    }
}

fn carry_datagrams(relays: Vec<Relay>, orders: &Orders) -> io::Result<io::Error> {
    relay::confinement::confine(CapabilitySet::empty())?;
    Ok(relay::datagrams::run(relays, orders))
}

fn carry_connections(relays: Vec<Relay>, orders: &Orders) -> io::Result<io::Error> {
    let files = raise_files();
    let sources = Sources::prepare();
    relay::confinement::confine(Sources::NEEDS)?;
    Ok(relay::run(Given { relays, files, sources }, orders))
}

/// Lets this process have as many descriptors as it may, and returns how many those are.
fn raise_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}

/// The address that a socket is bound to.
fn address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let address = getsockname(socket)?;
    SocketAddr::try_from(address).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Whether a socket is for datagrams, or listens for connections; `None` for any other.
fn is_for_datagrams(socket: &OwnedFd) -> Option<bool> {
    match socket_type(socket) {
        Ok(SocketType::DGRAM) => Some(true),
        Ok(SocketType::STREAM) => socket_acceptconn(socket).ok().filter(|listens| *listens).map(|_| false),
        _ => None,
    }
}
