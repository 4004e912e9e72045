//! Writes the data of files into an archive, with their holes or with zeros in place of them.
//!
//! Holes are kept as GNU tar does it in archives of the PAX format (tar's manual, "Sparse Formats", 1.0), which bsdtar,
//! Python and Go read as well.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use tar_core::SparseEntry;
use tar_core::builder::EntryBuilder;

use crate::flatten::padding;
use crate::holes::Map;

/// Bytes of holes that are written out as zeros, of all files of an archive: no more than an image may have.
pub const MOST_FILLED: u64 = 16 << 30;

/// Regions of all sparse files of an archive; this program's own reader takes a few more.
const MOST_REGIONS: usize = 90_000;

/// The most data of a sparse file. Its size has to be told by the header itself, in eleven octal digits: readers disagree
/// on a PAX record of it.
const LARGEST: u64 = (8 << 30) - (1 << 20);

/// What becomes of holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holes {
    /// They stay holes.
    Kept,
    /// They become zeros: layers should have no sparse files (image-spec layer.md, "Sparse files").
    Filled,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Its data cannot be read.
    #[error("read: {0}")]
    Read(io::Error),
    /// The archive cannot be written.
    #[error("write: {0}")]
    Write(io::Error),
    /// There would be too many zeros.
    #[error("more than {} GiB of holes would have to be written out as zeros", MOST_FILLED >> 30)]
    Holes,
}

/// Writes the files of one archive.
#[derive(Debug)]
pub struct DataWriter {
    holes: Holes,
    buffer: Vec<u8>,
    /// Zeros that may still be written, and regions.
    zeros_left: u64,
    regions_left: usize,
}

impl DataWriter {
    /// A writer for one archive.
    pub fn new(holes: Holes) -> Self {
        Self { holes, buffer: vec![0; 256 << 10], zeros_left: MOST_FILLED, regions_left: MOST_REGIONS }
    }

    /// Writes the header that `entry` has become, and `size` bytes of the file, whatever becomes of it meanwhile. Returns
    /// whether it has become shorter: what is missing is zeros then, as with tar(1).
    ///
    /// # Errors
    /// [`DataError`].
    pub fn write(
        &mut self,
        entry: &mut EntryBuilder,
        file: &File,
        size: u64,
        out: &mut dyn Write,
    ) -> Result<bool, DataError> {
        let allocated = file.metadata().map_err(DataError::Read)?.blocks().saturating_mul(512);
        let map = match allocated < size {
            true => Map::of(file, size).map_err(|errno| DataError::Read(errno.into()))?,
            false => Map::Dense,
        };
        let zeros = match map {
            Map::Regions(map) => {
                let data = map.iter().map(|(_, length)| length).sum();
                if self.holes == Holes::Kept && map.len() < self.regions_left && data <= LARGEST {
                    self.regions_left -= map.len() + 1;
                    return self.sparse(entry, file, size, &map, data, out);
                }
                size - data
            }
            Map::Dense => 0,
            Map::Unknown => size - allocated,
        };
        self.zeros_left = self.zeros_left.checked_sub(zeros).ok_or(DataError::Holes)?;
        entry.size(size).expect("a PAX record tells what the header cannot");
        out.write_all(&entry.finish_bytes()).map_err(DataError::Write)?;
        let shorter = self.region(file, 0, size, out)?;
        pad(size, out)?;
        Ok(shorter)
    }

    fn sparse(
        &mut self,
        entry: &mut EntryBuilder,
        file: &File,
        size: u64,
        map: &[(u64, u64)],
        stored: u64,
        out: &mut dyn Write,
    ) -> Result<bool, DataError> {
        let mut entries: Vec<_> = map.iter().map(|&(offset, length)| SparseEntry { offset, length }).collect();
        if map.last().is_none_or(|&(offset, length)| offset + length < size) {
            // GNU tar makes a file that ends with a hole as long as its map says, whatever its size.
            entries.push(SparseEntry { offset: size, length: 0 });
        }
        entry.size(stored).expect("less than the header can tell");
        out.write_all(&entry.sparse(&entries, size).finish_bytes()).map_err(DataError::Write)?;
        let mut shorter = false;
        for &(offset, length) in map {
            shorter |= self.region(file, offset, length, out)?;
        }
        pad(stored, out)?;
        Ok(shorter)
    }

    /// Writes `length` bytes from `offset` on; returns whether there are fewer.
    fn region(&mut self, file: &File, offset: u64, length: u64, out: &mut dyn Write) -> Result<bool, DataError> {
        let (mut at, end, mut shorter) = (offset, offset + length, false);
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(self.buffer.len());
            let read = match file.read_at(&mut self.buffer[..most], at) {
                Ok(0) => {
                    shorter = true;
                    self.zeros_left = self.zeros_left.checked_sub(most as u64).ok_or(DataError::Holes)?;
                    self.buffer[..most].fill(0);
                    most
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(DataError::Read(error)),
            };
            out.write_all(&self.buffer[..read]).map_err(DataError::Write)?;
            at += read as u64;
        }
        Ok(shorter)
    }
}

/// Fills the last block.
fn pad(size: u64, out: &mut dyn Write) -> Result<(), DataError> {
    let zeros = [0; 512];
    let count = usize::try_from(padding(size)).expect("less than a block");
    out.write_all(&zeros[..count]).map_err(DataError::Write)
}
