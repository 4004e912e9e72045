//! Whether a directory is a sound image layout: a manifest, a directory `rootfs`, and nothing beside them.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use appc::{Dialect, ImageManifest, ManifestError};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use store::Shown;

use super::manifest::{ManifestFile, ManifestFileError};
use super::{MANIFEST, ROOTFS};

/// A directory that is no sound layout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// It cannot be looked at.
    #[error("error accessing layout: stat {}", path.display())]
    Access {
        /// The path as given.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is no directory.
    #[error("given path {0} is not a directory")]
    NotDirectory(Shown),
    /// Its manifest cannot be read.
    #[error(transparent)]
    ManifestFile(ManifestFileError),
    /// `rootfs` is something else, a symbolic link for instance.
    #[error("rootfs is not a directory")]
    RootfsNotDirectory,
    /// There is no manifest.
    #[error("no image manifest found in layout")]
    NoManifest,
    /// There is no `rootfs`.
    #[error("no rootfs found in layout")]
    NoRootfs,
    /// The manifest breaks a rule.
    #[error("image manifest validation failed: {0}")]
    Manifest(ManifestError),
    /// Something lies beside the manifest and `rootfs`.
    #[error("unrecognized file path in layout: {0}")]
    Unrecognized(Shown),
    /// A directory of it cannot be read.
    #[error("open {}", path.display())]
    Directory {
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A sound layout, its `rootfs` held open: whatever is renamed meanwhile, this is what was checked.
#[derive(Debug)]
pub struct Layout {
    /// The image's manifest.
    pub manifest: ImageManifest,
    /// When the manifest's file was changed last, in seconds since the epoch.
    pub manifest_modified: u64,
    /// The directory `rootfs`.
    pub rootfs: OwnedFd,
}

/// What may hold the manifest; the first that is there counts, and no other may be there.
const MANIFESTS: [&str; 3] = [MANIFEST, "manifest.yaml", "manifest.yml"];

impl Layout {
    /// Checks the layout at `path`, which may lead through symbolic links. `manifest`, where it is given, takes the place
    /// of the one in the layout, which may then have none.
    ///
    /// The manifest may be a symbolic link; `rootfs` must be a directory. Nothing below `rootfs` is looked at.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn open(path: &Path, manifest: Option<ManifestFile>, dialect: Dialect) -> Result<Self, LayoutError> {
        let dir = open_directory(path)?;
        let names = names_in(&dir, path)?;
        let own = MANIFESTS.into_iter().find(|known| names.iter().any(|name| name == known.as_bytes()));
        let manifest = match (manifest, own) {
            (Some(given), _) => Some(given),
            (None, None) => None,
            (None, Some(name)) => {
                let read = ManifestFile::read_at(&dir, Path::new(name), &path.join(name));
                Some(read.map_err(LayoutError::ManifestFile)?)
            }
        };
        let rootfs = open_rootfs(&dir, path)?;
        let manifest = manifest.ok_or(LayoutError::NoManifest)?;
        let rootfs = rootfs.ok_or(LayoutError::NoRootfs)?;
        let manifest_modified = manifest.modified;
        let manifest = ImageManifest::from_json_in(&manifest.json, dialect).map_err(LayoutError::Manifest)?;
        let belongs =
            |name: &&Vec<u8>| name.as_slice() == ROOTFS.as_bytes() || own.is_some_and(|own| *name == own.as_bytes());
        match names.iter().find(|name| !belongs(name)) {
            Some(other) => Err(LayoutError::Unrecognized(Shown::new(other))),
            None => Ok(Self { manifest, manifest_modified, rootfs }),
        }
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, LayoutError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOTDIR if path.exists() => LayoutError::NotDirectory(Shown::new(path.as_os_str().as_bytes())),
        errno => LayoutError::Access { path: path.into(), source: errno.into() },
    })
}

/// The names in a directory in the order of their bytes.
fn names_in(dir: &OwnedFd, path: &Path) -> Result<Vec<Vec<u8>>, LayoutError> {
    let failed = |errno: Errno| LayoutError::Directory { path: path.into(), source: errno.into() };
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens `rootfs`, which must be a directory itself: through a symbolic link the image would be something else than
/// what lies in the layout.
fn open_rootfs(dir: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>, LayoutError> {
    let failed = |errno: Errno| LayoutError::Directory { path: path.join(ROOTFS), source: errno.into() };
    match statat(dir, ROOTFS, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
            return Err(LayoutError::RootfsNotDirectory);
        }
        Ok(_) => {}
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, ROOTFS, flags, Mode::empty()).map(Some).map_err(failed)
}
