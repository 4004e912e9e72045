//! `--userns=keep-id`: an app whose user is the caller on the host, whatever his number is in the image.
//!
//! The pod's ids are as ever, with container root for the caller. In the app's own user namespace the app's user and root
//! change places, and the image's tree was made under such a map, so that root's files in it are still root's.

use std::fmt;
use std::str::FromStr;

use crate::idmap::{IdMapping, Tier};

/// Annotation of a pod's app: its user is the caller. The value is [`KeepId`]'s text.
pub const ANNOTATION: &str = "proa.local/keep-id";

/// Who of an app is the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepId {
    /// The app's user, as the image counts.
    pub uid: u32,
    /// The app's group.
    pub gid: u32,
    /// What the user is called where the image has no name for it.
    pub name: String,
}

/// A text that is not `UID:GID:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form UID:GID:NAME")]
pub struct NotKeepId(String);

impl KeepId {
    /// The pod's map as the image's files have it on disk: the user's belong to the caller. `None` where the map has no
    /// such ids.
    #[must_use]
    pub fn tree_mapping(&self, mapping: &IdMapping) -> Option<IdMapping> {
        match mapping.tier() {
            // Files have one owner whoever that is inside.
            Tier::Single => Some(mapping.clone()),
            _ => mapping.exchanged(self.uid, self.gid),
        }
    }

    /// What an id of the app is among the ids of the pod. With a single id there is nothing to exchange.
    pub(crate) fn in_pod(&self, tier: Tier, (uid, gid): (u32, u32)) -> (u32, u32) {
        let exchange = |id, kept| match id {
            0 => kept,
            id if id == kept => 0,
            id => id,
        };
        if tier == Tier::Single { (0, 0) } else { (exchange(uid, self.uid), exchange(gid, self.gid)) }
    }
}

impl fmt::Display for KeepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.uid, self.gid, self.name)
    }
}

impl FromStr for KeepId {
    type Err = NotKeepId;

    fn from_str(text: &str) -> Result<Self, NotKeepId> {
        let bad = || NotKeepId(text.to_owned());
        let mut parts = text.split(':');
        let mut id = || parts.next().and_then(|id| id.parse().ok()).filter(|id| *id != u32::MAX).ok_or_else(bad);
        let (uid, gid) = (id()?, id()?);
        match (parts.next(), parts.next()) {
            (Some(name), None) if is_name(name) => Ok(Self { uid, gid, name: name.to_owned() }),
            _ => Err(bad()),
        }
    }
}

/// Whether passwd(5) can hold this name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 32
        && !name.starts_with('-')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let keep: KeepId = "1000:100:anna".parse().unwrap();
        assert_eq!((keep.uid, keep.gid, keep.to_string().as_str()), (1000, 100, "1000:100:anna"));
        for bad in ["", "1:2", "1:2:", "1:2:a:b", "-1:2:a", "4294967295:0:a", "1:2:a/b", "1:2:-a", "1:2:a b"] {
            assert_eq!(bad.parse::<KeepId>(), Err(NotKeepId(bad.into())));
        }
    }

    #[test]
    fn ids_of_the_app_among_those_of_the_pod() {
        let keep = KeepId { uid: 1000, gid: 100, name: "anna".into() };
        for (app, pod) in
            [((0, 0), (1000, 100)), ((1000, 100), (0, 0)), ((33, 34), (33, 34)), ((1000, 1000), (0, 1000))]
        {
            assert_eq!(keep.in_pod(Tier::Range, app), pod);
        }
        assert_eq!(keep.in_pod(Tier::Single, (0, 0)), (0, 0));
    }

    #[test]
    fn the_image_is_made_for_the_exchanged_map() {
        let keep = KeepId { uid: 5, gid: 0, name: "a".into() };
        let range = IdMapping::range(1000, 1001, (100_000, 10), (200_000, 10));
        let tree = keep.tree_mapping(&range).unwrap();
        assert_eq!(tree.key(), "range-u100004.1-u100000.4-u1000.1-u100005.5-g1001.1-g200000.10");
        assert_eq!(KeepId { uid: 11, ..keep.clone() }.tree_mapping(&range), None);
        let single = IdMapping::single(1000, 1000);
        assert_eq!(keep.tree_mapping(&single), Some(single));
    }
}
