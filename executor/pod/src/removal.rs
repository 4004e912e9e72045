//! Removing a tree that an image and its app have filled: as the user, else by somebody with the right ids.

use std::error::Error;
use std::ffi::CString;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use crate::walk::Walk;

/// Removes a tree that holds files of mapped ids, which the caller itself may not.
///
/// The executor implements it by a child inside the pod's user namespace that calls [`remove_tree`].
pub trait TreeRemover {
    /// Removes the directory `name` in `parent` and everything in it. Absence is success.
    ///
    /// # Errors
    /// Whatever kept it from doing so.
    fn remove_tree(&self, parent: BorrowedFd<'_>, name: &str) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// The remover of a caller that has no id map: what the user cannot remove stays, with the error that was met.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unaided;

impl TreeRemover for Unaided {
    fn remove_tree(&self, parent: BorrowedFd<'_>, name: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(remove_tree(parent, name)?)
    }
}

/// Why a tree is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemovalError {
    /// The name is not one component of a path.
    #[error("{name:?} is not the name of a directory entry")]
    Name {
        /// The refused name.
        name: String,
    },
    /// Something is mounted there; what is mounted is left alone.
    #[error("{path:?} is a mount point")]
    Mounted {
        /// The place, beginning with the tree's name.
        path: String,
    },
    /// A directory was refilled, or stayed busy, for longer than processes of the pod can live on.
    #[error("{path:?} stayed in use for {waited_ms} ms")]
    InUse {
        /// The directory.
        path: String,
        /// How long, in milliseconds.
        waited_ms: u128,
        /// What the last attempt met.
        #[source]
        source: Errno,
    },
    /// A system call failed.
    #[error("{call}({path:?})")]
    Call {
        /// The call, by its man-page name.
        call: &'static str,
        /// What it was applied to.
        path: String,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The helper in the user namespace failed.
    #[error("remove {path:?} in the user namespace")]
    Remover {
        /// The tree.
        path: String,
        /// What it said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The helper succeeded, and the tree is there.
    #[error("{path:?} is still there after its removal in the user namespace")]
    StillThere {
        /// The tree.
        path: String,
    },
}

impl RemovalError {
    /// Whether somebody with other ids might succeed.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Call { source: Errno::ACCESS | Errno::PERM, .. })
    }
}

/// Removes `name` in `parent`, a directory with everything in it, with the caller's own rights.
///
/// Absence is success, also of parts: two removers of one tree do not disturb each other. Directories of the caller
/// that lack permission bits (overlay's `work/work` has mode 000) are given them. To be called inside the id-mapped
/// user namespace too.
///
/// # Errors
/// The first obstacle; what was removed before stays removed. [`RemovalError::is_denied`] tells whether files of
/// other ids are the reason.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &str) -> Result<(), RemovalError> {
    let bad_name = || RemovalError::Name { name: name.chars().take(255).collect() };
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return Err(bad_name());
    }
    let (shown, name) = (name.to_owned(), CString::new(name).map_err(|_| bad_name())?);
    match unlinkat(parent, &name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR) => match unlinkat(parent, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(RemovalError::Call { call: "unlinkat", path: shown, source }),
        },
        Err(_) => Walk::new(parent, name)?.run(),
    }
}

/// [`remove_tree`], and where the caller's rights do not suffice, `remover` for the whole tree: at most one child
/// process per tree, however many of its directories belong to others.
pub(crate) fn remove_tree_with(
    parent: BorrowedFd<'_>,
    name: &str,
    remover: &dyn TreeRemover,
) -> Result<(), RemovalError> {
    match remove_tree(parent, name) {
        Err(e) if e.is_denied() => {}
        other => return other,
    }
    remover.remove_tree(parent, name).map_err(|source| RemovalError::Remover { path: name.to_owned(), source })?;
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        _ => Err(RemovalError::StillThere { path: name.to_owned() }),
    }
}
