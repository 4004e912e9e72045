//! Keeps, for the recipe, the content of files that a later member of the archive replaces.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, chmod, fstat, open, openat};
use rustix::io::Errno;

use crate::recipe::Recorder;
use crate::removal::for_each_entry;

/// Keeps the content of `name` in `parent`, which is `path` in the tree, and of everything below it.
///
/// As deep as the archive made it: its paths are bounded. Several names of one file are kept each.
pub(super) fn keep(parent: BorrowedFd<'_>, name: &[u8], path: &[u8], recorder: &Recorder) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        found => found?,
    };
    match FileType::from_raw_mode(fstat(&found)?.st_mode) {
        FileType::RegularFile => recorder.replaced(path, &mut File::from(readable(&found, 0o600)?)),
        FileType::Directory => {
            let dir = readable(&found, 0o700)?;
            for_each_entry(&dir, |child, _| {
                let child_path = [path, b"/", child].concat();
                keep(dir.as_fd(), child, &child_path, recorder)
            })
        }
        _ => Ok(()),
    }
}

/// Opens what an `O_PATH` descriptor stands for. Its mode is the image's and may forbid that; it is about to go anyway.
fn readable(found: &OwnedFd, mode: u32) -> io::Result<OwnedFd> {
    // This link leads to the very file, whatever happens to its name.
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match open(&link, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmod(&link, Mode::from_raw_mode(mode))?;
            Ok(open(&link, flags, Mode::empty())?)
        }
        opened => Ok(opened?),
    }
}
