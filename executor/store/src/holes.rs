//! Where a file has data and where it has holes.

use std::fs::File;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Fewer bytes of holes than this are not worth a map: it takes a block or two itself.
const WORTHWHILE: u64 = 64 << 10;

/// More regions than this are stored as one; readers bound their number.
const MOST: usize = 4096;

/// What a file system tells of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Map {
    /// The regions that hold data, as offset and length.
    Regions(Vec<(u64, u64)>),
    /// There are so few bytes of holes that it is not worth it to treat the file as sparse.
    Dense,
    /// There are too many regions, or it does not tell.
    Unknown,
}

impl Map {
    /// The map of the first `size` bytes of `file`.
    ///
    /// # Errors
    /// Those of lseek(2).
    pub fn of(file: &File, size: u64) -> Result<Self, Errno> {
        let mut map = Vec::new();
        let mut data = 0;
        let mut at = 0;
        while at < size {
            let start = match seek(file, SeekFrom::Data(at)) {
                Ok(start) => start.min(size),
                // Nothing but a hole up to the end.
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Self::Unknown),
                Err(errno) => return Err(errno),
            };
            if start == size {
                break;
            }
            let end = match seek(file, SeekFrom::Hole(start)) {
                // It has become shorter meanwhile.
                Err(Errno::NXIO) => break,
                end => end?.clamp(start, size),
            };
            if end == start || map.len() == MOST {
                return Ok(Self::Unknown);
            }
            map.push((start, end - start));
            data += end - start;
            at = end;
        }
        Ok(if size - data >= WORTHWHILE { Self::Regions(map) } else { Self::Dense })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn holes_are_found_where_the_file_system_has_them() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 30).unwrap();
        assert_eq!(Map::of(&file, 1 << 30).unwrap(), Map::Regions(vec![]));
        file.write_all_at(b"data", 1 << 20).unwrap();
        let Map::Regions(map) = Map::of(&file, 1 << 30).unwrap() else {
            panic!("the file system of temporary files tells")
        };
        assert_eq!(map.len(), 1);
        assert!(map[0].0 <= 1 << 20 && map[0].0 + map[0].1 >= (1 << 20) + 4, "{map:?}");
    }

    #[test]
    fn more_regions_than_readers_take_are_none() {
        let file = tempfile::tempfile().unwrap();
        let step = 1 << 20;
        for region in 0..=MOST as u64 {
            file.write_all_at(b"x", region * step).unwrap();
        }
        assert_eq!(Map::of(&file, (MOST as u64 + 1) * step).unwrap(), Map::Unknown);
    }

    #[test]
    fn small_holes_do_not_matter() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(WORTHWHILE - 1).unwrap();
        assert_eq!(Map::of(&file, WORTHWHILE - 1).unwrap(), Map::Dense);
        assert_eq!(Map::of(&file, 0).unwrap(), Map::Dense);
    }
}
