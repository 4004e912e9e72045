//! Changing what is written of a pod by others than whoever runs it: what counts when it is started again.

use std::os::fd::{AsFd as _, OwnedFd};

use appc::{PodManifest, PodUuid};
use rustix::fs::{OFlags, fsync};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::listing::locate;
use crate::root::{Pods, path};
use crate::{PodError, files, lock};

/// The file that says that somebody has stopped the pod.
pub(crate) const STOPPED: &str = "stopped";

/// A pod, whatever its state, whose files nobody else amends until this is dropped.
///
/// Its lock says whether it lives; this one is on its directory, held for an instant, by processes that start no app. For pods
/// whose apps do not come and go: the supervisor of those writes the same files.
#[derive(Debug)]
pub struct Amendment {
    uuid: PodUuid,
    dir: Dir,
    held: OwnedFd,
}

impl Pods {
    /// Takes hold of what is written of a pod.
    ///
    /// # Errors
    /// [`PodError::NotFound`]; [`PodError::StillLocked`] if somebody else amends it for seconds; a failed system call.
    pub fn amend(&self, uuid: PodUuid) -> Result<Amendment, PodError> {
        self.root.check_writable()?;
        let gone = || PodError::NotFound { uuid };
        // It may move on meanwhile.
        for _ in 0..crate::Place::ALL.len() {
            let (place, _) = locate(&self.root, uuid)?.ok_or_else(gone)?;
            let pod = path(place, uuid);
            let dir = match self.root.dir.open_dir(&pod, format!("pods/{pod}")) {
                Err(e) if e.is_absence() => continue,
                opened => opened?,
            };
            let held = dir.open(".", OFlags::RDONLY | OFlags::DIRECTORY)?;
            if !lock::take(held.as_fd(), lock::PATIENCE).map_err(|e| dir.error("flock", "", e))? {
                let waited_ms = lock::PATIENCE.as_millis();
                return Err(PodError::StillLocked { path: self.root.dir.shown(&pod), waited_ms });
            }
            return Ok(Amendment { uuid, dir, held });
        }
        Err(gone())
    }
}

impl Amendment {
    /// The manifest as it is written by now.
    ///
    /// # Errors
    /// As [`crate::PodRef::manifest`].
    pub fn manifest(&self) -> Result<PodManifest, PodError> {
        let json = files::read(&self.dir, "pod", files::MANIFEST_LIMIT)?;
        PodManifest::from_json(&json).map_err(|error| PodError::Manifest { uuid: self.uuid, error: Box::new(error) })
    }

    /// As [`crate::PodRef::setup`].
    ///
    /// # Errors
    /// As there.
    pub fn setup(&self) -> Result<Option<Vec<u8>>, PodError> {
        files::read_optional(&self.dir, "setup", files::MANIFEST_LIMIT)
    }

    /// Replaces the manifest, for the pod's next run. It is there after a power cut once this has returned.
    ///
    /// # Errors
    /// [`PodError::TooLarge`] beyond 4 MiB; a failed system call.
    pub fn replace_manifest(&self, json: &[u8]) -> Result<(), PodError> {
        self.replace("pod", ".pod", json)
    }

    /// Replaces what [`crate::Pod::write_setup`] wrote.
    ///
    /// # Errors
    /// As [`Amendment::replace_manifest`].
    pub fn replace_setup(&self, json: &[u8]) -> Result<(), PodError> {
        self.replace("setup", ".setup", json)
    }

    /// Remembers that somebody has stopped it, until it runs again. With `durable`, it does so after a power cut.
    ///
    /// # Errors
    /// A failed system call.
    pub fn mark_stopped(&self, durable: bool) -> Result<(), PodError> {
        match self.dir.touch(STOPPED, 0o600) {
            Err(e) if e.source == Errno::EXIST => {}
            touched => touched?,
        }
        if durable { self.sync() } else { Ok(()) }
    }

    fn replace(&self, path: &str, temporary: &str, json: &[u8]) -> Result<(), PodError> {
        files::replace_durably(&self.dir, path, temporary, json, files::MANIFEST_LIMIT)?;
        self.sync()
    }

    fn sync(&self) -> Result<(), PodError> {
        Ok(fsync(&self.held).map_err(|e| self.dir.error("fsync", "", e))?)
    }
}
