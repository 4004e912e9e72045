//! Names of members: what they come to, and which of them an archive has used.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use store::extract::{ExtractError, Fault};

/// The shortest name that means the same path if no symbolic link is on it: what Go's `filepath.Clean` makes of it.
///
/// A `..` takes away what is before it, which is how the Go implementation reads an archive; whether a name may have one
/// is another question ([`store::archive::EntryPath`]).
pub(super) fn clean(name: &[u8]) -> Vec<u8> {
    let absolute = name.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            b".." if absolute => {}
            part => parts.push(part),
        }
    }
    let mut path = if absolute { b"/".to_vec() } else { Vec::new() };
    path.extend(parts.join(&b'/'));
    if path.is_empty() { b".".to_vec() } else { path }
}

/// What a name was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A directory that an entry describes.
    Directory,
    /// A directory that only something below it implies.
    Implied,
    /// A file, link or anything else that can have nothing below it.
    Leaf,
}

/// What speaks against a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// It was used before.
    Repeated,
    /// The extractor would refuse it, or lose something that came before.
    Fault(Fault),
}

/// The names an archive has used so far.
///
/// An archive may hold a million names of 4 KiB, so only a fingerprint of each is kept, 128 bits under a secret key:
/// that two names share one is less likely than a wrong bit in memory, whoever chooses the names.
#[derive(Debug)]
pub(super) struct Seen {
    uses: BTreeMap<u128, Use>,
    keys: [RandomState; 2],
    /// The directory of the last name, whose ancestors need not be looked up again.
    parent: Vec<u8>,
    limit: u64,
}

impl Seen {
    /// Remembers up to `limit` names, those of implied directories included. A million take 30 MB.
    pub(super) fn new(limit: u64) -> Self {
        Self { uses: BTreeMap::new(), keys: [RandomState::new(), RandomState::new()], parent: Vec::new(), limit }
    }

    fn fingerprint(&self, path: &[u8]) -> u128 {
        let [high, low] = &self.keys;
        u128::from(high.hash_one(path)) << 64 | u128::from(low.hash_one(path))
    }

    /// What `path` was used for, which must be in the form that [`clean`] gives.
    pub(super) fn get(&self, path: &[u8]) -> Option<Use> {
        self.uses.get(&self.fingerprint(path)).copied()
    }

    /// Remembers a relative path in the form that [`clean`] gives, and the directories on the way to it.
    ///
    /// # Errors
    /// There are too many. What speaks against the name is the result: it is for the caller to say how bad that is.
    pub(super) fn insert(&mut self, path: &[u8], is_directory: bool) -> Result<Option<Conflict>, ExtractError> {
        let mut conflict = None;
        let parent = path.iter().rposition(|&b| b == b'/').map_or(&[][..], |end| &path[..end]);
        if parent != self.parent {
            let ends = (0..path.len()).filter(|&at| path[at] == b'/');
            for end in ends {
                let ancestor = self.fingerprint(&path[..end]);
                match self.uses.get(&ancestor) {
                    None => self.remember(ancestor, Use::Implied)?,
                    Some(Use::Leaf) => conflict = Some(Conflict::Fault(Fault::ParentNotDirectory)),
                    Some(_) => {}
                }
            }
            self.parent.clear();
            // A parent that is none must be found again by the next name below it.
            self.parent.extend_from_slice(if conflict.is_none() { parent } else { b"" });
        }
        let own = self.fingerprint(path);
        match (self.uses.get(&own), is_directory) {
            (None, _) => self.remember(own, if is_directory { Use::Directory } else { Use::Leaf })?,
            (Some(Use::Implied), true) => self.remember(own, Use::Directory)?,
            (Some(Use::Implied), false) => conflict = Some(Conflict::Fault(Fault::ParentNotDirectory)),
            (Some(_), _) => conflict = Some(Conflict::Repeated),
        }
        Ok(conflict)
    }

    fn remember(&mut self, fingerprint: u128, used: Use) -> Result<(), ExtractError> {
        self.uses.insert(fingerprint, used);
        if self.uses.len() as u64 > self.limit {
            return Err(ExtractError::Limit { what: "names".to_owned(), limit: self.limit });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_as_go_does() {
        for (name, cleaned) in [
            ("", "."),
            ("abc", "abc"),
            ("./manifest", "manifest"),
            ("rootfs/", "rootfs"),
            ("abc//def//ghi", "abc/def/ghi"),
            ("//abc", "/abc"),
            ("abc/./../def", "def"),
            ("abc/def/..", "abc"),
            ("abc/def/../..", "."),
            ("/abc/def/../..", "/"),
            ("abc/def/../../..", ".."),
            ("/abc/def/../../..", "/"),
            ("abc/def/../../../ghi/jkl/../../../mno", "../../mno"),
            ("/../abc", "/abc"),
            ("rootfs/../x", "x"),
        ] {
            assert_eq!(String::from_utf8(clean(name.as_bytes())).unwrap(), cleaned, "{name}");
        }
    }

    #[test]
    fn uses_of_names_are_told_apart() {
        let mut seen = Seen::new(100);
        let mut insert = |path: &str, dir| seen.insert(path.as_bytes(), dir).unwrap();
        let not_directory = || Some(Conflict::Fault(Fault::ParentNotDirectory));
        assert_eq!(insert("a/b/c", false), None);
        assert_eq!(insert("a/b", true), None, "implied before");
        assert_eq!(insert("a/b", true), Some(Conflict::Repeated));
        assert_eq!(insert("a", false), not_directory(), "something is below it");
        assert_eq!(insert("a/b/c", false), Some(Conflict::Repeated));
        assert_eq!(insert("a/b/c/d", false), not_directory());
        assert_eq!(insert("a/b/c/e", false), not_directory(), "and again");
        assert_eq!(insert("a/b/e", false), None);
        assert_eq!(insert("ab", false), None);
        assert_eq!(seen.get(b"a"), Some(Use::Implied));
        assert_eq!(seen.get(b"ab"), Some(Use::Leaf));
        assert_eq!(seen.get(b"b"), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = Seen::new(10);
        assert!(seen.insert(b"1/2/3/4/5/6/7/8/9/0", false).is_ok());
        assert!(seen.insert(b"x", false).is_err());
    }
}
