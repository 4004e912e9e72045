//! A set of paths of a tree.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::ExtractError;
use crate::shown::{escape, unescape};

/// Paths relative to the root of a tree, without a leading slash. In JSON they are escaped as those of
/// [`Owners`](super::Owners).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    paths: BTreeSet<Vec<u8>>,
    bytes: usize,
}

/// What a path costs beside its bytes.
const NODE: usize = 48;

impl Paths {
    /// Whether `path` is one of them.
    pub fn contains(&self, path: &[u8]) -> bool {
        self.paths.contains(path)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Adds one. All of them together may have `limit` bytes; `what` they are is said where they have more.
    pub(super) fn insert(&mut self, path: &[u8], what: &str, limit: usize) -> Result<(), ExtractError> {
        if self.paths.insert(path.to_vec()) {
            self.bytes += path.len() + NODE;
        }
        if self.bytes > limit {
            return Err(ExtractError::Limit { what: format!("bytes of {what}"), limit: limit as u64 });
        }
        Ok(())
    }
}

impl Serialize for Paths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.paths.iter().map(|path| escape(path)))
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut paths = Self::default();
        for path in Vec::<String>::deserialize(deserializer)? {
            let path = unescape(&path).ok_or_else(|| serde::de::Error::custom("badly escaped path"))?;
            paths.bytes += path.len() + NODE;
            paths.paths.insert(path);
        }
        Ok(paths)
    }
}
