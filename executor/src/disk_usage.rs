//! How many bytes the files of a directory have.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use stage1::idmap::IdMapping;

use crate::idmap;

/// Deeper directories are not counted: each level keeps a descriptor.
const DEEPEST: usize = 500;

/// Bytes of the files below a directory that may have owners of this map, as far as they can be read. What is in it may
/// be an app's: nothing is followed.
pub(crate) fn below(dir: BorrowedFd<'_>, mapping: &IdMapping) -> u64 {
    let open = || openat(dir, ".", OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    idmap::run_in(mapping, || open().map_or(0, |dir| sum(&dir, 0))).unwrap_or(0)
}

fn sum(dir: &OwnedFd, depth: usize) -> u64 {
    let Ok(entries) = Dir::read_from(dir) else { return 0 };
    let mut bytes = 0;
    for entry in entries.filter_map(Result::ok).filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")) {
        let Ok(stat) = statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            bytes += u64::try_from(stat.st_size).unwrap_or(0);
        } else if depth < DEEPEST {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            bytes += openat(dir.as_fd(), entry.file_name(), flags, Mode::empty()).map_or(0, |dir| sum(&dir, depth + 1));
        }
    }
    bytes
}
