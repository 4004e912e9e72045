//! A pod's connection to the world: pasta, and what carries ports of the host, as
//! processes of the monitor.

mod bound;
mod carriers;
mod inside;
mod pasta;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use appc::isolator::report::Outcome;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Signal, pidfd_send_signal};

use crate::bandwidth::Bandwidth;
use crate::idmap::IdMapping;
use crate::network::{CarriedPort, Uplink};
use carriers::Carriers;
use inside::{Inside, end, ended};
use pasta::Started;

/// How long pasta may take to prepare itself, which takes it some 20 ms: apps wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the interface in the pod, whatever the host's is called.
const INTERFACE: &str = "eth0";

/// The monitor's side.
#[derive(Debug)]
pub(crate) struct Connection {
    state: State,
    /// The pod's namespaces, once they are there.
    inside: Option<Inside>,
    /// The network between the pod's and the world, of a pod whose apps have rights over its own: what is switched off for
    /// the pod is switched off there, out of their reach.
    between: Option<Between>,
    /// What carries ports of the host.
    carriers: Carriers,
    required: bool,
    /// How much may pass in a second.
    bound: Option<Bandwidth>,
    /// What became of that.
    bandwidth: Option<Outcome>,
}

#[derive(Debug)]
struct Between {
    network: Inside,
    /// The pasta that connects the pod with it, and its options.
    program: PathBuf,
    ports: Vec<String>,
}

#[derive(Debug)]
enum State {
    /// The pod's namespaces are not there yet.
    Wanted(Uplink),
    /// pasta is preparing itself: it writes its number into the first pipe, and what went wrong into the second. The pod's
    /// own may be behind it, once it is ready.
    Starting {
        pasta: Started,
        first: Option<OwnedFd>,
        deadline: Instant,
    },
    Up {
        /// pasta; two, where a network is between the pod's and the world.
        pastas: Vec<OwnedFd>,
    },
    Down(String),
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing to speak of.
    None,
    /// The apps can start.
    Settled,
    /// It is not there (any more); if the pod cannot do without it, that is an error.
    Lost { why: String, fatal: bool },
}

impl Connection {
    pub(crate) fn new(uplink: Uplink) -> Self {
        let (required, bound) = (uplink.required, uplink.bandwidth);
        let carriers = Carriers::default();
        Self { required, state: State::Wanted(uplink), inside: None, between: None, carriers, bound, bandwidth: None }
    }

    /// Whether the apps need not wait for it.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state, State::Up { .. } | State::Down(_))
    }

    /// Why it is not there, if so.
    pub(crate) fn down(&self) -> Option<&str> {
        match &self.state {
            State::Down(why) => Some(why),
            _ => None,
        }
    }

    /// What became of the bound of what passes.
    pub(crate) fn bandwidth(&self) -> Option<&Outcome> {
        self.bandwidth.as_ref()
    }

    /// The pod's namespaces are there: its network namespace, the one between it and the world if there is one, and its
    /// user namespace.
    pub(crate) fn connect(
        &mut self,
        (net, between): (OwnedFd, Option<OwnedFd>),
        user: OwnedFd,
        mapping: &IdMapping,
    ) -> Change {
        let State::Wanted(uplink) = std::mem::replace(&mut self.state, State::Down(String::new())) else {
            return Change::None;
        };
        let Uplink { pasta, mut ports, relays, bandwidth: _, required: _ } = uplink;
        let Some(program) = pasta else {
            return self
                .lost("pasta is not installed (it is in the package passt; --net=none does without)".to_owned());
        };
        let between = between.map(|net| Ok(Inside { net, user: user.try_clone()?, mapping: mapping.clone() }));
        let between = match between.transpose() {
            Ok(between) => between,
            Err::<_, io::Error>(error) => return self.lost(format!("keep its namespaces: {error}")),
        };
        let inside = Inside { net, user, mapping: mapping.clone() };
        // Kept at once: whatever fails afterwards, it ends with this connection.
        if let Err(error) = self.carriers.start(relays, &inside) {
            return self.lost(format!("start what carries its ports: {error}"));
        }
        if let Some(packets) = self.bound.and_then(Bandwidth::packets) {
            ports.push(format!("--mtu={packets}"));
        }
        let started = pasta::start(&program, &ports, between.as_ref().unwrap_or(&inside), None);
        self.inside = Some(inside);
        let behind = pasta::behind(&ports);
        self.between = between.map(|network| Between { network, program: program.clone(), ports: behind });
        match started {
            Ok(pasta) => self.wait_for(pasta, None),
            Err(error) => self.lost(format!("start {}: {error}", program.display())),
        }
    }

    /// Waits until this one is ready, too.
    fn wait_for(&mut self, pasta: Started, first: Option<OwnedFd>) -> Change {
        self.state = State::Starting { pasta, first, deadline: Instant::now() + PATIENCE };
        Change::None
    }

    /// A pasta is ready, and perhaps the one before it.
    fn is_ready(&mut self, pasta: OwnedFd, first: Option<OwnedFd>) -> Change {
        if let (None, Some(Between { network, program, ports }), Some(inside)) = (&first, &self.between, &self.inside) {
            let shown = program.display().to_string();
            return match pasta::start(program, ports, inside, Some(network)) {
                Ok(second) => self.wait_for(second, Some(pasta)),
                Err(error) => {
                    end(&pasta);
                    self.lost(format!("start {shown}: {error}"))
                }
            };
        }
        let bounded = self.between.as_ref().map(|between| &between.network).or(self.inside.as_ref());
        self.bandwidth = self.bound.zip(bounded).map(|(bound, inside)| bound::set(bound, inside));
        self.state = State::Up { pastas: first.into_iter().chain([pasta]).collect() };
        // One that was there once is no reason to end the pod.
        self.required = false;
        Change::Settled
    }

    /// Has a further port of the host lead into the pod, whose sockets these are.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn add_port(&mut self, port: &CarriedPort, sockets: Vec<OwnedFd>) -> Result<(), String> {
        let inside = match &self.state {
            State::Down(why) => return Err(format!("the pod has no network: {why}")),
            State::Wanted(_) | State::Starting { .. } => return Err("the pod's network is not there yet".to_owned()),
            State::Up { .. } => self.inside.as_ref().ok_or("the pod's network is not there")?,
        };
        if self.bound.is_some() && !port.host_ip.is_loopback() {
            return Err("what passes through it would not be bounded as the pod's network is".to_owned());
        }
        self.carriers.add(port, sockets, inside)
    }

    /// Whether a port is one that can be let go of.
    pub(crate) fn carries(&self, port: &CarriedPort) -> bool {
        self.carriers.has(port)
    }

    /// Lets go of a port; [`Connection::freed`] has the number when that is done.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn free_port(&mut self, port: &CarriedPort, number: u64) -> Result<(), String> {
        self.carriers.free(port, number)
    }

    /// The numbers of what has been let go of by now.
    pub(crate) fn freed(&self) -> Vec<u64> {
        self.carriers.freed()
    }

    /// When it is too late for pasta, while it prepares itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Starting { deadline, .. } => Some(*deadline),
            _ => None,
        }
    }

    /// Gives pasta up if it is too late.
    pub(crate) fn look_at_the_clock(&mut self) -> Change {
        if self.deadline().is_none_or(|deadline| deadline > Instant::now()) {
            return Change::None;
        }
        self.end_pasta();
        self.lost(format!("pasta was not ready after {} seconds", PATIENCE.as_secs()))
    }

    /// Kills what there is of it, and does not wait for that: the pod is over.
    pub(crate) fn end(&self) {
        for process in self.pastas().chain(self.carriers.processes()) {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }

    fn pastas(&self) -> impl Iterator<Item = &OwnedFd> {
        let (starting, up) = match &self.state {
            State::Starting { pasta, first, .. } => (Some(&pasta.process).into_iter().chain(first), &[][..]),
            State::Up { pastas } => (None.into_iter().chain(&None), &pastas[..]),
            State::Wanted(_) | State::Down(_) => (None.into_iter().chain(&None), &[][..]),
        };
        starting.chain(up)
    }

    /// Kills pasta, if there is one, and waits for its end.
    fn end_pasta(&self) {
        self.pastas().for_each(end);
    }

    /// What the monitor waits for.
    pub(crate) fn to_poll(&self) -> Vec<PollFd<'_>> {
        let mut polled: Vec<PollFd<'_>> = self.pastas().map(|pasta| PollFd::new(pasta, PollFlags::IN)).collect();
        if let State::Starting { pasta, .. } = &self.state {
            polled.push(PollFd::new(&pasta.ready, PollFlags::IN));
        }
        polled.extend(self.carriers.to_poll());
        polled
    }

    /// Something that was waited for is there.
    pub(crate) fn polled(&mut self) -> Change {
        if let Some(how) = self.carriers.ended() {
            // Without its ports it is not what was asked for, and nobody would look after it any more.
            self.end_pasta();
            return self.lost(format!("what carries its ports {how}"));
        }
        match std::mem::replace(&mut self.state, State::Down(String::new())) {
            State::Starting { pasta, first, deadline } => {
                if let Some(how) = first.as_ref().and_then(ended) {
                    end(&pasta.process);
                    return self.lost(format!("pasta {how}"));
                }
                if let Some(how) = ended(&pasta.process) {
                    first.iter().for_each(end);
                    let said = pasta::last_words(pasta.words);
                    return self.lost(if said.is_empty() { format!("pasta {how}") } else { format!("pasta: {said}") });
                }
                let mut byte = [0; 16];
                if matches!(rustix::io::read(&pasta.ready, &mut byte[..]), Ok(1..)) {
                    return self.is_ready(pasta.process, first);
                }
                self.state = State::Starting { pasta, first, deadline };
                Change::None
            }
            State::Up { pastas } => match pastas.iter().enumerate().find_map(|(at, pasta)| Some((at, ended(pasta)?))) {
                Some((gone, how)) => {
                    // Without one the other is of no use.
                    pastas.iter().enumerate().filter(|(at, _)| *at != gone).for_each(|(_, pasta)| end(pasta));
                    self.lost(format!("pasta {how}"))
                }
                None => {
                    self.state = State::Up { pastas };
                    Change::None
                }
            },
            other => {
                self.state = other;
                Change::None
            }
        }
    }

    fn lost(&mut self, why: String) -> Change {
        self.state = State::Down(why.clone());
        Change::Lost { why, fatal: self.required }
    }
}

/// Nothing of it outlives the pod.
impl Drop for Connection {
    fn drop(&mut self) {
        // Both are told before either is waited for.
        self.end();
        self.pastas().chain(self.carriers.processes()).for_each(end);
    }
}
