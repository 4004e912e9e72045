//! Reading a pod, whatever its state: manifest and statuses.

use std::os::fd::{BorrowedFd, OwnedFd};

use appc::{AcName, PodManifest, PodUuid};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::amend::STOPPED;
use crate::dir::{Dir, mtime_ns};
use crate::handle::RESERVED;
use crate::root::{Pods, path};
use crate::still::AGAIN;
use crate::{AppStatus, LockState, Place, PodEntry, PodError, PodStatus, State, files, listing, names};

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

    /// What can still be learned of a pod that was just seen to move to `place`, and may be over already: its files say it,
    /// as long as they are there. Its lock counts as held.
    #[must_use]
    pub fn arrival(&self, uuid: PodUuid, place: Place) -> (PodEntry, Option<PodRef>) {
        let state = State::of(place, LockState::Held);
        let mut entry = PodEntry { uuid, place, state, name: None, created_ns: None, started_ns: None };
        let pod = self.open(&entry).ok();
        if let Some(pod) = &pod {
            entry.name = names::read(&pod.dir, "name").ok().flatten();
            entry.created_ns = pod.dir.stat("lock").ok().map(|stat| mtime_ns(&stat));
        }
        (entry, pod)
    }
}

/// What a pod is run by: its reified manifest, and what [`crate::Pod::write_setup`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The manifest, as its file has it.
    pub manifest: Vec<u8>,
    /// The other file; `None` for a pod that was not to be kept.
    pub setup: Option<Vec<u8>>,
}

impl Contents {
    /// Whether the directory of a pod that nobody else can change has these still.
    pub(crate) fn check(&self, dir: &Dir, uuid: PodUuid) -> Result<(), PodError> {
        let manifest = files::read(dir, "pod", files::MANIFEST_LIMIT)?;
        let setup = files::read_optional(dir, "setup", files::MANIFEST_LIMIT)?;
        if *self == (Self { manifest, setup }) { Ok(()) } else { Err(PodError::Changed { uuid }) }
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

    /// What whoever runs it has to know of it, as it stands now.
    ///
    /// # Errors
    /// As [`PodRef::manifest_bytes`].
    pub fn contents(&self) -> Result<Contents, PodError> {
        Ok(Contents { manifest: self.manifest_bytes()?, setup: self.setup()? })
    }

    /// What [`crate::Pod::write_setup`] wrote; `None` for a pod that was not to be kept.
    ///
    /// # Errors
    /// As [`PodRef::manifest_bytes`].
    pub fn setup(&self) -> Result<Option<Vec<u8>>, PodError> {
        files::read_optional(&self.dir, "setup", files::MANIFEST_LIMIT)
    }

    /// Whether it has run before the run that its records tell of, and not for nothing.
    ///
    /// # Errors
    /// A failed system call.
    pub fn has_run_before(&self) -> Result<bool, PodError> {
        Ok(self.dir.exists(AGAIN)?)
    }

    /// Whether [somebody has stopped it](crate::Amendment::mark_stopped) since it was started.
    ///
    /// # Errors
    /// A failed system call.
    pub fn was_stopped(&self) -> Result<bool, PodError> {
        Ok(self.dir.exists(STOPPED)?)
    }

    /// Whether it is written how the pod ended, or [room was taken](crate::Pod::reserve_status) for that.
    ///
    /// # Errors
    /// A failed system call.
    pub fn has_status_or_room(&self) -> Result<bool, PodError> {
        Ok(self.dir.exists("status")? || self.dir.exists(RESERVED)?)
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
        Ok(apps_among(&listing::entries(&self.dir, ".")?))
    }

    /// The numbers of the recorded attempts of an app, ascending.
    ///
    /// # Errors
    /// A failed system call.
    pub fn attempts(&self, app: &AcName) -> Result<Vec<u32>, PodError> {
        Ok(attempts_among(&listing::entries(&self.dir, ".")?, app))
    }

    /// The record of one attempt of an app; `None` if there is none.
    ///
    /// # Errors
    /// [`PodError::Status`] if the file is malformed; as [`PodRef::manifest_bytes`].
    pub fn app_status(&self, app: &AcName, attempt: u32) -> Result<Option<AppStatus>, PodError> {
        self.read_json(&format!("app.{app}.{attempt}"))
    }

    /// The number of the last recorded attempt of an app, and its record.
    ///
    /// # Errors
    /// As [`PodRef::app_status`].
    pub fn last_attempt(&self, app: &AcName) -> Result<Option<(u32, AppStatus)>, PodError> {
        let Some(attempt) = self.attempts(app)?.last().copied() else { return Ok(None) };
        Ok(self.app_status(app, attempt)?.map(|status| (attempt, status)))
    }

    /// Every app with the record of its last attempt, sorted by name; `None` for an app that was never created.
    ///
    /// # Errors
    /// As [`PodRef::app_status`].
    pub fn statuses(&self) -> Result<Vec<(AcName, Option<AppStatus>)>, PodError> {
        let entries = listing::entries(&self.dir, ".")?;
        let last = |app: AcName| -> Result<_, PodError> {
            let status = match attempts_among(&entries, &app).last() {
                Some(attempt) => self.app_status(&app, *attempt)?,
                None => None,
            };
            Ok((app, status))
        };
        apps_among(&entries).into_iter().map(last).collect()
    }

    fn read_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, PodError> {
        let Some(bytes) = files::read_optional(&self.dir, path, files::STATUS_LIMIT)? else { return Ok(None) };
        let malformed = |source| PodError::Status { path: self.dir.shown(path), source };
        serde_json::from_slice(&bytes).map(Some).map_err(malformed)
    }
}

/// The apps that have a directory among a pod's entries, sorted.
fn apps_among(entries: &[String]) -> Vec<AcName> {
    let named = entries.iter().filter_map(|entry| entry.strip_prefix("upper."));
    let mut apps: Vec<AcName> = named.filter_map(|name| name.parse().ok()).collect();
    apps.sort_unstable();
    apps
}

/// The numbers of an app's records among a pod's entries, ascending.
fn attempts_among(entries: &[String], app: &AcName) -> Vec<u32> {
    let prefix = format!("app.{app}.");
    let numbers = entries.iter().filter_map(|entry| entry.strip_prefix(prefix.as_str()));
    let is_canonical = |text: &str| text.parse::<u32>().ok().filter(|number| number.to_string() == text);
    let mut attempts: Vec<u32> = numbers.filter_map(is_canonical).collect();
    attempts.sort_unstable();
    attempts
}
