//! Removing a pod that this process has filled, without reading its directories.
//!
//! What was made is unmade in reverse, one call each. Whatever does not fit (a file that the app wrote, another that
//! the executor put there) makes the ordinary removal take over.

use std::os::fd::AsFd as _;

use appc::PodUuid;
use rustix::fs::{AtFlags, Mode, OFlags, unlinkat};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::removal::remove_tree_with;
use crate::root::{Root, path};
use crate::walk::chmod_path_fd;
use crate::{Place, PodError, TreeRemover};

/// What was made in a pod's directory, in this order.
#[derive(Debug, Default)]
pub(crate) struct Contents(Vec<(String, Kind)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    /// An overlay's work directory: what a mounted overlay leaves in it is known.
    Work,
}

impl Contents {
    pub(crate) fn add(&mut self, path: String, kind: Kind) {
        if !self.has(&path) {
            self.0.push((path, kind));
        }
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == path)
    }
}

/// Removes the pod `uuid`, which stands in `garbage`, is open as `dir`, and was filled with `contents`.
pub(crate) fn remove(
    root: &Root,
    uuid: PodUuid,
    dir: &Dir,
    contents: &Contents,
    remover: &dyn TreeRemover,
) -> Result<(), PodError> {
    if unmake(root, dir, contents).is_ok() && root.dir.rmdir(&path(Place::Garbage, uuid)).is_ok() {
        return Ok(());
    }
    remove_garbage(root, uuid, remover)
}

/// Removes the pod `uuid`, which stands in `garbage`, whatever is in it.
pub(crate) fn remove_garbage(root: &Root, uuid: PodUuid, remover: &dyn TreeRemover) -> Result<(), PodError> {
    let garbage = root.dir.open(Place::Garbage.dir_name(), OFlags::RDONLY | OFlags::DIRECTORY)?;
    remove_tree_with(garbage.as_fd(), &uuid.to_string(), remover).map_err(|source| PodError::Removal { uuid, source })
}

fn unmake(root: &Root, dir: &Dir, contents: &Contents) -> Result<(), Errno> {
    for (path, kind) in contents.0.iter().rev() {
        match kind {
            Kind::File => unlinkat(dir, path, AtFlags::empty()),
            Kind::Dir => unlinkat(dir, path, AtFlags::REMOVEDIR),
            Kind::Work => unmake_work(root, dir, path),
        }?;
    }
    unlinkat(dir, "lock", AtFlags::empty())
}

/// A work directory whose overlay was mounted once holds `work`, of mode 000, and in it the mark that the mount was
/// volatile (kernel: ovl_workdir_create, ovl_create_volatile_dirty).
fn unmake_work(root: &Root, dir: &Dir, path: &str) -> Result<(), Errno> {
    match unlinkat(dir, path, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return other,
    }
    let inner = format!("{path}/work");
    match unlinkat(dir, &inner, AtFlags::REMOVEDIR) {
        Ok(()) => {}
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let work = dir.open(&inner, flags).map_err(|e| e.source)?;
            if root.user != 0 {
                chmod_path_fd(&work, Mode::RWXU)?;
            }
            unlinkat(&work, "incompat/volatile/dirty", AtFlags::empty())?;
            unlinkat(&work, "incompat/volatile", AtFlags::REMOVEDIR)?;
            unlinkat(&work, "incompat", AtFlags::REMOVEDIR)?;
            unlinkat(dir, &inner, AtFlags::REMOVEDIR)?;
        }
        Err(e) => return Err(e),
    }
    unlinkat(dir, path, AtFlags::REMOVEDIR)
}
