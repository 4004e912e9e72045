//! What the packets of the backend ask for.

use std::time::Instant;

use super::super::connection::{Connection, Phase};
use super::super::dial::{Dial, DialError};
use super::super::journal::{Level, log};
use super::super::packet::{Kind, NewConnection, Packet};
use super::{Server, note};

impl Server {
    /// Does what a packet asks for. One that makes no sense is told of and has no effect.
    pub(super) fn handle(&mut self, packet: &Packet<'_>, now: Instant) {
        let id = packet.id;
        let payload = packet.payload.as_deref().unwrap_or_default();
        match Kind::of(packet.kind) {
            Some(Kind::Data) => self.data(id, payload, now),
            Some(Kind::CloseConnection) => self.close(id),
            Some(Kind::Success) => self.success(id),
            Some(Kind::Error) => {
                if self.known(id, "error").is_some() {
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

    /// The connection, if the backend may speak of it; if not, that is told.
    fn known(&mut self, id: u64, what: &str) -> Option<&mut Connection> {
        let over = |it: &Connection| matches!(it.phase, Phase::Finished | Phase::Lingering(_));
        let known = self.connections.get_mut(&id).filter(|it| !over(it));
        if known.is_none() {
            let details = [("connectionId", &*id.to_string()), ("packet", what)];
            log(Level::Info, "AGENTPROTO_UNKNOWN_CONNECTION", "a packet for an unknown connection", &details);
        }
        known
    }

    fn data(&mut self, id: u64, payload: &[u8], now: Instant) {
        let Some(connection) = self.known(id, "data") else { return };
        if matches!(connection.phase, Phase::Started) {
            connection.deliver(payload, now);
        } else {
            note(Level::Info, "AGENTPROTO_INVALID_STATE", "data for a connection that is not started", id);
        }
    }

    fn close(&mut self, id: u64) {
        let Some(connection) = self.known(id, "close") else { return };
        if connection.socket.is_some() {
            connection.phase = Phase::Finished;
        } else {
            self.connections.remove(&id);
        }
        self.output.send(Kind::Success, id, None);
    }

    fn success(&mut self, id: u64) {
        let Some(connection) = self.known(id, "success") else { return };
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

    /// Tells the backend that there is no such connection.
    pub(super) fn reject(&mut self, id: u64, error: &DialError) {
        let details = [("connectionId", &*id.to_string())];
        log(Level::Warning, "AGENT_DIAL_FAILED", &format!("dial: {error}"), &details);
        self.connections.remove(&id);
        self.output.send(Kind::Error, id, None);
    }
}
