//! Goes through a directory tree in a fixed order, from descriptor to descriptor.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::{io, vec};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

/// A tree that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// A system call on something in it failed.
    #[error("{call} {}", path.display())]
    System {
        /// The call.
        call: &'static str,
        /// The path in the archive to be.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// More than an image may have.
    #[error("more than {limit} files and directories")]
    TooMany {
        /// The bound.
        limit: u64,
    },
}

/// Something in the tree.
#[derive(Debug)]
pub(super) struct Node {
    /// Its path in the archive, relative and without a slash at the end.
    pub(super) path: Vec<u8>,
    /// What the system says of it: owner, mode, time, size.
    pub(super) stat: Stat,
    /// What it is.
    pub(super) kind: NodeKind,
}

/// Kinds of things in a tree.
#[derive(Debug)]
pub(super) enum NodeKind {
    /// A directory, open. What is in it comes next.
    Directory(OwnedFd),
    /// A regular file, open for reading.
    File(File),
    /// Another name of the file, link, pipe or device that came before under this path.
    HardLink(Vec<u8>),
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    /// A named pipe. Not opened: that could wait for ever.
    Fifo,
    /// A character device. Not opened: that alone may do something.
    CharacterDevice,
    /// A block device. Not opened either.
    BlockDevice,
    /// A socket, for which archives have no form.
    Socket,
}

/// A walk under way. Directories come before what is in them, names in the order of their bytes: the order of Go's
/// `filepath.Walk`, whatever order the file system has.
#[derive(Debug)]
pub(super) struct Walk {
    /// The directories from the top down to the current one, with the names that are still to come.
    levels: Vec<Level>,
    /// The first path of every file that has more than one name.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// The top, until it was given out.
    top: Option<Node>,
    nodes: u64,
    limit: u64,
}

#[derive(Debug)]
struct Level {
    dir: OwnedFd,
    path: Vec<u8>,
    names: vec::IntoIter<Vec<u8>>,
}

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Walk {
    /// A walk through the directory `top`, which is called `name` in the archive; of at most `limit` nodes.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn new(top: &OwnedFd, name: &str, limit: u64) -> Result<Self, WalkError> {
        let path = name.as_bytes().to_vec();
        let dir = openat(top, ".", OPEN_DIRECTORY, Mode::empty()).map_err(|e| failed("open", &path, e))?;
        let stat = fstat(&dir).map_err(|e| failed("stat", &path, e))?;
        let mut walk = Self { levels: Vec::new(), links: HashMap::new(), top: None, nodes: 0, limit };
        let kind = NodeKind::Directory(walk.descend(dir, &path)?);
        walk.top = Some(Node { path, stat, kind });
        Ok(walk)
    }

    /// The next node.
    ///
    /// # Errors
    /// Something cannot be read, or there is too much. Nothing is left out silently.
    pub(super) fn next(&mut self) -> Result<Option<Node>, WalkError> {
        self.nodes += 1;
        if self.nodes > self.limit {
            return Err(WalkError::TooMany { limit: self.limit });
        }
        if let Some(top) = self.top.take() {
            return Ok(Some(top));
        }
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let path = [&level.path[..], b"/", &name].concat();
            return self.node(&name, path).map(Some);
        }
        Ok(None)
    }

    /// Looks at `name` in the current directory. A descriptor that only names it is opened first, so that what is
    /// examined and what is read are the same thing, and nothing but regular files is ever opened for real.
    fn node(&mut self, name: &[u8], path: Vec<u8>) -> Result<Node, WalkError> {
        let dir = &self.levels.last().expect("it was just asked for a name").dir;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = openat(dir, name, flags, Mode::empty()).map_err(|e| failed("open", &path, e))?;
        let mut stat = fstat(&handle).map_err(|e| failed("stat", &path, e))?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type != FileType::Directory && file_type != FileType::Socket && stat.st_nlink > 1 {
            // By device and inode: a tree may span file systems.
            match self.links.entry((stat.st_dev, stat.st_ino)) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    let kind = NodeKind::HardLink(first.get().clone());
                    return Ok(Node { path, stat, kind });
                }
                std::collections::hash_map::Entry::Vacant(new) => drop(new.insert(path.clone())),
            }
        }
        let kind = match file_type {
            FileType::Directory => {
                let opened = openat(dir, name, OPEN_DIRECTORY, Mode::empty()).map_err(|e| failed("open", &path, e))?;
                stat = fstat(&opened).map_err(|e| failed("stat", &path, e))?;
                NodeKind::Directory(self.descend(opened, &path)?)
            }
            FileType::RegularFile => NodeKind::File(reopen(&handle).map_err(|e| failed("open", &path, e))?),
            FileType::Symlink => {
                let target = readlinkat(&handle, "", Vec::new()).map_err(|e| failed("readlink", &path, e))?;
                NodeKind::Symlink(target.into_bytes())
            }
            FileType::Fifo => NodeKind::Fifo,
            FileType::CharacterDevice => NodeKind::CharacterDevice,
            FileType::BlockDevice => NodeKind::BlockDevice,
            FileType::Socket | FileType::Unknown => NodeKind::Socket,
        };
        Ok(Node { path, stat, kind })
    }

    /// Makes `dir` the current directory and returns another descriptor of it.
    fn descend(&mut self, dir: OwnedFd, path: &[u8]) -> Result<OwnedFd, WalkError> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir).map_err(|e| failed("open", path, e))? {
            let entry = entry.map_err(|e| failed("read", path, e))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
            if names.len() as u64 > self.limit {
                return Err(WalkError::TooMany { limit: self.limit });
            }
        }
        names.sort_unstable();
        let copy = dir.try_clone().map_err(|source| WalkError::System { call: "dup", path: shown(path), source })?;
        self.levels.push(Level { dir, path: path.to_vec(), names: names.into_iter() });
        Ok(copy)
    }
}

/// Opens for reading what `handle` names, and nothing else that may have its name by now.
fn reopen(handle: &OwnedFd) -> Result<File, Errno> {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    openat(CWD, path, flags, Mode::empty()).map(File::from)
}

/// A failed call, with the path in the archive.
pub(super) fn failed(call: &'static str, path: &[u8], errno: Errno) -> WalkError {
    WalkError::System { call, path: shown(path), source: errno.into() }
}

fn shown(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}
