//! A pod as docker sees it: a container.

mod size;

use std::collections::BTreeMap;

use appc::{App, ImageId, PodManifest, PodUuid, RuntimeApp, Volume, VolumeKind};
use pod::{AppExit, AppStatus, FindError, Place, PodEntry, PodName, PodStatus, Pods, State};
use stage1::plan::tmpfs::{self, Tmpfs};
use stage1::protocol::{HealthReport, HealthStatus};
use store::Store;

use super::ps::ellipsis;
use super::{age, image};
use crate::annotations::TYPED_IMAGE;
use crate::cgroup;
use crate::ending::{Ending, Waiting};
use crate::error::CommandError;
use crate::net::{Mode, NetRequest};
use crate::{health_record, moment, named_volumes, parallel, ports};

pub(crate) use size::Size;

/// The exit status of a container whose supervisor was killed: nobody wrote it down.
pub(crate) const UNKNOWN: i32 = 255;

/// What is known of a container.
#[derive(Debug)]
pub(crate) struct Container {
    /// The pod's entry.
    pub(crate) entry: PodEntry,
    /// Its manifest; none of a pod that is being prepared.
    pub(crate) manifest: Option<PodManifest>,
    /// How its first app fares, as far as it was written down.
    pub(crate) app: Option<AppStatus>,
    /// How often that was started again.
    pub(crate) restarts: u32,
    /// How the pod ended.
    pub(crate) end: Option<PodStatus>,
    /// Whether it runs and stands still.
    pub(crate) paused: bool,
    /// Whether it was started, if ever, for nothing: its command could not be executed.
    pub(crate) never_ran: bool,
}

impl Container {
    /// Reads what there is to know of a pod.
    ///
    /// # Errors
    ///
    /// Its files cannot be read.
    pub(crate) fn read(pods: &Pods, entry: PodEntry) -> Result<Self, CommandError> {
        if entry.place == Place::Prepare {
            return Ok(Self::arrived(entry, None));
        }
        let pod = pods.open(&entry)?;
        let manifest = pod.manifest()?;
        let first = manifest.apps.first().map(|app| &app.name);
        let last = first.map(|name| pod.last_attempt(name)).transpose()?.flatten();
        let (restarts, app) = last.map_or((0, None), |(attempt, status)| (attempt, Some(status)));
        let end = pod.pod_status()?;
        let paused = cgroup::is_frozen(pods, &entry, &manifest);
        let failed = restarts == 0 && app.as_ref().is_some_and(|app| app.not_executed);
        let never_ran = failed && !pod.has_run_before()?;
        Ok(Self { entry, manifest: Some(manifest), app, restarts, end, paused, never_ran })
    }

    /// What is known of one of which nothing but this could be read.
    pub(crate) fn arrived(entry: PodEntry, manifest: Option<PodManifest>) -> Self {
        Self { entry, manifest, app: None, restarts: 0, end: None, paused: false, never_ran: false }
    }

    /// Every container, newest first. What cannot be read is left out, and said in a line each.
    ///
    /// # Errors
    ///
    /// The pods cannot be listed.
    pub(crate) fn all(pods: &Pods) -> Result<(Vec<Self>, Vec<CommandError>), CommandError> {
        let (mut containers, mut sick) = (Vec::new(), Vec::new());
        let mut entries = pods.list()?;
        entries.retain(|entry| Place::VISIBLE.contains(&entry.place));
        entries.reverse();
        let read = parallel::map(&entries, |entry| Self::read(pods, entry.clone()));
        for (entry, read) in entries.iter().zip(read) {
            match read {
                Ok(container) => containers.push(container),
                // It was removed between the listing and now.
                Err(error) if matches!(error.cause(), Some(pod::PodError::NotFound { .. })) => {}
                Err(error) => sick.push(error.during(format!("container {}", id(entry.uuid)))),
            }
        }
        Ok((containers, sick))
    }

    /// Its id: 32 digits.
    pub(crate) fn id(&self) -> String {
        id(self.entry.uuid)
    }

    /// The first 12 digits of its id.
    pub(crate) fn short_id(&self) -> String {
        short(self.entry.uuid)
    }

    /// Its name, or its short id: every container of docker's has a name.
    pub(crate) fn name(&self) -> String {
        self.entry.name.as_ref().map_or_else(|| self.short_id(), ToString::to_string)
    }

    pub(crate) fn first(&self) -> Option<(&RuntimeApp, &App)> {
        let runtime = self.manifest.as_ref()?.apps.first()?;
        Some((runtime, runtime.app.as_ref()?))
    }

    /// The ID of its image.
    pub(crate) fn image_id(&self) -> Option<ImageId> {
        self.first()?.0.image.id.as_ref()?.to_string().parse().ok()
    }

    /// What its image is called.
    pub(crate) fn image(&self, store: &Store) -> String {
        let record = self.image_id().and_then(|id| store.record(&id).ok().flatten());
        let typed = self.first().and_then(|(app, _)| app.annotations.get(TYPED_IMAGE)).map(image::Name::parse);
        let stored = record.and_then(|record| {
            let names = image::names(&record);
            // Of several, the one that was meant, as long as it means this image.
            let meant = names.iter().find(|name| Some(*name) == typed.as_ref());
            meant.or(names.first()).map(image::Name::shown)
        });
        let said = || Some(image::Name::parse(self.first()?.0.image.name.as_ref()?.as_ref()).shown());
        stored.or_else(said).unwrap_or_else(|| "<none>".to_owned())
    }

    /// Its labels: those of its image, and those that it was given.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.first().map(|(_, app)| app.user_labels.clone()).unwrap_or_default();
        labels.extend(self.manifest.iter().flat_map(|manifest| manifest.user_labels.clone()));
        labels
    }

    /// Its file systems in memory, by their paths.
    pub(crate) fn memory(&self) -> BTreeMap<String, Tmpfs> {
        self.first().and_then(|(runtime, _)| tmpfs::of(runtime).ok()).unwrap_or_default()
    }

    /// The volume that is mounted at a path.
    pub(crate) fn volume_at(&self, path: &str) -> Option<&Volume> {
        let mount = self.first()?.0.mounts.iter().find(|mount| mount.path == path)?;
        self.manifest.as_ref()?.volume(&mount.volume)
    }

    /// Of each mount its source, if that is on the host, and where it is mounted. What is in memory is none of them.
    pub(crate) fn mounts(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        let memory = self.memory();
        let mounts = self.first().into_iter().flat_map(|(runtime, _)| &runtime.mounts);
        mounts.filter(move |mount| !memory.contains_key(&mount.path)).map(|mount| {
            let volume = self.manifest.as_ref().and_then(|manifest| manifest.volume(&mount.volume));
            let source = volume.and_then(|volume| match &volume.kind {
                VolumeKind::Host { source, .. } => Some(source.as_str()),
                VolumeKind::Empty { .. } => None,
            });
            (source, mount.path.as_str())
        })
    }

    /// How many volumes it has, named ones and others: what is the host's is none.
    pub(crate) fn local_volumes(&self) -> usize {
        self.mounts().filter(|(source, _)| source.is_none_or(|source| named_volumes::name_of(source).is_some())).count()
    }

    /// The networks that it is on, as docker calls them; at least one.
    pub(crate) fn networks(&self) -> Vec<String> {
        let net = self.manifest.as_ref().and_then(|manifest| NetRequest::of(manifest).ok());
        let name = match net {
            Some(NetRequest { joins, .. }) if !joins.is_empty() => {
                return joins.into_iter().map(|joins| joins.network).collect();
            }
            Some(NetRequest { mode: Mode::None, .. }) => "none",
            Some(NetRequest { mode: Mode::Host, .. }) => "host",
            _ => "bridge",
        };
        vec![name.to_owned()]
    }

    /// The ports that lead into it, while it runs, and those that could: `0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 81/tcp`.
    pub(crate) fn ports(&self, pods: &Pods) -> String {
        if self.entry.state != State::Running {
            return String::new();
        }
        let published = self.published(pods);
        let exposed = self.exposed();
        let others = exposed.iter().filter(|port| !published.iter().any(|(inside, _)| inside == *port));
        let shown = published.iter().map(|(inside, outside)| format!("{outside}->{inside}"));
        shown.chain(others.cloned()).collect::<Vec<_>>().join(", ")
    }

    /// What it executes, between quotation marks, as Go has it; of a long command the beginning, unless it is wanted whole.
    pub(crate) fn command(&self, whole: bool) -> String {
        /// The longest command that is shown whole.
        const WIDTH: usize = 20;
        let command = self.first().map(|(_, app)| app.exec.join(" ")).unwrap_or_default();
        let shown = if whole { command } else { ellipsis(&command, WIDTH) };
        serde_json::Value::from(shown).to_string()
    }

    /// The ports that its image names, and those that it was given: `80/tcp`.
    pub(crate) fn exposed(&self) -> Vec<String> {
        self.first().into_iter().flat_map(|(_, app)| &app.ports).map(ports::exposed).collect()
    }

    /// For each such port what it is inside and outside: `80/tcp`, `0.0.0.0:8080`.
    pub(crate) fn published(&self, pods: &Pods) -> Vec<(String, String)> {
        let (Some(manifest), State::Running) = (&self.manifest, self.entry.state) else { return Vec::new() };
        let ports = ports::now(pods, &self.entry, manifest);
        let of_port = |port: &ports::LeadingPort| {
            let inside = port.inside();
            port.all_outside().into_iter().map(move |outside| (inside.clone(), outside))
        };
        ports.iter().flat_map(of_port).collect()
    }

    /// `created`, `running`, `paused`, `restarting`, `exited`, `dead`, `removing`: docker's states.
    pub(crate) fn state(&self) -> &'static str {
        match self.entry.state {
            State::Running if self.app.as_ref().is_some_and(|app| app.restarting) => "restarting",
            State::Running if self.paused => "paused",
            State::Running => "running",
            State::Embryo | State::Preparing | State::Prepared => "created",
            State::Exited | State::ExitedGarbage if self.never_ran => "created",
            State::AbortedPrepare => "dead",
            State::ExitedDeleting | State::Deleting | State::Garbage => "removing",
            _ => "exited",
        }
    }

    /// Whether it has ended, or could not be started.
    pub(crate) fn has_ended(&self) -> bool {
        self.state() == "exited" || self.never_ran
    }

    /// How it ended: the exit status, or [`UNKNOWN`].
    pub(crate) fn exit_code(&self) -> i32 {
        let of_app = self.app.as_ref().and_then(|app| app.exit).map(AppExit::status);
        match self.state() {
            "exited" => self.end.map(|end| end.status).or(of_app).unwrap_or(UNKNOWN),
            "created" if self.never_ran => self.end.map(|end| end.status).or(of_app).unwrap_or(UNKNOWN),
            "restarting" => of_app.unwrap_or(UNKNOWN),
            _ => 0,
        }
    }

    /// What its health checks come to, if it has any: as it was last written down, which is done when it changes.
    pub(crate) fn health(&self) -> Option<HealthReport> {
        let mut report: HealthReport = health_record::read(self.app.as_ref()?.health.as_ref())?;
        // What does not run cannot be healthy.
        if !["running", "paused"].contains(&self.state()) {
            report.status = HealthStatus::Unhealthy;
        }
        Some(report)
    }

    /// `Up 2 hours`, `Restarting (1) 3 seconds ago`, `Exited (0) 3 minutes ago`.
    pub(crate) fn status(&self, now: u64) -> String {
        let ago = |ns: Option<u64>| age::of(now.saturating_sub(ns.unwrap_or(now)));
        match self.state() {
            state @ ("running" | "paused") => {
                let at = self.app.as_ref().and_then(|app| app.started_ns).or(self.entry.started_ns);
                let ended = self.app.as_ref().is_some_and(|app| app.exit.is_some());
                let remark = match self.health().filter(|_| !ended) {
                    _ if state == "paused" => " (Paused)".to_owned(),
                    Some(HealthReport { status: HealthStatus::Starting, .. }) => " (health: starting)".to_owned(),
                    Some(health) => format!(" ({})", health.status.as_str()),
                    None => String::new(),
                };
                format!("Up {}{remark}", ago(at))
            }
            "restarting" => {
                let at = self.app.as_ref().and_then(|app| app.finished_ns);
                format!("Restarting ({}) {} ago", self.exit_code(), ago(at))
            }
            "exited" => {
                let at = self.end.map(|end| end.finished_ns).or(self.app.as_ref().and_then(|app| app.finished_ns));
                format!("Exited ({}) {} ago", self.exit_code(), ago(at.or(self.entry.started_ns)))
            }
            "created" => "Created".to_owned(),
            "dead" => "Dead".to_owned(),
            _ => "Removal In Progress".to_owned(),
        }
    }

    /// How long ago it was made.
    pub(crate) fn created(&self, now: u64) -> String {
        format!("{} ago", age::of(now.saturating_sub(self.entry.created_ns.unwrap_or(now))))
    }

    /// When it was made, in RFC 3339.
    pub(crate) fn created_at(&self) -> String {
        moment::rfc3339(self.entry.created_ns.unwrap_or_default())
    }
}

/// Waits for a container, and says with which status it ended.
///
/// # Errors
///
/// It is not there any more, and nobody has told.
pub(super) fn ended(pods: &Pods, waiting: Waiting) -> Result<i32, CommandError> {
    Ok(match waiting.end(pods, None)? {
        Ending::Kept(entry) => Container::read(pods, entry)?.exit_code(),
        Ending::Removed(heard) => heard.status.unwrap_or(UNKNOWN),
    })
}

/// The id of a pod's container.
pub(crate) fn id(uuid: PodUuid) -> String {
    uuid.to_string().replace('-', "")
}

/// The beginning of it.
pub(crate) fn short(uuid: PodUuid) -> String {
    id(uuid).chars().take(12).collect()
}

/// The container of this name or beginning of an id.
///
/// # Errors
///
/// There is none, or there are several; the texts are docker's.
pub(crate) fn find(pods: &Pods, needle: &str) -> Result<PodEntry, CommandError> {
    find_any(pods, needle)?.ok_or_else(|| not_found(needle))
}

/// The container of this name or beginning of an id, if there is one.
///
/// # Errors
///
/// There are several, or they cannot be looked at.
pub(super) fn find_any(pods: &Pods, needle: &str) -> Result<Option<PodEntry>, CommandError> {
    match pods.find(needle) {
        Ok(entry) => Ok(Some(entry)),
        Err(FindError::NoMatch { .. } | FindError::Empty) => Ok(None),
        Err(FindError::Ambiguous { .. }) => {
            Err(CommandError::failed(format!("multiple IDs found with provided prefix: {needle}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// What docker says of a name that another container has.
pub(super) fn conflict(name: &PodName, holder: PodUuid) -> CommandError {
    let used = format!("The container name \"/{name}\" is already in use by container \"{}\".", id(holder));
    let advice = "You have to remove (or rename) that container to be able to reuse that name.";
    CommandError::failed(format!("Conflict. {used} {advice}"))
}

/// There is no such container.
pub(crate) fn not_found(needle: &str) -> CommandError {
    CommandError::failed(format!("No such container: {needle}"))
}
