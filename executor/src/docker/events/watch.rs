//! Where it is seen what happens to containers: supervisors tell of apps, and the kernel of directories that come and go.
//!
//! Nobody keeps a list. A pod moves from place to place by renames, which inotify(7) tells of; then all pods are looked at
//! again. One that runs is listened to. One that has ended runs again where it stands: a socket comes into being in its
//! directory.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use appc::PodUuid;
use pod::{Place, PodEntry, Pods, State};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use stage1::protocol::{Call, EventKind, PodEvent, Reply};
use store::Store;

use super::happening::Happening;
use crate::client::Client;
use crate::docker::container::Container;
use crate::error::{CommandError, Explain as _};
use crate::moment;

/// How long a supervisor may take for what it has begun to say.
const PATIENCE: Duration = Duration::from_secs(1);

/// All containers.
pub(super) struct Watch<'a> {
    pods: &'a Pods,
    store: &'a Store,
    /// The directory of the places of pods.
    dir: PathBuf,
    inotify: OwnedFd,
    known: BTreeMap<PodUuid, Known>,
}

/// What is known of a container.
struct Known {
    /// Its image's name, its own, its labels.
    attributes: BTreeMap<String, String>,
    /// The app that it is.
    app: Option<String>,
    client: Option<Client>,
    /// The last event of this run that was heard.
    heard: u64,
    running: bool,
    stopping: bool,
    /// Whether it was seen where pods run.
    ran: bool,
    /// When it was started the last time that was told; 0 if none was.
    started_ns: u64,
}

impl<'a> Watch<'a> {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// The kernel has no more watches.
    pub(super) fn begin(pods: &'a Pods, store: &'a Store, data_dir: &Path) -> Result<Self, CommandError> {
        let dir = data_dir.join("pods");
        let inotify =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).during(|| "inotify_init1()".into())?;
        let watch = Self { pods, store, dir, inotify, known: BTreeMap::new() };
        for place in Place::VISIBLE.map(Place::dir_name).into_iter().chain(["names"]) {
            let come_and_go = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
            let path = watch.dir.join(place);
            inotify::add_watch(&watch.inotify, &path, come_and_go)
                .during(|| format!("inotify_add_watch({})", path.display()))?;
        }
        Ok(watch)
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
        std::iter::once(self.inotify.as_fd()).chain(clients.map(Client::as_fd))
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
        let mut news: Vec<Happening> = talking.into_iter().flat_map(|uuid| self.hear(uuid)).collect();
        if ready.first() == Some(&true) {
            // Those that have just come may be over before all are looked at.
            for uuid in self.drain()? {
                let found = self.pods.find(&uuid.to_string()).ok().filter(|entry| entry.place > Place::Prepare);
                found.into_iter().for_each(|entry| self.meet(entry, &mut news));
            }
            news.extend(self.look()?);
        }
        Ok(news)
    }

    /// Takes in what the kernel tells, and returns the pods that it names. That something has changed is what counts: all
    /// are looked at then.
    fn drain(&self) -> Result<BTreeSet<PodUuid>, CommandError> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut named = BTreeSet::new();
        loop {
            match reader.next() {
                Ok(event) => {
                    named.extend(event.file_name().and_then(|name| name.to_str().ok()?.parse::<PodUuid>().ok()))
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(named),
                Err(errno) => return Err(errno).during(|| "read(<inotify>)".into()),
            }
        }
    }

    /// Looks at all pods.
    fn look(&mut self) -> Result<Vec<Happening>, CommandError> {
        let mut news = Vec::new();
        let mut there = BTreeSet::new();
        for entry in self.pods.list()?.into_iter().filter(|entry| Place::VISIBLE.contains(&entry.place)) {
            // What is still being prepared is no container yet.
            if entry.place == Place::Prepare {
                continue;
            }
            there.insert(entry.uuid);
            self.meet(entry, &mut news);
        }
        for uuid in self.known.keys().filter(|uuid| !there.contains(uuid)).copied().collect::<Vec<_>>() {
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
            let created = entry.created_ns.unwrap_or_else(moment::now);
            // It may be gone again.
            let Ok(container) = Container::read(self.pods, entry.clone()) else { return };
            let known = Known::of(&container, self.store);
            news.push(known.happening(uuid, created, "create", None));
            self.known.insert(uuid, known);
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
        if known.client.is_some() {
            return;
        }
        known.listen(client);
        if known.client.is_none() {
            // It may run again; the kernel lets go of a watch with its directory.
            let path = self.dir.join(entry.place.dir_name()).join(uuid.to_string());
            let comes = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            let _ = inotify::add_watch(&self.inotify, &path, comes);
            // Or it did before it was watched.
            if let Some(again) = self.pods.find(&uuid.to_string()).ok().filter(|entry| entry.state == State::Running) {
                known.listen(listener(self.pods, &again, known.last_heard()));
            }
        }
        if known.client.is_none() {
            news.extend(self.recorded(uuid));
        }
    }

    /// What was written down of a run that nobody listened to.
    fn recorded(&mut self, uuid: PodUuid) -> Vec<Happening> {
        let entry = self.pods.find(&uuid.to_string()).ok().filter(|entry| entry.place > Place::Prepared);
        let container = entry.and_then(|entry| Container::read(self.pods, entry).ok());
        let (Some(known), Some(container)) = (self.known.get_mut(&uuid), container) else { return Vec::new() };
        let app = container.app.as_ref();
        let started = app.and_then(|app| app.started_ns).or(container.entry.started_ns);
        let ended = container.end.map(|end| end.finished_ns).or(app.and_then(|app| app.finished_ns));
        let (Some(ended), "exited") = (ended, container.state()) else { return Vec::new() };
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
            let ended = container.filter(|container| container.state() == "exited");
            let code = ended.map_or(UNKNOWN, |container| container.exit_code());
            news.extend(known.died(uuid, moment::now(), Some(code)));
        }
        news.extend(more);
        news
    }
}

/// Asks the supervisor of a pod for what happens after event `since`, if it is there still.
fn listener(pods: &Pods, entry: &PodEntry, since: u64) -> Option<Client> {
    let client = Client::reach(pods, entry).ok().flatten().and_then(|client| client.impatient(PATIENCE).ok())?;
    client.say(Call::Events { since }, &[]).ok().map(|()| client)
}

/// The status of a container of which nobody knows how it ended.
const UNKNOWN: i32 = 255;

impl Known {
    fn of(container: &Container, store: &Store) -> Self {
        let mut attributes = container.labels();
        attributes.insert("image".to_owned(), container.image(store));
        attributes.insert("name".to_owned(), container.name());
        let app = container.first().map(|(app, _)| app.name.to_string());
        Self { attributes, app, client: None, heard: 0, running: false, stopping: false, ran: false, started_ns: 0 }
    }

    /// The last event that was heard of this run. One that runs still is listened to again, after it could not be understood.
    fn last_heard(&self) -> u64 {
        if self.running { self.heard } else { 0 }
    }

    /// Listens to the supervisor, if it was there to be asked.
    fn listen(&mut self, client: Option<Client>) {
        if client.is_some() && !self.running {
            (self.heard, self.stopping) = (0, false);
        }
        if self.client.is_none() {
            self.client = client;
        }
    }

    fn happening(&self, uuid: PodUuid, time_ns: u64, action: &'static str, code: Option<i32>) -> Happening {
        let mut attributes = self.attributes.clone();
        attributes.extend(code.map(|code| ("exitCode".to_owned(), code.to_string())));
        Happening { time_ns, uuid, action, attributes }
    }

    /// What an event of the supervisor's is to docker.
    fn take(&mut self, uuid: PodUuid, event: &PodEvent) -> Vec<Happening> {
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

    /// Its end; the one that was asked for is told as such.
    fn died(&mut self, uuid: PodUuid, time_ns: u64, code: Option<i32>) -> Vec<Happening> {
        let stopped = std::mem::take(&mut self.stopping).then(|| self.happening(uuid, time_ns, "stop", None));
        std::iter::once(self.happening(uuid, time_ns, "die", code)).chain(stopped).collect()
    }
}
