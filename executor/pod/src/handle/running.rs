//! A pod that runs: how far it has come, what changes in it, and its removal.

use std::os::fd::{AsFd, OwnedFd};

use appc::AcName;
use rustix::fs::OFlags;

use super::filling::{component, to_json};
use super::{AppDirs, Pod, Running, now_ns};
use crate::contents::Kind;
use crate::{Place, PodError, PodStatus, TreeRemover, files};

/// The pod's status before it has one.
pub(crate) const RESERVED: &str = ".status";

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
