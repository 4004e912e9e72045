//! The pod's directory as stage1 wants it: made while the pod's namespaces are, removed while they go.

use std::error::Error;
use std::path::Path;

use appc::{PodManifest, PodUuid, VolumeKind};
use pod::{AppExit, AppStatus, Pod, PodError, PodName, Pods, Preparing, Running, now_ns};
use stage1::idmap::{IdMapping, Tier};
use stage1::run::{AppDirs, Keeper, PodFiles};
use tracing::debug;

use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::idmap::Remover;

/// The number under which `run` records how an app went: it starts each app once.
const FIRST_ATTEMPT: u32 = 0;

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
    /// Whether the directory stays when the pod has ended.
    keep: bool,
    pod: Option<Pod<Running>>,
    started_ns: u64,
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
        keep: bool,
    ) -> Self {
        let (pod, refused, failed) = (None, None, None);
        Self { data_dir, uuid, name, manifest, mapping, remover, keep, pod, started_ns: 0, refused, failed }
    }

    fn make(&mut self) -> Result<PodFiles, CommandError> {
        let pod = Pods::ensure(self.data_dir)?.create(self.uuid, self.name).map_err(explain)?.prepare()?;
        let files = match self.fill(&pod) {
            Ok(files) => files,
            Err(error) => {
                // The first error is the one to report; gc removes what this cannot.
                let _ = pod.remove(self.remover);
                return Err(error);
            }
        };
        let pod = self.pod.insert(pod.into_running()?);
        pod.mark_started()?;
        self.started_ns = now_ns();
        debug!(uuid = %self.uuid, "pod directory is ready");
        Ok(files)
    }

    /// Writes the manifest and makes the directories of apps and volumes.
    fn fill(&self, pod: &Pod<Preparing>) -> Result<PodFiles, CommandError> {
        pod.write_manifest(&self.manifest.to_json()?)?;
        // A user is container root himself; root's pods belong to a range of ids.
        let owner = (self.mapping.tier() == Tier::Root).then(|| self.mapping.container_root());
        let mut apps = Vec::with_capacity(self.manifest.apps.len());
        for app in &self.manifest.apps {
            let dirs = pod.add_app(&app.name, owner)?;
            apps.push(AppDirs { upper: dirs.upper, work: dirs.work });
        }
        let mut volumes = Vec::new();
        for volume in &self.manifest.volumes {
            if let VolumeKind::Empty { mode, .. } = &volume.kind {
                let mode = u32::from_str_radix(mode, 8).unwrap_or(DEFAULT_MODE);
                volumes.push(pod.add_volume(&volume.name, mode, owner)?);
            }
        }
        Ok(PodFiles { apps, volumes, lock: pod.lock_fd().try_clone_to_owned()? })
    }

    /// Removes the directory, or records how the pod ended. Returns why it was never made, and what went wrong since.
    pub(crate) fn finish(mut self, status: i32) -> (Option<CommandError>, Result<(), PodError>) {
        if self.keep {
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
}

impl Keeper for DirectoryKeeper<'_> {
    fn files(&mut self) -> Result<PodFiles, Box<dyn Error + Send + Sync>> {
        self.make().map_err(|error| {
            self.refused = Some(error);
            "see the error beside this one".into()
        })
    }

    fn app_ended(&mut self, app: usize, status: i32) {
        let (Some(pod), true) = (&self.pod, self.keep) else { return };
        let record = AppStatus {
            created_ns: self.started_ns,
            started_ns: Some(self.started_ns),
            finished_ns: Some(now_ns()),
            exit: Some(AppExit::Code(status)),
            ..AppStatus::default()
        };
        let recorded = pod.write_app_status(&self.manifest.apps[app].name, FIRST_ATTEMPT, &record);
        self.note(recorded);
    }

    fn remark(&mut self, app: usize, text: &str) {
        warn(&format!("app {:?}: {text}", self.manifest.apps[app].name.as_str()));
    }

    /// Removes the directory beside the end of pid 1, whose processes are dead or dying: the removal waits for those
    /// that still write.
    fn pod_over(&mut self) {
        if !self.keep {
            self.remove();
        }
    }
}

fn explain(error: PodError) -> CommandError {
    let hint = match &error {
        PodError::NameInUse { holder, .. } => {
            Some(format!("choose another name, or `proa rm {holder}` once that pod has ended"))
        }
        _ => None,
    };
    hint.into_iter().fold(error.into(), CommandError::hint)
}
