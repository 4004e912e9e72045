//! The owners and modes that a tree of a single id cannot show, kept beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::ExtractError;
use super::path::is_within;
use crate::shown::{escape, unescape};

/// Owner of an entry of the image, and its mode where the tree has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User id in the image.
    pub uid: u32,
    /// Group id in the image.
    pub gid: u32,
    /// The mode in the image, where its set-user-id or set-group-id bit was left out of the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// Side table of a tree that was extracted with a single id: every path whose owner is not 0:0.
///
/// In JSON the paths are escaped (`\xNN` for what is not printable UTF-8, `\\` for a backslash).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    rows: BTreeMap<Vec<u8>, Owner>,
    bytes: usize,
}

/// What a row costs beside its path: the map's node and the owner.
const ROW: usize = 64;

impl Owners {
    /// The owner of `path`, relative to the root of the tree and without a leading slash; `None` is 0:0.
    pub fn get(&self, path: &[u8]) -> Option<Owner> {
        self.rows.get(path).copied()
    }

    /// Number of paths with another owner than 0:0.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether everything belongs to 0:0.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Paths and owners in the order of the bytes of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Owner)> {
        self.rows.iter().map(|(path, owner)| (path.as_slice(), *owner))
    }

    pub(crate) fn set(&mut self, path: &[u8], owner: Option<Owner>, limit: usize) -> Result<(), ExtractError> {
        match owner {
            None => self.forget(path),
            Some(owner) => {
                if self.rows.insert(path.to_vec(), owner).is_none() {
                    self.bytes += path.len() + ROW;
                }
                if self.bytes > limit {
                    return Err(ExtractError::Limit { what: "bytes of owners".to_owned(), limit: limit as u64 });
                }
            }
        }
        Ok(())
    }

    fn forget(&mut self, path: &[u8]) {
        if self.rows.remove(path).is_some() {
            self.bytes -= path.len() + ROW;
        }
    }

    /// Forgets `path` and everything below it.
    pub(super) fn forget_tree(&mut self, path: &[u8]) {
        let below: Vec<Vec<u8>> = self
            .rows
            .range(path.to_vec()..)
            .map(|(row, _)| row)
            // Names such as "a-b" sort between "a" and "a/b".
            .take_while(|row| row.starts_with(path))
            .filter(|row| is_within(row, path))
            .cloned()
            .collect();
        below.iter().for_each(|row| self.forget(row));
    }
}

impl Serialize for Owners {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.rows.iter().map(|(path, owner)| (escape(path), owner)))
    }
}

impl<'de> Deserialize<'de> for Owners {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut owners = Self::default();
        for (path, owner) in BTreeMap::<String, Owner>::deserialize(deserializer)? {
            let path = unescape(&path).ok_or_else(|| serde::de::Error::custom("badly escaped path"))?;
            owners.bytes += path.len() + ROW;
            owners.rows.insert(path, owner);
        }
        Ok(owners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_directory_takes_its_rows_along() {
        let owner = Owner { uid: 5, gid: 6, mode: None };
        let mut owners = Owners::default();
        for path in ["a", "a-b", "a/b", "a/b/c", "ab"] {
            owners.set(path.as_bytes(), Some(owner), 1 << 20).unwrap();
        }
        owners.forget_tree(b"a");
        assert_eq!(owners.iter().map(|(path, _)| path).collect::<Vec<_>>(), [&b"a-b"[..], b"ab"]);
        owners.forget_tree(b"");
        assert_eq!(owners, Owners::default());
    }

    #[test]
    fn any_path_survives_json() {
        let mut owners = Owners::default();
        owners.set(b"a\xff\n\\\"b", Some(Owner { uid: 1, gid: 2, mode: Some(0o4755) }), 1 << 20).unwrap();
        let json = serde_json::to_string(&owners).unwrap();
        assert_eq!(serde_json::from_str::<Owners>(&json).unwrap(), owners);
    }

    #[test]
    fn memory_is_bounded() {
        let mut owners = Owners::default();
        let owner = Some(Owner { uid: 1, gid: 1, mode: None });
        assert!(owners.set(b"a", owner, 70).is_ok());
        assert!(owners.set(b"b", owner, 70).is_err());
    }
}
