//! Pods that stand still: those whose control groups are frozen.

use std::path::Path;

use appc::PodManifest;
use pod::{PodEntry, Pods, State};
use stage1::cgroup::PodCgroup;
use stage1::protocol::PodReport;

use super::{is_wanted, of_pod};
use crate::client;
use crate::error::CommandError;

/// Whether a pod stands still, which none can without control groups.
pub(crate) fn is_frozen(pods: &Pods, entry: &PodEntry, manifest: &PodManifest) -> bool {
    let can_be = entry.state == State::Running && is_wanted(manifest);
    let report = can_be.then(|| client::report(pods, entry)).flatten();
    report.is_some_and(|report| stands_still(&report))
}

/// The group of a pod that runs, if it has one, to be watched.
pub(crate) fn freezer(pods: &Pods, entry: &PodEntry) -> Option<PodCgroup> {
    let path = client::report(pods, entry)?.cgroup?;
    PodCgroup::of_running(Path::new(&path)).ok()
}

fn stands_still(report: &PodReport) -> bool {
    let group = report.cgroup.as_deref().and_then(|path| PodCgroup::of_running(Path::new(path)).ok());
    group.is_some_and(|group| group.is_frozen().unwrap_or(false))
}

/// Refuses to do something in a pod that stands still: nothing would come of it before it goes on.
///
/// # Errors
///
/// That.
pub(crate) fn refuse_frozen(report: &PodReport) -> Result<(), CommandError> {
    match stands_still(report) {
        true => Err(CommandError::failed("the pod is paused").hint("`proa docker unpause` lets it go on")),
        false => Ok(()),
    }
}

/// Lets a pod go on that is to end or to hear of something, if it stands still.
pub(crate) fn thaw(pods: &Pods, entry: &PodEntry) {
    let manifest = pods.open(entry).and_then(|pod| pod.manifest());
    if manifest.is_ok_and(|manifest| is_wanted(&manifest))
        && let Ok((group, _)) = of_pod(pods, entry)
    {
        // Where it cannot be, the kill that follows does not wait for it.
        let _ = group.thaw();
    }
}
