//! Maps in which root and another id have changed places.

use super::Extent;

/// The extents in which `id` inside is what root was outside, and the other way round; `None` where there is no such id.
pub(super) fn exchanged(extents: &[Extent], id: u32) -> Option<Vec<Extent>> {
    if id == 0 {
        return Some(extents.to_vec());
    }
    let (root, other) = (outside(extents, 0)?, outside(extents, id)?);
    let mut pieces: Vec<Extent> = extents.iter().flat_map(|extent| without(*extent, 0)).collect();
    pieces = pieces.into_iter().flat_map(|extent| without(extent, id)).collect();
    pieces.push(Extent { inside: 0, outside: other, count: 1 });
    pieces.push(Extent { inside: id, outside: root, count: 1 });
    pieces.sort_unstable_by_key(|extent| extent.inside);
    Some(pieces)
}

/// The id outside that an id inside is.
pub(super) fn outside(extents: &[Extent], id: u32) -> Option<u32> {
    let in_extent = |extent: &Extent| id.checked_sub(extent.inside).filter(|place| *place < extent.count);
    extents.iter().find_map(|extent| in_extent(extent).map(|place| extent.outside + place))
}

/// What is left of an extent when an id inside is taken out.
fn without(extent: Extent, id: u32) -> Vec<Extent> {
    let Some(place) = id.checked_sub(extent.inside).filter(|place| *place < extent.count) else { return vec![extent] };
    let before = Extent { count: place, ..extent };
    let skip = place + 1;
    let after = Extent {
        inside: extent.inside.saturating_add(skip),
        outside: extent.outside.saturating_add(skip),
        count: extent.count - skip,
    };
    [before, after].into_iter().filter(|extent| extent.count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idmap::map_text;

    fn shown(extents: &[Extent], id: u32) -> Option<String> {
        exchanged(extents, id).map(|extents| map_text(&extents))
    }

    #[test]
    fn root_and_the_id_change_places_and_nobody_else() {
        let own = Extent { inside: 0, outside: 1000, count: 1 };
        let rest = Extent { inside: 1, outside: 100_000, count: 10 };
        let range = [own, rest];
        for (id, expected) in [
            (0, Some("0 1000 1\n1 100000 10\n")),
            (1, Some("0 100000 1\n1 1000 1\n2 100001 9\n")),
            (5, Some("0 100004 1\n1 100000 4\n5 1000 1\n6 100005 5\n")),
            (10, Some("0 100009 1\n1 100000 9\n10 1000 1\n")),
            (11, None),
        ] {
            assert_eq!(shown(&range, id).as_deref(), expected, "{id}");
        }
        assert_eq!(shown(&[own], 5), None);
    }

    #[test]
    fn every_id_is_mapped_as_often_as_before() {
        let range = [Extent { inside: 0, outside: 7, count: 1 }, Extent { inside: 1, outside: 1000, count: 65_536 }];
        for id in [1, 2, 33, 1000, 65_535, 65_536] {
            let exchanged = exchanged(&range, id).unwrap();
            let count: u32 = exchanged.iter().map(|extent| extent.count).sum();
            assert_eq!(count, 65_537);
            assert_eq!((outside(&exchanged, id), outside(&exchanged, 0)), (Some(7), outside(&range, id)));
            for other in [3, 34, 999, 40_000] {
                assert_eq!(outside(&exchanged, other), outside(&range, other), "{id} {other}");
            }
        }
    }
}
