//! Removing a pod that this process has filled, without reading its directories.
//!
//! What was made is unmade in reverse, one call each. Whatever does not fit (a file that somebody else put there, one
//! of another id) makes the general removal take over.

use std::os::fd::{AsFd as _, BorrowedFd};

use appc::PodUuid;
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::removal::{remove_tree, remove_tree_with};
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
    /// A directory that apps write into.
    Tree,
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

/// Removes what is in the pod's directory, if it is just what was made there.
pub(crate) fn unmake(root: &Root, dir: &Dir, contents: &Contents) -> Result<(), Errno> {
    for (path, kind) in contents.0.iter().rev() {
        match kind {
            Kind::File => unlinkat(dir.fd(), path, AtFlags::empty()),
            Kind::Dir => unlinkat(dir.fd(), path, AtFlags::REMOVEDIR),
            Kind::Tree => unmake_tree(dir, path),
            Kind::Work => unmake_work(root, dir, path),
        }?;
    }
    unlinkat(dir.fd(), "lock", AtFlags::empty())
}

/// An app that wrote nothing costs one call; one that did, a walk through what it wrote, not through the whole pod.
fn unmake_tree(dir: &Dir, path: &str) -> Result<(), Errno> {
    match unlinkat(dir.fd(), path, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return other,
    }
    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
    let parent = dir.open(parent, OFlags::PATH | OFlags::DIRECTORY).map_err(|e| e.source)?;
    // Whatever the obstacle is, the general removal meets it again and reports it.
    remove_tree(parent.as_fd(), name).map_err(|_| Errno::NOTEMPTY)
}

/// A work directory whose overlay was mounted holds a chain of directories of mode 000: `work`, and in it the mark
/// that the mount was volatile (kernel: `ovl_workdir_create`, `ovl_create_volatile_dirty`).
fn unmake_work(root: &Root, dir: &Dir, path: &str) -> Result<(), Errno> {
    unmake_chain(dir.fd(), &format!("{path}/work"), &["incompat", "volatile"], root.user)?;
    unlinkat(dir.fd(), path, AtFlags::REMOVEDIR)
}

/// Removes what a volatile mount leaves in the work directory at `path`. What else is in there the next mount clears away.
pub(crate) fn unmark_work(pod: BorrowedFd<'_>, path: &str, user: u32) -> Result<(), Errno> {
    match unmake_chain(pod, &format!("{path}/work"), &["incompat", "volatile"], user) {
        // A file that was being copied up when its pod was killed.
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Removes the directory `name`, in which there is the chain `deeper` of directories, and in the last one `dirty`.
fn unmake_chain(parent: BorrowedFd<'_>, name: &str, deeper: &[&str], user: u32) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match openat(parent, name, flags, Mode::empty()) {
        // It was never mounted, or not as volatile.
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    if user != 0 {
        chmod_path_fd(&dir, Mode::RWXU)?;
    }
    match deeper {
        [] => match unlinkat(&dir, "dirty", AtFlags::empty()) {
            // Somebody was killed who did the same.
            Ok(()) | Err(Errno::NOENT) => {}
            failed => failed?,
        },
        [next, deeper @ ..] => unmake_chain(dir.as_fd(), next, deeper, user)?,
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use appc::PodUuid;
    use rustix::process::{Gid, Uid, geteuid};
    use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

    use super::*;
    use crate::{Pod, Pods, Preparing};

    /// What the user's fast way must cope with, else every removal takes the general one.
    #[test]
    fn what_a_volatile_overlay_leaves_is_unmade_without_reading_a_directory() {
        let as_user = std::thread::spawn(|| {
            if geteuid().is_root() {
                let (uid, gid) = (Uid::from_raw(54_321), Gid::from_raw(54_321));
                set_thread_res_gid(gid, gid, gid).unwrap();
                set_thread_res_uid(uid, uid, uid).unwrap();
            }
            for depth in 0..=3 {
                let data = tempfile::tempdir().unwrap();
                let pods = Pods::ensure(data.path()).unwrap();
                let pod: Pod<Preparing> = pods.create(PodUuid::new_v4(), None).unwrap().prepare().unwrap();
                pod.add_app(&"main".parse().unwrap(), None).unwrap();
                let mut dir = data.path().join("pods").join(path(Place::Prepare, pod.uuid())).join("work.main");
                let mut innermost_first = Vec::new();
                for name in ["work", "incompat", "volatile"].into_iter().take(depth) {
                    dir.push(name);
                    fs::create_dir(&dir).unwrap();
                    innermost_first.insert(0, dir.clone());
                }
                if depth == 3 {
                    fs::write(dir.join("dirty"), "").unwrap();
                }
                for dir in &innermost_first {
                    fs::set_permissions(dir, fs::Permissions::from_mode(0o000)).unwrap();
                }
                assert_eq!(pod.unmake(), Ok(()), "{depth}");
            }
        });
        as_user.join().unwrap();
    }
}
