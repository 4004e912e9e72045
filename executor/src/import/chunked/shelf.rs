//! Finds the content of a file in the store.
//!
//! The store keeps no digests of files. A newer image has a file mostly where an older one had it, so it is looked for by
//! its name in every tree, and its digest is computed.

use std::fs::File;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use store::{IdMap, Store, Tree};

use super::digest_of;
use super::table::Content;

/// The most trees that are looked into, those that were made last.
const MOST: usize = 64;

/// The trees of a store.
#[derive(Debug)]
pub(in super::super) struct Shelf {
    trees: Vec<Tree>,
}

impl Shelf {
    /// The trees that were made under an id map, as far as they can be used. They stay as long as this does.
    pub(in super::super) fn open(store: &Store, map: &IdMap) -> Self {
        Self { trees: store.newest_trees(map, MOST).unwrap_or_default() }
    }

    /// Whether nothing can be found here.
    pub(super) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// The file of this content. What this user may not read is not found.
    pub(super) fn find(&self, content: &Content) -> Option<File> {
        let path = content.path.trim_start_matches("./").trim_start_matches('/');
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        self.trees.iter().find_map(|tree| {
            let file = openat2(tree.dir(), path, flags, Mode::empty(), resolve).ok()?;
            let stat = fstat(&file).ok()?;
            let alike = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && stat.st_size.cast_unsigned() == content.size;
            let file = alike.then(|| File::from(file))?;
            (digest_of(content.digest.algorithm(), &file)? == content.digest).then_some(file)
        })
    }
}
