//! What is put into a pod: the directories of apps and volumes, and the records of its apps.

use std::os::fd::OwnedFd;

use appc::AcName;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Pod, Preparing, Running};
use crate::contents::Kind;
use crate::{AppStatus, PodError, files};

/// States in which apps and volumes can be added.
pub trait Fillable: sealed::Sealed {}
impl Fillable for Preparing {}
impl Fillable for Running {}

mod sealed {
    use super::{Preparing, Running};

    pub trait Sealed {}
    impl Sealed for Preparing {}
    impl Sealed for Running {}
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

/// A name as one component of a path. Names that were parsed always are; the absent one, which the schema lets a
/// manifest hold in places, is not.
pub(super) fn component(name: &AcName) -> Result<&str, PodError> {
    match name.as_str() {
        "" => Err(PodError::EmptyName),
        name => Ok(name),
    }
}

pub(super) fn to_json(value: &impl serde::Serialize, path: &str) -> Result<Vec<u8>, PodError> {
    let mut json = serde_json::to_vec(value).map_err(|source| PodError::Status { path: path.to_owned(), source })?;
    json.push(b'\n');
    Ok(json)
}
