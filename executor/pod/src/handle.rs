//! A pod whose lock this process holds, with its state in the type.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use appc::{AcName, PodUuid};
use rustix::fs::{OFlags, fsync, syncfs};
use rustix::io::Errno;

use crate::contents::{Contents, Kind};
use crate::dir::Dir;
use crate::root::{Root, path};
use crate::{AppStatus, Place, PodError, PodName, PodStatus, TreeRemover, Unaided, contents, files, names};

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

/// States in which apps and volumes can be added.
pub trait Fillable: sealed::Sealed {}
impl Fillable for Preparing {}
impl Fillable for Running {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Preparing {}
    impl Sealed for super::Running {}
}

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

/// The directories of one app's overlay, open for reading.
#[derive(Debug)]
#[non_exhaustive]
pub struct AppDirs {
    /// What the app changes in its root file system. Its mode is 0755 and becomes that of the app's `/`: give it
    /// the lower root's mode with `fchmod` where that differs.
    pub upper: OwnedFd,
    /// Overlay's work directory, mode 0700.
    pub work: OwnedFd,
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

impl<S: Fillable> Pod<S> {
    /// Makes the directories of a new app. With `owner` (uid, gid on the host), its overlay directories are given to
    /// that owner, the container root of a caller who is not container root himself.
    ///
    /// # Errors
    /// A failed system call: `EEXIST` if the pod has an app of that name.
    pub fn add_app(&self, name: &AcName, owner: Option<(u32, u32)>) -> Result<AppDirs, PodError> {
        let name = component(name)?;
        let make = |what: &str, kind, umask_proof_mode| -> Result<OwnedFd, PodError> {
            let path = format!("{what}.{name}");
            self.dir.mkdir(&path, 0o700)?;
            self.contents.borrow_mut().add(path.clone(), kind);
            let dir = self.dir.open(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            self.dir.adorn(&dir, &path, umask_proof_mode, owner)?;
            Ok(dir)
        };
        let upper = make("upper", Kind::Tree, Some(0o755))?;
        let work = make("work", Kind::Work, None)?;
        Ok(AppDirs { upper, work })
    }

    /// Makes an empty volume, owned as `owner` says (uid, gid on the host), and opens it.
    ///
    /// # Errors
    /// A failed system call: `EEXIST` if the pod has a volume of that name.
    pub fn add_volume(&self, name: &AcName, mode: u32, owner: Option<(u32, u32)>) -> Result<OwnedFd, PodError> {
        let path = self.make_volume(name)?;
        let dir = self.dir.open(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        self.dir.adorn(&dir, &path, Some(mode & 0o7777), owner)?;
        Ok(dir)
    }

    /// Records how far attempt number `attempt` of an app has come, replacing what was recorded before. Where there is no
    /// room for another file, that is the record of the attempt before.
    ///
    /// # Errors
    /// [`PodError::TooLarge`] beyond 64 KiB; a failed system call, `ENOENT` if there is no such app.
    pub fn write_app_status(&self, app: &AcName, attempt: u32, status: &AppStatus) -> Result<(), PodError> {
        let path = format!("app.{}.{attempt}", component(app)?);
        let json = to_json(status, &path)?;
        let earlier = attempt.checked_sub(1).map(|attempt| format!("app.{app}.{attempt}"));
        files::replace_or_overwrite(&self.dir, &path, earlier.as_deref(), &format!(".app.{app}"), &json)?;
        self.contents.borrow_mut().add(path, Kind::File);
        Ok(())
    }

    /// Makes `volumes/NAME`, and `volumes` before the first.
    fn make_volume(&self, name: &AcName) -> Result<String, PodError> {
        let path = format!("volumes/{}", component(name)?);
        if !self.contents.borrow().has("volumes") {
            match self.dir.mkdir("volumes", 0o700) {
                // A pod that was prepared by another process.
                Err(e) if e.source == Errno::EXIST => {}
                other => other?,
            }
            self.contents.borrow_mut().add("volumes".to_owned(), Kind::Dir);
        }
        self.dir.mkdir(&path, 0o700)?;
        self.contents.borrow_mut().add(path.clone(), Kind::Tree);
        Ok(path)
    }
}

impl Pod<Running> {
    /// Records that the first app has been started.
    ///
    /// # Errors
    /// A failed system call.
    pub fn mark_started(&self) -> Result<(), PodError> {
        self.contents.borrow_mut().add("started".to_owned(), Kind::File);
        Ok(self.dir.touch("started", 0o600)?)
    }

    /// Takes the room that [`Pod::write_pod_status`] needs, so that a disk which is full by then does not keep anybody from
    /// learning how the pod ended.
    ///
    /// # Errors
    /// A failed system call: `ENOSPC` on a disk that is full already.
    pub fn reserve_status(&self) -> Result<(), PodError> {
        files::reserve(&self.dir, RESERVED)
    }

    /// Records the exit status of the pod, and now as the time of its end.
    ///
    /// # Errors
    /// A failed system call.
    pub fn write_pod_status(&self, status: i32) -> Result<(), PodError> {
        let json = to_json(&PodStatus { status, finished_ns: now_ns() }, "status")?;
        files::fill_reserved(&self.dir, "status", RESERVED, &json)?;
        self.contents.borrow_mut().add("status".to_owned(), Kind::File);
        Ok(())
    }

    /// Replaces the manifest of a pod whose apps have changed.
    ///
    /// # Errors
    /// [`PodError::TooLarge`] beyond 4 MiB; a failed system call.
    pub fn replace_manifest(&self, json: &[u8]) -> Result<(), PodError> {
        files::replace(&self.dir, "pod", ".pod", json, files::MANIFEST_LIMIT)
    }

    /// Replaces what [`Pod::write_setup`] wrote.
    ///
    /// # Errors
    /// As [`Pod::replace_manifest`].
    pub fn replace_setup(&self, json: &[u8]) -> Result<(), PodError> {
        files::replace(&self.dir, "setup", ".setup", json, files::MANIFEST_LIMIT)
    }

    /// Opens the directories of an app that was added before the pod ran, for reading.
    ///
    /// # Errors
    /// A failed system call.
    pub fn app_dirs(&self, name: &AcName) -> Result<AppDirs, PodError> {
        let name = component(name)?;
        let open = |what: &str| self.dir.open(&format!("{what}.{name}"), OFlags::RDONLY | OFlags::DIRECTORY);
        Ok(AppDirs { upper: open("upper")?, work: open("work")? })
    }

    /// Opens a volume that was added before the pod ran.
    ///
    /// # Errors
    /// A failed system call.
    pub fn volume(&self, name: &AcName) -> Result<OwnedFd, PodError> {
        Ok(self.dir.open(&format!("volumes/{}", component(name)?), OFlags::RDONLY | OFlags::DIRECTORY)?)
    }

    /// Removes what there is of an app: its directories, its records and its logs.
    ///
    /// # Errors
    /// [`PodError::Removal`]; a failed system call.
    pub fn remove_app(&self, name: &AcName, remover: &dyn TreeRemover) -> Result<(), PodError> {
        let name = component(name)?;
        let here = self.dir.open(".", OFlags::RDONLY | OFlags::DIRECTORY)?;
        for what in ["upper", "work"] {
            crate::removal::remove_tree_with(here.as_fd(), &format!("{what}.{name}"), remover)
                .map_err(|source| PodError::Removal { uuid: self.uuid, source })?;
        }
        let (record, log) = (format!("app.{name}."), format!("log.{name}"));
        let belongs =
            |entry: &&String| entry.starts_with(&record) || **entry == log || entry.starts_with(&format!("{log}."));
        for entry in crate::listing::entries(&self.dir, ".")?.iter().filter(belongs) {
            self.dir.unlink(entry)?;
        }
        Ok(())
    }

    /// Removes the pod. Its processes must have ended; a mount of its directories in another namespace, which lives
    /// a few milliseconds longer, does not matter.
    ///
    /// # Errors
    /// [`PodError::Removal`], after which gc goes on with it; a failed system call.
    pub fn remove(self, remover: &dyn TreeRemover) -> Result<(), PodError> {
        self.remove_from(Place::Run, remover)
    }
}

/// The pod's status before it has one.
const RESERVED: &str = ".status";

/// Nanoseconds since the epoch.
#[must_use]
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// A name as one component of a path. Names that were parsed always are; the absent one, which the schema lets a
/// manifest hold in places, is not.
fn component(name: &AcName) -> Result<&str, PodError> {
    match name.as_str() {
        "" => Err(PodError::EmptyName),
        name => Ok(name),
    }
}

fn to_json(value: &impl serde::Serialize, path: &str) -> Result<Vec<u8>, PodError> {
    let mut json = serde_json::to_vec(value).map_err(|source| PodError::Status { path: path.to_owned(), source })?;
    json.push(b'\n');
    Ok(json)
}
