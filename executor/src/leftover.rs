//! Pods that were to be removed when they ended and are still there, because their supervisor was killed first or the machine
//! lost power. A new pod that wants the name of one gets it.

use std::path::Path;

use appc::PodUuid;
use pod::{Embryo, Pod, PodEntry, PodError, PodName, Pods, State};

use crate::idmap::{self, Remover};
use crate::setup::Setup;

/// Whether the pod is one: it has ended, and of what is made for every pod that is kept there is nothing: neither what it takes to run
/// it again, nor room for how it ended. (Of both one may be lost with the machine's power.) One that was made for later has the
/// former, and it says so there.
pub(crate) fn is_one(pods: &Pods, entry: &PodEntry) -> bool {
    matches!(entry.state, State::Exited | State::ExitedGarbage)
        && pods.open(entry).and_then(|pod| Ok((pod.setup()?, pod.has_status_or_room()?))).is_ok_and(|(setup, kept)| {
            match setup {
                None => !kept,
                Some(json) => Setup::from_json(&json).is_ok_and(|setup| setup.life.is_some_and(|life| life.remove)),
            }
        })
}

/// Creates a pod as [`Pods::create`] does. A pod that has its name and is left over is removed for it.
///
/// # Errors
///
/// Those of [`Pods::create`].
pub(crate) fn create(
    pods: &Pods,
    data_dir: &Path,
    uuid: PodUuid,
    name: Option<&PodName>,
) -> Result<Pod<Embryo>, PodError> {
    let refused = match pods.create(uuid, name) {
        Err(refused @ PodError::NameInUse { .. }) => refused,
        created => return created,
    };
    if remove_holder(pods, data_dir, &refused) { pods.create(uuid, name) } else { Err(refused) }
}

/// Whether the pod that has the name was one, and is gone. Where it cannot be removed, who has the name is the better error.
fn remove_holder(pods: &Pods, data_dir: &Path, refused: &PodError) -> bool {
    let PodError::NameInUse { holder, .. } = refused else { return false };
    let Ok(entry) = pods.find(&holder.to_string()) else { return false };
    let Ok(mapping) = idmap::detect(data_dir) else { return false };
    is_one(pods, &entry) && pods.remove(entry.uuid, &Remover::new(&mapping)).is_ok()
}
