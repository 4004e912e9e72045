//! From stored images to a pod that runs, and to the exit status when it is over.

use std::os::fd::OwnedFd;

use appc::{PodManifest, PodUuid, VolumeKind};
use pod::{AppExit, AppStatus, Pod, Pods, Preparing, Running, now_ns};
use stage1::FailureKind;
use stage1::idmap::{IdMapping, Tier};
use stage1::run::{AppFiles, PodSpec, RunError};
use tracing::{debug, info_span};

use crate::context::Context;
use crate::error::{self, CommandError, Explain, Kind};
use crate::idmap::Remover;
use crate::prepare::PreparedPod;

/// The number under which `run` records how an app went: it starts each app once.
const FIRST_ATTEMPT: u32 = 0;

/// Runs the pod in the foreground and returns its exit status.
///
/// # Errors
///
/// The pod could not be made or run. Nothing of it is left then, unless the error says so.
pub(crate) fn run(context: &Context, prepared: PreparedPod) -> Result<u8, CommandError> {
    let launch = info_span!("launch").entered();
    let PreparedPod { manifest, mapping, layers, guards, name, keep } = prepared;
    let remover = Remover::new(&mapping);
    let uuid = PodUuid::new_v4();
    let pod = Pods::ensure(context.data_dir()?)?.create(uuid, name.as_ref()).map_err(explain_pod)?.prepare()?;
    let files = match fill(&pod, &manifest, layers, &mapping) {
        Ok(files) => files,
        Err(error) => return Err(undo(error, pod.remove(&remover))),
    };
    let pod = pod.into_running()?;
    debug!(%uuid, "pod directory is ready");
    drop(launch);
    let ended = supervise(&pod, &manifest, files, &mapping, keep);
    drop(guards);
    if keep {
        return ended;
    }
    let removed = pod.remove(&remover);
    match ended {
        Ok(status) => removed.map(|()| status).during(|| format!("remove pod {uuid}")),
        Err(error) => Err(undo(error, removed)),
    }
}

/// What a pod directory gives to stage1.
struct Files {
    apps: Vec<AppFiles>,
    volumes: Vec<OwnedFd>,
}

/// Writes the manifest and makes the directories of apps and volumes.
fn fill(
    pod: &Pod<Preparing>,
    manifest: &PodManifest,
    layers: Vec<Vec<OwnedFd>>,
    mapping: &IdMapping,
) -> Result<Files, CommandError> {
    pod.write_manifest(&manifest.to_json()?)?;
    // A user is container root himself; root's pods belong to a range of ids.
    let owner = (mapping.tier() == Tier::Root).then(|| mapping.container_root());
    let mut apps = Vec::with_capacity(layers.len());
    for (app, layers) in manifest.apps.iter().zip(layers) {
        let dirs = pod.add_app(&app.name, owner)?;
        apps.push(AppFiles { layers, upper: dirs.upper, work: dirs.work });
    }
    let mut volumes = Vec::with_capacity(manifest.volumes.len());
    for volume in &manifest.volumes {
        volumes.push(pod.add_volume(&volume.name, mode(&volume.kind), owner)?);
    }
    Ok(Files { apps, volumes })
}

/// The mode of an empty volume's directory. All volumes are empty ones as long as no flag makes others.
fn mode(kind: &VolumeKind) -> u32 {
    match kind {
        VolumeKind::Empty { mode, .. } => u32::from_str_radix(mode, 8).unwrap_or(0o755),
        VolumeKind::Host { .. } => 0o755,
    }
}

/// Hands the pod to stage1 and, if it is to be kept, records how it went.
fn supervise(
    pod: &Pod<Running>,
    manifest: &PodManifest,
    files: Files,
    mapping: &IdMapping,
    keep: bool,
) -> Result<u8, CommandError> {
    let hostname = pod.name().map_or_else(|| format!("proa-{}", pod.uuid()), ToString::to_string);
    let spec = PodSpec {
        manifest,
        hostname: &hostname,
        mapping,
        apps: files.apps,
        volumes: files.volumes,
        lock: Some(pod.lock_fd()),
    };
    let started_ns = now_ns();
    pod.mark_started()?;
    let mut unrecorded = None;
    let outcome = stage1::run::run(spec, &mut |app, status| {
        if keep {
            let status = AppStatus {
                created_ns: started_ns,
                started_ns: Some(started_ns),
                finished_ns: Some(now_ns()),
                exit: Some(AppExit::Code(status)),
                ..AppStatus::default()
            };
            let recorded = pod.write_app_status(&manifest.apps[app].name, FIRST_ATTEMPT, &status);
            unrecorded = unrecorded.take().or(recorded.err());
        }
    });
    let status = match &outcome {
        Ok(outcome) => outcome.status,
        Err(error) => i32::from(error.exit_status()),
    };
    if keep {
        unrecorded = unrecorded.or(pod.write_pod_status(status).err());
    }
    outcome.map_err(explain_run)?;
    match unrecorded {
        Some(error) => Err(CommandError::from(error).during("record how the pod ended")),
        // An app's status is a byte, whatever a manifest or a signal made of it.
        None => Ok(u8::try_from(status).unwrap_or(u8::MAX)),
    }
}

/// A failure after which the pod was removed, or could not be removed either.
fn undo(error: CommandError, removed: Result<(), pod::PodError>) -> CommandError {
    match removed {
        Ok(()) => error,
        Err(left) => {
            let left = error::chain(&left);
            error.hint(format!("the pod could not be removed ({left}); `proa gc` will try again"))
        }
    }
}

fn explain_pod(error: pod::PodError) -> CommandError {
    let hint = match &error {
        pod::PodError::NameInUse { holder, .. } => Some(format!("choose another name, or `proa rm {holder}`")),
        _ => None,
    };
    hint.into_iter().fold(error.into(), CommandError::hint)
}

/// The exit status of a pod that could not run, and what mends it.
fn explain_run(error: RunError) -> CommandError {
    let (kind, hint) = match &error {
        RunError::Pod(failure) => match failure.kind {
            FailureKind::NotFound => (Kind::NotFound, Some("is the path right, and its interpreter in the image?")),
            FailureKind::NotExecutable => (Kind::NotExecutable, Some("is it a program for this machine, with x bits?")),
            FailureKind::User => (Kind::Failed, Some("choose another one with --user and --group")),
            FailureKind::WorkingDirectory => (Kind::Failed, Some("choose another one with --working-dir")),
            FailureKind::Overlay => (Kind::Failed, Some("`proa doctor` says whether overlay works here")),
            _ => (Kind::Failed, None),
        },
        RunError::Namespace(_) | RunError::IdMap(_) => {
            (Kind::Failed, Some("`proa doctor` says what this machine lacks"))
        }
        _ => (Kind::Failed, None),
    };
    let mut error = CommandError::from(error);
    error.kind = kind;
    hint.into_iter().fold(error, CommandError::hint)
}
