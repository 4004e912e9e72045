//! The ids that there are in a pod.

use crate::idmap::{Extent, IdMapping, Tier};

/// The ids of a pod: first and last of each range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdRanges {
    /// Users.
    pub uids: Vec<(u32, u32)>,
    /// Groups.
    pub gids: Vec<(u32, u32)>,
}

/// With a single id, that one is whatever id the app wants to have.
pub(super) fn id_ranges(mapping: &IdMapping) -> IdRanges {
    if mapping.tier() == Tier::Single {
        let any = vec![(0, u32::MAX - 1)];
        return IdRanges { uids: any.clone(), gids: any };
    }
    IdRanges { uids: ranges(mapping.uids()), gids: ranges(mapping.gids()) }
}

/// First and last of each range of ids that files of the pod can have.
pub(super) fn ranges(extents: &[Extent]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for extent in extents {
        let last = extent.inside + (extent.count - 1);
        match ranges.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(extent.inside) => *end = last,
            _ => ranges.push((extent.inside, last)),
        }
    }
    ranges
}

pub(crate) fn is_in(ranges: &[(u32, u32)], id: u32) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&id))
}

/// Ranges of ids for people.
pub(crate) fn shown(ranges: &[(u32, u32)]) -> String {
    let range =
        |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first} to {last}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}
