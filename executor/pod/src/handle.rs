//! A pod whose lock this process holds, with its state in the type, until it runs.

mod filling;
mod running;

pub(crate) use running::RESERVED;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use appc::PodUuid;
use rustix::fs::{OFlags, fsync, syncfs};
use rustix::io::Errno;

use crate::contents::{Contents, Kind};
use crate::dir::Dir;
use crate::root::{Root, path};
use crate::{Place, PodError, PodName, TreeRemover, Unaided, contents, files, names};

pub use filling::{AppDirs, Fillable};

/// Created and locked, holding nothing else.
#[derive(Debug)]
#[non_exhaustive]
pub enum Embryo {}

/// Being filled.
#[derive(Debug)]
#[non_exhaustive]
pub enum Preparing {}

/// Running for as long as this process or one that inherited the lock lives.
#[derive(Debug)]
#[non_exhaustive]
pub enum Running {}

/// A pod whose lock is held through this value, in state `S`.
///
/// Dropping it closes the lock and leaves the directory as it is: an embryo or an aborted prepare for gc, an exited
/// pod if it was running. No descriptor of it may reach a process of an app: stage1 closes them before it starts one.
#[derive(Debug)]
pub struct Pod<S> {
    root: Arc<Root>,
    uuid: PodUuid,
    name: Option<PodName>,
    dir: Dir,
    lock: OwnedFd,
    /// What was made in the directory, so that it can be removed without being read.
    contents: RefCell<Contents>,
    state: PhantomData<S>,
}

impl<S> Pod<S> {
    pub(crate) fn new(root: Arc<Root>, uuid: PodUuid, name: Option<PodName>, dir: Dir, lock: OwnedFd) -> Self {
        Self { root, uuid, name, dir, lock, contents: RefCell::default(), state: PhantomData }
    }

    fn in_state<T>(self) -> Pod<T> {
        let Self { root, uuid, name, dir, lock, contents, state: _ } = self;
        Pod { root, uuid, name, dir, lock, contents, state: PhantomData }
    }

    /// The pod's UUID.
    #[must_use]
    pub fn uuid(&self) -> PodUuid {
        self.uuid
    }

    /// The pod's name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&PodName> {
        self.name.as_ref()
    }

    /// The pod's directory, `O_PATH`: the start of `*at` calls. It stays the same when the pod moves.
    #[must_use]
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.fd()
    }

    /// The lock: the pod counts as alive until the last copy of this descriptor is closed.
    #[must_use]
    pub fn lock_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    #[cfg(test)]
    pub(crate) fn unmake(&self) -> Result<(), Errno> {
        contents::unmake(&self.root, &self.dir, &self.contents.borrow())
    }

    pub(crate) fn call_error(&self, call: &'static str, path: &str, source: Errno) -> crate::CallError {
        self.dir.error(call, path, source)
    }

    /// Remembers what was made in the directory.
    pub(crate) fn made(&self, path: &str, kind: Kind) {
        self.contents.borrow_mut().add(path.to_owned(), kind);
    }

    fn advance(&self, from: Place, to: Place) -> Result<(), PodError> {
        self.root.move_pod(self.uuid, from, to).map_err(|e| match e.source {
            Errno::NOENT => PodError::NotFound { uuid: self.uuid },
            Errno::NOTEMPTY | Errno::EXIST => PodError::UuidInUse { uuid: self.uuid },
            _ => e.into(),
        })
    }

    fn remove_from(self, place: Place, remover: &dyn TreeRemover) -> Result<(), PodError> {
        self.advance(place, Place::Garbage)?;
        let released = self.name.as_ref().map_or(Ok(()), |name| names::release(&self.root, name, self.uuid));
        contents::remove(&self.root, self.uuid, &self.dir, &self.contents.borrow(), remover)?;
        // A name that could not be released is free all the same, now that its pod is gone; but something is wrong.
        released
    }

    /// Moves the pod on. If that fails, the pod is lost to the caller: then nothing of it shall be left.
    fn advance_or_remove<T>(self, from: Place, to: Place) -> Result<Pod<T>, PodError> {
        match self.advance(from, to) {
            Ok(()) => Ok(self.in_state()),
            Err(e) => {
                // The first error is the one to report; gc removes what this cannot.
                let _ = self.remove_from(from, &Unaided);
                Err(e)
            }
        }
    }
}

impl Pod<Embryo> {
    /// Moves the pod on to be filled. On failure it is removed.
    ///
    /// # Errors
    /// A failed system call.
    pub fn prepare(self) -> Result<Pod<Preparing>, PodError> {
        let pod: Pod<Preparing> = self.advance_or_remove(Place::Embryo, Place::Prepare)?;
        if let Some(name) = &pod.name {
            pod.contents.borrow_mut().add("name".to_owned(), Kind::File);
            // What frees the name when somebody else removes this pod.
            let written = files::create(&pod.dir, "name", name.as_str().as_bytes(), files::STATUS_LIMIT, 0o600);
            if let Err(e) = written {
                // The first error is the one to report; gc removes what this cannot.
                let _ = pod.remove(&Unaided);
                return Err(e);
            }
        }
        Ok(pod)
    }

    /// Undoes a creation that cannot be completed; what fails is left to gc.
    pub(crate) fn abandon_embryo(self) {
        let _ = self.dir.unlink("lock");
        let _ = self.root.dir.rmdir(&path(Place::Embryo, self.uuid));
    }
}

impl Pod<Preparing> {
    /// Writes the reified manifest, the file `pod`, once.
    ///
    /// # Errors
    /// [`PodError::TooLarge`] beyond 4 MiB; a failed system call, `EEXIST` if there is one already.
    pub fn write_manifest(&self, json: &[u8]) -> Result<(), PodError> {
        self.contents.borrow_mut().add("pod".to_owned(), Kind::File);
        files::create(&self.dir, "pod", json, files::MANIFEST_LIMIT, 0o400)
    }

    /// Writes what it takes to run the pod again beside its manifest, the file `setup`. What is in it is the caller's.
    ///
    /// # Errors
    /// As [`Pod::write_manifest`].
    pub fn write_setup(&self, json: &[u8]) -> Result<(), PodError> {
        self.made("setup", Kind::File);
        files::create(&self.dir, "setup", json, files::MANIFEST_LIMIT, 0o600)
    }

    /// Makes the pod a running one. On failure it is removed.
    ///
    /// # Errors
    /// [`PodError::UuidInUse`] if a pod of this UUID runs or ran; a failed system call.
    pub fn into_running(self) -> Result<Pod<Running>, PodError> {
        self.advance_or_remove(Place::Prepare, Place::Run)
    }

    /// Completes the pod for a later `run-prepared` and lets go of it.
    ///
    /// With `durable`, it is there after a power cut once this has returned; that writes back the whole file system.
    ///
    /// # Errors
    /// As [`Pod::into_running`].
    pub fn into_prepared(self, durable: bool) -> Result<PodUuid, PodError> {
        if durable {
            // All that was put into the directory, also by others through `dir()`: one call instead of one for each.
            syncfs(&self.lock).map_err(|e| self.dir.error("syncfs", "", e))?;
        }
        self.advance(Place::Prepare, Place::Prepared)?;
        if durable {
            for place in [Place::Prepare, Place::Prepared].map(Place::dir_name) {
                let dir = self.root.dir.open(place, OFlags::RDONLY | OFlags::DIRECTORY)?;
                fsync(&dir).map_err(|e| self.root.dir.error("fsync", place, e))?;
            }
        }
        // The lock goes last: a free lock in `prepare` means an aborted prepare.
        Ok(self.uuid)
    }

    /// Removes the pod after a failure.
    ///
    /// # Errors
    /// [`PodError::Removal`], after which gc goes on with it; a failed system call.
    pub fn remove(self, remover: &dyn TreeRemover) -> Result<(), PodError> {
        self.remove_from(Place::Prepare, remover)
    }
}

/// Nanoseconds since the epoch.
#[must_use]
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
