//! The small files inside a pod: read with a bound, replaced in one step.

use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, FileType, OFlags, fallocate, fstat, fsync, ftruncate};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::{CallError, PodError};

/// The most bytes that a pod manifest may have: what its reader takes.
pub(crate) const MANIFEST_LIMIT: u64 = appc::MAX_MANIFEST_BYTES as u64;

/// The most bytes that a status file may have.
pub(crate) const STATUS_LIMIT: u64 = 64 << 10;

/// What is reserved for a small file: a block of most file systems.
const BLOCK: u64 = 4 << 10;

/// Reads a regular file of at most `limit` bytes; `None` if it does not exist.
pub(crate) fn read_optional(dir: &Dir, path: &str, limit: u64) -> Result<Option<Vec<u8>>, PodError> {
    let file = match dir.open(path, OFlags::RDONLY) {
        Ok(file) => file,
        Err(e) if e.is_absence() => return Ok(None),
        // What an open with O_NOFOLLOW says of a symbolic link, and a write-only open of a directory.
        Err(e) if matches!(e.source, Errno::LOOP | Errno::NXIO) => {
            return Err(PodError::NotAFile { path: dir.shown(path) });
        }
        Err(e) => return Err(e.into()),
    };
    let stat = fstat(&file).map_err(|e| dir.error("fstat", path, e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(PodError::NotAFile { path: dir.shown(path) });
    }
    let too_large = |size| PodError::TooLarge { path: dir.shown(path), size, limit };
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > limit {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    let mut chunk = [0; 8192];
    loop {
        match rustix::io::read(&file, &mut chunk) {
            Ok(0) => return Ok(Some(bytes)),
            // The file may grow while it is read.
            Ok(n) if bytes.len() as u64 + n as u64 > limit => return Err(too_large(bytes.len() as u64 + n as u64)),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(Errno::INTR) => continue,
            Err(e) => return Err(dir.error("read", path, e).into()),
        }
        // The file as it was when it was opened: to be told so by another call would cost a listing one for every file.
        if bytes.len() as u64 == size {
            return Ok(Some(bytes));
        }
    }
}

/// As [`read_optional`], for a file that must exist.
pub(crate) fn read(dir: &Dir, path: &str, limit: u64) -> Result<Vec<u8>, PodError> {
    read_optional(dir, path, limit)?.ok_or_else(|| dir.error("openat", path, Errno::NOENT).into())
}

/// A new file with these bytes. Not atomic: for a directory that nobody looks into yet.
pub(crate) fn create(dir: &Dir, path: &str, bytes: &[u8], limit: u64, mode: u32) -> Result<(), PodError> {
    check_size(dir, path, bytes, limit)?;
    let file = dir.create(path, OFlags::WRONLY, mode)?;
    Ok(write_all(&file, bytes).map_err(|e| dir.error("write", path, e))?)
}

/// Puts these bytes at `path` so that a reader finds the old file or the new one, never a part.
///
/// The temporary's name is fixed: only the holder of the pod's lock writes, and what an earlier one left behind is
/// overwritten instead of collected.
pub(crate) fn replace(dir: &Dir, path: &str, temporary: &str, bytes: &[u8], limit: u64) -> Result<(), PodError> {
    replace_with(dir, path, temporary, bytes, limit, |_| Ok(()))
}

/// As [`replace`], so that a power cut leaves the old file or the new one, too.
pub(crate) fn replace_durably(
    dir: &Dir,
    path: &str,
    temporary: &str,
    bytes: &[u8],
    limit: u64,
) -> Result<(), PodError> {
    replace_with(dir, path, temporary, bytes, limit, |file| fsync(file))
}

fn replace_with(
    dir: &Dir,
    path: &str,
    temporary: &str,
    bytes: &[u8],
    limit: u64,
    finish: fn(&OwnedFd) -> Result<(), Errno>,
) -> Result<(), PodError> {
    check_size(dir, path, bytes, limit)?;
    let file = match dir.create(temporary, OFlags::WRONLY, 0o600) {
        Err(e) if e.source == Errno::EXIST => {
            dir.unlink(temporary)?;
            dir.create(temporary, OFlags::WRONLY, 0o600)?
        }
        other => other?,
    };
    if let Err(e) = write_all(&file, bytes).and_then(|()| finish(&file)) {
        // Where there is no room it is wanted back.
        let _ = dir.unlink(temporary);
        return Err(dir.error("write", temporary, e).into());
    }
    Ok(dir.rename(temporary, path)?)
}

/// As [`replace`]; where there is no room for another file it goes into the one there is, if that has the room: a block of
/// its own, which these bytes must fit into. What is shorter than what stood there is filled up with spaces. Where there is none
/// yet, it takes the place of an `earlier` one, whose content goes.
pub(crate) fn replace_or_overwrite(
    dir: &Dir,
    path: &str,
    earlier: Option<&str>,
    temporary: &str,
    bytes: &[u8],
) -> Result<(), PodError> {
    let refused = match replace(dir, path, temporary, bytes, STATUS_LIMIT) {
        Err(PodError::Call(error)) if matches!(error.source, Errno::NOSPC | Errno::DQUOT) => error,
        other => return other,
    };
    let overwrite = || -> Result<(), CallError> {
        let (file, renamed) = match (dir.open(path, OFlags::WRONLY), earlier) {
            (Err(e), Some(earlier)) if e.source == Errno::NOENT => (dir.open(earlier, OFlags::WRONLY)?, Some(earlier)),
            (opened, _) => (opened?, None),
        };
        let size = fstat(&file).map_err(|e| dir.error("fstat", path, e))?.st_size;
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().max(usize::try_from(size).unwrap_or(0)), b' ');
        // In one call, which nobody sees the middle of.
        match rustix::io::write(&file, &bytes).map_err(|e| dir.error("write", path, e))? {
            written if written == bytes.len() => {}
            _ => return Err(dir.error("write", path, Errno::NOSPC)),
        }
        // Last: whoever reads in between finds what is so, under the number of before.
        renamed.map_or(Ok(()), |earlier| dir.rename(earlier, path))
    };
    let overwritten = overwrite().map_err(|_| PodError::from(refused));
    // What it was to be replaced with; that it stays harms nobody.
    let _ = dir.unlink(temporary);
    overwritten
}

/// Takes the room for a small file now, so that it can be written when the disk is full. A file system that knows no such
/// thing (`EOPNOTSUPP`) takes none.
pub(crate) fn reserve(dir: &Dir, path: &str) -> Result<(), PodError> {
    let file = match dir.create(path, OFlags::WRONLY, 0o600) {
        Err(e) if e.source == Errno::EXIST => return Ok(()),
        other => other?,
    };
    match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, BLOCK) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(source) => {
            // The first error is the one to report; an empty file goes with the pod.
            let _ = dir.unlink(path);
            Err(dir.error("fallocate", path, source).into())
        }
    }
}

/// Writes these bytes into a file that [`reserve`] has made, or a new one, and gives it its name.
pub(crate) fn fill_reserved(dir: &Dir, path: &str, reserved: &str, bytes: &[u8]) -> Result<(), PodError> {
    check_size(dir, path, bytes, BLOCK)?;
    let file = match dir.open(reserved, OFlags::WRONLY) {
        Err(e) if e.source == Errno::NOENT => dir.create(reserved, OFlags::WRONLY, 0o600)?,
        other => other?,
    };
    write_all(&file, bytes).map_err(|e| dir.error("write", reserved, e))?;
    // Of what an interrupted writing left.
    ftruncate(&file, bytes.len() as u64).map_err(|e| dir.error("ftruncate", reserved, e))?;
    Ok(dir.rename(reserved, path)?)
}

pub(crate) fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Writing what could not be read back is refused.
fn check_size(dir: &Dir, path: &str, bytes: &[u8], limit: u64) -> Result<(), PodError> {
    let size = bytes.len() as u64;
    if size > limit { Err(PodError::TooLarge { path: dir.shown(path), size, limit }) } else { Ok(()) }
}
