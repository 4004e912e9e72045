//! The loop that serves all connections: one thread, poll(2), nothing in it waits for one connection alone.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Fatal;
use super::backend::{Input, Output};
use super::connection::{Connection, Phase};
use super::dial::{Dial, DialError};
use super::journal::{Level, log};
use super::listener::Listener;
use super::packet::{Kind, NewConnection, Packet};
use crate::errno;

/// What is kept for one connection's reader.
const CONNECTION_BOUND: usize = 32 << 20;
/// What is kept for all of them.
const TOTAL_BOUND: usize = 64 << 20;
/// A reader that takes nothing for so long, while others wait for it, loses its connection.
const STALL: Duration = Duration::from_secs(5);
/// After the input's end, how long output and readers may make no progress.
const END_STALL: Duration = Duration::from_secs(5);
/// How long a listener rests that could not accept for want of descriptors or memory.
const REST: Duration = Duration::from_millis(200);
/// One read of a socket, which becomes one packet.
const CHUNK: usize = 64 << 10;

/// What SETUP asked for.
#[derive(Debug)]
pub(super) enum Role {
    /// Connect where the backend says.
    Dial,
    /// Tell the backend who connects.
    Listen(Listener),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Server {
    output: Output,
    connections: BTreeMap<u64, Connection>,
    listener: Option<Listener>,
    /// The backend opens connections, not we.
    dials: bool,
    /// The highest id used so far, by whoever opens connections.
    last_id: u64,
    no_more: bool,
    /// Nobody reads our output any more.
    alone: bool,
    rests_until: Option<Instant>,
    /// The connection after which reading begins, so that each has its turn when output is short.
    turn: u64,
    buffer: Vec<u8>,
}

/// What a polled descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Input,
    Output,
    Listener,
    Connection(u64),
}

impl Server {
    pub(super) fn new(output: Output, role: Role) -> Self {
        let (dials, listener) = match role {
            Role::Dial => (true, None),
            Role::Listen(listener) => (false, Some(listener)),
        };
        Self {
            output,
            connections: BTreeMap::new(),
            listener,
            dials,
            last_id: 0,
            no_more: false,
            alone: false,
            rests_until: None,
            turn: 0,
            buffer: vec![0; CHUNK],
        }
    }

    /// Serves until the last connection is done and no more can come, or the input ends.
    pub(super) fn run(mut self, mut input: Input) -> Result<(), Fatal> {
        loop {
            let now = Instant::now();
            let mut held = self.holds_input(now);
            while !held && let Some(packet) = input.next()? {
                self.handle(&packet, now);
                held = self.holds_input(now);
            }
            self.advance(now);
            self.output.flush()?;
            if self.alone || (input.has_ended() && !held) {
                let cut = input.has_ended() && input.is_within_packet();
                self.end()?;
                return if cut { Err(Fatal::CutOff) } else { Ok(()) };
            }
            if self.is_done() {
                return self.output.flush_all();
            }
            self.wait(&mut input, held, now)?;
        }
    }

    fn is_done(&self) -> bool {
        let expects_more = if self.dials { !self.no_more } else { self.listener.is_some() };
        !expects_more && self.connections.is_empty()
    }

    /// Whether packets must wait: there is no room for what they bring.
    fn holds_input(&mut self, now: Instant) -> bool {
        if !self.output.has_room_for_answers() {
            return true;
        }
        let total: usize = self.connections.values().map(Connection::pending).sum();
        let Some((&id, slowest)) = self.connections.iter().max_by_key(|(_, it)| it.pending()) else { return false };
        if total < TOTAL_BOUND && slowest.pending() < CONNECTION_BOUND {
            return false;
        }
        // Alone it holds up nobody but itself.
        if self.connections.len() > 1 && now.saturating_duration_since(slowest.progress) >= STALL {
            note(Level::Warning, "AGENT_CONNECTION_STALLED", "closing a connection whose reader has stopped", id);
            self.abandon(id);
            return self.holds_input(now);
        }
        true
    }

    /// Closes a connection for good, whatever was still to be delivered.
    fn abandon(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if matches!(connection.phase, Phase::Started) {
            self.output.send(Kind::CloseConnection, id, None);
            *connection = Connection::new(Phase::Closing, None, connection.progress);
        } else if matches!(connection.phase, Phase::Closing) {
            *connection = Connection::new(Phase::Closing, None, connection.progress);
        } else {
            self.connections.remove(&id);
        }
    }

    fn handle(&mut self, packet: &Packet<'_>, now: Instant) {
        let id = packet.id;
        let payload = packet.payload.as_deref().unwrap_or_default();
        match Kind::of(packet.kind) {
            Some(Kind::Data) => self.data(id, payload, now),
            Some(Kind::CloseConnection) => self.close(id),
            Some(Kind::Success) => self.success(id),
            Some(Kind::Error) => {
                if self.known(id, "error") {
                    note(Level::Info, "AGENTPROTO_REMOTE_ERROR", "the backend ended the connection with an error", id);
                    self.connections.remove(&id);
                }
            }
            Some(Kind::NewConnection) => self.new_connection(id, payload, now),
            Some(Kind::NoMoreConnections) => {
                self.no_more = true;
                self.listener = None;
            }
            Some(Kind::Setup) | None => {
                let kind = packet.kind.to_string();
                log(Level::Warning, "AGENTPROTO_PACKET_UNKNOWN", "unexpected packet type", &[("type", &kind)]);
            }
        }
    }

    /// Whether the backend may speak of this connection; if not, that is told.
    fn known(&self, id: u64, what: &str) -> bool {
        let over = |it: &Connection| matches!(it.phase, Phase::Finished | Phase::Lingering(_));
        let known = self.connections.get(&id).is_some_and(|it| !over(it));
        if !known {
            let details = [("connectionId", &*id.to_string()), ("packet", what)];
            log(Level::Info, "AGENTPROTO_UNKNOWN_CONNECTION", "a packet for an unknown connection", &details);
        }
        known
    }

    fn data(&mut self, id: u64, payload: &[u8], now: Instant) {
        if !self.known(id, "data") {
            return;
        }
        let connection = self.connections.get_mut(&id).expect("it is known");
        if matches!(connection.phase, Phase::Started) {
            connection.deliver(payload, now);
        } else {
            note(Level::Info, "AGENTPROTO_INVALID_STATE", "data for a connection that is not started", id);
        }
    }

    fn close(&mut self, id: u64) {
        if !self.known(id, "close") {
            return;
        }
        self.output.send(Kind::Success, id, None);
        let connection = self.connections.get_mut(&id).expect("it is known");
        if connection.socket.is_some() {
            connection.phase = Phase::Finished;
        } else {
            self.connections.remove(&id);
        }
    }

    fn success(&mut self, id: u64) {
        if !self.known(id, "success") {
            return;
        }
        let connection = self.connections.get_mut(&id).expect("it is known");
        match connection.phase {
            Phase::Offered => connection.phase = Phase::Started,
            Phase::Closing => connection.phase = Phase::Finished,
            _ => note(Level::Warning, "AGENTPROTO_INVALID_STATE", "success for a connection that waits for none", id),
        }
    }

    fn new_connection(&mut self, id: u64, payload: &[u8], now: Instant) {
        let opened = self.last_id;
        let live = self.connections.contains_key(&id);
        // An answer would be taken for one about the connection that has the id.
        if live || (self.dials && id <= opened) {
            return note(
                Level::Warning,
                "AGENTPROTO_PACKET_INVALID",
                "a connection id must be higher than the last",
                id,
            );
        }
        if !self.dials {
            note(Level::Warning, "AGENTPROTO_PACKET_INVALID", "the backend must not open connections here", id);
            return self.output.send(Kind::Error, id, None);
        }
        if id != opened + 1 {
            note(Level::Warning, "AGENTPROTO_PACKET_INVALID", "connection ids are missing before this one", id);
        }
        self.last_id = id;
        if self.no_more {
            note(Level::Warning, "AGENTPROTO_PACKET_INVALID", "a connection after there should be no more", id);
            return self.output.send(Kind::Error, id, None);
        }
        let to = match NewConnection::decode(payload) {
            Ok(to) => to,
            Err(error) => {
                let details = [("connectionId", &*id.to_string())];
                log(Level::Error, "AGENTPROTO_DECODE_FAILED", &format!("decode a new connection: {error}"), &details);
                return self.output.send(Kind::Error, id, None);
            }
        };
        let details = [
            ("connectionId", &*id.to_string()),
            ("protocol", &to.protocol),
            ("address", &to.connected_address),
            ("port", &to.connected_port.to_string()),
        ];
        log(Level::Debug, "AGENT_DIAL", "dialling", &details);
        match Dial::begin(&to, now) {
            Ok(dial) => drop(self.connections.insert(id, Connection::new(Phase::Dialling(Box::new(dial)), None, now))),
            Err(error) => self.reject(id, &error),
        }
    }

    fn reject(&mut self, id: u64, error: &DialError) {
        let details = [("connectionId", &*id.to_string())];
        log(Level::Warning, "AGENT_DIAL_FAILED", &format!("dial: {error}"), &details);
        self.connections.remove(&id);
        self.output.send(Kind::Error, id, None);
    }

    /// Takes on what needs no packet and no event: connections being made, and those that are over.
    fn advance(&mut self, now: Instant) {
        let busy = |it: &Connection| matches!(it.phase, Phase::Dialling(_) | Phase::Finished | Phase::Lingering(_));
        let ids: Vec<u64> = self.connections.iter().filter(|(_, it)| busy(it)).map(|(id, _)| *id).collect();
        for id in ids {
            let connection = self.connections.get_mut(&id).expect("nobody removed it");
            let Phase::Dialling(dial) = &mut connection.phase else {
                if connection.wind_up(now, &mut self.buffer) {
                    self.connections.remove(&id);
                }
                continue;
            };
            match dial.advance(now) {
                Some(Ok(socket)) => {
                    *connection = Connection::new(Phase::Started, Some(socket), now);
                    self.output.send(Kind::Success, id, None);
                }
                Some(Err(error)) => self.reject(id, &error),
                None => {}
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        while let Some(listener) = &self.listener
            && self.output.has_room()
        {
            match listener.accept() {
                Ok(Some((socket, description))) => {
                    self.last_id += 1;
                    self.output.send(Kind::NewConnection, self.last_id, Some(&description.encode()));
                    self.connections.insert(self.last_id, Connection::new(Phase::Offered, Some(socket), now));
                    if listener.single {
                        self.listener = None;
                    }
                }
                Ok(None) => return,
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    log(Level::Warning, "AGENT_ACCEPT_FAILED", &format!("accept: {}", errno::text(error)), &[]);
                    self.rests_until = Some(now + REST);
                    return;
                }
                Err(error) => {
                    log(Level::Error, "AGENT_ACCEPT_FAILED", &format!("accept: {}", errno::text(error)), &[]);
                    self.listener = None;
                }
            }
        }
    }

    /// Reads a connection's socket once and writes what waits for it.
    fn serve(&mut self, id: u64, events: PollFlags, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if events.intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP) {
            connection.flush(now);
        }
        let ready = events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        if !ready || !matches!(connection.phase, Phase::Started) || !self.output.has_room() {
            return;
        }
        match connection.receive(&mut self.buffer) {
            Some(0) => {
                connection.phase = Phase::Closing;
                self.output.send(Kind::CloseConnection, id, None);
            }
            Some(count) => self.output.send(Kind::Data, id, Some(&self.buffer[..count])),
            None => {}
        }
    }

    /// Waits for something to do and does what came of it.
    fn wait(&mut self, input: &mut Input, held: bool, now: Instant) -> Result<(), Fatal> {
        let events = self.poll(held, now)?;
        let now = Instant::now();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (source, flags) in events {
            match source {
                Source::Input => drop(input.receive()?),
                Source::Output => drop(self.output.flush()?),
                Source::Listener => self.accept(now),
                Source::Connection(id) if id > self.turn => after.push((id, flags)),
                Source::Connection(id) => before.push((id, flags)),
            }
        }
        for (id, flags) in after.into_iter().chain(before) {
            self.serve(id, flags, now);
            self.turn = id;
        }
        Ok(())
    }

    fn poll(&mut self, held: bool, now: Instant) -> Result<Vec<(Source, PollFlags)>, Fatal> {
        let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        let room = self.output.has_room();
        let mut sources = Vec::new();
        let mut fds = Vec::new();
        // Without an event asked for, poll(2) still tells that nobody reads any more.
        let writes = if self.output.is_flushed() { PollFlags::empty() } else { PollFlags::OUT };
        if !self.alone {
            sources.push(Source::Output);
            fds.push(PollFd::new(&stdout, writes));
        }
        if !held {
            sources.push(Source::Input);
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        let mut deadlines = Vec::new();
        if held {
            deadlines.extend(self.connections.values().filter(|it| it.pending() > 0).map(|it| it.progress + STALL));
        }
        self.rests_until = self.rests_until.filter(|it| *it > now);
        deadlines.extend(self.rests_until);
        let listener = self.listener.as_ref().filter(|_| room && self.rests_until.is_none());
        if let Some(listener) = listener {
            sources.push(Source::Listener);
            fds.push(PollFd::from_borrowed_fd(listener.fd(), PollFlags::IN));
        }
        for (&id, connection) in &self.connections {
            if let Phase::Dialling(dial) = &connection.phase {
                deadlines.push(dial.deadline());
                for (fd, flags) in dial.fds() {
                    sources.push(Source::Connection(id));
                    fds.push(PollFd::from_borrowed_fd(fd, flags));
                }
            }
            if let Phase::Lingering(until) = connection.phase {
                deadlines.push(until);
            }
            let Some(socket) = &connection.socket else { continue };
            let mut flags = PollFlags::empty();
            let reads = match connection.phase {
                Phase::Started => room,
                Phase::Lingering(_) => true,
                _ => false,
            };
            flags.set(PollFlags::IN, reads);
            flags.set(PollFlags::OUT, connection.pending() > 0);
            // With none asked for, a peer that has hung up would be told of again and again.
            if !flags.is_empty() {
                sources.push(Source::Connection(id));
                fds.push(PollFd::from_borrowed_fd(socket.as_fd(), flags));
            }
        }
        let wait = deadlines.into_iter().min().map(|it| timespec(it.saturating_duration_since(now)));
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(Fatal::Poll(error)),
        }
        let events = sources.into_iter().zip(fds.iter().map(PollFd::revents)).filter(|it| !it.1.is_empty());
        let events: Vec<_> = events.collect();
        if events.iter().any(|(source, flags)| *source == Source::Output && flags.contains(PollFlags::ERR)) {
            if !self.output.is_flushed() {
                return Err(Fatal::Write(Errno::PIPE));
            }
            self.alone = true;
        }
        Ok(events)
    }

    /// After the input's end: what was received is delivered, what was to be sent is sent, as long as somebody takes it.
    fn end(&mut self) -> Result<(), Fatal> {
        self.listener = None;
        self.connections.retain(|_, it| it.socket.is_some() && !matches!(it.phase, Phase::Offered));
        let mut progress = Instant::now();
        for connection in self.connections.values_mut() {
            if matches!(connection.phase, Phase::Started | Phase::Closing) {
                connection.phase = Phase::Finished;
            }
        }
        while !(self.connections.is_empty() && self.output.is_flushed()) {
            let now = Instant::now();
            self.advance(now);
            if self.output.flush()? {
                progress = now;
            }
            progress = self.connections.values().map(|it| it.progress).max().map_or(progress, |it| it.max(progress));
            if now.saturating_duration_since(progress) >= END_STALL {
                log(Level::Warning, "AGENT_END", "what nobody took is dropped", &[]);
                return Ok(());
            }
            if !(self.connections.is_empty() && self.output.is_flushed()) {
                self.rests_until = Some(progress + END_STALL);
                self.poll(true, now)?;
            }
        }
        Ok(())
    }
}

fn note(level: Level, code: &str, message: &str, id: u64) {
    log(level, code, message, &[("connectionId", &id.to_string())]);
}

fn timespec(wait: Duration) -> Timespec {
    // Rounded up: a wait that ends just before its deadline would only be repeated.
    let wait = wait + Duration::from_micros(100);
    Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() }
}
