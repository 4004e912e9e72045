//! Ports that are added to a pod which runs, and let go of.

use std::os::fd::OwnedFd;

use super::{Monitor, Waits};
use crate::control::ConnectionId;
use crate::network::CarriedPort;
use crate::plan::Net;
use crate::protocol::{RefusedKind, Reply};
use crate::uplink::Connection;

/// How the ports that lead into the pod differ from those of its manifest.
#[derive(Debug, Default)]
pub(super) struct Ports {
    pub(super) added: Vec<CarriedPort>,
    /// Those of the manifest that were let go of.
    pub(super) closed: Vec<CarriedPort>,
}

impl Monitor<'_> {
    pub(super) fn add_port(&mut self, connection: ConnectionId, port: CarriedPort, sockets: Vec<OwnedFd>) {
        let done = self.uplink_for_ports().and_then(|uplink| uplink.add_port(&port, sockets));
        match done {
            Ok(()) => {
                // One of the manifest's that has come back.
                let closed = self.ports.closed.len();
                self.ports.closed.retain(|it| *it != port);
                if self.ports.closed.len() == closed {
                    self.ports.added.push(port);
                }
                self.reply(connection, &Reply::Done);
            }
            Err(why) => self.refuse(connection, RefusedKind::State, &why),
        }
    }

    /// The answer comes when the port is free.
    pub(super) fn remove_port(&mut self, connection: ConnectionId, port: &CarriedPort) {
        let freed = self.uplink_for_ports().and_then(|uplink| match uplink.carries(port) {
            true => uplink.free_port(port, connection),
            false => Err("pasta has it, which keeps its ports as long as it runs".to_owned()),
        });
        match freed {
            Ok(()) => {
                let added = self.ports.added.len();
                self.ports.added.retain(|it| it != port);
                if self.ports.added.len() == added {
                    self.ports.closed.push(port.clone());
                }
                self.waiting.insert(connection, Waits::Freed);
            }
            Err(why) => self.refuse(connection, RefusedKind::State, &why),
        }
    }

    /// Answers those whose ports have been let go of, or never will be.
    pub(super) fn tell_freed(&mut self) {
        let freed = self.uplink.as_ref().map(Connection::freed).unwrap_or_default();
        let waiting = |waits: &Waits| *waits == Waits::Freed;
        for connection in freed {
            if self.waiting.get(&connection).is_some_and(waiting) {
                self.waiting.remove(&connection);
                self.reply(connection, &Reply::Done);
            }
        }
        let Some(why) = self.uplink.as_ref().and_then(Connection::down).map(str::to_owned) else { return };
        let lost: Vec<ConnectionId> = self.waiting.iter().filter(|(_, it)| waiting(it)).map(|(id, _)| *id).collect();
        for connection in lost {
            self.waiting.remove(&connection);
            self.refuse(connection, RefusedKind::State, &format!("the pod has no network: {why}"));
        }
    }

    /// What ports can lead through.
    fn uplink_for_ports(&mut self) -> Result<&mut Connection, String> {
        let why = match self.net {
            Net::Host => "it has the host's network: its apps listen on the host's own ports",
            Net::Connected if !self.members.is_empty() => "it is on an internal network, and nothing leads into that",
            Net::Loopback | Net::Connected => "it has no network: nothing leads into it",
        };
        self.uplink.as_mut().ok_or_else(|| why.to_owned())
    }
}
