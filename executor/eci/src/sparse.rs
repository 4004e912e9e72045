//! Files that have holes, read without reading those.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// As much as is handed over at once.
const CHUNK: usize = 1 << 18;

/// Hands the bytes of a file from the `from`th up to the `end`th to `take`.
///
/// # Errors
/// Those of `take`; the file cannot be read, or ends early.
pub(crate) fn read<E: From<io::Error>>(
    file: &File,
    mut from: u64,
    end: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (mut buffer, mut zeros) = (Vec::new(), Vec::new());
    while from < end {
        let (until, hole) = look(file, from, end);
        while from < until {
            let wanted = usize::try_from(until - from).unwrap_or(CHUNK).min(CHUNK);
            if hole {
                zeros.resize(CHUNK, 0);
                take(&zeros[..wanted])?;
                from += wanted as u64;
                continue;
            }
            buffer.resize(CHUNK, 0);
            match file.read_at(&mut buffer[..wanted], from) {
                Ok(0) => return Err(io::Error::other(format!("it ends after {from} of {end} bytes")).into()),
                Ok(count) => {
                    take(&buffer[..count])?;
                    from += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Up to where there is a hole, or else data. Where the file system does not tell, and behind the end, it is data.
fn look(file: &File, at: u64, end: u64) -> (u64, bool) {
    let data = |hole: Result<u64, Errno>| (hole.ok().filter(|it| *it > at).map_or(end, |it| it.min(end)), false);
    match seek(file, SeekFrom::Data(at)) {
        Ok(found) if found > at => (found.min(end), true),
        Ok(_) => data(seek(file, SeekFrom::Hole(at))),
        // Nothing but a hole up to the end of the file, which may be before the end that was asked for.
        Err(Errno::NXIO) => match file.metadata() {
            Ok(meta) if meta.len() > at => (meta.len().min(end), true),
            _ => (end, false),
        },
        Err(_) => (end, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_zeros() {
        let file = tempfile::tempfile_in("/var/tmp").expect("a file");
        file.set_len(3_000_000).expect("it is ours");
        let mut content = vec![0; 3_000_000];
        for (at, count) in [(0, 1), (1_000_000, 300_000), (2_999_999, 1)] {
            content[at..at + count].fill(7);
            file.write_all_at(&vec![7; count], at as u64).expect("it is ours");
        }
        for (from, end) in [(0, 3_000_000), (5, 1_000_001), (1_500_000, 2_000_000), (7, 7)] {
            let mut read_bytes = Vec::new();
            let taken: io::Result<()> = read(&file, from as u64, end as u64, |bytes| {
                read_bytes.extend_from_slice(bytes);
                Ok(())
            });
            taken.expect("it is all there");
            assert!(read_bytes == content[from..end], "{from} to {end}");
        }
        let short: io::Result<()> = read(&file, 2_000_000, 3_000_001, |_| Ok(()));
        assert!(short.unwrap_err().to_string().contains("ends after 3000000"));
    }
}
