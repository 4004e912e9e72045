//! How a pod ends that somebody waits for: its directory may go with it, and then only those who listened know.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pod::{FindError, PodEntry, Pods, State};
use stage1::protocol::{Call, End, EventKind, PodEvent, Reply};

use crate::client::Client;
use crate::error::CommandError;

/// How long before a pod is looked at again that is being prepared, or whose supervisor has gone first.
const PAUSE: Duration = Duration::from_millis(20);

/// Somebody who waits for a pod.
#[derive(Debug)]
pub(crate) struct Waiting {
    entry: PodEntry,
    /// Who is heard from now on, if it runs already.
    client: Option<Client>,
}

/// A pod that was waited for.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It is there, and what is written down says how it ended.
    Kept(PodEntry),
    /// It is not there any more.
    Removed(Heard),
}

/// How a pod ended, as its supervisor told.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// How each app ended last.
    pub(crate) apps: BTreeMap<String, LastEnd>,
    /// The status of the pod; none is told by a supervisor that is killed, or that is older than this program.
    pub(crate) status: Option<i32>,
}

/// How an app ended last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastEnd {
    /// When, in nanoseconds since the epoch.
    pub(crate) time_ns: u64,
    pub(crate) exit: End,
}

impl Waiting {
    /// Begins to listen: however long the end is not asked for, it is known then. A pod whose supervisor cannot be listened
    /// to is looked at instead.
    pub(crate) fn begin(pods: &Pods, entry: PodEntry) -> Self {
        let client = if entry.state == State::Running { listen(pods, &entry) } else { None };
        Self { entry, client }
    }

    /// Waits for the end of the pod, if it runs or is about to, but not longer than until `deadline`.
    ///
    /// # Errors
    ///
    /// The pod is not there any more, and nobody has told how it ended.
    pub(crate) fn end(self, pods: &Pods, deadline: Option<Instant>) -> Result<Ending, CommandError> {
        let (uuid, mut heard, mut client) = (self.entry.uuid.to_string(), Heard::default(), self.client);
        loop {
            if let Some(client) = client.take() {
                heard.all(client, deadline);
            }
            let entry = match pods.find(&uuid) {
                Err(FindError::NoMatch { .. }) if heard.anything() => return Ok(Ending::Removed(heard)),
                found => found?,
            };
            let goes_on = matches!(entry.state, State::Running | State::Preparing | State::Embryo);
            if !goes_on || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Ending::Kept(entry));
            }
            if entry.state == State::Running {
                client = listen(pods, &entry);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Asks for what has happened and what will; `None` if nobody is there to tell.
fn listen(pods: &Pods, entry: &PodEntry) -> Option<Client> {
    let client = Client::reach(pods, entry).ok()??;
    // It may go at this very moment.
    client.say(Call::Events { since: 0 }, &[]).is_ok().then_some(client)
}

impl Heard {
    /// Hears all until the deadline, or until the supervisor is gone, or has no more room for who listens. Of one that is
    /// killed, what it has said counts.
    fn all(&mut self, mut client: Client, deadline: Option<Instant>) {
        loop {
            if let Some(deadline) = deadline {
                // A time of nothing would be for ever.
                let left = deadline.saturating_duration_since(Instant::now());
                let Ok(patient) = client.impatient(left.max(Duration::from_millis(1))) else { return };
                client = patient;
            }
            match client.hear() {
                Ok(Some((Reply::Event(event), _))) => self.note(event),
                Ok(Some((Reply::Exited(end), _))) => self.status = Some(end.status()),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn note(&mut self, event: PodEvent) {
        let PodEvent { time_ns, app, event, exit, .. } = event;
        if let (EventKind::Exited, Some(app), Some(exit)) = (event, app, exit) {
            self.apps.insert(app, LastEnd { time_ns, exit });
        }
    }

    fn anything(&self) -> bool {
        self.status.is_some() || !self.apps.is_empty()
    }
}
