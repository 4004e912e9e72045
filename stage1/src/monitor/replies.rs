//! What clients are told.

use std::os::fd::BorrowedFd;

use super::Monitor;
use crate::control::ConnectionId;
use crate::protocol::{End, EventKind, Refused, RefusedKind, Reply};

impl Monitor<'_> {
    pub(super) fn reply(&mut self, connection: ConnectionId, reply: &Reply) {
        self.reply_with(connection, reply, &[]);
    }

    pub(super) fn reply_with(&mut self, connection: ConnectionId, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        if let Some(control) = &mut self.control {
            control.reply(connection, reply, fds);
        }
    }

    pub(super) fn refuse(&mut self, connection: ConnectionId, kind: RefusedKind, message: &str) {
        self.reply(connection, &Reply::Error(Refused { kind, message: message.to_owned() }));
    }

    /// Remembers an event and tells those who listen.
    pub(super) fn tell(&mut self, app: Option<String>, kind: EventKind, exit: Option<End>) {
        let event = self.events.add(app, kind, exit);
        let reply = Reply::Event(event);
        for connection in self.events.listeners() {
            self.reply(connection, &reply);
        }
    }
}
