//! Apps that come into a running pod.

use std::collections::VecDeque;
use std::fmt::Display;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use appc::{ImageManifest, PodManifest, RuntimeApp, Volume, VolumeKind};

use super::{AppRecord, Monitor, Waits, memory_file};
use crate::builder::{Building, Parts, VolumeFd};
use crate::cgroup::limits::Limits;
use crate::channel::{AddSpec, Failure, FailureKind, ToInit};
use crate::control::ConnectionId;
use crate::limits::{self, MAX_APPS};
use crate::metadata::{Metadata, image_of};
use crate::plan::SourceKind;
use crate::protocol::{EventKind, RefusedKind, Reply, StdioKind};
use crate::run::{AppOptions, AppStdio, Keeper, RunError, source_kind};
use crate::streams::AppPipes;
use crate::supervise::Restart;

/// An app that a client wants to have added.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) manifest: String,
    pub(super) image: Option<String>,
    pub(super) layers: usize,
    pub(super) trees: Vec<String>,
    pub(super) stdio: StdioKind,
    /// Whether the client hears remarks.
    pub(super) remarks: bool,
}

/// The apps that are to come into the pod, one after the other.
#[derive(Debug, Default)]
pub(super) struct Additions {
    /// Where apps can be added: the pod's user namespace.
    pub(super) namespace: Option<OwnedFd>,
    queue: VecDeque<Queued>,
    current: Option<Addition>,
}

/// An app that is wanted, and who wants it.
#[derive(Debug)]
struct Queued {
    connection: ConnectionId,
    wanted: Wanted,
    fds: Vec<OwnedFd>,
}

/// An app that is being added.
#[derive(Debug)]
struct Addition {
    /// Its index.
    app: usize,
    image: ImageManifest,
    /// The volumes that it brings into the pod.
    new_volumes: Vec<Volume>,
    /// What builds its mounts, until pid 1 goes on with them.
    building: Option<Building>,
}

impl Additions {
    /// What builds the mounts of an app, if something does.
    pub(super) fn building(&self) -> Option<&Building> {
        self.current.as_ref()?.building.as_ref()
    }
}

/// What is wanted, read.
struct Newcomer<'a> {
    /// Of a pod with this app alone.
    manifest: PodManifest,
    app: RuntimeApp,
    image: ImageManifest,
    /// The volumes that it brings into the pod.
    new_volumes: Vec<Volume>,
    /// The user namespace that its mounts are built in.
    namespace: &'a OwnedFd,
}

/// Why it is not added.
type Refusal = (RefusedKind, String);

impl Monitor<'_> {
    /// Adds an app when it is its turn: one is added at a time.
    pub(super) fn add(&mut self, connection: ConnectionId, wanted: Wanted, fds: Vec<OwnedFd>, keeper: &mut dyn Keeper) {
        if self.waiting.contains_key(&connection)
            || self.additions.queue.iter().any(|queued| queued.connection == connection)
        {
            // Its descriptors are held until then.
            return self.refuse(connection, RefusedKind::State, "this connection waits for something already");
        }
        self.additions.queue.push_back(Queued { connection, wanted, fds });
        self.add_next(keeper);
    }

    /// Begins to add the next app that can be, if none is being added.
    fn add_next(&mut self, keeper: &mut dyn Keeper) {
        while self.additions.current.is_none() {
            let Some(Queued { connection, wanted, fds }) = self.additions.queue.pop_front() else { return };
            if let Err((kind, message)) = self.begin(connection, &wanted, fds, keeper) {
                self.refuse(connection, kind, &message);
            }
        }
    }

    /// Forgets what a client that is gone wanted to have added.
    pub(super) fn unqueue(&mut self, connection: ConnectionId) {
        self.additions.queue.retain(|queued| queued.connection != connection);
    }

    /// Begins to add an app: its mounts are built by a process of their own.
    fn begin(
        &mut self,
        connection: ConnectionId,
        wanted: &Wanted,
        mut fds: Vec<OwnedFd>,
        keeper: &mut dyn Keeper,
    ) -> Result<(), Refusal> {
        let &Wanted { layers, stdio, remarks, .. } = wanted;
        let failed = |message: String| (RefusedKind::Failed(FailureKind::Setup), message);
        let Newcomer { manifest, app, image, new_volumes, namespace } = self.newcomer(wanted)?;
        limits::expect_apps(self.alive().count() + 1);
        if fds.len() < layers {
            return Err(request("fewer descriptors than layers"));
        }
        let limits = Limits::of(app.app.as_ref().map_or(&[][..], |app| &app.isolators), &app.annotations);
        let limits_are_ignored = self.cgroup.is_none() && !limits.is_empty();
        let sources = fds.split_off(layers);
        let volumes = volumes_for(&manifest, sources, keeper)?;
        let added = keeper.add_app(&app.name, &image, &wanted.trees);
        let dirs = added.map_err(|error| failed(crate::run::chain(&*error)))?;
        let options = AppOptions { stdio: AppStdio::Kept(stdio), restart: Restart::No };
        let (mapping, hostname) = (self.mapping, self.hostname);
        let parts = Parts { mapping, hostname, manifest: &manifest, layers: fds, dirs, volumes };
        match Building::start(self.apps.len(), namespace, parts) {
            Ok(building) => {
                let record = AppRecord::new(&app, options);
                self.supervisor.add(record.policy());
                if limits_are_ignored {
                    let text = "limits of its resources are ignored: the pod has no control group of its own";
                    self.remark(remarks.then_some(connection), app.name.as_str(), text, keeper);
                }
                self.apps.push(record);
                self.manifest.apps.push(app);
                let app = building.app;
                self.waiting.insert(connection, Waits::Added { app, remarks });
                self.additions.current = Some(Addition { app, image, new_volumes, building: Some(building) });
                Ok(())
            }
            Err(error) => {
                // The first error is the one to tell; what stays goes with the pod.
                let _ = keeper.remove_app(&app.name);
                Err(failed(error.to_string()))
            }
        }
    }

    /// Reads what is wanted, and refuses what cannot be.
    fn newcomer(&self, wanted: &Wanted) -> Result<Newcomer<'_>, Refusal> {
        let mut manifest = PodManifest::from_json(wanted.manifest.as_bytes()).map_err(request)?;
        // What was decided about protection was decided for the pod.
        manifest.annotations = self.manifest.annotations.clone();
        let image = wanted.image.as_deref().map(|image| ImageManifest::from_json(image.as_bytes())).transpose();
        let image = image.map_err(request)?;
        let [app] = manifest.apps.as_slice() else { return Err(request("wanted: one app")) };
        let app = app.clone();
        let image = image.unwrap_or_else(|| image_of(&app));
        if self.alive().any(|(_, known)| known.report.name == app.name.as_str()) {
            return Err(state(format_args!("the pod has an app {:?} already", app.name.as_str())));
        }
        let Some(namespace) = &self.additions.namespace else {
            return Err(state("apps can only be added to a pod that was made for it"));
        };
        if self.alive().count() >= MAX_APPS {
            return Err(state(format_args!("the pod has {MAX_APPS} apps, and there can be no more")));
        }
        if self.supervisor.is_stopping() {
            return Err(state("the pod is being stopped"));
        }
        let mut new_volumes = manifest.volumes.clone();
        for known in &self.manifest.volumes {
            if new_volumes.iter().any(|volume| volume.name == known.name && volume != known) {
                return Err(request(format_args!("the pod has another volume {:?}", known.name.as_str())));
            }
            new_volumes.retain(|volume| volume.name != known.name);
        }
        Ok(Newcomer { manifest, app, image, new_volumes, namespace })
    }

    /// The mounts of an app are built, or could not be: pid 1 goes on with them.
    pub(super) fn built(&mut self, keeper: &mut dyn Keeper) -> Result<(), RunError> {
        let building = self.additions.current.as_mut().and_then(|addition| addition.building.take());
        let Some(building) = building else { return Ok(()) };
        let (app, manifest, sources) = (building.app, building.manifest.clone(), building.sources.clone());
        let (mounts, built) = match building.finish() {
            Ok(built) => built,
            Err(failure) => return self.added(app, Err(failure), keeper),
        };
        match self.hand_over(app, manifest, sources, mounts, &built) {
            Ok(()) => Ok(()),
            Err(failure) => self.added(app, Err(failure), keeper),
        }
    }

    /// Gives pid 1 what it makes the app of.
    fn hand_over(
        &mut self,
        app: usize,
        manifest: String,
        sources: Vec<Option<SourceKind>>,
        mounts: Vec<usize>,
        built: &[OwnedFd],
    ) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::new(FailureKind::Setup, &format_args!("begin the app: {error}"));
        let terminal = match self.apps[app].stdio() {
            AppStdio::Kept(kind) => kind.terminal,
            AppStdio::Inherited | AppStdio::Muted(_) => None,
        };
        self.keep_log(app).map_err(failed)?;
        let (pipes, streams) =
            AppPipes::new(self.apps[app].stdio(), self.mapping).map_err(|errno| failed(errno.into()))?;
        let cgroup = self.cgroup_for(app)?;
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
        let spec = memory_file(&spec).map_err(failed)?;
        let fds: Vec<BorrowedFd<'_>> =
            std::iter::once(&spec).chain(built).chain(&cgroup).chain(streams.fds()).map(|fd| fd.as_fd()).collect();
        self.init.say_with(&ToInit::Add { app }, &fds).map_err(|errno| failed(errno.into()))?;
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
        // One of that name may have been removed whose processes were not gone yet: its limits are not this one's.
        cgroup.remove_app(&known.name);
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
        let addition = self.additions.current.take_if(|addition| addition.app == app);
        let done = self.settle(app, result.map(|()| addition), keeper);
        self.add_next(keeper);
        done
    }

    /// Takes the app in, or lets go of it.
    fn settle(
        &mut self,
        app: usize,
        result: Result<Option<Addition>, Failure>,
        keeper: &mut dyn Keeper,
    ) -> Result<(), RunError> {
        let (new_volumes, image) = match result {
            Ok(addition) => addition.map(|addition| (addition.new_volumes, addition.image)).unzip(),
            Err(failure) => {
                if let Ok(name) = self.apps[app].report.name.parse() {
                    // The first error is the one to tell; what stays goes with the pod.
                    let _ = keeper.remove_app(&name);
                }
                return self.not_added(app, &failure);
            }
        };
        self.manifest.volumes.extend(new_volumes.unwrap_or_default());
        let written = keeper.manifest_changed(&self.manifest);
        keeper.app_changed(&self.apps[app].report);
        let name = self.apps[app].report.name.clone();
        if let (Some(metadata), Some(image), Ok(name)) = (&mut self.metadata, image, name.parse()) {
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
        self.let_go(app)?;
        if let Some(connection) = self.who_waits_for(app) {
            self.refuse(connection, RefusedKind::Failed(failure.kind), &failure.message);
        }
        Ok(())
    }

    fn who_waits_for(&mut self, added: usize) -> Option<ConnectionId> {
        let waits_for = |waits: &Waits| matches!(waits, Waits::Added { app, .. } if *app == added);
        let connection = self.waiting.iter().find(|(_, waits)| waits_for(waits)).map(|(id, _)| *id)?;
        self.waiting.remove(&connection);
        Some(connection)
    }

    /// Pid 1 has something to say of an app: whoever has it added hears that, if he can, or else whoever keeps the pod.
    pub(super) fn remarked(&mut self, of: usize, text: &str, keeper: &mut dyn Keeper) {
        let hears = |waits: &Waits| matches!(waits, Waits::Added { app, remarks: true } if *app == of);
        let client = self.waiting.iter().find(|(_, waits)| hears(waits)).map(|(id, _)| *id);
        let name = self.apps[of].report.name.clone();
        self.remark(client, &name, text, keeper);
    }

    fn remark(&mut self, client: Option<ConnectionId>, app: &str, text: &str, keeper: &mut dyn Keeper) {
        match client {
            Some(connection) => self.reply(connection, &Reply::Remark(format!("app {app:?}: {text}"))),
            None => keeper.remark(app, text),
        }
    }
}

/// What each volume of the manifest is: an empty one of the pod's, which is made if there is none yet, or a source on
/// the host that came along.
fn volumes_for(
    manifest: &PodManifest,
    sources: Vec<OwnedFd>,
    keeper: &mut dyn Keeper,
) -> Result<Vec<VolumeFd>, Refusal> {
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
                let missing = || request(format_args!("no source for volume {:?}", volume.name.as_str()));
                let source = sources.next().ok_or_else(missing)?;
                (Some(source_kind(&source).map_err(|error| failed(error.to_string()))?), source)
            }
        });
    }
    Ok(volumes)
}

fn request(message: impl Display) -> Refusal {
    (RefusedKind::Request, message.to_string())
}

fn state(message: impl Display) -> Refusal {
    (RefusedKind::State, message.to_string())
}
