//! Where ext4 puts what is in the data directory.
//!
//! Without a journal, as in small virtual machines, ext4 gives an inode that was freed in the last minutes to nobody, and
//! passes over such inodes one by one (fs/ext4/ialloc.c, `recently_deleted`). What a launch makes in `pods/`, a dozen
//! inodes, took half as long again after an image or somebody's build had been removed nearby; an image that was extracted where another
//! had just been removed took ten times as long. With the mark of chattr(1), `T`, the directories in a directory are taken for
//! beginnings of unrelated trees, and each is put into a part of the disk of its own, found by its name. So are `store/` and
//! `pods/`, and the directories with random names in `store/tmp/` in which images are extracted.

use std::os::fd::OwnedFd;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// Marks a directory that is new. Other file systems refuse it, and where it cannot be done all works as well, only slower.
pub(crate) fn spread(dir: &OwnedFd) {
    if let Ok(flags) = ioctl_getflags(dir) {
        let _ = ioctl_setflags(dir, flags | IFlags::TOPDIR);
    }
}
