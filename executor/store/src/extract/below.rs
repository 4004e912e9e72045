//! What the layers below say about a directory that a layer only implies.
//!
//! A layer may hold `srv/data/file` and say nothing of `srv/data`. In the image that directory is what the layers below
//! made it; but an overlay shows the attributes of the uppermost tree that has it, so ours must have the same.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, fgetxattr, fstat, openat2};
use rustix::io::Errno;

use super::directories::Attributes;
use super::owners::{Owner, Owners};

/// The mark of a directory that hides what is below it (the kernel's filesystems/overlayfs.rst, "whiteouts and opaque
/// directories"; with `userxattr` in the user namespace of attributes).
const OPAQUE: &str = "user.overlay.opaque";

/// A tree of a layer below.
#[derive(Debug)]
pub struct Lower {
    /// Its root.
    pub root: OwnedFd,
    /// The owners that it does not show (single-id mode).
    pub owners: Owners,
}

/// The directory `path` as the trees `below`, lowest first, show it together; `None` where they have none. With it comes
/// the owner that the tree does not show.
pub(super) fn look_up(below: &[Arc<Lower>], path: &[u8]) -> Result<Option<(Attributes, Option<Owner>)>, Errno> {
    for lower in below.iter().rev() {
        match open(&lower.root, path) {
            Ok(dir) => return Ok(Some((attributes(&dir)?, lower.owners.get(path)))),
            // A whiteout, or something else than a directory: what lies deeper is hidden.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(Errno::NOENT) if hides_deeper_ones(&lower.root, path)? => return Ok(None),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

/// Whether a directory on the way to `path` is opaque in this tree.
fn hides_deeper_ones(root: &OwnedFd, path: &[u8]) -> Result<bool, Errno> {
    let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(end, _)| end);
    for end in std::iter::once(0).chain(ends) {
        match open(root, &path[..end]) {
            Ok(dir) if is_opaque(&dir)? => return Ok(true),
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}

fn open(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let path = if path.is_empty() { b".".as_slice() } else { path };
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn is_opaque(dir: &OwnedFd) -> Result<bool, Errno> {
    match fgetxattr(dir, OPAQUE, &mut [0; 8]) {
        Ok(length) => Ok(length > 0),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn attributes(dir: &OwnedFd) -> Result<Attributes, Errno> {
    let stat = fstat(dir.as_fd())?;
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let mode = stat.st_mode & 0o7777;
    Ok(Attributes { uid: stat.st_uid, gid: stat.st_gid, mode, mtime: (stat.st_mtime, nanoseconds), implied: false })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    fn dir(root: &Path, path: &str, mode: u32) {
        fs::create_dir_all(root.join(path)).unwrap();
        fs::set_permissions(root.join(path), Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_uppermost_tree_that_has_it_counts_unless_one_above_hides_it() {
        let trees: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let [low, middle, high] = [0, 1, 2].map(|index: usize| trees[index].path());
        dir(low, "a/b", 0o701);
        dir(middle, "a/b", 0o702);
        dir(low, "hidden/by/opaque", 0o703);
        dir(middle, "hidden", 0o755);
        dir(low, "gone/x", 0o704);
        fs::write(high.join("gone"), "").unwrap();
        dir(low, "deep/er", 0o705);
        let open = |path: &Path| Arc::new(Lower { root: File::open(path).unwrap().into(), owners: Owners::default() });
        let opaque = File::open(middle.join("hidden")).unwrap();
        rustix::fs::fsetxattr(&opaque, OPAQUE, b"y", rustix::fs::XattrFlags::empty()).unwrap();
        let below = [open(low), open(middle), open(high)];
        let mode = |path: &str| look_up(&below, path.as_bytes()).unwrap().map(|(found, _)| found.mode);
        assert_eq!(mode("a/b"), Some(0o702));
        assert_eq!(mode("deep/er"), Some(0o705));
        for absent in ["hidden/by/opaque", "gone/x", "gone", "nowhere", "nowhere/x"] {
            assert_eq!(mode(absent), None, "{absent}");
        }
    }
}
