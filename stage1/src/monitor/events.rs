//! What has happened in a pod, for those who want to know.

use std::collections::{BTreeSet, VecDeque};

use rustix::time::{ClockId, clock_gettime};

use crate::control::ConnectionId;
use crate::protocol::{End, EventKind, PodEvent};

/// Events that are remembered for clients who come later.
const REMEMBERED: usize = 256;

/// The events of a pod.
#[derive(Debug, Default)]
pub(super) struct Events {
    last: u64,
    remembered: VecDeque<PodEvent>,
    listeners: BTreeSet<ConnectionId>,
}

impl Events {
    /// Gives an event its number and time.
    pub(super) fn add(&mut self, app: Option<String>, event: EventKind, exit: Option<End>) -> PodEvent {
        self.last += 1;
        let event = PodEvent { seq: self.last, time_ns: now_ns(), app, event, exit };
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(event.clone());
        event
    }

    /// Number of the last event.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Takes in a listener, and returns what happened after event number `since`.
    pub(super) fn listen(&mut self, connection: ConnectionId, since: u64) -> Vec<PodEvent> {
        self.listeners.insert(connection);
        self.remembered.iter().filter(|event| event.seq > since).cloned().collect()
    }

    pub(super) fn listeners(&self) -> Vec<ConnectionId> {
        self.listeners.iter().copied().collect()
    }

    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.listeners.remove(&connection);
    }
}

/// Nanoseconds since the epoch.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
