//! Pods that do not run: held, so that nobody runs or removes them while something is done with their files, and run again.

use appc::{AcName, PodUuid};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

use crate::amend::STOPPED;
use crate::contents::unmark_work;
use crate::dir::Dir;
use crate::handle::{AppDirs, Pod, Running};
use crate::listing::{entries, locate, open_lock};
use crate::root::{Pods, path};
use crate::{AppStatus, Contents, LockState, Place, PodError, State, files, lock, names};

/// The file that says that the pod has run before, and its apps have been executed.
pub(crate) const AGAIN: &str = "again";

/// A pod that is prepared or has exited, and stays so until this is dropped.
#[derive(Debug)]
pub struct StillPod {
    place: Place,
    dir: Dir,
    lock: OwnedFd,
    user: u32,
}

impl Pods {
    /// Takes hold of a pod that does not run.
    ///
    /// # Errors
    /// [`PodError::WrongState`] if it is in another state than prepared or exited, or somebody else holds it;
    /// [`PodError::NotFound`]; a failed system call.
    pub fn hold(&self, uuid: PodUuid) -> Result<StillPod, PodError> {
        self.root.check_writable()?;
        let (place, state) = locate(&self.root, uuid)?.ok_or(PodError::NotFound { uuid })?;
        let wrong = |state| PodError::WrongState { uuid, state, wanted: "work on its files" };
        if !matches!(state, State::Prepared | State::Exited) {
            return Err(wrong(state));
        }
        let pod = path(place, uuid);
        let gone = || PodError::NotFound { uuid };
        let dir = match self.root.dir.open_dir(&pod, format!("pods/{uuid}")) {
            Err(e) if e.source == Errno::NOENT => return Err(gone()),
            other => other?,
        };
        let (lock, _) = open_lock(&self.root.dir, &pod, OFlags::RDWR)?.ok_or_else(gone)?;
        if !lock::take(&lock, lock::SHORT_PATIENCE).map_err(|e| self.root.dir.error("flock", &pod, e))? {
            return Err(wrong(State::of(place, LockState::Held)));
        }
        // Who has moved it on before the lock was taken has it.
        if !self.root.dir.exists(&pod)? {
            return Err(locate(&self.root, uuid)?.map_or_else(gone, |(_, state)| wrong(state)));
        }
        Ok(StillPod { place, dir, lock, user: self.root.user })
    }

    /// Keeps a pod from being removed, and one that does not run from running, until what is returned is closed: for whoever
    /// reads its files. To everybody else it looks as before.
    ///
    /// # Errors
    /// [`PodError::NotFound`]; a failed system call.
    pub fn pin(&self, uuid: PodUuid) -> Result<OwnedFd, PodError> {
        let gone = || PodError::NotFound { uuid };
        let (place, _) = locate(&self.root, uuid)?.ok_or_else(gone)?;
        let pod = path(place, uuid);
        let (lock, _) = open_lock(&self.root.dir, &pod, OFlags::RDONLY)?.ok_or_else(gone)?;
        // Who has it runs the pod, and so keeps it, or is removing it.
        lock::probe(&lock).map_err(|e| self.root.dir.error("flock", &pod, e))?;
        if !self.root.dir.exists(&pod)? {
            return Err(gone());
        }
        Ok(lock)
    }

    /// Makes a pod that has exited one that runs: nothing is left of how it ended, everything of what its apps have
    /// written. Who holds what is returned starts the apps, as it was `known` if that is said.
    ///
    /// # Errors
    /// As [`Pods::hold`]; it has not run yet; [`PodError::Changed`].
    pub fn run_again(&self, uuid: PodUuid, known: Option<&Contents>) -> Result<Pod<Running>, PodError> {
        let still = self.hold(uuid)?;
        if still.place != Place::Run {
            return Err(PodError::WrongState { uuid, state: State::Prepared, wanted: "run it again" });
        }
        known.map_or(Ok(()), |known| known.check(&still.dir, uuid))?;
        if has_executed(&still.dir)? {
            match still.dir.touch(AGAIN, 0o600) {
                Err(e) if e.source == Errno::EXIST => {}
                touched => touched?,
            }
        }
        let of_before = |name: &String| {
            ["status", "started", STOPPED, "control"].contains(&name.as_str())
                || name.strip_prefix("app.").is_some_and(|rest| rest.contains('.'))
        };
        for name in entries(&still.dir, ".")?.iter().filter(|name| of_before(name)) {
            still.dir.unlink(name)?;
        }
        for name in entries(&still.dir, ".")?.iter().filter(|name| name.starts_with("work.")) {
            still.unmark(name)?;
        }
        let name = names::written(&self.root, Place::Run, uuid)?;
        Ok(Pod::new(self.root.clone(), uuid, name, still.dir, still.lock))
    }
}

/// Whether an app of the pod has been executed by now. What cannot be read has.
fn has_executed(dir: &Dir) -> Result<bool, PodError> {
    let of_app = |name: &&String| name.strip_prefix("app.").is_some_and(|rest| rest.contains('.'));
    let never = |json: &[u8]| serde_json::from_slice::<AppStatus>(json).is_ok_and(|status| status.not_executed);
    for name in entries(dir, ".")?.iter().filter(of_app) {
        if files::read_optional(dir, name, files::STATUS_LIMIT)?.is_some_and(|json| !never(&json)) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl StillPod {
    /// Lets the pod look like what it is, instead of one that runs. It still cannot be run, removed or held.
    ///
    /// # Errors
    /// [`PodError::WrongState`] if somebody else was faster: the kernel gives one lock up before it takes the other
    /// (flock(2)).
    pub fn seen(self, uuid: PodUuid) -> Result<Self, PodError> {
        match lock::probe(&self.lock).map_err(|e| self.dir.error("flock", "lock", e))? {
            LockState::Free => Ok(self),
            LockState::Held => {
                let state = State::of(self.place, LockState::Held);
                Err(PodError::WrongState { uuid, state, wanted: "work on its files" })
            }
        }
    }

    /// Opens the directories of one of its apps, for an overlay of what has this name.
    ///
    /// # Errors
    /// A failed system call: `ENOENT` if there is no such app.
    pub fn app_dirs(&self, name: &AcName) -> Result<AppDirs, PodError> {
        self.unmark(&format!("work.{name}"))?;
        let open = |what: &str| self.dir.open(&format!("{what}.{name}"), OFlags::RDONLY | OFlags::DIRECTORY);
        Ok(AppDirs { upper: open("upper")?, work: open("work")? })
    }

    /// Has the kernel mount an overlay again that was mounted as volatile: it refuses while the mark of that is there.
    fn unmark(&self, work: &str) -> Result<(), PodError> {
        Ok(unmark_work(self.dir.fd(), work, self.user).map_err(|e| self.dir.error("unlinkat", work, e))?)
    }
}
