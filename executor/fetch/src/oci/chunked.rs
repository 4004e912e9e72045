//! Where the table of contents of a zstd:chunked layer is: annotations of the layer's descriptor, written by buildah, podman
//! and skopeo (containers/storage, "zstd:chunked file format").

use std::collections::HashMap;

use crate::digest::Digest;

/// The names of the annotations begin with one of these; the second is older.
const PREFIXES: [&str; 2] = ["io.github.containers.zstd-chunked.", "io.containers.zstd-chunked."];

/// The kind of table that is known.
const KNOWN_KIND: u64 = 1;

/// A part of a layer that says where in it each file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOfContents {
    /// Its first byte in the layer as it is packed.
    pub start: u64,
    /// Its bytes there: a zstd frame.
    pub packed: u64,
    /// The bytes of the JSON document in it.
    pub unpacked: u64,
    /// The digest of the frame.
    pub digest: Digest,
}

impl TableOfContents {
    /// What the annotations of a layer of `size` bytes say. Nothing that cannot be is an error: without a table a layer is
    /// as good.
    pub(crate) fn of(annotations: &HashMap<String, String>, size: u64) -> Option<Self> {
        let value = |prefix: &str, name: &str| annotations.get(&format!("{prefix}{name}"));
        PREFIXES.iter().find_map(|prefix| {
            let digest = value(prefix, "manifest-checksum")?.parse().ok()?;
            let position: Vec<u64> = value(prefix, "manifest-position")?
                .split(':')
                .map(|number| number.parse().ok())
                .collect::<Option<_>>()?;
            let [start, packed, unpacked, KNOWN_KIND] = position[..] else { return None };
            let end = start.checked_add(packed)?;
            (packed > 0 && end <= size).then_some(Self { start, packed, unpacked, digest })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(prefix: &str, position: &str) -> Option<TableOfContents> {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let annotations = [("manifest-position", position), ("manifest-checksum", digest.as_str())];
        let annotations = annotations.map(|(name, value)| (format!("{prefix}{name}"), value.to_owned())).into();
        TableOfContents::of(&annotations, 1000)
    }

    #[test]
    fn both_spellings_are_read() {
        for prefix in PREFIXES {
            let found = table(prefix, "600:50:260:1").expect("it is sound");
            assert_eq!((found.start, found.packed, found.unpacked), (600, 50, 260));
        }
    }

    #[test]
    fn what_cannot_be_is_no_table() {
        let end = format!("{}:1:1:1", u64::MAX);
        for position in ["", "600:50:260", "600:50:260:2", "600:401:260:1", "600:0:0:1", "-1:1:1:1", "1:1:1:1:1", &end]
        {
            assert_eq!(table(PREFIXES[0], position), None, "{position}");
        }
        assert_eq!(table("other.", "600:50:260:1"), None);
    }
}
