//! The table of contents of a zstd:chunked layer.

use std::io::Read as _;
use std::ops::Range;

use fetch::TableOfContents;
use serde::Deserialize;
use store::Digest;

/// The most bytes of a table, as it is packed and as JSON: 100,000 files have 20 MB.
const MOST_PACKED: u64 = 8 << 20;
const MOST_UNPACKED: u64 = 32 << 20;

/// The largest window that its frame may ask for, 8 MiB.
const WINDOW_LOG: u32 = 23;

/// What follows the last file and is no part of the archive begins with a header of eight bytes, of a skippable frame, that
/// the table's place does not count.
const SKIPPABLE: u64 = 8;

/// The content of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The file's name.
    pub(super) path: String,
    /// Its bytes.
    pub(super) size: u64,
    /// Their digest.
    pub(super) digest: Digest,
    /// Where in the layer its frames are.
    pub(super) place: Range<u64>,
}

#[derive(Deserialize)]
struct Document {
    version: u64,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    r#type: String,
    name: String,
    #[serde(default)]
    size: u64,
    digest: Option<String>,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    end_offset: u64,
}

/// Whether a table is so small that it is read.
pub(super) fn is_bearable(table: &TableOfContents) -> bool {
    table.packed <= MOST_PACKED && table.unpacked <= MOST_UNPACKED
}

/// The contents that a table names, in the order in which they come; those of which it says something that cannot be are
/// left out.
///
/// # Errors
///
/// It has another digest, cannot be read, or contradicts itself.
pub(super) fn read(packed: &[u8], table: &TableOfContents) -> Result<Vec<Content>, String> {
    let expected: Digest = table.digest.to_string().parse().map_err(|_| "its digest is none".to_owned())?;
    let computed = Digest::of(expected.algorithm(), packed);
    if computed != expected {
        return Err(format!("it has the digest {computed}, not {expected}"));
    }
    let mut json = Vec::new();
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(|error| error.to_string())?;
    decoder.window_log_max(WINDOW_LOG).map_err(|error| error.to_string())?;
    decoder.take(table.unpacked + 1).read_to_end(&mut json).map_err(|error| error.to_string())?;
    if json.len() as u64 != table.unpacked {
        return Err(format!("it has not the {} bytes that are announced", table.unpacked));
    }
    let document: Document = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    if document.version != 1 {
        return Err(format!("version {} is not known", document.version));
    }
    let end = table.start.saturating_sub(SKIPPABLE);
    let mut contents: Vec<Content> = document.entries.into_iter().filter_map(|entry| content(entry, end)).collect();
    contents.sort_by_key(|content| content.place.start);
    match contents.windows(2).all(|pair| pair[0].place.end <= pair[1].place.start) {
        true => Ok(contents),
        false => Err("two files are in the same place".to_owned()),
    }
}

fn content(entry: Entry, end: u64) -> Option<Content> {
    let Entry { r#type, name: path, size, digest, offset, end_offset } = entry;
    let possible = r#type == "reg" && size > 0 && offset > 0 && offset < end_offset && end_offset <= end;
    let digest = digest.filter(|_| possible)?.parse().ok()?;
    Some(Content { path, size, digest, place: offset..end_offset })
}

#[cfg(test)]
mod tests {
    use store::Algorithm;

    use super::*;

    fn table(json: &str, unpacked: u64) -> Result<Vec<Content>, String> {
        let packed = zstd::stream::encode_all(json.as_bytes(), 1).expect("it is in memory");
        let digest = Digest::of(Algorithm::Sha256, &packed).to_string().parse().expect("a digest");
        read(&packed, &TableOfContents { start: 1008, packed: packed.len() as u64, unpacked, digest })
    }

    fn entries(entries: &[&str]) -> Result<Vec<Content>, String> {
        let json = format!(r#"{{"version":1,"entries":[{}]}}"#, entries.join(","));
        table(&json, json.len() as u64)
    }

    fn file(name: &str, start: i64, end: i64) -> String {
        let digest = Digest::of(Algorithm::Sha256, name.as_bytes());
        format!(
            r#"{{"type":"reg","name":"{name}","size":9,"digest":"{digest}","offset":{start},"endOffset":{end},"new":0}}"#
        )
    }

    #[test]
    fn files_come_in_their_order() {
        let chunk = r#"{"type":"chunk","name":"b","offset":15,"chunkSize":3,"chunkOffset":3}"#;
        let found = entries(&[&file("b", 300, 400), chunk, r#"{"type":"dir","name":"d"}"#, &file("a", 100, 300)]);
        let found: Vec<String> = found.expect("it is sound").into_iter().map(|it| it.path).collect();
        assert_eq!(found, ["a", "b"]);
    }

    #[test]
    fn impossible_places_are_left_out() {
        let outside = [file("a", 0, 10), file("b", 20, 20), file("c", 30, 20), file("d", 900, 1001)];
        assert_eq!(entries(&outside.each_ref().map(String::as_str)), Ok(Vec::new()));
        assert!(entries(&[&file("a", -1, 10)]).is_err());
    }

    #[test]
    fn a_table_that_contradicts_itself_is_none() {
        assert!(entries(&[&file("a", 10, 21), &file("b", 20, 30)]).is_err());
        assert!(entries(&[&file("a", 10, 20), &file("a", 10, 20)]).is_err());
        let json = r#"{"version":2,"entries":[]}"#;
        assert!(table(json, json.len() as u64).is_err());
        let json = r#"{"version":1,"entries":[]}"#;
        assert_eq!(table(json, json.len() as u64), Ok(Vec::new()));
        assert!(table(json, json.len() as u64 - 1).is_err() && table(json, json.len() as u64 + 1).is_err());
        let digest = Digest::of(Algorithm::Sha256, b"other").to_string().parse().expect("a digest");
        assert!(read(b"packed", &TableOfContents { start: 9, packed: 6, unpacked: 1, digest }).is_err());
    }
}
