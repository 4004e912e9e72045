//! What goes wrong with the store itself.

use std::path::PathBuf;

use crate::os_error::OsError;
use crate::shown::Shown;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A system call failed.
    #[error("{call} {path}: {errno}")]
    System {
        /// What was done, as a verb.
        call: &'static str,
        /// The path, from the data directory on.
        path: String,
        /// The error.
        errno: OsError,
    },
    /// A directory that must be one is a symbolic link or a file. Whoever made the link could exchange the store.
    #[error("{} is not a directory (symbolic links are not followed)", path.display())]
    NotDirectory {
        /// The path.
        path: PathBuf,
    },
    /// A directory that was said to be a store.
    #[error("{} is no store", path.display())]
    NoStore {
        /// The path.
        path: PathBuf,
    },
    /// An image of a store that is only read.
    #[error("image {id} is in {}, which is only read", path.display())]
    OnlyRead {
        /// The image.
        id: appc::ImageId,
        /// The store.
        path: PathBuf,
    },
    /// A directory of another user.
    #[error("{} belongs to uid {found}, not to uid {expected}", path.display())]
    Owner {
        /// The path.
        path: PathBuf,
        /// Whose it is.
        found: u32,
        /// Our effective uid.
        expected: u32,
    },
    /// A directory that others may write to, or look into.
    #[error("{} has mode {mode:04o}; {needed}", path.display())]
    Mode {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What it must be.
        needed: &'static str,
    },
    /// A file system on which locks and ownership do not mean what the store needs.
    #[error("{} lies on {kind}, which the store does not support", path.display())]
    FileSystem {
        /// The path.
        path: PathBuf,
        /// Its name.
        kind: &'static str,
    },
    /// The store was written by a later version and is only read.
    #[error("the store has format {found}, this version writes format {known}: it can only be read")]
    NewerFormat {
        /// The number in its `format` file.
        found: u32,
        /// The number we know.
        known: u32,
    },
    /// The `format` file holds no number.
    #[error("the store's format file holds {found}")]
    FormatUnreadable {
        /// What it holds.
        found: Shown,
    },
    /// A record that cannot be read.
    #[error("{file} of the store is damaged: {reason}")]
    Damaged {
        /// The file, from the store's directory on.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else holds a lock for longer than any operation needs.
    #[error("the store's lock {lock} is held by another process for {seconds} s")]
    Busy {
        /// The lock file.
        lock: &'static str,
        /// How long we waited.
        seconds: u64,
    },
    /// No such image.
    #[error("no image {id}")]
    NoImage {
        /// The ID asked for.
        id: appc::ImageId,
    },
    /// Which trees pods need is not known, so nothing that one of them might need is removed.
    #[error("find out which trees the pods need")]
    References {
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A manifest that cannot be printed.
    #[error("print the manifest of the image")]
    Manifest(#[from] appc::ManifestError),
    /// A layer that was not part of this import, or does not fit the image.
    #[error("image {id}: {reason}")]
    Import {
        /// The image that was to be committed.
        id: appc::ImageId,
        /// What does not fit.
        reason: String,
    },
}

impl StoreError {
    /// The image whose record this is about, if it is about one.
    pub fn damaged_image(&self) -> Option<appc::ImageId> {
        match self {
            Self::Damaged { file, .. } => crate::record::id_of(file.strip_prefix("images/")?),
            _ => None,
        }
    }

    /// Whether a system call failed with this error number.
    pub fn is(&self, errno: rustix::io::Errno) -> bool {
        matches!(self, Self::System { errno: found, .. } if found.is(errno))
    }
}

/// Makes a [`StoreError`] of a failed call.
pub(crate) fn failed<E: Into<OsError>>(call: &'static str, path: impl Into<String>) -> impl FnOnce(E) -> StoreError {
    let path = path.into();
    move |error| StoreError::System { call, path, errno: error.into() }
}
