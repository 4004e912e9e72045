//! What clients want, and what they get.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use appc::{ImageManifest, PodManifest, VolumeKind};

use super::{AppRecord, Monitor, Purpose, Waits, asks_to_end, memory_file};
use crate::builder::{Building, Parts, VolumeFd};
use crate::cgroup::limits::Limits;
use crate::channel::{AddSpec, Failure, FailureKind, ToInit};
use crate::control::{ConnectionId, Incoming};
use crate::metadata::{Metadata, image_of};
use crate::output::Stream;
use crate::protocol::{Call, EnterSpec, EventKind, PodReport, RefusedKind, Reply, Request, StdioKind, VERSION};
use crate::run::{AppOptions, AppStdio, Keeper, RunError, source_kind};
use crate::streams::AppPipes;
use crate::supervise::{Event, GRACE, Phase, Restart, Timer};
use crate::terminal;

/// Time for an entered process to follow its client's end.
const HANG_UP: Duration = Duration::from_secs(5);

/// Longest time that a client may give apps to stop.
const MAX_GRACE: Duration = Duration::from_secs(24 * 3600);

/// SIGHUP, on every architecture (signal(7)).
const SIGHUP: i32 = 1;

/// An app that a client wants to have added.
struct Wanted {
    manifest: String,
    image: Option<String>,
    layers: usize,
    trees: Vec<String>,
    stdio: StdioKind,
}

impl Monitor<'_> {
    pub(super) fn incoming(&mut self, incoming: Incoming, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        match incoming {
            Incoming::Request(connection, Request { call, .. }, fds) => self.call(connection, call, fds, keeper),
            Incoming::Gone(connection) => self.gone(connection, keeper),
        }
    }

    /// A client has gone: what it entered is hung up, and what it held ends.
    fn gone(&mut self, connection: ConnectionId, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        self.events.forget(connection);
        self.outputs.detach(connection);
        self.waiting.remove(&connection);
        let entered = |purpose: &Purpose| *purpose == Purpose::Entered(connection);
        let processes: Vec<u64> = self.processes.iter().filter(|(_, p)| entered(p)).map(|(id, _)| *id).collect();
        for process in processes.into_iter().filter(|process| !self.staying.contains(process)) {
            self.hung_up.insert(process, Instant::now() + HANG_UP);
            self.say(&ToInit::Signal { process, signal: SIGHUP })?;
        }
        if self.holder == Some(connection) {
            self.holder = None;
            self.stop(None, None, None, keeper)?;
        }
        Ok(())
    }

    fn call(
        &mut self,
        connection: ConnectionId,
        call: Call,
        fds: Vec<OwnedFd>,
        keeper: &mut dyn Keeper,
    ) -> Result<(), RunError> {
        match call {
            Call::Status => {
                let report = Reply::Status(self.report());
                self.reply(connection, &report);
            }
            Call::Events { since } => {
                for event in self.events.listen(connection, since) {
                    self.reply(connection, &Reply::Event(event));
                }
            }
            Call::Signal { app, signal } => self.signal(connection, app, signal, keeper)?,
            Call::Stop { app, signal, grace_ms } => match app {
                None => {
                    self.stop(None, signal, grace_ms, keeper)?;
                    self.reply(connection, &Reply::Done);
                }
                Some(name) => {
                    if let Some(app) = self.find(connection, &name) {
                        self.stop(Some(app), signal, grace_ms, keeper)?;
                        self.reply(connection, &Reply::Done);
                    }
                }
            },
            Call::Start { app } => self.start(connection, &app, keeper)?,
            Call::Add { manifest, image, layers, trees, stdio } => {
                let wanted = Wanted { manifest, image, layers, trees, stdio };
                if let Err((kind, message)) = self.add(connection, &wanted, fds, keeper) {
                    self.refuse(connection, kind, &message);
                }
            }
            Call::Remove { app } => self.remove(connection, &app, keeper)?,
            Call::Enter { app, stays, spec } => self.enter_for((connection, stays), &app, &spec, fds)?,
            Call::Room { app } => {
                if let Some(app) = self.find(connection, &app) {
                    let process = self.next_process;
                    self.next_process += 1;
                    self.processes.insert(process, Purpose::Room(connection));
                    self.say(&ToInit::Room { app, process })?;
                }
            }
            Call::Forward { signal } => {
                let entered = |purpose: &&Purpose| **purpose == Purpose::Entered(connection);
                let process = self.processes.iter().find(|(_, purpose)| entered(purpose)).map(|(id, _)| *id);
                if let Some(process) = process {
                    self.say(&ToInit::Signal { process, signal })?;
                }
            }
            Call::Attach { app, stdin, stdout, stderr, holds } => {
                self.attach(connection, &app, [stdin, stdout, stderr], holds);
                if holds {
                    self.holder = Some(connection);
                    self.timers.remove(&Timer::Held);
                    // What the apps write from their first moment on is the client's.
                    self.start_all(keeper)?;
                }
            }
        }
        Ok(())
    }

    fn report(&self) -> PodReport {
        let apps: Vec<_> = self.alive().map(|(_, app)| app.report.clone()).collect();
        // Exited counts: it has been started.
        let begun = |app: &&AppRecord| app.report.started_ns.is_some();
        PodReport {
            version: VERSION,
            pid: self.pid.as_raw_nonzero().get(),
            ready: self.alive().all(|(_, app)| begun(&app)),
            stopping: self.supervisor.is_stopping(),
            event: self.events.last(),
            cgroup: self.cgroup.as_ref().map(|cgroup| cgroup.path().display().to_string()),
            apps,
            network: self.network_report(),
        }
    }

    /// The apps that have not been removed.
    fn alive(&self) -> impl Iterator<Item = (usize, &AppRecord)> {
        let phases = self.supervisor.apps().iter().map(|app| app.phase);
        self.apps
            .iter()
            .zip(phases)
            .enumerate()
            .filter(|(_, (_, phase))| *phase != Phase::Removed)
            .map(|(i, (a, _))| (i, a))
    }

    /// The app of this name, or a refusal.
    fn find(&mut self, connection: ConnectionId, name: &str) -> Option<usize> {
        let found = self.alive().find(|(_, app)| app.report.name == name).map(|(index, _)| index);
        if found.is_none() {
            self.refuse(connection, RefusedKind::NoApp, &format!("the pod has no app {name:?}"));
        }
        found
    }

    fn signal(
        &mut self,
        connection: ConnectionId,
        app: Option<String>,
        signal: i32,
        keeper: &mut dyn Keeper,
    ) -> Result<(), RunError> {
        if !(1..=64).contains(&signal) {
            self.refuse(connection, RefusedKind::Request, &format!("{signal} is not a signal"));
            return Ok(());
        }
        match app {
            None => self.react(Event::Signal(signal), keeper)?,
            Some(name) => {
                let Some(app) = self.find(connection, &name) else { return Ok(()) };
                let Some(process) = self.apps[app].process else {
                    // Whoever holds the pod passes on what a person typed: between two runs there is no app to hear it.
                    if self.holder == Some(connection) && asks_to_end(signal) {
                        self.react(Event::Interrupt(signal), keeper)?;
                        self.reply(connection, &Reply::Done);
                        return Ok(());
                    }
                    self.refuse(connection, RefusedKind::State, &format!("app {name:?} is not running"));
                    return Ok(());
                };
                self.say(&ToInit::Signal { process, signal })?;
            }
        }
        self.reply(connection, &Reply::Done);
        Ok(())
    }

    fn stop(
        &mut self,
        app: Option<usize>,
        signal: Option<i32>,
        grace_ms: Option<u64>,
        keeper: &mut dyn Keeper,
    ) -> Result<(), RunError> {
        let grace = grace_ms.map_or(GRACE, Duration::from_millis).min(MAX_GRACE);
        let name = app.map(|app| self.apps[app].report.name.clone());
        self.tell(name, EventKind::Stopping, None);
        self.react(Event::Stop { app, signal, grace }, keeper)
    }

    fn start(&mut self, connection: ConnectionId, name: &str, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let Some(app) = self.find(connection, name) else { return Ok(()) };
        let phase = self.supervisor.apps()[app].phase;
        if self.supervisor.is_stopping() || matches!(phase, Phase::Active(_)) {
            let why = if self.supervisor.is_stopping() { "the pod is being stopped" } else { "it runs already" };
            self.refuse(connection, RefusedKind::State, &format!("app {name:?}: {why}"));
            return Ok(());
        }
        self.react(Event::Start(app), keeper)?;
        self.reply(connection, &Reply::Done);
        Ok(())
    }

    fn enter_for(
        &mut self,
        (connection, stays): (ConnectionId, bool),
        name: &str,
        spec: &EnterSpec,
        fds: Vec<OwnedFd>,
    ) -> Result<(), RunError> {
        let Some(app) = self.find(connection, name) else { return Ok(()) };
        let fits = if spec.terminal.is_some() { fds.is_empty() } else { fds.len() == 3 };
        if !fits || spec.exec.is_empty() {
            let what = "wanted: a command, and three descriptors or a terminal";
            self.refuse(connection, RefusedKind::Request, what);
            return Ok(());
        }
        if let Some(kind) = fds.iter().find_map(terminal::way_out) {
            self.refuse(connection, RefusedKind::Request, &format!("a standard stream is a {kind} of the host"));
            return Ok(());
        }
        if self.processes.values().any(|purpose| *purpose == Purpose::Entered(connection)) {
            self.refuse(connection, RefusedKind::State, "this connection has entered already");
            return Ok(());
        }
        let process = self.next_process;
        self.next_process += 1;
        self.processes.insert(process, Purpose::Entered(connection));
        if stays {
            self.staying.insert(process);
        }
        self.enter(app, process, spec, &fds)?;
        if spec.terminal.is_none() {
            self.reply(connection, &Reply::Started);
        }
        self.tell(Some(name.to_owned()), EventKind::Entered, None);
        Ok(())
    }

    fn attach(&mut self, connection: ConnectionId, name: &str, [stdin, stdout, stderr]: [bool; 3], alone: bool) {
        let Some(app) = self.find(connection, name) else { return };
        if !self.apps[app].is_kept() {
            let what = format!("app {name:?} has the streams of whoever runs the pod");
            return self.refuse(connection, RefusedKind::State, &what);
        }
        let terminal = self.apps[app].has_terminal();
        let input = if stdin { self.outputs.input(app, alone && !terminal) } else { None };
        let (stdout, stderr) = (stdout, stderr && !terminal);
        let mut fds = Vec::new();
        let mut connect = |wanted: bool, stream| {
            wanted.then(|| self.outputs.attach(app, stream, connection, alone)).transpose().map(|fd| fds.extend(fd))
        };
        let connected = connect(stdout, Stream::Stdout).and_then(|()| connect(stderr, Stream::Stderr));
        if let Err(errno) = connected {
            let what = format!("socketpair(): {}", std::io::Error::from(errno));
            return self.refuse(connection, RefusedKind::Failed(FailureKind::Setup), &what);
        }
        let all: Vec<BorrowedFd<'_>> = input.iter().chain(&fds).map(|fd| fd.as_fd()).collect();
        let reply = Reply::Attached { stdin: input.is_some(), stdout, stderr, terminal };
        self.reply_with(connection, &reply, &all);
    }

    fn remove(&mut self, connection: ConnectionId, name: &str, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let Some(app) = self.find(connection, name) else { return Ok(()) };
        if matches!(self.supervisor.apps()[app].phase, Phase::Active(_) | Phase::Waiting) {
            self.refuse(connection, RefusedKind::State, &format!("app {name:?} is running"));
            return Ok(());
        }
        self.supervisor.remove(app);
        self.say(&ToInit::Remove { app })?;
        self.manifest.apps.retain(|known| known.name.as_str() != name);
        if let (Some(cgroup), Ok(name)) = (&self.cgroup, name.parse()) {
            cgroup.remove_app(&name);
        }
        if let Some(metadata) = &mut self.metadata {
            metadata.app_removed(name, &self.manifest);
        }
        let removed = name.parse().map_err(Into::into).and_then(|name| {
            keeper.manifest_changed(&self.manifest)?;
            keeper.remove_app(&name)
        });
        match removed {
            Ok(()) => self.reply(connection, &Reply::Done),
            Err(error) => {
                self.refuse(connection, RefusedKind::Failed(FailureKind::Setup), &crate::run::chain(&*error));
            }
        }
        self.tell(Some(name.to_owned()), EventKind::Removed, None);
        Ok(())
    }

    /// Begins to add an app: its mounts are built by a process of their own.
    fn add(
        &mut self,
        connection: ConnectionId,
        wanted: &Wanted,
        mut fds: Vec<OwnedFd>,
        keeper: &mut dyn Keeper,
    ) -> Result<(), (RefusedKind, String)> {
        let &Wanted { layers, stdio, .. } = wanted;
        let request = |message: String| (RefusedKind::Request, message);
        let state = |message: &str| (RefusedKind::State, message.to_owned());
        let failed = |message: String| (RefusedKind::Failed(FailureKind::Setup), message);
        let mut manifest =
            PodManifest::from_json(wanted.manifest.as_bytes()).map_err(|error| request(error.to_string()))?;
        // What was decided about protection was decided for the pod.
        manifest.annotations = self.manifest.annotations.clone();
        let image = wanted.image.as_deref().map(|image| ImageManifest::from_json(image.as_bytes())).transpose();
        let image = image.map_err(|error| request(error.to_string()))?;
        let [app] = manifest.apps.as_slice() else { return Err(request("wanted: one app".to_owned())) };
        let image = image.unwrap_or_else(|| image_of(app));
        if self.alive().any(|(_, known)| known.report.name == app.name.as_str()) {
            return Err(state(&format!("the pod has an app {:?} already", app.name.as_str())));
        }
        let Some(namespace) = &self.namespace else {
            return Err(state("apps can only be added to a pod that was made for it"));
        };
        if self.building.is_some() || self.adding.is_some() {
            return Err(state("another app is being added"));
        }
        if self.supervisor.is_stopping() {
            return Err(state("the pod is being stopped"));
        }
        let mut new_volumes = manifest.volumes.clone();
        for known in &self.manifest.volumes {
            if new_volumes.iter().any(|volume| volume.name == known.name && volume != known) {
                return Err(request(format!("the pod has another volume {:?}", known.name.as_str())));
            }
            new_volumes.retain(|volume| volume.name != known.name);
        }
        if fds.len() < layers {
            return Err(request("fewer descriptors than layers".to_owned()));
        }
        let limits = Limits::of(app.app.as_ref().map_or(&[][..], |app| &app.isolators), &app.annotations);
        if self.cgroup.is_none() && !limits.is_empty() {
            let text = "limits of its resources are ignored: the pod has no control group of its own";
            keeper.remark(app.name.as_str(), text);
        }
        let sources = fds.split_off(layers);
        let volumes = self.volumes_for(&manifest, sources, keeper)?;
        let added = keeper.add_app(&app.name, &image, &wanted.trees);
        let dirs = added.map_err(|error| failed(crate::run::chain(&*error)))?;
        let options = AppOptions { stdio: AppStdio::Kept(stdio), restart: Restart::No };
        let (mapping, hostname) = (self.mapping, self.hostname);
        let parts = Parts { mapping, hostname, manifest: &manifest, layers: fds, dirs, volumes };
        match Building::start(self.apps.len(), namespace, parts) {
            Ok(building) => {
                let record = AppRecord::new(app, options);
                self.supervisor.add(record.policy());
                self.apps.push(record);
                self.waiting.insert(connection, Waits::Added(building.app));
                self.building = Some(building);
                self.image = Some(image);
                self.new_volumes = new_volumes;
                self.manifest.apps.push(app.clone());
                Ok(())
            }
            Err(error) => {
                let _ = keeper.remove_app(&app.name);
                Err(failed(error.to_string()))
            }
        }
    }

    /// What each volume of the manifest is: an empty one of the pod's, which is made if there is none yet, or a source on
    /// the host that came along.
    fn volumes_for(
        &self,
        manifest: &PodManifest,
        sources: Vec<OwnedFd>,
        keeper: &mut dyn Keeper,
    ) -> Result<Vec<VolumeFd>, (RefusedKind, String)> {
        let failed = |error: String| (RefusedKind::Failed(FailureKind::Volume), error);
        let mut sources = sources.into_iter();
        let mut volumes = Vec::new();
        for volume in &manifest.volumes {
            volumes.push(match volume.kind {
                VolumeKind::Empty { .. } => {
                    let dir = keeper.volume(volume).map_err(|error| failed(crate::run::chain(&*error)))?;
                    (None, dir)
                }
                VolumeKind::Host { .. } => {
                    let missing = || (RefusedKind::Request, format!("no source for volume {:?}", volume.name.as_str()));
                    let source = sources.next().ok_or_else(missing)?;
                    (Some(source_kind(&source).map_err(|error| failed(error.to_string()))?), source)
                }
            });
        }
        Ok(volumes)
    }

    /// The mounts of an app are built, or could not be: pid 1 goes on with them.
    pub(super) fn built(&mut self, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let Some(building) = self.building.take() else { return Ok(()) };
        let (app, manifest, sources) = (building.app, building.manifest.clone(), building.sources.clone());
        let (mounts, built) = match building.finish() {
            Ok(built) => built,
            Err(failure) => return self.added(app, Err(failure), keeper),
        };
        let terminal = match self.apps[app].stdio() {
            AppStdio::Kept(kind) => kind.terminal,
            AppStdio::Inherited => None,
        };
        self.keep_log(app)?;
        let (pipes, streams) = AppPipes::new(self.apps[app].stdio()).map_err(std::io::Error::from)?;
        let cgroup = match self.cgroup_for(app) {
            Ok(cgroup) => cgroup,
            Err(failure) => return self.added(app, Err(failure), keeper),
        };
        let spec = AddSpec {
            manifest,
            hostname: self.hostname.to_owned(),
            terminal,
            sources,
            mounts,
            metadata_url: self.metadata.as_ref().map(Metadata::url),
            etc: self.etc.clone(),
            cgroup: cgroup.is_some(),
        };
        let spec = memory_file(&spec)?;
        let fds: Vec<BorrowedFd<'_>> =
            std::iter::once(&spec).chain(&built).chain(&cgroup).chain(streams.fds()).map(|fd| fd.as_fd()).collect();
        self.init.say_with(&ToInit::Add { app }, &fds).map_err(std::io::Error::from)?;
        self.adding = Some(app);
        pipes.keep(app, &mut self.outputs);
        Ok(())
    }

    /// Makes the control group of an app that is added, and returns the way into it; `None` if the pod has none.
    fn cgroup_for(&mut self, app: usize) -> Result<Option<OwnedFd>, Failure> {
        let Some(cgroup) = &self.cgroup else { return Ok(None) };
        let record = &mut self.apps[app];
        let known = self.manifest.apps.iter().find(|known| known.name.as_str() == record.report.name);
        let Some(known) = known else { return Ok(None) };
        let limits = Limits::of(known.app.as_ref().map_or(&[][..], |app| &app.isolators), &known.annotations);
        let made = cgroup.app(&known.name, &limits);
        let (group, procs) = made.map_err(|error| Failure::new(FailureKind::Setup, &crate::run::chain(&error)))?;
        record.cgroup = Some(group);
        Ok(Some(procs))
    }

    /// Pid 1 has created the app, or could not.
    pub(super) fn added(
        &mut self,
        app: usize,
        result: Result<(), Failure>,
        keeper: &mut dyn Keeper,
    ) -> Result<(), RunError> {
        self.adding = None;
        if let Err(failure) = result {
            let name = self.apps[app].report.name.clone();
            if let Ok(name) = name.parse() {
                let _ = keeper.remove_app(&name);
            }
            return self.not_added(app, &failure);
        }
        self.manifest.volumes.append(&mut self.new_volumes);
        let written = keeper.manifest_changed(&self.manifest);
        keeper.app_changed(&self.apps[app].report);
        let name = self.apps[app].report.name.clone();
        if let (Some(metadata), Some(image), Ok(name)) = (&mut self.metadata, self.image.take(), name.parse()) {
            metadata.app_added(&name, image, &self.manifest);
        }
        self.tell(Some(name), EventKind::Created, None);
        if let Some(connection) = self.who_waits_for(app) {
            match written {
                Ok(()) => self.reply(connection, &Reply::Done),
                Err(error) => {
                    self.refuse(connection, RefusedKind::Failed(FailureKind::Setup), &crate::run::chain(&*error));
                }
            }
        }
        Ok(())
    }

    fn not_added(&mut self, app: usize, failure: &Failure) -> Result<(), RunError> {
        self.supervisor.remove(app);
        let name = self.apps[app].report.name.clone();
        self.manifest.apps.retain(|known| known.name.as_str() != name);
        self.say(&ToInit::Remove { app })?;
        if let (Some(cgroup), Ok(name)) = (&self.cgroup, name.parse()) {
            cgroup.remove_app(&name);
        }
        if let Some(connection) = self.who_waits_for(app) {
            self.refuse(connection, RefusedKind::Failed(failure.kind), &failure.message);
        }
        Ok(())
    }

    fn who_waits_for(&mut self, app: usize) -> Option<ConnectionId> {
        let connection = self.waiting.iter().find(|(_, waits)| **waits == Waits::Added(app)).map(|(id, _)| *id)?;
        self.waiting.remove(&connection);
        Some(connection)
    }
}
