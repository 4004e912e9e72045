//! Bringing a pod into the world: directory, lock, name.

use std::os::fd::OwnedFd;

use appc::PodUuid;
use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::root::{self, Pods, path};
use crate::{Embryo, Place, Pod, PodError, PodName, lock, names};

/// How often a creation that a gc has swept away is repeated. Each repetition needs a gc in the same microsecond.
const ATTEMPTS: u32 = 100;

impl Pods {
    /// Creates the directory of a new pod, takes its lock, and claims its name.
    ///
    /// Between `mkdir` and `flock` an embryo looks like one whose creator has died. A gc that meets it there takes the
    /// lock itself, removes it, and lets go; the creator then finds its lock file unlinked and starts again. So
    /// nothing has to be old, and no clock right, for gc to remove an embryo.
    ///
    /// # Errors
    /// [`PodError::NameInUse`] names the holder; [`PodError::UuidInUse`]; a failed system call. Nothing is left then.
    pub fn create(&self, uuid: PodUuid, name: Option<&PodName>) -> Result<Pod<Embryo>, PodError> {
        self.root.check_writable()?;
        for _ in 0..ATTEMPTS {
            let Some((dir, lock)) = self.conceive(uuid)? else { continue };
            let pod = Pod::new(self.root.clone(), uuid, name.cloned(), dir, lock);
            if let Some(name) = name
                && let Err(e) = names::claim(&self.root, name, uuid)
            {
                pod.abandon_embryo();
                return Err(e);
            }
            return Ok(pod);
        }
        Err(PodError::Swept { uuid, attempts: ATTEMPTS })
    }

    /// One attempt: an embryo whose lock we hold, or `None` if a gc was faster.
    fn conceive(&self, uuid: PodUuid) -> Result<Option<(Dir, OwnedFd)>, PodError> {
        let pods = &self.root.dir;
        let embryo = path(Place::Embryo, uuid);
        match pods.mkdir(&embryo, 0o700) {
            Ok(()) => {}
            Err(e) if e.source == Errno::EXIST => return Err(PodError::UuidInUse { uuid }),
            Err(e) if e.source == Errno::NOENT => {
                root::make_places(pods)?;
                pods.mkdir(&embryo, 0o700)?;
            }
            Err(e) => return Err(e.into()),
        }
        let locked = self.lock_embryo(uuid);
        if locked.is_err() {
            // The first error is the one to report; gc removes what this cannot.
            let _ = pods.unlink(&format!("{embryo}/lock"));
            let _ = pods.rmdir(&embryo);
        }
        locked
    }

    fn lock_embryo(&self, uuid: PodUuid) -> Result<Option<(Dir, OwnedFd)>, PodError> {
        let (pods, embryo) = (&self.root.dir, path(Place::Embryo, uuid));
        let dir = match pods.open_dir(&embryo, format!("pods/{uuid}")) {
            Err(e) if e.source == Errno::NOENT => return Ok(None),
            other => other?,
        };
        let lock = match dir.create("lock", OFlags::RDWR, 0o600) {
            Err(e) if e.source == Errno::NOENT => return Ok(None),
            other => other?,
        };
        if !lock::take(&lock, lock::PATIENCE).map_err(|e| dir.error("flock", "lock", e))? {
            return Err(PodError::StillLocked { path: dir.shown("lock"), waited_ms: lock::PATIENCE.as_millis() });
        }
        let swept = fstat(&lock).map_err(|e| dir.error("fstat", "lock", e))?.st_nlink == 0;
        Ok((!swept).then_some((dir, lock)))
    }
}

/// Removes the embryo that stands at `embryo` below `pods/` if its creator is dead, as gc does; `true` if it did.
///
/// An embryo holds nothing but its lock file. Both are removed under that lock, so whoever gets the lock later can
/// tell (`st_nlink` is 0), and a second gc cannot unlink the lock file of the creator's next attempt.
pub(crate) fn sweep_embryo(pods: &Dir, embryo: &str) -> Result<bool, PodError> {
    let lock = format!("{embryo}/lock");
    let file = match crate::listing::open_lock(pods, embryo, OFlags::RDWR)? {
        Some((file, _)) => {
            if !lock::take(&file, std::time::Duration::ZERO).map_err(|e| pods.error("flock", &lock, e))? {
                return Ok(false);
            }
            if fstat(&file).map_err(|e| pods.error("fstat", &lock, e))?.st_nlink == 0 {
                return Ok(false);
            }
            // It may have left the embryo before its creator died.
            match pods.unlink(&lock) {
                Err(e) if e.source == Errno::NOENT => return Ok(false),
                other => other?,
            }
            Some(file)
        }
        None => None,
    };
    let removed = match pods.rmdir(embryo) {
        Ok(()) => true,
        Err(e) if matches!(e.source, Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => false,
        Err(e) => return Err(e.into()),
    };
    drop(file);
    Ok(removed)
}
