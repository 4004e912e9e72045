//! The loop that serves all connections: one thread, poll(2), nothing in it waits for one connection alone.

mod packets;
mod waiting;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::Fatal;
use super::backend::{Input, Output};
use super::connection::{Connection, Phase};
use super::journal::{Level, log};
use super::listener::Listener;
use super::packet::Kind;
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
