//! Makes one tree of an ACI and its dependencies, without a second copy of data: its files are further names of theirs.
//!
//! Parts come highest first, so whatever is there already counts more than what comes (appc ace.md, Root Filesystems):
//! a path is taken from the first part that has it; below a path that is no directory in a part nothing of the later ones
//! shows, also where it is a directory in an earlier one: as if the parts were laid on one another from the lowest up.
//! Lists of paths ([`Part`]) leave things out: of an image itself files that are not in its list, of what it depends on
//! directories as well. What is needed to hold something else is made as other tools make it, 0755 and root's.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, copy_file_range,
    fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, ioctl_ficlone, linkat, mkdirat, openat, statat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::beneath::open_beneath;
use crate::dependencies::Part;
use crate::extract::{Owners, Paths};
use crate::os_error::OsError;
use crate::removal::for_each_entry;
use crate::shown::Shown;

/// A part and its tree.
#[derive(Debug)]
pub struct Source {
    /// What of it is wanted.
    pub part: Part,
    /// The root of its tree.
    pub root: OwnedFd,
    /// The owners that it does not show (single-id mode).
    pub owners: Owners,
    /// Its directories that no entry of its archive describes.
    pub implied: Paths,
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// Files, links and directories.
    pub entries: u64,
    /// Bytes of all regular files.
    pub content: u64,
    /// Owners that the tree does not show.
    pub owners: Owners,
}

/// A file that could not be merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{path}: {call}: {errno}")]
pub struct MergeError {
    path: Shown,
    call: String,
    errno: OsError,
}

type Result<T> = std::result::Result<T, MergeError>;

/// How much of the tables of owners is kept.
const OWNERS: usize = 96 << 20;

/// Fills the empty directory `root` with what `sources`, highest first, come to. To be run as container root.
///
/// # Errors
/// The first call that failed; the tree is then partial.
pub fn merge(root: BorrowedFd<'_>, sources: &[Source]) -> Result<Merged> {
    let (directories, closed) = (BTreeMap::new(), BTreeSet::new());
    let mut tree = Tree { root, directories, closed, last: None, done: Merged::default() };
    tree.directories.insert(Vec::new(), None);
    for (index, source) in sources.iter().enumerate() {
        tree.add(index, source)?;
    }
    tree.finish(sources)
}

struct Tree<'a> {
    root: BorrowedFd<'a>,
    /// The directories that were made, and of which source's entry; `None` if only for what is in it.
    directories: BTreeMap<Vec<u8>, Option<usize>>,
    /// Those of them that stand over a file: nothing of the parts below that shows there.
    closed: BTreeSet<Vec<u8>>,
    /// The directory that was used last; files come directory by directory.
    last: Option<(Vec<u8>, OwnedFd)>,
    done: Merged,
}

impl Tree<'_> {
    fn add(&mut self, index: usize, source: &Source) -> Result<()> {
        let mut queue = vec![Vec::new()];
        while let Some(path) = queue.pop() {
            let from = open(source.root.as_fd(), &path).map_err(|e| failed(&path, "open", e))?;
            if path.is_empty() {
                self.describe(index, source, &path);
            }
            let mut found = Vec::new();
            for_each_entry(&from, |name, kind| {
                found.push((name.to_vec(), kind));
                Ok(())
            })
            .map_err(|error| MergeError {
                path: Shown::new(&path),
                call: "read".to_owned(),
                errno: error.into(),
            })?;
            found.sort_unstable_by(|a: &(Vec<u8>, FileType), b| a.0.cmp(&b.0));
            for (name, kind) in found {
                let below = if path.is_empty() { name.clone() } else { [&path[..], b"/", &name].concat() };
                if kind == FileType::Directory {
                    if self.is_hidden(&below)? {
                        continue;
                    }
                    self.directory(index, source, &below)?;
                    queue.push(below);
                } else if source.part.keeps_file(&below) {
                    self.link(source, &from, &name, &below)?;
                }
            }
        }
        Ok(())
    }

    /// Whether something that is no directory has the path, here or in a part above.
    fn is_hidden(&self, path: &[u8]) -> Result<bool> {
        if self.directories.contains_key(path) {
            return Ok(self.closed.contains(path));
        }
        let (parent, name) = split(path);
        if !self.directories.contains_key(parent) {
            return Ok(false);
        }
        let dir = open(self.root, parent).map_err(|e| failed(path, "open", e))?;
        match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed(path, "stat", errno)),
        }
    }

    /// Makes a directory if its entry is wanted; else it comes with what is in it.
    fn directory(&mut self, index: usize, source: &Source, path: &[u8]) -> Result<()> {
        if source.implied.contains(path) || !source.part.keeps_directory(path) {
            return Ok(());
        }
        self.ensure(path)?;
        self.describe(index, source, path);
        Ok(())
    }

    /// The first entry of a directory says what it is like.
    fn describe(&mut self, index: usize, source: &Source, path: &[u8]) {
        let known = self.directories.entry(path.to_vec()).or_default();
        if known.is_none() && !(path.is_empty() && source.implied.contains(path)) {
            *known = Some(index);
        }
    }

    /// Makes sure that a directory is there, and all that lead to it.
    fn ensure(&mut self, path: &[u8]) -> Result<()> {
        if self.directories.contains_key(path) {
            return Ok(());
        }
        let (parent, name) = split(path);
        self.ensure(parent)?;
        let dir = open(self.root, parent).map_err(|e| failed(path, "open", e))?;
        mkdirat(&dir, name, Mode::RWXU).map_err(|e| failed(path, "mkdir", e))?;
        self.directories.insert(path.to_vec(), None);
        self.done.entries += 1;
        Ok(())
    }

    /// Gives a file of a source another name here, unless something has it.
    fn link(&mut self, source: &Source, from: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
        let (parent, _) = split(path);
        self.ensure(parent)?;
        let to = match self.last.take() {
            Some((last, dir)) if last == parent => dir,
            _ => open(self.root, parent).map_err(|e| failed(path, "open", e))?,
        };
        let (_, to) = self.last.insert((parent.to_vec(), to));
        match linkat(from, name, &*to, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                if self.directories.contains_key(path) {
                    self.closed.insert(path.to_vec());
                }
                return Ok(());
            }
            // Too many names, another file system, or none of ours (a store of somebody else's).
            Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::ACCESS) => copy(from, to, name, path)?,
            Err(errno) => return Err(failed(path, "link", errno)),
        }
        let stat = statat(&*to, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(path, "stat", e))?;
        self.done.entries += 1;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            self.done.content = self.done.content.saturating_add(stat.st_size.cast_unsigned());
        }
        self.own(source, path)
    }

    fn own(&mut self, source: &Source, path: &[u8]) -> Result<()> {
        let Some(owner) = source.owners.get(path) else { return Ok(()) };
        let limit = |_| failed(path, "remember its owner", Errno::NOMEM);
        self.done.owners.set(path, Some(owner), OWNERS).map_err(limit)
    }

    /// Gives the directories their owners, modes and times, those that hold others last.
    fn finish(mut self, sources: &[Source]) -> Result<Merged> {
        let directories = std::mem::take(&mut self.directories);
        for (path, source) in directories.into_iter().rev() {
            let dir = open(self.root, &path).map_err(|e| failed(&path, "open", e))?;
            let Some(source) = source.map(|index| &sources[index]) else {
                let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
                set(&dir, &path, None, 0o755, &Timestamps { last_access: zero, last_modification: zero })?;
                continue;
            };
            let like = open(source.root.as_fd(), &path).map_err(|e| failed(&path, "open", e))?;
            let stat = fstat(&like).map_err(|e| failed(&path, "stat", e))?;
            copy_xattrs(&like, &dir).map_err(|e| failed(&path, "copy attributes", e))?;
            set(&dir, &path, Some((stat.st_uid, stat.st_gid)), stat.st_mode & 0o7777, &times(&stat))?;
            self.own(source, &path)?;
        }
        Ok(self.done)
    }
}

impl Part {
    /// Whether a path that is no directory is wanted.
    fn keeps_file(&self, path: &[u8]) -> bool {
        self.own.as_ref().is_none_or(|list| list.has(path)) && self.keeps_directory(path)
    }

    /// Whether the entry of a directory is wanted. An image's own list does not matter for its directories.
    fn keeps_directory(&self, path: &[u8]) -> bool {
        self.above.iter().all(|list| list.has(path))
    }
}

/// The directory part, empty for what is directly below the root, and the last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Opens a directory of a tree.
fn open(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    open_beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Copies what cannot get another name: shares the data where the file system can.
fn copy(from: &OwnedFd, to: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(path, "stat", e))?;
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new()).map_err(|e| failed(path, "readlink", e))?;
            rustix::fs::symlinkat(target, to, name).map_err(|e| failed(path, "symlink", e))?;
            chownat(to, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| failed(path, "chown", e))?;
            return rustix::fs::utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| failed(path, "utimensat", e));
        }
        _ => return Err(failed(path, "link", Errno::MLINK)),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = openat(from, name, flags, Mode::empty()).map_err(|e| failed(path, "open", e))?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = openat(to, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed(path, "create", e))?;
    if ioctl_ficlone(&target, &source).is_err() {
        copy_contents(&source, &target).map_err(|error| MergeError {
            path: Shown::new(path),
            call: "copy".to_owned(),
            errno: error.into(),
        })?;
    }
    copy_xattrs(&source, &target).map_err(|e| failed(path, "copy attributes", e))?;
    set(&target, path, Some((stat.st_uid, stat.st_gid)), stat.st_mode & 0o7777, &times(&stat))?;
    // chown(2) took it away.
    copy_xattrs(&source, &target).map_err(|e| failed(path, "copy attributes", e))
}

fn copy_contents(source: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    loop {
        match copy_file_range(source, None, target, None, 64 << 20) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    // Whatever was copied is a beginning; both positions stand behind it.
    let link = |fd: &OwnedFd| fd.try_clone().map(std::fs::File::from);
    io::copy(&mut link(source)?, &mut link(target)?).map(drop)
}

/// Copies `user.*` and file capabilities.
fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let length = match flistxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let mut value = Vec::new();
    for name in names[..length].split(|&b| b == 0) {
        if name.starts_with(b"user.") || name == b"security.capability" {
            value.resize(64 << 10, 0);
            let length = fgetxattr(from, name, &mut value)?;
            fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// Sets owner, mode and times, in the order in which none undoes another.
fn set(file: &OwnedFd, path: &[u8], owner: Option<(u32, u32)>, mode: u32, times: &Timestamps) -> Result<()> {
    let (uid, gid) = owner.unwrap_or((0, 0));
    let stat = fstat(file).map_err(|e| failed(path, "stat", e))?;
    if (stat.st_uid, stat.st_gid) != (uid, gid) && owner.is_some() {
        fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(|e| failed(path, "chown", e))?;
    }
    fchmod(file, Mode::from_raw_mode(mode)).map_err(|e| failed(path, "chmod", e))?;
    futimens(file, times).map_err(|e| failed(path, "futimens", e))
}

fn times(stat: &Stat) -> Timestamps {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: nanoseconds };
    Timestamps { last_access: time, last_modification: time }
}

fn failed(path: &[u8], call: &str, errno: Errno) -> MergeError {
    let path = if path.is_empty() { b"/" } else { path };
    MergeError { path: Shown::new(path), call: call.to_owned(), errno: errno.into() }
}
