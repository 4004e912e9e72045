//! The directory `pods/`: opened, trusted, and made complete.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use appc::PodUuid;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, lstat, openat};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::{CallError, Place, PodError, cradles, format};

/// The directory of names below `pods/`.
pub(crate) const NAMES: &str = "names";

/// All the pods of a data directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pods {
    pub(crate) root: Arc<Root>,
}

impl Pods {
    /// Opens the pods of `data_dir`, making that directory and what belongs into it where it is missing.
    ///
    /// `pods/` of a later version is opened too, and refuses every change.
    ///
    /// # Errors
    /// [`PodError`] if the directory is a symbolic link, belongs to somebody else, is writable by others, or cannot
    /// be made or read.
    pub fn ensure(data_dir: &Path) -> Result<Self, PodError> {
        let data = match open_data_dir(data_dir) {
            Err(PodError::Call(e)) if e.source == Errno::NOENT => {
                DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|e| CallError {
                    call: "mkdir",
                    path: data_dir.display().to_string(),
                    source: Errno::from_io_error(&e).unwrap_or(Errno::IO),
                })?;
                open_data_dir(data_dir)?
            }
            other => other?,
        };
        Self::ensure_at(data.as_fd(), data_dir)
    }

    /// Opens the pods of `data_dir` as they are. Where there are none, none are found: for those who make no pod, who then
    /// make nothing else either, and may be on a file system where nothing can be made.
    ///
    /// # Errors
    /// As [`Pods::ensure`].
    pub fn existing(data_dir: &Path) -> Result<Self, PodError> {
        let user = rustix::process::geteuid().as_raw();
        let absent =
            || Self { root: Arc::new(Root { dir: Dir::absent("pods".to_owned()), user, version: format::KNOWN }) };
        let data = match open_data_dir(data_dir) {
            Err(PodError::Call(e)) if e.source == Errno::NOENT => return Ok(absent()),
            data => Dir::new(data?, data_dir.display().to_string()),
        };
        check_trust(data.fd(), data_dir, user)?;
        let pods = match data.open_dir("pods", "pods".to_owned()) {
            Err(e) if e.source == Errno::NOENT => return Ok(absent()),
            pods => pods?,
        };
        check_trust(pods.fd(), &data_dir.join("pods"), user)?;
        // Without a format it is about to be completed, or was cut off at that: nobody has made a pod in it yet.
        let version = format::read(&pods)?.unwrap_or(format::KNOWN);
        Ok(Self { root: Arc::new(Root { dir: pods, user, version }) })
    }

    /// [`Pods::ensure`] for a data directory that is open already; `shown` is its path for messages.
    ///
    /// # Errors
    /// As [`Pods::ensure`].
    pub fn ensure_at(data_dir: BorrowedFd<'_>, shown: &Path) -> Result<Self, PodError> {
        let user = rustix::process::geteuid().as_raw();
        check_trust(data_dir, shown, user)?;
        let data = Dir::new(
            data_dir.try_clone_to_owned().map_err(|e| CallError {
                call: "fcntl",
                path: shown.display().to_string(),
                source: Errno::from_io_error(&e).unwrap_or(Errno::IO),
            })?,
            shown.display().to_string(),
        );
        let open = || data.open_dir("pods", "pods".to_owned());
        let pods = match open() {
            Err(e) if e.source == Errno::NOENT => {
                make_dir(&data, "pods")?;
                open()?
            }
            other => other?,
        };
        check_trust(pods.fd(), &shown.join("pods"), user)?;
        let version = match format::read(&pods)? {
            Some(version) => version,
            None => {
                make_places(&pods)?;
                format::write_known(&pods)?;
                format::KNOWN
            }
        };
        Ok(Self { root: Arc::new(Root { dir: pods, user, version }) })
    }

    /// Whether these pods were written by a later version and can only be read.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.root.check_writable().is_err()
    }
}

/// `pods/` and what is known about it.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) dir: Dir,
    /// Our effective uid, which owns everything here.
    pub(crate) user: u32,
    version: u32,
}

impl Root {
    pub(crate) fn check_writable(&self) -> Result<(), PodError> {
        format::check_writable(self.version)
    }

    /// Moves a pod to another place, in one step.
    pub(crate) fn move_pod(&self, uuid: PodUuid, from: Place, to: Place) -> Result<(), CallError> {
        let (source, target) = (path(from, uuid), path(to, uuid));
        match self.dir.rename(&source, &target) {
            // Somebody removed the target place. The pod itself may be what is missing, then this says so again.
            Err(e) if e.source == Errno::NOENT && self.dir.exists(&source)? => {
                make_places(&self.dir)?;
                self.dir.rename(&source, &target)
            }
            other => other,
        }
    }
}

/// The path of a pod in a place, below `pods/`.
pub(crate) fn path(place: Place, uuid: PodUuid) -> String {
    match place {
        Place::Embryo => format!("{}/{uuid}", cradles::of(uuid)),
        _ => format!("{place}/{uuid}"),
    }
}

/// Makes the directories that pods are moved through, where they are missing.
pub(crate) fn make_places(pods: &Dir) -> Result<(), CallError> {
    for name in Place::ALL.iter().map(|place| place.dir_name()).chain([NAMES]) {
        make_dir(pods, name)?;
    }
    cradles::make(pods)
}

/// Makes a directory that may be there already.
pub(crate) fn make_dir(parent: &Dir, name: &str) -> Result<(), CallError> {
    match parent.mkdir(name, 0o700) {
        Err(e) if e.source == Errno::EXIST => Ok(()),
        other => other,
    }
}

fn open_data_dir(path: &Path) -> Result<OwnedFd, PodError> {
    // A slash at the end would make the kernel follow a symbolic link; components() drops it.
    let plain: PathBuf = path.components().collect();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, &plain, flags, Mode::empty()).map_err(|source| {
        let path = path.to_owned();
        match lstat(&plain).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::Symlink) => PodError::DataDirSymlink { path },
            Ok(kind) if kind != FileType::Directory => PodError::DataDirKind { path },
            _ => CallError { call: "openat", path: path.display().to_string(), source }.into(),
        }
    })
}

/// A directory that others own or can write to is no place for pods.
fn check_trust(dir: BorrowedFd<'_>, shown: &Path, user: u32) -> Result<(), PodError> {
    let stat = fstat(dir).map_err(|source| CallError { call: "fstat", path: shown.display().to_string(), source })?;
    if stat.st_uid != user {
        return Err(PodError::DataDirOwner { path: shown.to_owned(), owner: stat.st_uid, user });
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(PodError::DataDirWritable { path: shown.to_owned(), mode: stat.st_mode & 0o7777 });
    }
    Ok(())
}
