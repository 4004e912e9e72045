//! The pod's directory as stage1 wants it: made while the pod's namespaces are, removed while they go.

use std::os::fd::OwnedFd;
use std::path::Path;

use appc::{AcName, ImageManifest, PodManifest, PodUuid, Volume, VolumeKind};
use pod::{AppExit, AppStatus, Pod, PodError, PodName, Pods, Preparing, Running};
use stage1::End;
use stage1::idmap::{IdMapping, Tier};
use stage1::protocol::AppReport;
use stage1::run::{AppDirs, Keeper, KeeperError, PodFiles};
use store::LayerKey;
use tracing::debug;

use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::idmap::Remover;
use crate::setup::{AppSetup, Setup};
use crate::uuid_file::UuidFile;
use crate::{health_record, leftover};

/// The mode of an empty volume whose mode is no number; such a manifest was not made by this program.
const DEFAULT_MODE: u32 = 0o755;

/// Keeps one pod's directory for as long as the pod runs.
pub(crate) struct DirectoryKeeper<'a> {
    data_dir: &'a Path,
    uuid: PodUuid,
    name: Option<&'a PodName>,
    manifest: &'a PodManifest,
    mapping: &'a IdMapping,
    remover: &'a Remover<'a>,
    /// What is written for later commands; without it the directory goes when the pod has ended.
    setup: Option<Setup>,
    /// Whether the directory has the apps' logs as long as it is there.
    logs: bool,
    /// Where it is written which pod it is, for whoever asked for it.
    uuid_file: Option<&'a UuidFile>,
    /// The pod, once there is one: from the beginning if it was prepared before.
    pod: Option<Pod<Running>>,
    /// What to do when all apps are being started.
    started: Option<Box<dyn FnOnce() + 'a>>,
    /// Why there is no directory.
    refused: Option<CommandError>,
    /// The first thing that could not be recorded or removed.
    failed: Option<PodError>,
}

impl<'a> DirectoryKeeper<'a> {
    pub(crate) fn new(
        data_dir: &'a Path,
        uuid: PodUuid,
        name: Option<&'a PodName>,
        manifest: &'a PodManifest,
        mapping: &'a IdMapping,
        remover: &'a Remover<'a>,
    ) -> Self {
        Self {
            data_dir,
            uuid,
            name,
            manifest,
            mapping,
            remover,
            setup: None,
            logs: false,
            uuid_file: None,
            pod: None,
            started: None,
            refused: None,
            failed: None,
        }
    }

    /// Has the directory stay when the pod has ended.
    pub(crate) fn keep(mut self, setup: Setup) -> Self {
        self.setup = Some(setup);
        self
    }

    /// Has logs kept of what apps write to streams that this process reads.
    pub(crate) fn keep_logs(mut self) -> Self {
        self.logs = true;
        self
    }

    /// Has it written to `file` which pod it is, before any app is started.
    pub(crate) fn save_uuid(mut self, file: &'a UuidFile) -> Self {
        self.uuid_file = Some(file);
        self
    }

    /// Runs a pod that was prepared before.
    pub(crate) fn resume(mut self, pod: Pod<Running>) -> Self {
        self.pod = Some(pod);
        self
    }

    /// Has `started` called when all apps are being started.
    pub(crate) fn when_started(mut self, started: impl FnOnce() + 'a) -> Self {
        self.started = Some(Box::new(started));
        self
    }

    fn make(&mut self) -> Result<PodFiles, CommandError> {
        if let Some(pod) = &self.pod {
            return self.reopen(pod);
        }
        let pods = Pods::ensure(self.data_dir)?;
        let pod = leftover::create(&pods, self.data_dir, self.uuid, self.name).map_err(explain)?.prepare()?;
        let filled = fill(&pod, self.manifest, self.mapping, self.setup.as_ref())
            .and_then(|files| Ok(PodFiles { control: Some(pod.listen()?), logs: self.logs(&pod)?, ..files }))
            .and_then(|files| self.write_uuid().map(|()| files));
        let files = match filled {
            Ok(files) => files,
            Err(error) => {
                // The first error is the one to report; gc removes what this cannot.
                let _ = pod.remove(self.remover);
                return Err(error);
            }
        };
        let pod = self.pod.insert(pod.into_running()?);
        if self.setup.is_some()
            && let Err(error) = pod.reserve_status()
        {
            self.remove();
            return Err(error.into());
        }
        pod.mark_started()?;
        debug!(uuid = %self.uuid, "pod directory is ready");
        Ok(files)
    }

    /// The files of a pod that was filled when it was prepared.
    fn reopen(&self, pod: &Pod<Running>) -> Result<PodFiles, CommandError> {
        let mut apps = Vec::with_capacity(self.manifest.apps.len());
        for app in &self.manifest.apps {
            let dirs = pod.app_dirs(&app.name)?;
            apps.push(AppDirs { upper: dirs.upper, work: dirs.work });
        }
        let empty = self.manifest.volumes.iter().filter(|volume| matches!(volume.kind, VolumeKind::Empty { .. }));
        let volumes = empty.map(|volume| pod.volume(&volume.name));
        let volumes = volumes.collect::<Result<Vec<_>, _>>()?;
        let lock = pod.lock_fd().try_clone_to_owned()?;
        let files = PodFiles { apps, volumes, lock, control: Some(pod.listen()?), logs: self.logs(pod)? };
        self.write_uuid()?;
        pod.reserve_status()?;
        pod.mark_started()?;
        Ok(files)
    }

    fn write_uuid(&self) -> Result<(), CommandError> {
        self.uuid_file.map_or(Ok(()), |file| file.write(self.uuid))
    }

    fn logs<S>(&self, pod: &Pod<S>) -> Result<Option<OwnedFd>, CommandError> {
        Ok(self.logs.then(|| pod.dir().try_clone_to_owned()).transpose()?)
    }

    /// Removes the directory, or records how the pod ended. Returns why it was never made, and what went wrong since.
    pub(crate) fn finish(mut self, status: i32) -> (Option<CommandError>, Result<(), PodError>) {
        if self.setup.is_some() {
            let recorded = self.pod.as_ref().map_or(Ok(()), |pod| pod.write_pod_status(status));
            self.note(recorded);
        } else {
            self.remove();
        }
        (self.refused, self.failed.map_or(Ok(()), Err))
    }

    fn remove(&mut self) {
        if let Some(pod) = self.pod.take() {
            let removed = pod.remove(self.remover);
            self.note(removed);
        }
    }

    fn note(&mut self, result: Result<(), PodError>) {
        self.failed = self.failed.take().or(result.err());
    }

    /// Changes what is written for later commands, if anything is.
    fn change_setup(&mut self, change: impl FnOnce(&mut Setup)) -> Result<(), KeeperError> {
        let Some(setup) = &self.setup else { return Ok(()) };
        let mut changed = setup.clone();
        change(&mut changed);
        self.running()?.replace_setup(&changed.to_json())?;
        self.setup = Some(changed);
        Ok(())
    }

    fn running(&self) -> Result<&Pod<Running>, KeeperError> {
        self.pod.as_ref().ok_or_else(|| "the pod has no directory".into())
    }
}

/// Writes the manifest and makes the directories of apps and volumes.
///
/// # Errors
/// A failed system call; what was made stays.
pub(crate) fn fill(
    pod: &Pod<Preparing>,
    manifest: &PodManifest,
    mapping: &IdMapping,
    setup: Option<&Setup>,
) -> Result<PodFiles, CommandError> {
    pod.write_manifest(&manifest.to_json()?)?;
    if let Some(setup) = setup {
        pod.write_setup(&setup.to_json())?;
    }
    let owner = owner(mapping);
    let mut apps = Vec::with_capacity(manifest.apps.len());
    for app in &manifest.apps {
        let dirs = pod.add_app(&app.name, owner)?;
        apps.push(AppDirs { upper: dirs.upper, work: dirs.work });
    }
    let mut volumes = Vec::new();
    for volume in &manifest.volumes {
        if let VolumeKind::Empty { .. } = &volume.kind {
            volumes.push(pod.add_volume(&volume.name, mode(volume), owner)?);
        }
    }
    Ok(PodFiles { apps, volumes, lock: pod.lock_fd().try_clone_to_owned()?, control: None, logs: None })
}

/// The mode of an empty volume's directory.
fn mode(volume: &Volume) -> u32 {
    match &volume.kind {
        VolumeKind::Empty { mode, .. } => u32::from_str_radix(mode, 8).unwrap_or(DEFAULT_MODE),
        VolumeKind::Host { .. } => DEFAULT_MODE,
    }
}

/// A user is container root himself; root's pods belong to a range of ids.
fn owner(mapping: &IdMapping) -> Option<(u32, u32)> {
    (mapping.tier() == Tier::Root).then(|| mapping.container_root())
}

impl Keeper for DirectoryKeeper<'_> {
    fn files(&mut self) -> Result<PodFiles, KeeperError> {
        self.make().map_err(|error| {
            self.refused = Some(error);
            "see the error beside this one".into()
        })
    }

    fn pod_started(&mut self) {
        if let Some(started) = self.started.take() {
            started();
        }
    }

    fn app_changed(&mut self, app: &AppReport) {
        let (Some(pod), Some(_), Ok(name)) = (&self.pod, &self.setup, app.name.parse::<AcName>()) else { return };
        let exit = app.exit.map(|end| match end {
            End::Code(code) => AppExit::Code(code),
            End::Signal(signal) => AppExit::Signal(signal),
        });
        let record = AppStatus {
            created_ns: app.created_ns,
            started_ns: app.started_ns,
            finished_ns: app.finished_ns,
            exit,
            reason: app.reason.clone(),
            oom_killed: app.oom,
            restarting: app.restarting,
            not_executed: app.not_executed,
            logs_lost: app.logs_lost,
            health: app.health.as_ref().and_then(health_record::of),
        };
        let recorded = pod.write_app_status(&name, app.attempt, &record);
        self.note(recorded);
    }

    /// The setup comes first: from then on no garbage collection removes the trees, which the client holds until now.
    fn add_app(&mut self, name: &AcName, image: &ImageManifest, trees: &[String]) -> Result<AppDirs, KeeperError> {
        let trees = trees.iter().map(|tree| tree.parse()).collect::<Result<Vec<LayerKey>, _>>()?;
        self.change_setup(|setup| setup.add(AppSetup::new(name.to_string(), trees, image)))?;
        let dirs = self.running()?.add_app(name, owner(self.mapping))?;
        Ok(AppDirs { upper: dirs.upper, work: dirs.work })
    }

    fn volume(&mut self, volume: &Volume) -> Result<OwnedFd, KeeperError> {
        let pod = self.running()?;
        match pod.volume(&volume.name) {
            Err(PodError::Call(error)) if error.source == rustix::io::Errno::NOENT => {
                Ok(pod.add_volume(&volume.name, mode(volume), owner(self.mapping))?)
            }
            opened => Ok(opened?),
        }
    }

    fn remove_app(&mut self, name: &AcName) -> Result<(), KeeperError> {
        self.running()?.remove_app(name, self.remover)?;
        self.change_setup(|setup| setup.remove(name.as_str()))
    }

    fn manifest_changed(&mut self, manifest: &PodManifest) -> Result<(), KeeperError> {
        Ok(self.running()?.replace_manifest(&manifest.to_json()?)?)
    }

    fn remark(&mut self, app: &str, text: &str) {
        warn(&format!("app {app:?}: {text}"));
    }

    fn remark_on_pod(&mut self, text: &str) {
        warn(text);
    }

    /// Removes the directory beside the end of pid 1, whose processes are dead or dying: the removal waits for those
    /// that still write.
    fn pod_over(&mut self) {
        if self.setup.is_none() {
            self.remove();
        }
    }
}

pub(crate) fn explain(error: PodError) -> CommandError {
    let hint = match &error {
        PodError::NameInUse { holder, .. } => {
            Some(format!("choose another name, or `proa rm {holder}` once that pod has ended"))
        }
        _ => None,
    };
    hint.into_iter().fold(error.into(), CommandError::hint)
}
