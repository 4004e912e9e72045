//! Where it is seen what happens to containers: supervisors tell of apps, and the kernel of directories that come and go.
//!
//! Nobody keeps a list. A pod moves from place to place by renames, which inotify(7) tells of; then all pods are looked at
//! again. One that runs is listened to. One that has ended runs again where it stands: a socket comes into being in its
//! directory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use appc::{PodManifest, PodUuid};
use pod::{Place, PodEntry, Pods, State};
use rustix::event::Timespec;
use stage1::protocol::{Call, Reply};
use store::Store;

use super::happening::Happening;
use super::known::Known;
use super::tidings::Tidings;
use crate::cgroup;
use crate::client::Client;
use crate::docker::container::{Container, UNKNOWN};
use crate::error::CommandError;
use crate::moment;

/// How long a supervisor may take for what it has begun to say.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where many come at once they are taken hold of first, and looked at when no other has come for so long,
const QUIET: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// or after so long.
const AT_LAST: Duration = Duration::from_millis(50);

/// All containers.
pub(super) struct Watch<'a> {
    pods: &'a Pods,
    store: &'a Store,
    tidings: Tidings,
    known: BTreeMap<PodUuid, Known>,
    /// Those that have come and were not greeted yet.
    arrivals: VecDeque<Arrival>,
    /// Pods whose control groups have changed.
    groups: BTreeSet<PodUuid>,
    /// Whether anything has changed since all pods were looked at.
    stale: bool,
}

/// A pod that has just come: what its files say, and its supervisor. Both may be gone a moment later.
struct Arrival {
    entry: PodEntry,
    manifest: Vec<u8>,
    supervisor: Option<Client>,
}

impl<'a> Watch<'a> {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// The kernel has no more watches.
    pub(super) fn begin(pods: &'a Pods, store: &'a Store, data_dir: &Path) -> Result<Self, CommandError> {
        let tidings = Tidings::begin(data_dir)?;
        let (known, arrivals, groups) = (BTreeMap::new(), VecDeque::new(), BTreeSet::new());
        Ok(Self { pods, store, tidings, known, arrivals, groups, stale: true })
    }

    /// What is known to have happened before.
    ///
    /// # Errors
    ///
    /// The pods cannot be looked at.
    pub(super) fn past(&mut self) -> Result<Vec<Happening>, CommandError> {
        let mut past = self.look()?;
        // What supervisors remember is on its way already.
        let uuids: Vec<PodUuid> = self.known.keys().copied().collect();
        for uuid in uuids {
            let last =
                self.pods.find(&uuid.to_string()).ok().and_then(|entry| crate::client::report(self.pods, &entry));
            while let (Some(known), Some(report)) = (self.known.get(&uuid), &last) {
                if known.client.is_none() || known.heard >= report.event {
                    break;
                }
                past.extend(self.hear(uuid));
            }
        }
        Ok(past)
    }

    /// What is waited for: changes of directories, then supervisors.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let clients = self.known.values().filter_map(|known| known.client.as_ref());
        std::iter::once(self.tidings.as_fd()).chain(clients.map(Client::as_fd))
    }

    /// What has happened, as far as that is ready to be heard: in the order of [`Watch::fds`].
    ///
    /// # Errors
    ///
    /// The pods cannot be looked at.
    pub(super) fn news(&mut self, ready: &[bool]) -> Result<Vec<Happening>, CommandError> {
        let talking = self.known.iter().filter(|(_, known)| known.client.is_some()).map(|(uuid, _)| *uuid);
        let talking: Vec<PodUuid> =
            talking.zip(ready.iter().skip(1)).filter(|(_, ready)| **ready).map(|(uuid, _)| uuid).collect();
        let mut news: Vec<Happening> = Vec::new();
        let begun = Instant::now();
        self.catch()?;
        while self.stale && begun.elapsed() < AT_LAST && self.tidings.wait(QUIET)? {
            self.catch()?;
        }
        // What is to end goes on first.
        for uuid in std::mem::take(&mut self.groups) {
            news.extend(self.known.get_mut(&uuid).and_then(|known| known.froze_or_thawed(uuid)));
        }
        news.extend(talking.into_iter().flat_map(|uuid| self.hear(uuid)));
        while let Some(arrival) = self.arrivals.pop_front() {
            self.greet(arrival, &mut news);
            self.catch()?;
        }
        if self.stale {
            news.extend(self.look()?);
        }
        Ok(news)
    }

    /// Whether all pods are to be looked at again, without waiting for anything.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Takes hold of all that have just come. They may be over before whatever else is being done: this is called in between.
    fn catch(&mut self) -> Result<(), CommandError> {
        while let Some(told) = self.tidings.take()? {
            self.stale = true;
            self.groups.extend(told.groups);
            for (uuid, place) in told.arrived {
                self.arrivals.push_back(self.arrival(uuid, place));
            }
        }
        Ok(())
    }

    /// Takes hold of a pod that has come to a place.
    fn arrival(&self, uuid: PodUuid, place: Place) -> Arrival {
        let (entry, pod) = self.pods.arrival(uuid, place);
        let known = self.known.get(&uuid);
        let wanted = pod.as_ref().filter(|_| known.is_none());
        let manifest = wanted.and_then(|pod| pod.manifest_bytes().ok()).unwrap_or_default();
        let silent = known.is_none_or(|known| known.client.is_none());
        let runs = pod.as_ref().filter(|_| silent && entry.state == State::Running);
        let supervisor = runs.and_then(|pod| begin(Client::of(pod).ok()?, known.map_or(0, Known::last_heard)));
        Arrival { entry, manifest, supervisor }
    }

    /// Makes the acquaintance of a pod that has come.
    fn greet(&mut self, Arrival { entry, manifest, supervisor }: Arrival, news: &mut Vec<Happening>) {
        let (uuid, place) = (entry.uuid, entry.place);
        if !self.known.contains_key(&uuid) {
            let container = Container::arrived(entry, PodManifest::from_json(&manifest).ok());
            self.introduce(&container, news);
        }
        let Some(known) = self.known.get_mut(&uuid) else { return };
        known.ran |= place > Place::Prepared;
        known.listen(supervisor);
    }

    /// Tells that there is a container that was not known.
    fn introduce(&mut self, container: &Container, news: &mut Vec<Happening>) {
        let uuid = container.entry.uuid;
        let created = container.entry.created_ns.unwrap_or_else(moment::now);
        let known = Known::of(container, self.store);
        news.push(known.happening(uuid, created, "create", None));
        self.known.insert(uuid, known);
    }

    /// Looks at all pods.
    fn look(&mut self) -> Result<Vec<Happening>, CommandError> {
        let mut news = Vec::new();
        let mut there = BTreeSet::new();
        self.stale = false;
        for entry in self.pods.list()?.into_iter().filter(|entry| Place::VISIBLE.contains(&entry.place)) {
            // What is still being prepared is no container yet.
            if entry.place == Place::Prepare {
                continue;
            }
            there.insert(entry.uuid);
            self.meet(entry, &mut news);
            self.catch()?;
        }
        for uuid in self.known.keys().filter(|uuid| !there.contains(uuid)).copied().collect::<Vec<_>>() {
            self.catch()?;
            // Its last words come before its end.
            while self.known.get(&uuid).is_some_and(|known| known.client.is_some()) {
                news.extend(self.hear(uuid));
            }
            let Some(mut known) = self.known.remove(&uuid) else { continue };
            if known.ran && known.started_ns == 0 {
                // It was too short for anybody to be asked.
                news.extend(known.died(uuid, moment::now(), None));
            }
            news.push(known.happening(uuid, moment::now(), "destroy", None));
        }
        Ok(news)
    }

    /// Takes in a pod that is there.
    fn meet(&mut self, entry: PodEntry, news: &mut Vec<Happening>) {
        let uuid = entry.uuid;
        // Its supervisor comes first: a pod may be over at once, and then nobody remembers what it did.
        let since = self.known.get(&uuid).map(Known::last_heard);
        let listens = self.known.get(&uuid).is_some_and(|known| known.client.is_some());
        let runs = entry.state == State::Running && !listens;
        let client = runs.then(|| listener(self.pods, &entry, since.unwrap_or(0))).flatten();
        if !self.known.contains_key(&uuid) {
            // It may be gone again.
            let Ok(container) = Container::read(self.pods, entry.clone()) else { return };
            self.introduce(&container, news);
        }
        let Some(known) = self.known.get_mut(&uuid) else { return };
        known.ran |= entry.place > Place::Prepared;
        let name = entry.name.as_ref().map(ToString::to_string);
        if let Some(name) = name.filter(|name| known.attributes.get("name") != Some(name)) {
            let old = known.attributes.insert("name".to_owned(), name).unwrap_or_default();
            let mut renamed = known.happening(uuid, moment::now(), "rename", None);
            renamed.attributes.insert("oldName".to_owned(), format!("/{old}"));
            news.push(renamed);
        }
        known.listen(client);
        if known.client.is_none() {
            // It may run again.
            self.tidings.watch_pod(entry.place, uuid);
            // Or it did before it was watched.
            if let Some(again) = self.pods.find(&uuid.to_string()).ok().filter(|entry| entry.state == State::Running) {
                known.listen(listener(self.pods, &again, known.last_heard()));
            }
        }
        match known.client {
            None => news.extend(self.recorded(uuid)),
            Some(_) => self.watch_group(&entry),
        }
    }

    /// Watches whether a pod that runs stands still, if it can.
    fn watch_group(&mut self, entry: &PodEntry) {
        let Some(known) = self.known.get_mut(&entry.uuid) else { return };
        if !known.bounded || known.group.is_some() {
            return;
        }
        let Some(group) = cgroup::freezer(self.pods, entry) else { return };
        self.tidings.watch_group(entry.uuid, &group.events_file());
        known.paused = group.stands_still().unwrap_or(false);
        known.group = Some(group);
    }

    /// What was written down of a run that nobody listened to.
    fn recorded(&mut self, uuid: PodUuid) -> Vec<Happening> {
        let entry = self.pods.find(&uuid.to_string()).ok().filter(|entry| entry.place > Place::Prepared);
        let container = entry.and_then(|entry| Container::read(self.pods, entry).ok());
        let (Some(known), Some(container)) = (self.known.get_mut(&uuid), container) else { return Vec::new() };
        let app = container.app.as_ref();
        let started = app.and_then(|app| app.started_ns).or(container.entry.started_ns);
        let ended = container.end.map(|end| end.finished_ns).or(app.and_then(|app| app.finished_ns));
        let (Some(ended), true) = (ended, container.has_ended()) else { return Vec::new() };
        // One that could not be executed was never started.
        if started.unwrap_or(1) <= known.started_ns {
            return Vec::new();
        }
        known.started_ns = started.unwrap_or(1);
        let start = started.map(|time| known.happening(uuid, time, "start", None));
        start.into_iter().chain(known.died(uuid, ended, Some(container.exit_code()))).collect()
    }

    /// What a supervisor says now.
    fn hear(&mut self, uuid: PodUuid) -> Vec<Happening> {
        let Some(known) = self.known.get_mut(&uuid) else { return Vec::new() };
        let mut news = Vec::new();
        while let Some(client) = &mut known.client {
            match client.hear() {
                Ok(Some((Reply::Event(event), _))) => news.extend(known.take(uuid, &event)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    known.client = None;
                    news.extend(self.ended(uuid));
                    return news;
                }
            }
            if !known.client.as_ref().is_some_and(Client::has_more) {
                break;
            }
        }
        news
    }

    /// The supervisor of a container has gone, or could not be understood. If it had not told of the end, nobody has but what
    /// was written down.
    fn ended(&mut self, uuid: PodUuid) -> Vec<Happening> {
        let mut more = Vec::new();
        let found = self.pods.find(&uuid.to_string()).ok();
        if let Some(entry) = found.filter(|entry| Place::VISIBLE.contains(&entry.place)) {
            // From here on its directory is watched.
            self.meet(entry, &mut more);
        }
        let mut news = Vec::new();
        let container = self.pods.find(&uuid.to_string()).ok().and_then(|it| Container::read(self.pods, it).ok());
        if let Some(known) = self.known.get_mut(&uuid).filter(|known| known.client.is_none())
            && std::mem::take(&mut known.running)
        {
            let ended = container.filter(Container::has_ended);
            let code = ended.map_or(UNKNOWN, |container| container.exit_code());
            news.extend(known.died(uuid, moment::now(), Some(code)));
        }
        news.extend(more);
        news
    }
}

/// Asks the supervisor of a pod for what happens after event `since`, if it is there still.
fn listener(pods: &Pods, entry: &PodEntry, since: u64) -> Option<Client> {
    begin(Client::reach(pods, entry).ok().flatten()?, since)
}

/// Asks a supervisor that.
fn begin(client: Client, since: u64) -> Option<Client> {
    let client = client.impatient(PATIENCE).ok()?;
    client.say(Call::Events { since }, &[]).ok().map(|()| client)
}
