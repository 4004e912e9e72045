//! What the layers below say about a directory that a layer only implies.
//!
//! A layer may hold `srv/data/file` and say nothing of `srv/data`. In the image that directory is what the layers below
//! made it; but an overlay shows the attributes of the uppermost tree that has it, so ours must have the same.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, OFlags, fgetxattr, fstat, memfd_create};
use rustix::io::Errno;

use super::directories::Attributes;
use super::owners::{Owner, Owners};
use crate::beneath::open_beneath;

/// A tree of a layer below.
#[derive(Debug)]
pub struct Lower {
    /// Its root.
    pub root: OwnedFd,
    /// The owners that it does not show (single-id mode).
    pub owners: Owners,
}

/// The trees of the layers below, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Below {
    trees: Vec<Arc<Lower>>,
    /// Of trees that others are still extracting the file that their owners will be in.
    owners: Vec<(usize, Arc<OwnersFile>)>,
    /// What can be read when these are complete; `None` where all are.
    complete: Option<Arc<OwnedFd>>,
    /// All of them, complete.
    whole: OnceLock<Vec<Arc<Lower>>>,
}

impl From<Vec<Arc<Lower>>> for Below {
    fn from(trees: Vec<Arc<Lower>>) -> Self {
        Self { trees, ..Self::default() }
    }
}

impl Below {
    /// Trees of which some are still being extracted, with the files that will have their owners.
    pub(crate) fn unfinished(trees: Vec<Arc<Lower>>, owners: Vec<(usize, Arc<OwnersFile>)>) -> Self {
        Self { trees, owners, ..Self::default() }
    }

    /// The same trees; those that others are extracting are complete once `complete` can be read.
    #[must_use]
    pub fn until(self, complete: Arc<OwnedFd>) -> Self {
        Self { complete: Some(complete), ..self }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// The trees, when they are complete.
    pub(super) fn wait(&self) -> Result<&[Arc<Lower>], Errno> {
        let Some(complete) = &self.complete else { return Ok(&self.trees) };
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        // Not by reading: others wait for the same.
        let mut ready = [PollFd::new(complete, PollFlags::IN)];
        while let Err(errno) = poll(&mut ready, None) {
            if errno != Errno::INTR {
                return Err(errno);
            }
        }
        let mut whole = self.trees.clone();
        for (index, file) in &self.owners {
            let root = whole[*index].root.try_clone().map_err(errno)?;
            whole[*index] = Arc::new(Lower { root, owners: file.read().map_err(errno)? });
        }
        Ok(self.whole.get_or_init(|| whole))
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// A file in memory with the owners that a tree does not show: what one child process found out for another.
#[derive(Debug)]
pub(crate) struct OwnersFile(File);

impl OwnersFile {
    /// With nothing in it.
    pub(crate) fn new() -> rustix::io::Result<Self> {
        Ok(Self(memfd_create("owners", MemfdFlags::CLOEXEC)?.into()))
    }

    /// Writes them, once.
    pub(crate) fn write(&self, owners: &Owners) -> io::Result<()> {
        if owners.is_empty() {
            return Ok(());
        }
        self.0.write_all_at(&serde_json::to_vec(owners)?, 0)
    }

    /// Its position is shared with other processes, so that it is not used.
    fn read(&self) -> io::Result<Owners> {
        let mut json = vec![0; usize::try_from(self.0.metadata()?.len()).unwrap_or(usize::MAX)];
        if json.is_empty() {
            return Ok(Owners::default());
        }
        self.0.read_exact_at(&mut json, 0)?;
        Ok(serde_json::from_slice(&json)?)
    }
}

/// The mark of a directory that hides what is below it (the kernel's filesystems/overlayfs.rst, "whiteouts and opaque
/// directories"; with `userxattr` in the user namespace of attributes).
const OPAQUE: &str = "user.overlay.opaque";

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
    open_beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
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
