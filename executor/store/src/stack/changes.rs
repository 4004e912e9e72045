//! What the uppermost tree changes of what lies below it.
//!
//! Only directories that the uppermost tree has are looked into. A change is told of a directory before those of what is in
//! it, and of every directory in which something changes.

use std::io;

use rustix::fs::{FileType, OFlags, Stat, fgetxattr, fstat};
use rustix::io::Errno;

use super::{DEEPEST, Found, Stack, WalkError, failed, is_gone, reopen};
use crate::removal::for_each_entry;
use crate::walk::{Itinerary, Memory};

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The trees below have nothing there.
    Added,
    /// It is another one, has another owner, mode, size or time, or something in it has changed.
    Changed,
    /// It shows no more. What was in it is not told.
    Deleted,
}

/// A name in a directory of the uppermost tree.
struct Item {
    /// What that has there; nothing if it hides it.
    upper: Option<FileType>,
    /// What the trees below show.
    below: Option<Found>,
}

/// Of which of the directories on the way to a path something was told.
#[derive(Default)]
struct Told(Vec<bool>);

impl Told {
    /// Tells of `path`, and before of those directories around it of which nothing was told yet; of a path without a
    /// change it is noted that it has none.
    fn tell<E>(
        &mut self,
        path: &[u8],
        change: Option<Change>,
        visit: &mut impl FnMut(Change, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let slashes: Vec<usize> = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).collect();
        self.0.resize(slashes.len(), false);
        if let Some(change) = change {
            for (told, end) in self.0.iter_mut().zip(slashes).filter(|(told, _)| !**told) {
                visit(Change::Changed, &path[..end])?;
                *told = true;
            }
            visit(change, path)?;
        }
        self.0.push(change.is_some());
        Ok(())
    }
}

impl Stack {
    /// Calls `visit` with every path that the uppermost tree adds, changes or hides, in the order of a walk, but not with the
    /// root. Of the paths that are `usual` it is not told that they were added: whoever mounts the trees has made them. To be run as [`Stack::walk`] is.
    ///
    /// # Errors
    /// The visitor's, and the [`WalkError`] of a tree that cannot be read.
    pub fn changes<E: From<WalkError>>(
        &self,
        usual: &[&str],
        mut visit: impl FnMut(Change, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(upper) = self.trees.len().checked_sub(1) else { return Ok(()) };
        let below = Self { trees: self.trees[..upper].to_vec(), single_id: self.single_id };
        let (mut told, mut memory, mut way) = (Told::default(), Memory::default(), Itinerary::default());
        let root = below.root().map_err(|e| failed(b"", e))?;
        let mut next = Some(Item { upper: Some(FileType::Directory), below: Some(root) });
        while let Some(item) = next {
            let path = way.path();
            if !path.is_empty() {
                match self.change(path, &item, usual) {
                    Err(error) if !is_gone(path, &error) => return Err(failed(path, error).into()),
                    // What has gone meanwhile is told by nobody.
                    change => told.tell(path, change.ok().flatten(), &mut visit)?,
                }
            }
            if item.upper == Some(FileType::Directory) {
                if way.depth() == DEEPEST {
                    return Err(failed(path, io::Error::from(Errno::NAMETOOLONG)).into());
                }
                match self.changed_names(&below, path, item.below.as_ref(), &mut memory) {
                    Err(error) if !is_gone(path, &error) => return Err(failed(path, error).into()),
                    names => way.enter(names.unwrap_or_default()),
                }
            }
            next = way.next(&mut memory);
        }
        Ok(())
    }

    /// The names in a directory of the uppermost tree, and those that it hides.
    fn changed_names(
        &self,
        below: &Self,
        path: &[u8],
        lower: Option<&Found>,
        memory: &mut Memory,
    ) -> io::Result<Vec<(Vec<u8>, Item)>> {
        let upper = self.trees.len() - 1;
        let lower = lower.filter(|lower| lower.kind == FileType::Directory);
        let mut known = lower.map(|lower| below.children(path, &lower.trees, memory)).transpose()?.unwrap_or_default();
        let mut names = Vec::new();
        for_each_entry(&self.open(upper, path, OFlags::RDONLY | OFlags::DIRECTORY)?, |name, kind| {
            let below = known.remove(name);
            let upper = (!matches!(kind, FileType::CharacterDevice | FileType::BlockDevice)).then_some(kind);
            if below.is_none() {
                memory.take(name).map_err(io::Error::other)?;
            }
            names.push((name.to_vec(), Item { upper, below }));
            Ok(())
        })?;
        match self.is_opaque(upper, path)? {
            true => {
                names.extend(known.into_iter().map(|(name, found)| (name, Item { upper: None, below: Some(found) })))
            }
            false => known.keys().for_each(|name| memory.give(name)),
        }
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(names)
    }

    /// What became of a path, if anything.
    fn change(&self, path: &[u8], item: &Item, usual: &[&str]) -> io::Result<Option<Change>> {
        let lower = item.below.as_ref().and_then(|below| below.trees.first());
        Ok(match (item.upper, lower) {
            (None, None) => None,
            (None, Some(_)) => Some(Change::Deleted),
            (Some(_), None) if usual.iter().any(|usual| usual.as_bytes() == path) => None,
            (Some(_), None) => Some(Change::Added),
            (Some(_), Some(&lower)) => self.differs(path, lower)?.then_some(Change::Changed),
        })
    }

    /// Whether the uppermost tree has something else at a path than a lower one. Of a file's content size and time tell, as
    /// they do docker; both belong to whoever the tree has them belong to, so that no table of owners counts.
    fn differs(&self, path: &[u8], lower: usize) -> io::Result<bool> {
        let open = |tree: usize| self.open(tree, path, OFlags::PATH);
        let (new, old) = (open(self.trees.len() - 1)?, open(lower)?);
        let (of_new, of_old) = (fstat(&new)?, fstat(&old)?);
        let inode = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
        let content = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        if inode(&of_new) != inode(&of_old) {
            return Ok(true);
        }
        match FileType::from_raw_mode(of_new.st_mode) {
            FileType::Directory => Ok(false),
            _ if content(&of_new) != content(&of_old) => Ok(true),
            FileType::RegularFile => Ok(capability(&reopen(&new)?)? != capability(&reopen(&old)?)?),
            _ => Ok(false),
        }
    }
}

/// A file's capabilities, as they are written down.
fn capability(file: &std::fs::File) -> io::Result<Vec<u8>> {
    let mut value = [0; 64];
    match fgetxattr(file, "security.capability", &mut value) {
        Ok(length) => Ok(value[..length].to_vec()),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(Vec::new()),
        Err(errno) => Err(errno.into()),
    }
}
