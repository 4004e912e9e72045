//! Reading a pod, whatever its state: manifest and statuses.

use std::os::fd::{BorrowedFd, OwnedFd};

use appc::{AcName, PodManifest, PodUuid};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::dir::Dir;
use crate::root::{Pods, path};
use crate::{AppStatus, Place, PodEntry, PodError, PodStatus, files, listing};

/// An open pod directory. It stays readable while the pod moves, until it is removed.
#[derive(Debug)]
pub struct PodRef {
    uuid: PodUuid,
    dir: Dir,
}

impl Pods {
    /// Opens a pod that was listed or found, wherever it stands by now. Nothing of it is read yet.
    ///
    /// # Errors
    /// [`PodError::NotFound`] if it is gone; a failed system call.
    pub fn open(&self, entry: &PodEntry) -> Result<PodRef, PodError> {
        let uuid = entry.uuid;
        for place in Place::ALL.into_iter().filter(|place| *place >= entry.place) {
            match self.root.dir.open_dir(&path(place, uuid), format!("pods/{}", path(place, uuid))) {
                Ok(dir) => return Ok(PodRef { uuid, dir }),
                Err(e) if e.source == Errno::NOENT => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(PodError::NotFound { uuid })
    }
}

impl PodRef {
    /// The pod's UUID.
    #[must_use]
    pub fn uuid(&self) -> PodUuid {
        self.uuid
    }

    /// The pod's directory, `O_PATH`.
    #[must_use]
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.fd()
    }

    /// The reified manifest as it stands on disk, at most 4 MiB.
    ///
    /// # Errors
    /// `ENOENT` for a pod that is not complete; [`PodError::TooLarge`], [`PodError::NotAFile`].
    pub fn manifest_bytes(&self) -> Result<Vec<u8>, PodError> {
        files::read(&self.dir, "pod", files::MANIFEST_LIMIT)
    }

    /// The reified manifest.
    ///
    /// # Errors
    /// As [`PodRef::manifest_bytes`], and [`PodError::Manifest`].
    pub fn manifest(&self) -> Result<PodManifest, PodError> {
        PodManifest::from_json(&self.manifest_bytes()?)
            .map_err(|error| PodError::Manifest { uuid: self.uuid, error: Box::new(error) })
    }

    /// What [`crate::Pod::write_setup`] wrote; `None` for a pod that was not to be kept.
    ///
    /// # Errors
    /// As [`PodRef::manifest_bytes`].
    pub fn setup(&self) -> Result<Option<Vec<u8>>, PodError> {
        files::read_optional(&self.dir, "setup", files::MANIFEST_LIMIT)
    }

    /// Opens a file of an app's log for reading: number 0 is the one that is written to. `None` if there is none.
    ///
    /// # Errors
    /// A failed system call.
    pub fn log(&self, app: &AcName, number: u32) -> Result<Option<OwnedFd>, PodError> {
        let path = if number == 0 { format!("log.{app}") } else { format!("log.{app}.{number}") };
        match self.dir.open(&path, rustix::fs::OFlags::RDONLY) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How the pod ended; `None` while it runs, and if its monitor was killed.
    ///
    /// # Errors
    /// [`PodError::Status`] if the file is malformed; as [`PodRef::manifest_bytes`].
    pub fn pod_status(&self) -> Result<Option<PodStatus>, PodError> {
        self.read_json("status")
    }

    /// What an app has changed of its image's files: the upper directory of its overlay.
    ///
    /// # Errors
    /// A failed system call.
    pub fn upper(&self, app: &AcName) -> Result<OwnedFd, PodError> {
        Ok(self.dir.open(&format!("upper.{app}"), OFlags::RDONLY | OFlags::DIRECTORY)?)
    }

    /// The names of the apps that have a directory, sorted.
    ///
    /// # Errors
    /// A failed system call.
    pub fn apps(&self) -> Result<Vec<AcName>, PodError> {
        let mut apps: Vec<AcName> = self.entries_after("upper.")?.iter().filter_map(|name| name.parse().ok()).collect();
        apps.sort();
        Ok(apps)
    }

    /// The numbers of the recorded attempts of an app, ascending.
    ///
    /// # Errors
    /// A failed system call.
    pub fn attempts(&self, app: &AcName) -> Result<Vec<u32>, PodError> {
        let is_canonical = |name: &String| name.parse::<u32>().ok().filter(|number| number.to_string() == *name);
        let mut attempts: Vec<u32> =
            self.entries_after(&format!("app.{app}."))?.iter().filter_map(is_canonical).collect();
        attempts.sort_unstable();
        Ok(attempts)
    }

    /// The record of one attempt of an app; `None` if there is none.
    ///
    /// # Errors
    /// [`PodError::Status`] if the file is malformed; as [`PodRef::manifest_bytes`].
    pub fn app_status(&self, app: &AcName, attempt: u32) -> Result<Option<AppStatus>, PodError> {
        self.read_json(&format!("app.{app}.{attempt}"))
    }

    /// Every app with the record of its last attempt, sorted by name; `None` for an app that was never created.
    ///
    /// # Errors
    /// As [`PodRef::app_status`].
    pub fn statuses(&self) -> Result<Vec<(AcName, Option<AppStatus>)>, PodError> {
        let last = |app: AcName| -> Result<_, PodError> {
            let status = match self.attempts(&app)?.last() {
                Some(attempt) => self.app_status(&app, *attempt)?,
                None => None,
            };
            Ok((app, status))
        };
        self.apps()?.into_iter().map(last).collect()
    }

    /// What follows `prefix` in the names of the pod's entries that begin with it.
    fn entries_after(&self, prefix: &str) -> Result<Vec<String>, PodError> {
        let names = listing::entries(&self.dir, ".")?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect())
    }

    fn read_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, PodError> {
        let Some(bytes) = files::read_optional(&self.dir, path, files::STATUS_LIMIT)? else { return Ok(None) };
        let malformed = |source| PodError::Status { path: self.dir.shown(path), source };
        serde_json::from_slice(&bytes).map(Some).map_err(malformed)
    }
}
