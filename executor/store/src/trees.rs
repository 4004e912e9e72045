//! Extracted layers: found, held, described.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{StoreError, failed};
use crate::extract::{Owners, Paths};
use crate::layer::{IdMap, LayerKey};
use crate::layout::Store;
use crate::lock::Guard;
use crate::removal::for_each_entry;

/// A tree in use. As long as this exists, here or in a child process, the tree is not removed.
#[derive(Debug)]
pub struct Tree {
    dir: OwnedFd,
    guard: Guard,
    name: String,
}

/// What the store knows about a tree, from its `tree.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRecord {
    /// The version of this format.
    pub(crate) version: u32,
    /// The layer it was extracted from.
    pub layer: LayerKey,
    /// The id map it was extracted under.
    pub map: IdMap,
    /// The packed archive the layer came from, which may or may not be in the store.
    pub blob: Digest,
    /// Bytes of that.
    pub blob_size: u64,
    /// Bytes of the recipe that gives the archive back (docs/decisions/0005); 0 if there is none.
    pub recipe_size: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of all regular files.
    pub content: u64,
    /// Owners that the files do not show, because there was a single id.
    #[serde(default, skip_serializing_if = "Owners::is_empty")]
    pub owners: Owners,
    /// Directories of an ACI that no entry of its archive describes.
    #[serde(default, skip_serializing_if = "Paths::is_empty")]
    pub implied: Paths,
}

pub(crate) const VERSION: u32 = 2;

/// The name of a recipe, beside `rootfs` and `tree.json`.
pub(crate) const RECIPE: &str = "recipe";

/// A record is larger than this only if it is no record: owners are bounded when a tree is made.
const RECORD_LIMIT: u64 = 512 << 20;

impl Store {
    /// The tree of a layer under an id map, from this store or one behind it; `None` if it has to be extracted (again).
    ///
    /// Four system calls, nothing is parsed: this is on the way of every `run`.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn tree(&self, layer: &LayerKey, map: &IdMap) -> Result<Option<Tree>, StoreError> {
        for store in self.with_those_behind() {
            if let Some(tree) = store.own_tree(layer, map)? {
                return Ok(Some(tree));
            }
        }
        Ok(None)
    }

    fn own_tree(&self, layer: &LayerKey, map: &IdMap) -> Result<Option<Tree>, StoreError> {
        let name = layer.tree_name(map);
        let record = format!("trees/{name}/tree.json");
        let Some(guard) = Guard::take(self.dir(), &record).map_err(failed("lock", record))? else {
            return Ok(None);
        };
        let rootfs = format!("trees/{name}/rootfs");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(self.dir(), rootfs.as_str(), flags, Mode::empty()) {
            Ok(dir) => Ok(Some(Tree { dir, guard, name })),
            // Whoever tampered with it: extract it again.
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("open", rootfs)(errno)),
        }
    }
}

impl Store {
    /// The trees under an id map that were made last, at most `most`, from this store alone.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn newest_trees(&self, map: &IdMap, most: usize) -> Result<Vec<Tree>, StoreError> {
        if !self.exists() {
            return Ok(Vec::new());
        }
        let trees = self.subdirectory("trees")?;
        let mut found = Vec::new();
        let read = for_each_entry(&trees, |name, _| {
            let key = std::str::from_utf8(name).ok().and_then(|name| name.split_once('.'));
            let key = key.filter(|(_, of)| IdMap::new(of) == *map).and_then(|(key, _)| key.parse::<LayerKey>().ok());
            if let Some((key, made)) = key.zip(statat(&trees, name, AtFlags::SYMLINK_NOFOLLOW).ok()) {
                found.push((made.st_mtime, made.st_mtime_nsec, key));
            }
            Ok(())
        });
        read.map_err(|error| failed("read", "trees")(error))?;
        found.sort_by_key(|(seconds, nanoseconds, _)| std::cmp::Reverse((*seconds, *nanoseconds)));
        found.iter().take(most).filter_map(|(.., key)| self.own_tree(key, map).transpose()).collect()
    }

    /// The trees of a layer under whatever id maps there are. A layer that implies directories has its own for each stack
    /// it lies in; all of them are of the same archive.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn trees_of(&self, layer: &LayerKey) -> Result<Vec<(IdMap, Tree)>, StoreError> {
        if !self.exists() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        let read = for_each_entry(&self.subdirectory("trees")?, |name, _| {
            names.extend(std::str::from_utf8(name).ok().and_then(|name| name.split_once('.')).and_then(
                |(key, map)| {
                    let key: LayerKey = key.parse().ok()?;
                    (key.form() == layer.form() && key.digest() == layer.digest()).then(|| (key, IdMap::new(map)))
                },
            ));
            Ok(())
        });
        read.map_err(|error| failed("read", "trees")(error))?;
        let open = |(key, map): (LayerKey, IdMap)| Ok(self.tree(&key, &map)?.map(|tree| (map, tree)));
        names.into_iter().filter_map(|it| open(it).transpose()).collect()
    }

    /// Opens the recipe that gives the archive of a tree's layer back, together with the tree; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn recipe(&self, tree: &Tree) -> Result<Option<File>, StoreError> {
        let record = format!("trees/{}/tree.json", tree.name);
        let path = format!("trees/{}/{RECIPE}", tree.name);
        let held = fstat(&tree.guard).map_err(failed("stat", record.as_str()))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        for store in self.with_those_behind() {
            // By the store's own way: that from the tree's root upwards is closed where the image closes its root.
            match statat(store.dir(), record.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino) => {}
                Ok(_) | Err(Errno::NOENT) => continue,
                Err(errno) => return Err(failed("stat", record)(errno)),
            }
            return match openat(store.dir(), path.as_str(), flags, Mode::empty()) {
                Ok(recipe) => Ok(Some(File::from(recipe))),
                Err(Errno::NOENT) => Ok(None),
                Err(errno) => Err(failed("open", path)(errno)),
            };
        }
        Ok(None)
    }
}

impl Tree {
    /// The layer it is the tree of.
    pub fn layer(&self) -> LayerKey {
        LayerKey::of_tree(&self.name).expect("it was opened by its layer's name")
    }

    /// The root of the tree, an `O_PATH` descriptor.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The descriptor that holds the lock; a process that keeps (a copy of) it keeps the tree.
    pub fn guard(&self) -> BorrowedFd<'_> {
        self.guard.as_fd()
    }

    /// The root and the guard.
    pub fn into_parts(self) -> (OwnedFd, OwnedFd) {
        (self.dir, self.guard.into_fd())
    }

    pub(crate) fn into_root_and_guard(self) -> (OwnedFd, Guard) {
        (self.dir, self.guard)
    }

    /// Reads what is known about the tree.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::System`].
    pub fn record(&self) -> Result<TreeRecord, StoreError> {
        let file = || format!("trees/{}/tree.json", self.name);
        let copy = self.guard.as_fd().try_clone_to_owned().map_err(|error| failed("dup", file())(error))?;
        read_record(File::from(copy), file())
    }
}

/// Reads a `tree.json` from its beginning; `shown` is its path for messages.
pub(crate) fn read_record(file: File, shown: String) -> Result<TreeRecord, StoreError> {
    use std::io::Seek as _;
    let mut file = file;
    let mut json = Vec::new();
    let read = file.rewind().and_then(|()| file.take(RECORD_LIMIT).read_to_end(&mut json));
    read.map_err(|error| failed("read", shown.as_str())(error))?;
    let damaged = |reason: String| StoreError::Damaged { file: shown.clone(), reason };
    let record: TreeRecord = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
    if record.version != VERSION {
        return Err(damaged(format!("version {} of tree records is unknown", record.version)));
    }
    Ok(record)
}
