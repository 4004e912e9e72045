//! What directories are to become once everything below them is written.

use super::error::ExtractError;

/// Owner, mode and time of a directory. They are set last: a mode may forbid writing below, a time changes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) mtime: (i64, u32),
    /// Whether no entry of the archive describes it.
    pub(super) implied: bool,
}

impl Attributes {
    /// Of a directory that no entry of the archive describes: as most tools make it, at a time that is always the same.
    pub(super) const IMPLICIT: Self = Self { uid: 0, gid: 0, mode: 0o755, mtime: (0, 0), implied: true };
}

#[derive(Clone, Copy, Debug)]
struct Row {
    start: u32,
    length: u32,
    attributes: Attributes,
}

/// The directories of a tree, paths in one buffer: an archive may hold a million of them.
#[derive(Debug)]
pub(super) struct Directories {
    paths: Vec<u8>,
    rows: Vec<Row>,
    limit: usize,
}

impl Directories {
    /// `limit` bounds the bytes remembered.
    pub(super) fn new(limit: usize) -> Self {
        Self { paths: Vec::new(), rows: Vec::new(), limit: limit.min(u32::MAX as usize) }
    }

    /// Remembers `attributes` for the directory `path`; a later call for the same path wins.
    pub(super) fn remember(&mut self, path: &[u8], attributes: Attributes) -> Result<(), ExtractError> {
        let bytes = self.paths.len() + path.len() + (self.rows.len() + 1) * size_of::<Row>();
        if bytes > self.limit {
            return Err(ExtractError::Limit { what: "bytes of directory names".to_owned(), limit: self.limit as u64 });
        }
        let start = u32::try_from(self.paths.len()).expect("bounded by the limit");
        let length = u32::try_from(path.len()).expect("bounded by the limit");
        self.paths.extend_from_slice(path);
        self.rows.push(Row { start, length, attributes });
        Ok(())
    }

    /// Every directory once, with the attributes remembered last, each before the one that holds it.
    pub(super) fn deepest_first(mut self) -> impl Iterator<Item = (Vec<u8>, Attributes)> {
        let paths = std::mem::take(&mut self.paths);
        let mut rows = std::mem::take(&mut self.rows);
        let path_of = move |row: &Row| row.start as usize..(row.start + row.length) as usize;
        // A path sorts before everything below it, so the reverse order has children first. The sort is stable,
        // so among equal paths the last one remembered comes first once reversed.
        rows.sort_by(|a, b| paths[path_of(a)].cmp(&paths[path_of(b)]));
        let mut previous: Option<Row> = None;
        rows.into_iter().rev().filter_map(move |row| {
            let path = &paths[path_of(&row)];
            let repeated = previous.is_some_and(|previous| &paths[path_of(&previous)] == path);
            previous = Some(row);
            (!repeated).then(|| (path.to_vec(), row.attributes))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(mode: u32) -> Attributes {
        Attributes { mode, ..Attributes::IMPLICIT }
    }

    #[test]
    fn children_first_and_the_last_word_counts() {
        let mut directories = Directories::new(1 << 20);
        for (path, bits) in [("a", 1), ("a/b", 2), ("", 3), ("a-b", 4), ("a", 5), ("a/b/c", 6)] {
            directories.remember(path.as_bytes(), mode(bits)).unwrap();
        }
        let order: Vec<_> =
            directories.deepest_first().map(|(path, a)| (String::from_utf8(path).unwrap(), a.mode)).collect();
        let expected = [("a/b/c", 6), ("a/b", 2), ("a-b", 4), ("a", 5), ("", 3)];
        assert_eq!(order, expected.map(|(path, bits)| (path.to_owned(), bits)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut directories = Directories::new(100);
        assert!(directories.remember(b"a", mode(0)).is_ok());
        assert!(directories.remember(&[b'a'; 90], mode(0)).is_err());
    }
}
