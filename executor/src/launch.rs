//! From stored images to a pod that runs, and to the exit status when it is over.

use appc::isolator::report::Outcome;
use appc::{PodManifest, PodUuid, RuntimeApp};
use rustix::rand::{GetRandomFlags, getrandom};
use stage1::FailureKind;
use stage1::idmap::{IdMapping, Tier};
use stage1::run::{PodSpec, RunError};
use tracing::info_span;

use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{self, CommandError, Explain, Kind};
use crate::idmap::{self, Remover};
use crate::keeper::DirectoryKeeper;
use crate::prepare::PreparedPod;

/// Runs the pod in the foreground and returns its exit status.
///
/// # Errors
///
/// The pod could not be made or run. Nothing of it is left then, unless the error says so.
pub(crate) fn run(context: &Context, prepared: PreparedPod) -> Result<u8, CommandError> {
    let launch = info_span!("launch").entered();
    let PreparedPod { manifest, mapping, layers, sources, guards, name, keep } = prepared;
    tell_what_differs(&manifest, &mapping)?;
    let remover = Remover::new(&mapping);
    let uuid = PodUuid::from_random(random_bytes()?);
    let hostname = name.as_ref().map_or_else(|| format!("proa-{uuid}"), ToString::to_string);
    let spec = PodSpec { manifest: &manifest, hostname: &hostname, mapping: &mapping, layers, sources };
    let mut keeper =
        DirectoryKeeper::new(context.data_dir()?, uuid, name.as_ref(), &manifest, &mapping, &remover, keep);
    let outcome = stage1::run::run(spec, &mut keeper);
    drop(launch);
    drop(guards);
    let status = match &outcome {
        Ok(outcome) => outcome.status,
        Err(error) => i32::from(error.exit_status()),
    };
    let (refused, kept) = keeper.finish(status);
    match refused.map_or_else(|| outcome.map_err(explain_run), Err) {
        // An app's status is a byte, whatever a manifest or a signal made of it.
        Ok(_) => kept.map(|()| u8::try_from(status).unwrap_or(u8::MAX)).during(|| format!("put pod {uuid} away")),
        Err(error) => Err(undo(error, kept)),
    }
}

/// From the kernel's generator in one call; a static binary's other ways to it open /dev/random first.
fn random_bytes() -> Result<[u8; 16], CommandError> {
    let mut bytes = [0; 16];
    // Up to 256 bytes come whole, and without waiting once the machine has booted (getrandom(2)).
    getrandom(&mut bytes, GetRandomFlags::empty()).map(|_| bytes).during(|| "get random bytes".into())
}

/// Says what an app gets other than its image asks for, or than a person would expect.
fn tell_what_differs(manifest: &PodManifest, mapping: &IdMapping) -> Result<(), CommandError> {
    for app in &manifest.apps {
        let Some(inner) = &app.app else { continue };
        let (_, report) = stage1::isolators::rights(inner).during(|| format!("app {:?}", app.name.as_str()))?;
        for entry in report.iter().filter(|entry| entry.outcome != Outcome::Enforced) {
            warn(&format!("app {:?}: isolator {entry}", app.name.as_str()));
        }
    }
    let supplementary = |app: &&RuntimeApp| app.app.as_ref().is_some_and(|app| !app.supplementary_gids.is_empty());
    if let (Tier::Single, Some(app)) = (mapping.tier(), manifest.apps.iter().find(supplementary)) {
        let name = app.name.as_str();
        warn(&format!("app {name:?}: its supplementary groups cannot be had without a subordinate id range"));
    }
    // The kernel lets nobody without a range drop groups (user_namespaces(7)).
    let own = rustix::process::getegid();
    let mut groups = if mapping.tier() == Tier::Single { rustix::process::getgroups()? } else { Vec::new() };
    groups.retain(|group| *group != own);
    if !groups.is_empty() {
        let groups: Vec<String> = groups.iter().map(|group| group.as_raw().to_string()).collect();
        let groups = groups.join(", ");
        warn(&format!("without a subordinate id range, apps keep your supplementary groups: {groups}"));
    }
    Ok(())
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

/// The exit status of a pod that could not run, and what mends it.
fn explain_run(error: RunError) -> CommandError {
    let (kind, hint) = match &error {
        RunError::Pod(failure) => match failure.kind {
            FailureKind::NotFound => (Kind::NotFound, Some("is the path right, and its interpreter in the image?")),
            FailureKind::NotExecutable => (Kind::NotExecutable, Some("is it a program for this machine, with x bits?")),
            FailureKind::User => (Kind::Failed, Some("choose another one with --user and --group")),
            FailureKind::Namespace => (Kind::Failed, Some("raise user.max_*_namespaces; `proa doctor` looks at them")),
            FailureKind::Volume => (Kind::Failed, Some("choose another source or target for the volume")),
            FailureKind::WorkingDirectory => (Kind::Failed, Some("choose another one with --working-dir")),
            FailureKind::Overlay => (Kind::Failed, Some("`proa doctor` says whether overlay works here")),
            _ => (Kind::Failed, None),
        },
        RunError::Stream { .. } => (Kind::Failed, Some("give it a file, a pipe, a terminal or /dev/null")),
        _ => (Kind::Failed, None),
    };
    let mut error = CommandError::from(error);
    error.kind = kind;
    error = idmap::explain(error);
    hint.into_iter().fold(error, CommandError::hint)
}
