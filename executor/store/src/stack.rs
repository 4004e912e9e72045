//! Trees that lie on one another, looked at as an overlay shows them.
//!
//! The walk needs no mount, and no more than two directories open at a time: every file is found anew from the root of
//! its tree. Entries come in the order of the bytes of their names, a directory before what is in it. What it remembers
//! is bounded ([`walk`](crate::walk)): the uppermost tree may be what an app has written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, Stat, fgetxattr, fstat, open, readlinkat};
use rustix::io::Errno;

use crate::beneath::open_beneath;
use crate::extract::Lower;
use crate::removal::for_each_entry;
use crate::walk::{HardLinks, Itinerary, Memory};

mod changes;

pub use changes::Change;

/// The mark of a directory that hides what is below it.
const OPAQUE: &str = "user.overlay.opaque";

/// Directories deeper than this are no archive's.
const DEEPEST: usize = 512;

/// Something in the stack.
#[derive(Debug)]
pub struct Node<'a> {
    /// Its path from the root, without a slash at either end; empty for the root itself.
    pub path: &'a [u8],
    /// Its permissions, with the bits that a tree of a single id does not show.
    pub mode: u32,
    /// Its owner and group in the image.
    pub owner: (u32, u32),
    /// Seconds since the epoch and nanoseconds.
    pub mtime: (i64, u32),
    /// What it is.
    pub kind: NodeKind,
}

/// Kinds of nodes.
#[derive(Debug)]
#[non_exhaustive]
pub enum NodeKind {
    /// A directory, open.
    Directory(OwnedFd),
    /// A regular file, open, and its size.
    File(File, u64),
    /// Another name of the file of this path, which came before.
    HardLink(Vec<u8>),
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
}

/// Trees, lowest first.
#[derive(Clone, Debug)]
pub struct Stack {
    trees: Vec<Arc<Lower>>,
    /// Owners are in tables, because the files belong to a single id.
    single_id: bool,
}

/// An error with the path it is about.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", crate::shown::Shown::new(path))]
pub struct WalkError {
    path: Vec<u8>,
    source: io::Error,
}

/// What the trees have under one name.
struct Found {
    kind: FileType,
    /// The trees that have it, highest first; more than one only if it is a directory in all of them.
    trees: Vec<usize>,
    /// Nothing deeper shows.
    closed: bool,
}

/// Files of several names, by tree and inode.
type Links = HardLinks<(usize, u64)>;

impl Stack {
    /// A stack of these trees, lowest first.
    pub fn new(trees: Vec<Arc<Lower>>, single_id: bool) -> Self {
        Self { trees, single_id }
    }

    /// Calls `visit` with everything that an overlay of the trees shows, the root first. To be run as container root:
    /// files may be readable for nobody else, and owners are those of its user namespace.
    ///
    /// # Errors
    /// The visitor's, and the [`WalkError`] of a tree that cannot be read.
    pub fn walk<E: From<WalkError>>(&self, mut visit: impl FnMut(Node<'_>) -> Result<(), E>) -> Result<(), E> {
        let (mut links, mut memory, mut way) = (Links::default(), Memory::default(), Itinerary::default());
        let mut next = Some(self.root().map_err(|e| failed(b"", e))?);
        while let Some(found) = next {
            let path = way.path();
            let node = match self.node(path, &found, &mut links, &mut memory) {
                Err(error) if !is_gone(path, &error) => return Err(failed(path, error).into()),
                node => node.ok().flatten(),
            };
            let is_directory = node.is_some() && found.kind == FileType::Directory;
            node.map_or(Ok(()), &mut visit)?;
            if is_directory {
                if way.depth() == DEEPEST {
                    return Err(failed(path, io::Error::from(Errno::NAMETOOLONG)).into());
                }
                match self.children(path, &found.trees, &mut memory) {
                    Err(error) if !is_gone(path, &error) => return Err(failed(path, error).into()),
                    children => way.enter(children.into_iter().flatten().collect()),
                }
            }
            next = way.next(&mut memory);
        }
        Ok(())
    }

    fn root(&self) -> io::Result<Found> {
        let mut root = Found { kind: FileType::Directory, trees: Vec::new(), closed: false };
        for tree in (0..self.trees.len()).rev() {
            if !root.closed {
                root.trees.push(tree);
                root.closed = self.is_opaque(tree, b"")?;
            }
        }
        Ok(root)
    }

    /// What a directory holds, by name, as the trees that have it show it together.
    fn children(&self, path: &[u8], trees: &[usize], memory: &mut Memory) -> io::Result<BTreeMap<Vec<u8>, Found>> {
        let mut children: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
        for (index, &tree) in trees.iter().enumerate() {
            let lowest = index + 1 == trees.len();
            let mut names = Vec::new();
            for_each_entry(&self.open(tree, path, OFlags::RDONLY | OFlags::DIRECTORY)?, |name, kind| {
                memory.take(name).map_err(io::Error::other)?;
                names.push((name.to_vec(), kind));
                Ok(())
            })?;
            for (name, kind) in names {
                let closed = |name: &[u8]| -> io::Result<bool> {
                    let path = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
                    Ok(lowest || kind != FileType::Directory || self.is_opaque(tree, &path)?)
                };
                let known = children.get_mut(&name);
                if known.is_some() {
                    memory.give(&name);
                }
                match known {
                    Some(found) if found.closed => {}
                    Some(found) if kind == FileType::Directory => {
                        found.closed = closed(&name)?;
                        found.trees.push(tree);
                    }
                    Some(found) => found.closed = true,
                    None => {
                        let closed = closed(&name)?;
                        children.insert(name, Found { kind, trees: vec![tree], closed });
                    }
                }
            }
        }
        // Devices are never unpacked: what looks like one hides a name of the trees below.
        children.retain(|name, found| {
            let is_device = matches!(found.kind, FileType::CharacterDevice | FileType::BlockDevice);
            if is_device {
                memory.give(name);
            }
            !is_device
        });
        Ok(children)
    }

    /// What is shown of a path: the uppermost one.
    fn node<'a>(
        &self,
        path: &'a [u8],
        found: &Found,
        links: &mut Links,
        memory: &mut Memory,
    ) -> io::Result<Option<Node<'a>>> {
        let Some(&tree) = found.trees.first() else { return Ok(None) };
        let file = self.open(tree, path, OFlags::PATH)?;
        let stat = fstat(&file)?;
        let kind = match found.kind {
            FileType::Directory => NodeKind::Directory(self.open(tree, path, OFlags::RDONLY | OFlags::DIRECTORY)?),
            FileType::Symlink => NodeKind::Symlink(readlinkat(&file, "", Vec::new())?.into_bytes()),
            FileType::Fifo => NodeKind::Fifo,
            FileType::RegularFile => {
                let met = links.meet((tree, stat.st_ino), stat.st_nlink, path, memory).map_err(io::Error::other)?;
                match met {
                    Some(first) => NodeKind::HardLink(first),
                    None => NodeKind::File(reopen(&file)?, stat.st_size.cast_unsigned()),
                }
            }
            // Sockets and whatever else somebody has put there.
            _ => return Ok(None),
        };
        let (owner, mode) = self.owner(tree, path, &stat);
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Ok(Some(Node { path, mode, owner, mtime: (stat.st_mtime, nanoseconds), kind }))
    }

    fn owner(&self, tree: usize, path: &[u8], stat: &Stat) -> ((u32, u32), u32) {
        let mode = stat.st_mode & 0o7777;
        if !self.single_id {
            return ((stat.st_uid, stat.st_gid), mode);
        }
        match self.trees[tree].owners.get(path) {
            Some(owner) => ((owner.uid, owner.gid), owner.mode.unwrap_or(mode)),
            None => ((0, 0), mode),
        }
    }

    fn is_opaque(&self, tree: usize, path: &[u8]) -> io::Result<bool> {
        let dir = self.open(tree, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        match fgetxattr(&dir, OPAQUE, &mut [0; 8]) {
            Ok(length) => Ok(length > 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens what a tree has at a path: no link anywhere on the way, nothing outside.
    fn open(&self, tree: usize, path: &[u8], access: OFlags) -> io::Result<OwnedFd> {
        Ok(open_beneath(&self.trees[tree].root, path, access)?)
    }
}

/// Whether it was there a moment ago: the topmost tree may be an app's that runs. Trees of images do not change.
fn is_gone(path: &[u8], error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].map(|errno| Some(errno.raw_os_error()));
    !path.is_empty() && gone.contains(&error.raw_os_error())
}

/// Opens the very file that an `O_PATH` descriptor stands for, whatever happens to its name.
fn reopen(file: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(open(format!("/proc/self/fd/{}", file.as_raw_fd()), flags, Mode::empty())?))
}

fn failed(path: &[u8], source: io::Error) -> WalkError {
    let path = if path.is_empty() { b"/".to_vec() } else { path.to_vec() };
    WalkError { path, source }
}
