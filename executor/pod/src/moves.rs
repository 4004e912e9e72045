//! Moving on pods that no process holds: for `rm`, gc and `run-prepared`, any number of them at once.

use std::time::{Duration, Instant};

use appc::PodUuid;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::listing::{locate, open_lock, probe_lock};
use crate::root::{Pods, path};
use crate::{Contents, LockState, Place, Pod, PodError, Running, State, TreeRemover, contents, lock, names};

/// How long to try for the lock of a pod that others may be starting, before looking whether they have.
const GLANCE: Duration = Duration::from_millis(20);

impl Pods {
    /// Removes a pod at once, without a grace period.
    ///
    /// # Errors
    /// [`PodError::WrongState`] for a pod that runs, is being prepared or removed; [`PodError::NotFound`];
    /// [`PodError::Removal`], after which gc goes on with it.
    pub fn remove(&self, uuid: PodUuid, remover: &dyn TreeRemover) -> Result<(), PodError> {
        self.root.check_writable()?;
        let wrong = |state| PodError::WrongState { uuid, state, wanted: "remove it" };
        // Each round moves the pod on by one place, or finds that somebody else did.
        for _ in 0..=Place::ALL.len() {
            let Some((place, state)) = locate(&self.root, uuid)? else { break };
            match place {
                Place::Embryo => return Err(wrong(State::Embryo)),
                Place::Prepare => {
                    if !self.move_if_free(uuid, Place::Prepare, Place::Garbage)? && state == State::Preparing {
                        return Err(wrong(state));
                    }
                }
                Place::Prepared => {
                    self.try_move(uuid, Place::Prepared, Place::Garbage)?;
                }
                Place::Run => {
                    if !self.move_if_free(uuid, Place::Run, Place::ExitedGarbage)? && state == State::Running {
                        return Err(wrong(state));
                    }
                }
                Place::ExitedGarbage => {
                    if !self.discard_exited(uuid)? {
                        return Err(wrong(State::ExitedDeleting));
                    }
                }
                Place::Garbage => {
                    if self.sweep(uuid, lock::SHORT_PATIENCE, remover)? {
                        return Ok(());
                    }
                    return Err(wrong(State::Deleting));
                }
            }
        }
        Err(PodError::NotFound { uuid })
    }

    /// Takes a prepared pod to run it, as it was `known` if that is said.
    ///
    /// # Errors
    /// [`PodError::NotFound`] if there is none, or another process was faster; [`PodError::Changed`].
    pub fn run_prepared(&self, uuid: PodUuid, known: Option<&Contents>) -> Result<Pod<Running>, PodError> {
        self.root.check_writable()?;
        let pod = path(Place::Prepared, uuid);
        let gone = || PodError::NotFound { uuid };
        let dir = match self.root.dir.open_dir(&pod, format!("pods/{uuid}")) {
            Err(e) if e.source == Errno::NOENT => return Err(gone()),
            other => other?,
        };
        let (lock, _) = open_lock(&self.root.dir, &pod, OFlags::RDWR)?.ok_or_else(gone)?;
        let deadline = Instant::now() + lock::PATIENCE;
        while !lock::take(&lock, GLANCE).map_err(|e| self.root.dir.error("flock", &pod, e))? {
            // Somebody else runs it, and has the lock for as long as that.
            if !self.root.dir.exists(&pod)? {
                return Err(gone());
            }
            if Instant::now() >= deadline {
                let waited_ms = lock::PATIENCE.as_millis();
                return Err(PodError::StillLocked { path: self.root.dir.shown(&pod), waited_ms });
            }
        }
        known.map_or(Ok(()), |known| known.check(&dir, uuid))?;
        // Before the rename: in `run`, a free lock would mean that the pod has exited.
        let name = names::written(&self.root, Place::Prepared, uuid)?;
        if !self.try_move(uuid, Place::Prepared, Place::Run)? {
            return Err(gone());
        }
        Ok(Pod::new(self.root.clone(), uuid, name, dir, lock))
    }

    /// Moves a pod unless its lock is held. The shared lock of the probe keeps anybody from taking it meanwhile, and
    /// does not make the pod look alive to other readers.
    pub(crate) fn move_if_free(&self, uuid: PodUuid, from: Place, to: Place) -> Result<bool, PodError> {
        match probe_lock(&self.root, from, uuid)? {
            Some(probe) if probe.lock == LockState::Free => {
                let moved = self.try_move(uuid, from, to);
                drop(probe.file);
                moved
            }
            _ => Ok(false),
        }
    }

    /// Moves a marked pod to garbage; `false` if somebody holds its lock.
    pub(crate) fn discard_exited(&self, uuid: PodUuid) -> Result<bool, PodError> {
        let pod = path(Place::ExitedGarbage, uuid);
        let lock = open_lock(&self.root.dir, &pod, OFlags::RDWR)?;
        if let Some((lock, _)) = &lock
            && !lock::take(lock, lock::SHORT_PATIENCE).map_err(|e| self.root.dir.error("flock", &pod, e))?
        {
            return Ok(false);
        }
        self.try_move(uuid, Place::ExitedGarbage, Place::Garbage)?;
        Ok(true)
    }

    /// Removes a pod that stands in garbage, under its lock; `false` if somebody else is removing it.
    pub(crate) fn sweep(&self, uuid: PodUuid, patience: Duration, remover: &dyn TreeRemover) -> Result<bool, PodError> {
        let pod = path(Place::Garbage, uuid);
        // Without a lock file its removal had begun; two removers do not disturb each other.
        let lock = open_lock(&self.root.dir, &pod, OFlags::RDWR)?;
        if let Some((lock, _)) = &lock
            && !lock::take(lock, patience).map_err(|e| self.root.dir.error("flock", &pod, e))?
        {
            return Ok(false);
        }
        if let Some(name) = names::written(&self.root, Place::Garbage, uuid)? {
            names::release(&self.root, &name, uuid)?;
        }
        contents::remove_garbage(&self.root, uuid, remover)?;
        Ok(true)
    }

    /// Moves a pod; `false` if it is not there any more.
    pub(crate) fn try_move(&self, uuid: PodUuid, from: Place, to: Place) -> Result<bool, PodError> {
        match self.root.move_pod(uuid, from, to) {
            Ok(()) => Ok(true),
            Err(e) if e.source == Errno::NOENT => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}
