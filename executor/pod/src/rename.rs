//! Another name for a pod.

use appc::PodUuid;

use crate::listing::locate;
use crate::root::{Pods, path};
use crate::{Place, PodError, PodName, files, names};

impl Pods {
    /// Gives a pod this name, and frees the one that it had. Killed in between, it has both until it is removed.
    ///
    /// # Errors
    /// [`PodError::NameInUse`], [`PodError::NotFound`]; a failed system call.
    pub fn rename(&self, uuid: PodUuid, name: &PodName) -> Result<(), PodError> {
        self.root.check_writable()?;
        let visible = |place: &Place| Place::VISIBLE.contains(place);
        let found = locate(&self.root, uuid)?.map(|(place, _)| place).filter(visible);
        let place = found.ok_or(PodError::NotFound { uuid })?;
        let pod = path(place, uuid);
        let old = names::written(&self.root, place, uuid)?;
        if old.as_ref() == Some(name) {
            return Ok(());
        }
        names::claim(&self.root, name, uuid)?;
        let write = || -> Result<(), PodError> {
            let dir = self.root.dir.open_dir(&pod, format!("pods/{uuid}"))?;
            files::replace(&dir, "name", ".name", name.as_str().as_bytes(), files::STATUS_LIMIT)
        };
        if let Err(error) = write() {
            // The first error is the one to tell; a name too many goes with the pod.
            let _ = names::release(&self.root, name, uuid);
            return Err(error);
        }
        old.map_or(Ok(()), |old| names::release(&self.root, &old, uuid))
    }
}
