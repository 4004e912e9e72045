//! How a pod ends that somebody waits for: its directory may go with it, and only who listens knows.

use std::collections::BTreeMap;
use std::time::Duration;

use pod::{FindError, PodEntry, Pods, State};
use stage1::protocol::{Call, EventKind, PodEvent, Reply};

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

/// What the supervisor has told: of each app the number of its last end, and its status.
#[derive(Debug, Default)]
struct Heard(BTreeMap<String, (u64, i32)>);

impl Waiting {
    /// Begins to listen: however long the end is not asked for, it is known then.
    ///
    /// # Errors
    ///
    /// The pod's supervisor cannot be reached.
    pub(crate) fn begin(pods: &Pods, entry: PodEntry) -> Result<Self, CommandError> {
        let client = if entry.state == State::Running { listen(pods, &entry)? } else { None };
        Ok(Self { entry, client })
    }

    /// Waits for the end of the pod, if it runs or is about to. Returns the pod, or the status that was told of one that is not
    /// there any more.
    ///
    /// # Errors
    ///
    /// The pod is not there any more, and nobody has told how it ended; its supervisor cannot be reached.
    pub(crate) fn end(self, pods: &Pods) -> Result<Result<PodEntry, i32>, CommandError> {
        let (uuid, mut heard, mut client) = (self.entry.uuid.to_string(), Heard::default(), self.client);
        loop {
            if let Some(client) = &mut client {
                heard.all(client);
            }
            let entry = match (pods.find(&uuid), heard.status()) {
                (Err(FindError::NoMatch { .. }), Some(status)) => return Ok(Err(status)),
                (found, _) => found?,
            };
            client = match entry.state {
                State::Running => listen(pods, &entry)?,
                State::Preparing | State::Embryo => None,
                _ => return Ok(Ok(entry)),
            };
            std::thread::sleep(PAUSE);
        }
    }
}

/// Asks for what has happened and what will; `None` if nobody is there to tell.
fn listen(pods: &Pods, entry: &PodEntry) -> Result<Option<Client>, CommandError> {
    let Some(client) = Client::reach(pods, entry)? else { return Ok(None) };
    // It may go at this very moment.
    Ok(client.say(Call::Events { since: 0 }, &[]).is_ok().then_some(client))
}

impl Heard {
    /// Hears all until the supervisor is gone, or has no more room for who listens. Of one that is killed, what it has said
    /// counts.
    fn all(&mut self, client: &mut Client) {
        while let Ok(Some((reply, _))) = client.hear() {
            if let Reply::Event(event) = reply {
                self.note(event);
            }
        }
    }

    fn note(&mut self, event: PodEvent) {
        if let (EventKind::Exited, Some(app), Some(exit)) = (event.event, event.app, event.exit) {
            self.0.insert(app, (event.seq, exit.status()));
        }
    }

    /// The status of the pod; `None` where it takes more than the ends of its apps to know that.
    fn status(&self) -> Option<i32> {
        let ends = || self.0.values();
        let first = ends().min()?.1;
        // Behind one that succeeds, one that fails makes the status, or is stopped and does not: as the pod's policy is.
        (first != 0 || ends().all(|(_, status)| *status == 0)).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fails_makes_the_status() {
        let status = |ends: &[(&str, u64, i32)]| {
            let ends = ends.iter().map(|(app, seq, status)| ((*app).to_owned(), (*seq, *status)));
            Heard(ends.collect()).status()
        };
        assert_eq!(status(&[]), None);
        assert_eq!(status(&[("a", 4, 3)]), Some(3));
        assert_eq!(status(&[("a", 9, 143), ("b", 7, 5)]), Some(5));
        assert_eq!(status(&[("a", 9, 0), ("b", 7, 0)]), Some(0));
        assert_eq!(status(&[("a", 9, 143), ("b", 7, 0)]), None);
    }
}
