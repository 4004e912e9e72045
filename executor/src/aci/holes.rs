//! Where a file has data and where it has holes.

use std::fs::File;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Fewer bytes of holes than this are not worth a map: it takes a block or two itself.
const WORTHWHILE: u64 = 64 << 10;

/// More regions than this are stored as one; readers bound their number.
const MOST: usize = 4096;

/// The regions of the first `size` bytes of `file` that hold data, as offset and length; `None` if it is not worth it to
/// treat the file as sparse, or its file system does not tell.
///
/// # Errors
/// Those of lseek(2).
pub(super) fn regions(file: &File, size: u64) -> Result<Option<Vec<(u64, u64)>>, Errno> {
    let mut map = Vec::new();
    let mut data = 0;
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        if start == size {
            break;
        }
        let end = seek(file, SeekFrom::Hole(start))?.clamp(start, size);
        if end == start || map.len() == MOST {
            return Ok(None);
        }
        map.push((start, end - start));
        data += end - start;
        at = end;
    }
    let holes = size - data;
    Ok((holes >= WORTHWHILE).then_some(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn holes_are_found_where_the_file_system_has_them() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 30).unwrap();
        assert_eq!(regions(&file, 1 << 30).unwrap(), Some(vec![]));
        file.write_all_at(b"data", 1 << 20).unwrap();
        let map = regions(&file, 1 << 30).unwrap().expect("the file system of temporary files tells");
        assert_eq!(map.len(), 1);
        assert!(map[0].0 <= 1 << 20 && map[0].0 + map[0].1 >= (1 << 20) + 4, "{map:?}");
    }

    #[test]
    fn small_holes_do_not_matter() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(WORTHWHILE - 1).unwrap();
        assert_eq!(regions(&file, WORTHWHILE - 1).unwrap(), None);
        assert_eq!(regions(&file, 0).unwrap(), None);
    }
}
