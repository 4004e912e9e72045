//! The directories on the way to an entry, kept open: archives are mostly sorted by directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Levels that are kept open. What lies deeper takes a few calls more, and never more descriptors.
const MOST: usize = 32;

/// Directories of one path, each below the one before.
#[derive(Debug)]
pub(super) struct Descent {
    root: OwnedFd,
    path: Vec<u8>,
    /// Each with the length of its own path.
    levels: Vec<(usize, OwnedFd)>,
}

impl Descent {
    /// With nothing but the root.
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, path: Vec::new(), levels: Vec::new() }
    }

    /// The root.
    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Climbs up to the deepest open directory on the way to `path`; returns the length of its path. What is closed by
    /// that may be removed then.
    pub(super) fn climb(&mut self, path: &[u8]) -> usize {
        let same = self.path.iter().zip(path).take_while(|(one, other)| one == other).count();
        let leads_to = |end: usize| end <= same && matches!(path.get(end), None | Some(b'/'));
        while self.levels.pop_if(|(end, _)| !leads_to(*end)).is_some() {}
        let end = self.levels.last().map_or(0, |(end, _)| *end);
        self.path.truncate(end);
        end
    }

    /// The deepest open directory.
    pub(super) fn deepest(&self) -> BorrowedFd<'_> {
        self.levels.last().map_or(self.root.as_fd(), |(_, dir)| dir.as_fd())
    }

    /// Descends into `dir`, which is at `path`, below the deepest.
    pub(super) fn descend(&mut self, path: &[u8], dir: OwnedFd) {
        if self.levels.len() == MOST {
            self.levels.pop();
        }
        self.path.truncate(self.levels.last().map_or(0, |(end, _)| *end));
        self.path.extend_from_slice(&path[self.path.len()..]);
        self.levels.push((path.len(), dir));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn dir() -> OwnedFd {
        File::open("/").unwrap().into()
    }

    #[test]
    fn only_directories_on_the_way_stay_open() {
        let mut descent = Descent::new(dir());
        assert_eq!(descent.climb(b"a/b"), 0);
        for path in [&b"a"[..], b"a/bc", b"a/bc/d"] {
            descent.descend(path, dir());
        }
        assert_eq!(descent.climb(b"a/bc/d"), 6);
        assert_eq!(descent.climb(b"a/bc/de"), 4);
        assert_eq!(descent.climb(b"a/b"), 1);
        descent.descend(b"a/x", dir());
        assert_eq!(descent.climb(b"a/bc"), 1);
        assert_eq!(descent.climb(b""), 0);
        assert_eq!(descent.climb(b"a"), 0);
    }

    #[test]
    fn the_number_of_descriptors_is_bounded() {
        let mut descent = Descent::new(dir());
        let path = b"x/".repeat(100);
        for level in 1..100 {
            descent.descend(&path[..2 * level - 1], dir());
        }
        assert_eq!(descent.levels.len(), MOST);
        assert_eq!(descent.climb(&path[..2 * 99 - 1]), 2 * 99 - 1);
        // Of those that were not kept the deepest above them is as good.
        assert_eq!(descent.climb(&path[..2 * 98 - 1]), 2 * (MOST - 1) - 1);
    }
}
