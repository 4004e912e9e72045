//! Writes the data of files.

use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::io::Errno;

use super::error::{ExtractError, Fault};
use super::path::EntryPath;
use super::reader::{Member, MemberReader};
use super::tree::{failed, refused};
use crate::recipe::Recorder;

/// Writes all of `bytes`.
pub(super) fn write_all(file: &OwnedFd, entry: &[u8], mut bytes: &[u8]) -> Result<(), ExtractError> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(failed(entry, "write", Errno::IO)),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(entry, "write", errno)),
        }
    }
    Ok(())
}

/// Gives a file a size and no content.
pub(super) fn hollow(file: &OwnedFd, entry: &[u8], size: u64) -> Result<(), ExtractError> {
    ftruncate(file, size).map_err(|e| failed(entry, "ftruncate", e))
}

/// Where the data of a sparse file belongs.
#[derive(Debug)]
pub(super) struct Regions<'a> {
    /// The file, in the tree.
    pub(super) path: &'a EntryPath,
    /// Offset and length of each region.
    pub(super) map: &'a [(u64, u64)],
    /// The whole size.
    pub(super) size: u64,
    /// Who wants to know of each.
    pub(super) recorder: Option<&'a Recorder>,
}

/// Writes the regions of a sparse file and leaves holes between them.
pub(super) fn write_sparse(
    file: &OwnedFd,
    member: &Member,
    regions: &Regions<'_>,
    data: &mut dyn MemberReader,
) -> Result<(), ExtractError> {
    let mut end = 0_u64;
    let mut stored = 0_u64;
    for &(offset, length) in regions.map {
        let in_order = offset >= end;
        end = offset.checked_add(length).filter(|_| in_order).ok_or_else(|| refused(&member.name, Fault::SparseMap))?;
        stored = stored.saturating_add(length);
    }
    if end > regions.size || stored != member.size {
        return Err(refused(&member.name, Fault::SparseMap));
    }
    ftruncate(file, regions.size).map_err(|e| failed(&member.name, "ftruncate", e))?;
    for &(offset, length) in regions.map {
        seek(file, SeekFrom::Start(offset)).map_err(|e| failed(&member.name, "lseek", e))?;
        regions.recorder.inspect(|recorder| recorder.begin(regions.path.as_bytes(), offset));
        data.data(length, &mut |piece| write_all(file, &member.name, piece))?;
        regions.recorder.inspect(|recorder| recorder.end());
    }
    Ok(())
}
