//! What a watcher knows of a container, and what follows from what it hears.

use std::collections::BTreeMap;

use appc::PodUuid;
use pod::Place;
use stage1::cgroup::PodCgroup;
use stage1::protocol::{EventKind, PodEvent};
use store::Store;

use super::happening::Happening;
use crate::cgroup;
use crate::client::Client;
use crate::docker::container::{Container, UNKNOWN};
use crate::moment;

/// What is known of a container.
#[derive(Debug)]
pub(super) struct Known {
    /// Its image's name, its own, its labels.
    pub(super) attributes: BTreeMap<String, String>,
    /// The app that it is.
    app: Option<String>,
    pub(super) client: Option<Client>,
    /// The last event of this run that was heard.
    pub(super) heard: u64,
    pub(super) running: bool,
    stopping: bool,
    /// Whether it was seen where pods run.
    pub(super) ran: bool,
    /// When it was started the last time that was told; 0 if none was.
    pub(super) started_ns: u64,
    /// Whether it may have a control group.
    pub(super) bounded: bool,
    /// That one, once it is watched.
    pub(super) group: Option<PodCgroup>,
    /// Whether it stood still when that was looked at last.
    pub(super) paused: bool,
}

impl Known {
    pub(super) fn of(container: &Container, store: &Store) -> Self {
        let mut attributes = container.labels();
        attributes.insert("image".to_owned(), container.image(store));
        attributes.insert("name".to_owned(), container.name());
        let app = container.first().map(|(app, _)| app.name.to_string());
        Self {
            attributes,
            app,
            client: None,
            heard: 0,
            running: false,
            stopping: false,
            ran: container.entry.place > Place::Prepared,
            started_ns: 0,
            bounded: container.manifest.as_ref().is_some_and(cgroup::is_wanted),
            group: None,
            paused: false,
        }
    }

    /// The last event that was heard of this run. One that runs still is listened to again, after it could not be understood.
    pub(super) fn last_heard(&self) -> u64 {
        if self.running { self.heard } else { 0 }
    }

    /// Listens to the supervisor, if it was there to be asked.
    pub(super) fn listen(&mut self, client: Option<Client>) {
        if client.is_some() && !self.running {
            (self.heard, self.stopping) = (0, false);
        }
        if self.client.is_none() {
            self.client = client;
        }
    }

    pub(super) fn happening(&self, uuid: PodUuid, time_ns: u64, action: &'static str, code: Option<i32>) -> Happening {
        let mut attributes = self.attributes.clone();
        attributes.extend(code.map(|code| ("exitCode".to_owned(), code.to_string())));
        Happening { time_ns, uuid, action, attributes }
    }

    /// What an event of the supervisor's is to docker.
    pub(super) fn take(&mut self, uuid: PodUuid, event: &PodEvent) -> Vec<Happening> {
        self.heard = event.seq;
        // Of a pod of several apps the first one is the container.
        if event.app.is_some() && event.app != self.app {
            return Vec::new();
        }
        match event.event {
            EventKind::Started => {
                (self.running, self.started_ns) = (true, event.time_ns);
                vec![self.happening(uuid, event.time_ns, "start", None)]
            }
            EventKind::Entered => vec![self.happening(uuid, event.time_ns, "exec_start", None)],
            EventKind::Healthy => vec![self.happening(uuid, event.time_ns, "health_status: healthy", None)],
            EventKind::Unhealthy => vec![self.happening(uuid, event.time_ns, "health_status: unhealthy", None)],
            EventKind::Stopping => {
                self.stopping = true;
                Vec::new()
            }
            EventKind::Exited => {
                self.running = false;
                self.died(uuid, event.time_ns, Some(event.exit.map_or(UNKNOWN, |exit| exit.status())))
            }
            _ => Vec::new(),
        }
    }

    /// Its control group has changed: it may stand still now, or go on.
    pub(super) fn froze_or_thawed(&mut self, uuid: PodUuid) -> Option<Happening> {
        let now = self.group.as_ref()?.stands_still().ok()?;
        if std::mem::replace(&mut self.paused, now) == now {
            return None;
        }
        Some(self.happening(uuid, moment::now(), if now { "pause" } else { "unpause" }, None))
    }

    /// Its end; the one that was asked for is told as such.
    pub(super) fn died(&mut self, uuid: PodUuid, time_ns: u64, code: Option<i32>) -> Vec<Happening> {
        (self.group, self.paused) = (None, false);
        let stopped = std::mem::take(&mut self.stopping).then(|| self.happening(uuid, time_ns, "stop", None));
        std::iter::once(self.happening(uuid, time_ns, "die", code)).chain(stopped).collect()
    }
}
