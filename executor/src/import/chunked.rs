//! Layers of which only what is missing is downloaded (zstd:chunked; docs/decisions/0013).
//!
//! Such a layer is an ordinary tar archive, packed with zstd. Each file's content begins and ends with a frame, and a table
//! of contents says where those frames are, and of which digest the content is. A content that is in the store already is
//! put where its frames would have come, as frames of raw blocks; everything else is downloaded. So the extractor reads
//! the layer's own archive, its digest is checked like that of any layer, and nothing needs to be believed of the table.

mod frame;
mod shelf;
mod table;

use std::fs::File;
use std::ops::Range;

use fetch::registry::RegistryError;
use fetch::{OciLayer, TableOfContents};
use store::{Algorithm, Digest};
use tracing::debug;

pub(super) use self::frame::Frame;
pub(super) use self::shelf::Shelf;
use self::table::Content;
use super::layers::Remote;

/// Contents below this size as they are packed are downloaded: asking for what follows them would take longer.
const SMALL: u64 = 64 << 10;

/// The most contents that are left out. Each is one more request.
const MOST: usize = 256;

/// A layer, piece by piece.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) pieces: Vec<Piece>,
    /// The bytes of all pieces, as the extractor reads them.
    pub(super) length: u64,
}

/// A piece of a layer.
#[derive(Debug)]
pub(super) enum Piece {
    /// These bytes of the layer, to be downloaded.
    Missing(Range<u64>),
    /// The content of a file in the store, in place of so many packed bytes.
    Stored { frame: Frame, packed: u64 },
}

impl Plan {
    /// What to download of a layer, if it has a table of contents and the store something that it names. Whatever goes
    /// wrong, the layer can be downloaded as a whole.
    pub(super) async fn make(remote: Remote<'_>, layer: &OciLayer, shelf: &Shelf) -> Option<Self> {
        let table = layer.contents.as_ref().filter(|it| table::is_bearable(it))?;
        if layer.size < SMALL || shelf.is_empty() {
            return None;
        }
        let contents = match download(remote, layer, table).await {
            Ok(packed) => table::read(&packed, table),
            Err(error) => Err(error.to_string()),
        };
        let contents = contents.inspect_err(|why| debug!(layer = %layer.digest, why, "no table of contents")).ok()?;
        let mut found = Vec::new();
        for content in worthwhile(contents) {
            if let Some(file) = shelf.find(&content) {
                found.push((content, file));
            }
            // Others download meanwhile.
            tokio::task::yield_now().await;
        }
        let plan = (!found.is_empty()).then(|| Self::of(layer.size, found))?;
        debug!(layer = %layer.digest, pieces = plan.pieces.len(), "some of it is stored");
        Some(plan)
    }

    /// The pieces of a layer of `size` bytes. What was found is in the order in which it comes.
    fn of(size: u64, found: Vec<(Content, File)>) -> Self {
        let (mut pieces, mut length, mut at) = (Vec::new(), 0, 0);
        let missing = |pieces: &mut Vec<Piece>, length: &mut u64, range: Range<u64>| {
            if !range.is_empty() {
                *length += range.end - range.start;
                pieces.push(Piece::Missing(range));
            }
        };
        for (content, file) in found {
            missing(&mut pieces, &mut length, at..content.place.start);
            let frame = Frame::new(file, content.size);
            length += frame.length();
            at = content.place.end;
            pieces.push(Piece::Stored { frame, packed: content.place.end - content.place.start });
        }
        missing(&mut pieces, &mut length, at..size);
        Self { pieces, length }
    }
}

/// The contents that are worth looking for, the largest if there are too many, in the order in which they come.
fn worthwhile(mut contents: Vec<Content>) -> Vec<Content> {
    let packed = |content: &Content| content.place.end - content.place.start;
    contents.retain(|content| packed(content) >= SMALL);
    contents.sort_by_key(|content| std::cmp::Reverse(packed(content)));
    contents.truncate(MOST);
    contents.sort_by_key(|content| content.place.start);
    contents
}

/// The table as it is packed, checked against its digest.
async fn download(remote: Remote<'_>, layer: &OciLayer, table: &TableOfContents) -> Result<Vec<u8>, RegistryError> {
    let part = table.start..table.start + table.packed;
    let mut download = remote.puller.download_part(remote.found, layer, part);
    let mut packed = Vec::new();
    while let Some(bytes) = download.chunk().await? {
        packed.extend_from_slice(&bytes);
    }
    Ok(packed)
}

/// The digest of what is read, if it can be read.
fn digest_of(algorithm: Algorithm, read: impl std::io::Read) -> Option<Digest> {
    Digest::of_reader(algorithm, read).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(place: Range<u64>) -> Content {
        let digest = Digest::of(Algorithm::Sha256, b"");
        Content { path: "f".to_owned(), size: 3 * (place.end - place.start), digest, place }
    }

    #[test]
    fn pieces_cover_the_layer() {
        let file = || tempfile::tempfile().expect("a file");
        let found = vec![(content(100..200), file()), (content(200..260), file()), (content(300..1000), file())];
        let plan = Plan::of(1000, found);
        let shown: Vec<(u64, bool)> = plan
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Missing(range) => (range.end - range.start, false),
                Piece::Stored { packed, .. } => (*packed, true),
            })
            .collect();
        assert_eq!(shown, [(100, false), (100, true), (60, true), (40, false), (700, true)]);
        // Three frames of one block each: 9 bytes beside the content.
        assert_eq!(plan.length, 100 + 309 + 189 + 40 + 2109);
    }

    #[test]
    fn the_largest_are_looked_for() {
        let contents: Vec<Content> = (0..1000).map(|n| content(n * 1_000_000..n * 1_000_000 + n * 500)).collect();
        let chosen = worthwhile(contents);
        assert_eq!(chosen.len(), MOST);
        assert!(chosen.iter().all(|it| it.place.end - it.place.start >= 744 * 500));
        assert!(chosen.is_sorted_by_key(|it| it.place.start));
    }
}
